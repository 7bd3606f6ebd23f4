"""Frames in HDF5: our container, HyperSpy, py4DSTEM, NeXus, or any file with one data set of four axes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats import bitshuffle
from stemcal.formats.extras import Extras, FrameStatus, read_extras
from stemcal.frames.base import BaseSource, Identity, check_counts, given_shape, stack_shape, uncertain_scan
from stemcal.frames.hdf5_axes import read_microscope
from stemcal.frames.hdf5_stack import check_written, find_stack
from stemcal.frames.memory import empty

_COMPRESSION_VALUE = 4
"""Where the filter keeps its compression among its values: version (2), element bytes, block size, compression."""

_HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, OverflowError)


class Hdf5Source(BaseSource):
    """The stack of frames in an HDF5 file, wherever it is in there: see `stemcal.frames.hdf5_stack`.

    Chunks of one bitshuffle-LZ4 frame (what `stemcal convert` writes) are decompressed outside HDF5, so that threads
    work at the same time; everything else goes through h5py, one thread at a time.

    Parameters
    ----------
    path : Path
        The file.
    scan_shape : tuple of int or None
        Overrides the scan shape (scan_row, scan_col) that the file states.

    Raises
    ------
    DataError
        If the file cannot be opened, does not hold one stack of frames, or ``scan_shape`` does not fit their number.
    """

    def __init__(self, path: Path, scan_shape: tuple[int, int] | None = None) -> None:
        self._file = _open(path)
        try:
            with _named_damage(path, "the file"):
                self._describe(path, scan_shape)
        except BaseException:
            self._file.close()
            raise

    def _describe(self, path: Path, scan_shape: tuple[int, int] | None) -> None:
        """Find the stack and what is said of it, the identity last: it reads the first frame."""
        found = find_stack(path, self._file)
        self._data = found.data
        self._stored = stack_shape(path, self._data.shape)
        check_counts(path, self._data.dtype)
        extras = read_extras(path, found.group)
        n_frames = self._stored[0] * self._stored[1]
        if scan_shape is None and not extras.attributes.get("scan_certain", True):
            raise uncertain_scan(path, n_frames)
        super().__init__(
            path,
            given_shape(path, n_frames, scan_shape, self._stored),
            (int(self._data.shape[-2]), int(self._data.shape[-1])),
            self._data.dtype,
            valid=extras.valid,
            frame_status=extras.frame_status,
            microscope=extras.microscope or read_microscope(found.group),
            acquired_at=extras.acquired_at,
        )
        self._direct = _one_frame_chunks(self._data)
        self._missing = self.frame_status == FrameStatus.MISSING
        check_written(path, self._data, n_missing=int(np.count_nonzero(self._missing)))
        self.identity = self._identify(extras)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return frames start:stop as (n, det_row, det_col), native byte order."""
        self.check_range(start, stop)
        with _named_damage(self.path, f"frames {start} to {stop} of {self._data.name}"):
            frames = empty((stop - start, *self.frame_shape), self.dtype)
            if self._direct:
                for place in range(start, stop):
                    if self._missing[place]:
                        frames[place - start] = 0
                    else:
                        self._decompress(place, frames[place - start])
            else:
                self._read_lines(start, stop, frames)
        return frames

    def _decompress(self, place: int, out: NDArray[Any]) -> None:
        _mask, chunk = self._data.id.read_direct_chunk((*self._position(place), 0, 0))
        try:
            bitshuffle.decompress(chunk, out)
        except ValueError as error:
            raise DataError(self.path, f"frame {place} is damaged ({error})", "convert the raw file again") from error

    def _read_lines(self, start: int, stop: int, frames: NDArray[Any]) -> None:
        """Read whole stretches of scan lines, the largest hyperslabs a range of frames consists of."""
        if self._data.ndim == 3:
            self._data.read_direct(frames, np.s_[start:stop])
            return
        place = start
        while place < stop:
            row, col = self._position(place)
            length = min(self._stored[1] - col, stop - place)
            frames[place - start : place - start + length] = self._data[row, col : col + length]
            place += length

    def _position(self, place: int) -> tuple[int, int]:
        return divmod(place, self._stored[1])

    def _identify(self, extras: Extras) -> Identity:
        first = hashlib.sha256(self.read(0, 1).tobytes()).hexdigest()
        identity: Identity = {"n_frames": self.n_frames, "first_frame_sha256": first}
        return {**identity, **extras.identity}

    def close(self) -> None:
        """Release the file."""
        self._file.close()


@contextmanager
def _named_damage(path: Path, what: str) -> Iterator[None]:
    """Turn whatever HDF5 finds in a damaged file into a `DataError`: it has no error class of its own."""
    try:
        yield
    except _HDF5_ERRORS as error:
        raise DataError(path, f"{what} cannot be read ({error})", "copy the file again, or write it again") from error


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(
            path, f"cannot be opened as HDF5 ({error})", "copy the file again, or write it again"
        ) from error


def _one_frame_chunks(data: h5py.Dataset) -> bool:
    """Say whether every chunk is one frame, filtered by bitshuffle-LZ4 and nothing else, in native byte order."""
    if data.ndim != 4 or data.chunks != (1, 1, *data.shape[-2:]) or not data.dtype.isnative:
        return False
    pipeline = data.id.get_create_plist()
    if pipeline.get_nfilters() != 1:
        return False
    code, _flags, values, _name = pipeline.get_filter(0)
    return bool(code == bitshuffle.FILTER_ID and values[_COMPRESSION_VALUE] == bitshuffle.LZ4)
