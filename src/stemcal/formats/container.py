"""``<id>_data.hdf5``: one frame per chunk, bitshuffle-LZ4, in HyperSpy's layout, with everything known of the frames.

``/Experiments/<name>/data`` has the axes (scan_row, scan_col, det_row, det_col) and opens in
``hyperspy.api.load(path, reader="hspy")``; ``/Experiments/<name>/stemcal`` beside it holds, each described by its
attributes: ``frame_status``, ``sequence_number``, ``exposure_ns`` and ``time_ns`` (scan_row, scan_col), ``valid``,
``dead`` and ``hot`` (det_row, det_col), ``sums/...``, ``first_header``, ``hdr``, ``microscope`` (attributes with the
unit in the name), ``microscope_file`` and ``microscope_units`` (the microscope's own keys), ``identity`` and
``parameter`` (canonical JSON). Frames that have no scan position are in ``outside_scan`` (n, det_row, det_col). A
position without a frame has no chunk: it reads as zeros, and ``frame_status`` says that it is missing.

Equal inputs give equal bytes: no times are tracked, and everything is written in a fixed order by one writer.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

from stemcal.errors import DataError
from stemcal.formats import bitshuffle
from stemcal.formats.extras import Extras, write_extras
from stemcal.formats.hdf5 import abandon, named_errors
from stemcal.formats.hspy import Axis, begin_signal
from stemcal.records.atomic import atomic_path

_METADATA_BYTES_PER_FRAME = 96
"""Chunk index, frame status, number, exposure and time, with a margin."""
_METADATA_BYTES = 2**21
"""Headers, texts and the mask, with a margin."""
_CANNOT_RESERVE = {errno.EOPNOTSUPP, errno.EINVAL}
"""What a file system says that does not reserve space."""


@dataclass(frozen=True)
class Layout:
    """What has to be known before the first frame is written.

    Attributes
    ----------
    name : str
        Name of the experiment and HyperSpy's title.
    shape : tuple of int
        (scan_row, scan_col, det_row, det_col).
    axes : tuple of Axis
        One per dimension.
    dtype : dtype
        Type of the counts; stored little-endian.
    n_missing : int
        Positions that get no frame.
    n_outside : int
        Frames that have no position.
    """

    name: str
    shape: tuple[int, int, int, int]
    axes: tuple[Axis, Axis, Axis, Axis]
    dtype: np.dtype[Any]
    n_missing: int = 0
    n_outside: int = 0

    @property
    def n_frames(self) -> int:
        """Number of scan positions."""
        return self.shape[0] * self.shape[1]


class ContainerWriter:
    """Writes one container: frames in any order, then the extras. Only one thread may use it.

    Parameters
    ----------
    path : Path
        The (temporary) file to create.
    layout : Layout
        Name, axes and type.
    final : Path
        What the file will be called, for messages.
    """

    def __init__(self, path: Path, layout: Layout, final: Path) -> None:
        self._layout = layout
        self._final = final
        with named_errors(final):
            # "v110" and not "latest": the index of the chunks stays the same whatever HDF5 is installed
            self._file = h5py.File(path, "w", libver=("v110", "v110"))
        self._group = begin_signal(self._file, layout.shape, layout.axes, 2, title=layout.name)
        self._data = self._frames(self._group, "data", layout.shape)
        self._ours = self._group.create_group("stemcal")
        self._outside: h5py.Dataset | None = None
        if layout.n_outside:
            self._outside = self._frames(self._ours, "outside_scan", (layout.n_outside, *layout.shape[2:]))
            self._outside.attrs["description"] = "frames without a scan position, in the order of the file"
        self._n_written = 0
        self._n_outside = 0

    def _frames(self, group: h5py.Group, name: str, shape: tuple[int, ...]) -> h5py.Dataset:
        chunk = (*[1] * (len(shape) - 2), *shape[-2:])
        dtype = self._layout.dtype.newbyteorder("<")
        return group.create_dataset(name, shape=shape, dtype=dtype, chunks=chunk, **bitshuffle.filter_options())

    def put(self, positions: Iterable[int], chunks: Iterable[bytes]) -> None:
        """Write frames, each as the bytes that `bitshuffle.compress` returned for it.

        Parameters
        ----------
        positions : iterable of int
            Flat scan position of each frame; negative ones go to ``outside_scan`` one behind the other.
        chunks : iterable of bytes
            As many.
        """
        with named_errors(self._final):
            for position, chunk in zip(positions, chunks, strict=True):
                if position >= 0:
                    row, col = divmod(int(position), self._layout.shape[1])
                    self._data.id.write_direct_chunk((row, col, 0, 0), chunk)
                    self._n_written += 1
                else:
                    assert self._outside is not None
                    self._outside.id.write_direct_chunk((self._n_outside, 0, 0), chunk)
                    self._n_outside += 1

    def finish(self, extras: Extras) -> None:
        """Write what stands beside the frames.

        Raises
        ------
        ValueError
            If not every frame has been written.
        """
        expected = (self._layout.n_frames - self._layout.n_missing, self._layout.n_outside)
        written = (self._n_written, self._n_outside)
        if written != expected:
            message = f"{written} frames (in the scan, outside) were written but there are {expected}"
            raise ValueError(f"{message}: write them all first")
        with named_errors(self._final):
            self._check_space(extras)
            write_extras(self._ours, extras, self._layout.shape)
            self._file.flush()

    def _check_space(self, extras: Extras) -> None:
        """Fail now if the disk has no room for the rest.

        HDF5 keeps its metadata in memory to the end; where they then cannot be written it neither closes the file nor
        ends without a crash. Chunks are written at once, so this is the only place where that can happen.
        """
        arrays = [one.values.nbytes for one in extras.sums.values()]
        needed = sum(arrays) + _METADATA_BYTES_PER_FRAME * self._layout.n_frames + _METADATA_BYTES
        descriptor = self._file.id.get_vfd_handle()
        size = os.fstat(descriptor).st_size
        try:
            os.posix_fallocate(descriptor, size, needed)
        except OSError as error:
            if error.errno not in _CANNOT_RESERVE:
                raise
        finally:
            os.ftruncate(descriptor, size)

    def close(self) -> None:
        """Close the file; safe to call again."""
        with named_errors(self._final):
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            abandon(self._file)
            return
        try:
            self.close()
        except OSError:
            abandon(self._file)
            raise


@contextmanager
def open_container(final: Path, layout: Layout) -> Iterator[ContainerWriter]:
    """Give a writer for ``final``; the file takes that name only when the block ends without error."""
    with atomic_path(final) as temporary, ContainerWriter(temporary, layout, final) as writer:
        yield writer


def open_experiment(path: Path) -> tuple[h5py.File, h5py.Group]:
    """Open an HDF5 file in HyperSpy's layout that holds one experiment.

    Returns
    -------
    tuple
        The open file, which the caller closes, and the group ``/Experiments/<name>``.

    Raises
    ------
    DataError
        If the file cannot be opened, is no HDF5, or does not hold one experiment.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(path, f"cannot be opened as HDF5 ({error})", "convert the raw file again") from error
    root = file.get("Experiments")
    groups = [] if root is None else [root[name] for name in root if "data" in root[name]]
    if len(groups) != 1:
        file.close()
        remedy = "give a file written by `stemcal convert`, or a .hspy file with one signal"
        raise DataError(path, f"holds {len(groups)} signals under /Experiments, not one", remedy)
    return file, groups[0]
