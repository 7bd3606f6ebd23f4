"""Frames in a ``.npy`` file, read block by block.

Not through a memory map: a mapped file counts as resident memory of the job, and a file that shrinks under a map kills
the process.
"""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats.positioned import read_exactly
from stemcal.frames.base import BaseSource, check_counts, given_shape, stack_shape


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int


class NpySource(BaseSource):
    """A 4-D (or 3-D, one line) array of numbers in NumPy's own format, either byte order, C order.

    Parameters
    ----------
    path : Path
        The file.
    scan_shape : tuple of int or None
        Overrides the scan shape (scan_row, scan_col) that the array states.

    Raises
    ------
    DataError
        If the file is not such an array, or ``scan_shape`` does not fit its number of frames.
    """

    def __init__(self, path: Path, scan_shape: tuple[int, int] | None = None) -> None:
        header = _header(path)
        stored = stack_shape(path, header.shape)
        n_frames = stored[0] * stored[1]
        super().__init__(
            path,
            given_shape(path, n_frames, scan_shape, stored),
            (header.shape[-2], header.shape[-1]),
            header.dtype,
        )
        self._stored = header
        self._size_bytes = path.stat().st_size
        self._descriptor: int | None = os.open(path, os.O_RDONLY)
        try:
            first = hashlib.sha256(self.read(0, 1).tobytes()).hexdigest()
        except BaseException:
            self.close()
            raise
        self.identity = {"size_bytes": self._size_bytes, "n_frames": n_frames, "first_frame_sha256": first}

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return frames start:stop as (n, det_row, det_col), native byte order.

        Raises
        ------
        DataError
            If the file has become shorter since it was opened.
        """
        self.check_range(start, stop)
        frames = np.empty((stop - start, *self.frame_shape), self._stored.dtype)
        frame_bytes = math.prod(self.frame_shape) * self.dtype.itemsize
        target, offset = frames.reshape(-1).view(np.uint8).data, self._stored.offset + start * frame_bytes
        read_exactly(self._descriptor, self.path, target, offset, self._size_bytes)
        return frames if frames.dtype.isnative else frames.byteswap(inplace=True).view(self.dtype)

    def close(self) -> None:
        """Release the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _header(path: Path) -> _Header:
    """Let numpy read the header and compare it with the size of the file.

    Raises
    ------
    DataError
        If this is no array that can be streamed: what of it cannot.
    """
    try:
        array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # (numpy raises tokenizer's and parser's errors too)
        raise DataError(path, f"cannot be read as .npy ({error})", "write it again with numpy.save") from error
    if not isinstance(array, np.memmap):
        raise DataError(path, "is an archive of several arrays", "save the one array of frames with numpy.save")
    check_counts(path, array.dtype)
    if not array.flags.c_contiguous:
        remedy = "save it with numpy.save(path, numpy.ascontiguousarray(array))"
        raise DataError(path, "is in Fortran order, so that every frame is spread over the whole file", remedy)
    return _Header(array.shape, array.dtype, array.offset)
