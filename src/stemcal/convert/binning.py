"""The optional second file: frames summed over detector pixels and scan positions, streamed with the pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.convert.settings import ConvertSettings
from stemcal.errors import UsageError
from stemcal.formats import bitshuffle
from stemcal.formats.container import ContainerWriter


@dataclass(frozen=True)
class BinPlan:
    """How frames are binned; pixels and positions behind the last whole bin are left out.

    Attributes
    ----------
    detector_px, scan_positions : int
        Along either axis.
    shape : tuple of int
        (scan_row, scan_col, det_row, det_col) of the sums.
    dtype : dtype
        Wide enough for the largest sum that there can be.
    scan_cols : int
        Columns of the scan before binning.
    """

    detector_px: int
    scan_positions: int
    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]
    scan_cols: int

    def bin_detector(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Return (n, det_row, det_col) frames summed over the detector's bins."""
        factor, (rows, cols) = self.detector_px, self.shape[2:]
        cut = frames[:, : rows * factor, : cols * factor]
        binned: NDArray[Any] = cut.reshape(-1, rows, factor, cols, factor).sum(axis=(2, 4), dtype=self.dtype)
        return binned

    def bin_valid(self, valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the mask of the binned detector: valid where every pixel is."""
        factor, (rows, cols) = self.detector_px, self.shape[2:]
        cut = valid[: rows * factor, : cols * factor]
        whole: NDArray[np.bool_] = cut.reshape(rows, factor, cols, factor).all(axis=(1, 3))
        return whole

    def cell_of(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (row, col) of the bin of each position, (-1, -1) for those that have none."""
        row, col = (place // self.scan_positions for place in np.divmod(positions, self.scan_cols))
        none = (positions < 0) | (row >= self.shape[0]) | (col >= self.shape[1])
        return np.where(none, -1, row), np.where(none, -1, col)


def plan_binning(
    settings: ConvertSettings, scan_shape: tuple[int, int], frame_shape: tuple[int, int], dtype: np.dtype[Any]
) -> BinPlan | None:
    """Return how to bin, None where it is not asked for.

    Raises
    ------
    UsageError
        If a bin is larger than the scan or the detector.
    """
    detector, scan = settings.bin_detector_px, settings.bin_scan_positions
    if detector == scan == 1:
        return None
    shape = (scan_shape[0] // scan, scan_shape[1] // scan, frame_shape[0] // detector, frame_shape[1] // detector)
    if 0 in shape:
        sizes = f"{scan_shape[0]} x {scan_shape[1]} positions of {frame_shape[0]} x {frame_shape[1]} pixels"
        message = f"{sizes} cannot be binned by {scan} positions and {detector} pixels: give smaller bins"
        raise UsageError(message)
    largest = int(np.iinfo(dtype).max) * (detector * scan) ** 2
    wide = next((kind for kind in ("u2", "u4") if largest <= int(np.iinfo(kind).max)), "u8")
    return BinPlan(detector, scan, shape, np.dtype(wide), scan_shape[1])


class ScanBinning:
    """Adds detector-binned frames to their scan bins and writes each row of bins once it is complete.

    Parameters
    ----------
    plan : BinPlan
        How.
    placed : ndarray of int64
        Every scan position that has a frame.
    writer : ContainerWriter
        Takes the sums.
    """

    def __init__(self, plan: BinPlan, placed: NDArray[np.int64], writer: ContainerWriter) -> None:
        self._plan = plan
        self._writer = writer
        rows, _cols = plan.cell_of(placed)
        self._waiting = np.bincount(rows[rows >= 0], minlength=plan.shape[0])
        self._empty_rows = tuple(int(row) for row in np.flatnonzero(self._waiting == 0))
        self._open: dict[int, NDArray[Any]] = {}

    def add(self, positions: NDArray[np.int64], binned: NDArray[Any]) -> None:
        """Add frames (n, det_row, det_col), binned over the detector, of scan ``positions`` (n,)."""
        for row, col, frame in zip(*self._plan.cell_of(positions), binned, strict=True):
            if row < 0:
                continue
            if row not in self._open:
                self._open[row] = np.zeros(self._plan.shape[1:], self._plan.dtype)
            self._open[row][col] += frame
            self._waiting[row] -= 1
            if self._waiting[row] == 0:
                self._write(int(row), self._open.pop(row))

    def finish(self) -> None:
        """Write the rows of bins that no frame belongs to."""
        for row in self._empty_rows:
            self._write(row, np.zeros(self._plan.shape[1:], self._plan.dtype))

    def _write(self, row: int, frames: NDArray[Any]) -> None:
        first = row * self._plan.shape[1]
        chunks = [bitshuffle.compress(frame) for frame in frames]
        self._writer.put(range(first, first + len(frames)), chunks)
