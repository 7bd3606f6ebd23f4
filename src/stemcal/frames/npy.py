"""Frames in a .npy file, mapped into memory block by block."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.frames.base import BaseSource, given_shape, stack_shape


class NpySource(BaseSource):
    """A 4-D (or 3-D, one line) array of numbers in NumPy's own format.

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
        array = _map(path)
        stored = stack_shape(path, array.shape)
        n_frames = stored[0] * stored[1]
        rows, cols = array.shape[-2:]
        self._frames = array.reshape(n_frames, rows, cols)
        first = hashlib.sha256(np.ascontiguousarray(self._frames[0]).tobytes()).hexdigest()
        super().__init__(
            path,
            given_shape(path, n_frames, scan_shape, stored),
            (rows, cols),
            array.dtype,
            identity={"size_bytes": path.stat().st_size, "n_frames": n_frames, "first_frame_sha256": first},
        )

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return frames start:stop as (n, det_row, det_col), native byte order."""
        self.check_range(start, stop)
        return np.array(self._frames[start:stop], dtype=self.dtype, order="C")


def _map(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(path, f"cannot be read as .npy ({error})", "write it again with numpy.save") from error
    if array.dtype.kind not in "uif" or array.flags.f_contiguous:
        remedy = "save a C-ordered array of counts with numpy.save(path, numpy.ascontiguousarray(array))"
        raise DataError(path, f"holds {array.dtype} in an order or of a type that cannot be streamed", remedy)
    return array
