"""One pass over the frames: the bright-field disk pixel by pixel, and the sums that judge the frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BrightField:
    """The pixels of the bright-field disk and a rim around it, each as an image of the scan.

    Attributes
    ----------
    counts : ndarray
        (n_pix, scan_row, scan_col) uint16, or float32 where the counts are no integers or do not fit.
    det_row, det_col : ndarray of float64
        (n_pix,) position in px of the full frame; of a binned pixel, its centre.
    valid : ndarray of bool
        (n_pix,) True = every pixel that it is the sum of is valid.
    binning : int
        Side in px of the squares that were added up.
    shift_px : ndarray of int16
        (2, scan_row, scan_col) whole pixels by which each frame's window was moved along with the beam.
    """

    counts: NDArray[Any]
    det_row: NDArray[np.float64]
    det_col: NDArray[np.float64]
    valid: NDArray[np.bool_]
    binning: int
    shift_px: NDArray[np.int16]

    @property
    def scan_shape(self) -> tuple[int, int]:
        """(scan_row, scan_col)."""
        rows, cols = self.counts.shape[1:]
        return rows, cols


@dataclass(frozen=True)
class FrameSums:
    """Sums of every frame over its valid pixels.

    Attributes
    ----------
    total : ndarray of float64
        (scan_row, scan_col) counts of the whole frame.
    com_row, com_col : ndarray of float64
        (scan_row, scan_col) centre of mass of the disk in px of the full frame; NaN where there are no counts.
    adf : ndarray of float64
        (scan_row, scan_col) counts outside the disk.
    segments : ndarray of float32
        (n_seg, scan_row, scan_col) counts in the segments of the disk.
    segment_mean : ndarray of float64
        (n_seg,) mean counts of a segment per frame.
    """

    total: NDArray[np.float64]
    com_row: NDArray[np.float64]
    com_col: NDArray[np.float64]
    adf: NDArray[np.float64]
    segments: NDArray[np.float32]
    segment_mean: NDArray[np.float64]
