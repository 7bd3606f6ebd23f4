"""The mean pattern as points: positions in radii of the aperture, logarithm of the counts and what that is worth."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry.aperture import Aperture
from stemcal.geometry.harmonic_model import FloatArray, Points

LARGEST_RADIUS_PX = 24.0
"""Radius of the aperture above which pixels are added up: the pattern has no structure finer than that."""
FEWEST_COUNTS = 30.0


def pattern_points(mean: FloatArray, n_frames: int, valid: NDArray[np.bool_], aperture: Aperture) -> Points:
    """Return the pixels of a mean pattern, added up to squares where there are many, in reading order.

    Squares with an invalid pixel or hardly any counts are left out.

    Parameters
    ----------
    mean : ndarray
        (det_row, det_col) counts per frame.
    n_frames : int
        Frames that the mean is of.
    valid : ndarray of bool
        (det_row, det_col) True = valid.
    aperture : Aperture
        The undiffracted disk.
    """
    side = max(1, math.ceil(aperture.radius_px / LARGEST_RADIUS_PX))
    rows, cols = mean.shape[0] // side, mean.shape[1] // side
    whole = np.where(valid, mean, 0.0)[: rows * side, : cols * side]
    counts = whole.reshape(rows, side, cols, side).sum(axis=(1, 3)) * n_frames
    usable = valid[: rows * side, : cols * side].reshape(rows, side, cols, side).all(axis=(1, 3))
    usable &= counts >= FEWEST_COUNTS
    row, col = (np.indices((rows, cols), dtype=np.float64) + 0.5) * side - 0.5
    row_px, col_px = aperture.round_offsets(row[usable], col[usable])
    kept = counts[usable]
    return Points(row_px / aperture.radius_px, col_px / aperture.radius_px, np.log(kept), np.sqrt(kept))
