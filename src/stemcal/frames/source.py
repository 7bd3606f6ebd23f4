"""The 4-D stack as every step sees it, whatever file it is in."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.frames.base import Identity, uncertain_scan
from stemcal.frames.empad import EmpadSource
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
    """Open a stack of frames by what its file begins with, and by its suffix where that says nothing.

    Parameters
    ----------
    path : Path
        HDF5 of any suffix (see `stemcal.frames.hdf5`), ``.npy``, Merlin ``.mib``, EMPAD ``.xml`` or ``.raw``. Rows are
        in RosettaSciIO's order in each.
    scan_shape : tuple of int or None
        (scan_row, scan_col), overrides what the file says.

    Raises
    ------
    DataError
        If the file is missing, of an unknown kind, does not hold a stack of frames, or ``scan_shape`` does not fit
        their number.
    """
    opener = _by_content(_beginning(path)) or _BY_SUFFIX.get(path.suffix.lower())
    if opener is None:
        raise DataError(path, f"files ending in {path.suffix!r} are not read", _REMEDY)
    return opener(path, scan_shape)


def _open_mib(path: Path, scan_shape: tuple[int, int] | None) -> MibSource:
    """Open an acquisition for a step, which needs to know where its frames belong."""
    source = MibSource(path, scan_shape)
    if not source.scan.certain:
        source.close()
        raise uncertain_scan(path, source.n_frames)
    return source


_REMEDY = "give a .mib, .hdf5, .hspy, .npy, EMPAD .xml or py4DSTEM .h5 file"
_BY_SUFFIX: dict[str, Callable[[Path, tuple[int, int] | None], FrameSource]] = {
    ".npy": NpySource,
    ".hdf5": Hdf5Source,
    ".h5": Hdf5Source,
    ".hspy": Hdf5Source,
    ".emd": Hdf5Source,
    ".nxs": Hdf5Source,
    ".mib": _open_mib,
    ".hdr": _open_mib,
    ".xml": EmpadSource,
    ".raw": EmpadSource,
}
_BY_CONTENT: tuple[tuple[bytes, Callable[[Path, tuple[int, int] | None], FrameSource]], ...] = (
    (b"\x89HDF\r\n\x1a\n", Hdf5Source),
    (b"\x93NUMPY", NpySource),
    (b"MQ1,", _open_mib),
)


def _by_content(beginning: bytes) -> Callable[[Path, tuple[int, int] | None], FrameSource] | None:
    return next((opener for magic, opener in _BY_CONTENT if beginning.startswith(magic)), None)


def _beginning(path: Path) -> bytes:
    """Return the first bytes of a file.

    Raises
    ------
    DataError
        If it is not there, a folder, no ordinary file, or may not be read.
    """
    try:
        kind = path.stat().st_mode
        if stat.S_ISREG(kind):
            with path.open("rb") as file:
                return file.read(8)
    except FileNotFoundError as error:
        if path.is_symlink():
            raise DataError(path, "is a link to a file that is not there", "restore what it points to") from error
        raise DataError(path, "there is no such file", "check the path") from error
    except (OSError, ValueError) as error:
        raise DataError(path, f"cannot be read ({error})", "check the path and its permissions") from error
    if stat.S_ISDIR(kind):
        raise DataError(path, "is a folder", "give the file of frames in it")
    raise DataError(path, "is no ordinary file", _REMEDY)
