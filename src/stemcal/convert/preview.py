"""The binned preview: the whole data set in a few megabytes, summed while the frames pass by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MAX_SCAN_CELLS = 32
_MIN_POSITIONS = 8
"""Fewest positions along a side of a cell: frames of one cell are added up together."""
_MAX_DETECTOR_BINS = 64


@dataclass(frozen=True)
class PreviewPlan:
    """How the preview is binned.

    Attributes
    ----------
    scan_shape, frame_shape : tuple of int
        (scan_row, scan_col) and (det_row, det_col).
    positions_per_cell, pixels_per_bin : int
        Along either axis; the last ones may have fewer.
    """

    scan_shape: tuple[int, int]
    frame_shape: tuple[int, int]
    positions_per_cell: int
    pixels_per_bin: int

    @property
    def cells(self) -> tuple[int, int]:
        """(scan_row, scan_col) of the preview."""
        return _bins(self.scan_shape, self.positions_per_cell)

    @property
    def bins(self) -> tuple[int, int]:
        """(det_row, det_col) of the preview."""
        return _bins(self.frame_shape, self.pixels_per_bin)

    def cell_of(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the flat cell of each position, -1 for negative positions."""
        rows, cols = np.divmod(positions, self.scan_shape[1])
        cells = (rows // self.positions_per_cell) * self.cells[1] + cols // self.positions_per_cell
        return np.where(positions < 0, -1, cells)


def plan_preview(scan_shape: tuple[int, int], frame_shape: tuple[int, int]) -> PreviewPlan:
    """Choose the binning: at most 32 x 32 cells of at least 8 x 8 positions, at most 64 x 64 detector bins."""
    per_cell = max(_MIN_POSITIONS, -(-max(scan_shape) // _MAX_SCAN_CELLS))
    return PreviewPlan(scan_shape, frame_shape, per_cell, -(-max(frame_shape) // _MAX_DETECTOR_BINS))


def _bins(shape: tuple[int, int], factor: int) -> tuple[int, int]:
    return -(-shape[0] // factor), -(-shape[1] // factor)
