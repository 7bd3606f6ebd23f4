"""What all sources have in common: the facts about a stack of frames."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.records.microscope import Microscope

Identity = dict[str, int | float | str | None]

_COUNT_BYTES = 8


class BaseSource:
    """The facts of a source, and its use as a context manager; a subclass adds ``read``.

    Parameters
    ----------
    path : Path
        The file.
    scan_shape : tuple of int
        (scan_row, scan_col).
    frame_shape : tuple of int
        (det_row, det_col).
    dtype : dtype
        Type of the frames as read, native byte order.
    valid : ndarray of bool or None
        (det_row, det_col), True = valid; all valid if None.
    frame_status : ndarray of uint8 or None
        (n_frames,), values of `stemcal.formats.extras.FrameStatus`; all ok if None.
    microscope : Microscope or None
        What the microscope wrote.
    acquired_at : str or None
        Time of the first frame as the detector wrote it.
    identity : dict
        What makes these frames the same frames, for `stemcal.records.base.InputFile`.
    """

    def __init__(
        self,
        path: Path,
        scan_shape: tuple[int, int],
        frame_shape: tuple[int, int],
        dtype: np.dtype[Any],
        *,
        valid: NDArray[np.bool_] | None = None,
        frame_status: NDArray[np.uint8] | None = None,
        microscope: Microscope | None = None,
        acquired_at: str | None = None,
        identity: Identity | None = None,
    ) -> None:
        self.path = path
        self.scan_shape = scan_shape
        self.frame_shape = frame_shape
        self.dtype = dtype.newbyteorder("=")
        self.valid = np.ones(frame_shape, np.bool_) if valid is None else valid
        self.frame_status = np.zeros(self.n_frames, np.uint8) if frame_status is None else frame_status
        self.microscope = microscope
        self.acquired_at = acquired_at
        self.identity: Identity = {} if identity is None else identity

    @property
    def n_frames(self) -> int:
        """Number of frames in the scan."""
        return self.scan_shape[0] * self.scan_shape[1]

    def close(self) -> None:
        """Release the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def check_range(self, start: int, stop: int) -> None:
        """Raise ValueError unless 0 <= start <= stop <= n_frames."""
        if not 0 <= start <= stop <= self.n_frames:
            raise ValueError(f"frames {start}:{stop} are outside 0:{self.n_frames}")


def check_counts(path: Path, dtype: np.dtype[Any]) -> None:
    """Refuse pixels that are no real numbers of at most 64 bit.

    Raises
    ------
    DataError
        With the type, and what to do about it.
    """
    if dtype.kind not in "uif" or dtype.itemsize > _COUNT_BYTES:
        remedy = "write the counts as unsigned integers, or as float32"
        raise DataError(path, f"holds pixels of type {dtype}, which are no counts", remedy)


def uncertain_scan(path: Path, n_frames: int) -> DataError:
    """Return the error for frames that are one line only because nobody knows the shape of their scan."""
    problem = f"holds {n_frames} frames whose scan shape is not certain"
    remedy = "see the candidates in the record of convert, and state the shape with --scan-shape ROWS,COLS or in "
    return DataError(path, problem, f"{remedy}session.yaml")


def given_shape(
    path: Path, n_frames: int, scan_shape: tuple[int, int] | None, stored: tuple[int, int]
) -> tuple[int, int]:
    """Return the scan shape that was asked for, or the one that the file states.

    Raises
    ------
    DataError
        If the shape that was asked for does not hold ``n_frames`` frames.
    """
    if scan_shape is None:
        return stored
    if scan_shape[0] * scan_shape[1] != n_frames or min(scan_shape) < 1:
        rows, cols = scan_shape
        problem = f"has {n_frames} frames, but a scan shape of {rows},{cols} has {rows * cols}"
        raise DataError(path, problem, f"give --scan-shape ROWS,COLS with a product of {n_frames}")
    return scan_shape


def stack_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the scan shape that an array shape states: 4-D as it is, 3-D as one line.

    Raises
    ------
    DataError
        If the array is not 3-D or 4-D, or empty.
    """
    if len(shape) not in {3, 4} or 0 in shape:
        remedy = "give an array of axes (scan_row, scan_col, det_row, det_col)"
        raise DataError(path, f"holds an array of shape {shape}, which is no stack of frames", remedy)
    return (1, shape[0]) if len(shape) == 3 else (shape[0], shape[1])
