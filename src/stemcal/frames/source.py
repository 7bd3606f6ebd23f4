"""The 4-D stack as every step sees it, whatever file it is in."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.frames.base import Identity
from stemcal.frames.hdf5 import Hdf5Source
from stemcal.frames.mib import MibSource
from stemcal.frames.npy import NpySource
from stemcal.records.microscope import Microscope


class FrameSource(Protocol):
    """A stack of frames in raster order, also a context manager; `stemcal.frames.base.BaseSource` states each fact."""

    path: Path
    scan_shape: tuple[int, int]
    frame_shape: tuple[int, int]
    dtype: np.dtype[Any]
    valid: NDArray[np.bool_]
    frame_status: NDArray[np.uint8]
    microscope: Microscope | None
    acquired_at: str | None
    identity: Identity

    @property
    def n_frames(self) -> int:
        """Number of frames in the scan."""

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return frames start:stop as (n, det_row, det_col), C-contiguous, native; may be called from any thread."""

    def close(self) -> None:
        """Release the file."""

    def __enter__(self) -> Self:
        """Return the source itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the file."""


def open_source(path: Path, *, scan_shape: tuple[int, int] | None = None) -> FrameSource:
    """Open a stack of frames by the suffix of its file.

    Parameters
    ----------
    path : Path
        ``.hdf5``/``.h5`` of `stemcal convert`, HyperSpy ``.hspy`` (4-D, or 3-D as one line), ``.npy`` or ``.mib``.
        Rows are in RosettaSciIO's order in each.
    scan_shape : tuple of int or None
        (scan_row, scan_col), overrides what the file says.

    Raises
    ------
    DataError
        If the file is missing, of an unknown kind, does not hold a stack of frames, or ``scan_shape`` does not fit
        their number.
    """
    if not path.is_file():
        raise DataError(path, "there is no such file", "check the path")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return NpySource(path, scan_shape)
    if suffix in {".hdf5", ".h5", ".hspy"}:
        return Hdf5Source(path, scan_shape)
    if suffix == ".mib":
        return MibSource(path, scan_shape)
    raise DataError(path, f"files ending in {suffix!r} are not read", "give a .mib, .hdf5, .hspy or .npy file")
