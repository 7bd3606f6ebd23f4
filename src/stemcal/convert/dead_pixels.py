"""Which detector pixels are dead: they never count while their neighbours do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_MAX_PASSES = 4
"""Arms of a dead cross are found in the first pass, their crossing in the second; the rest is reserve."""


def find_dead_pixels(sum_pattern: NDArray[Any], *, min_counts: int, max_width_px: int) -> NDArray[np.bool_]:
    """Find pixels without a single count that lie in a narrow gap between pixels that count well.

    A pixel is dead if, along its row or along its column, it is in a run of at most ``max_width_px`` pixels without
    counts, and the pixels at both ends of that run have at least ``min_counts`` each. What is found counts as filled
    for the next pass, so that the crossing of two dead lines is found too. A dark region (a shadow, the dark of a
    narrow pattern) is wider than that or has faint neighbours; where one has sharp corners or is round, the narrow
    tips of it are given back: a dead pixel must not be within ``max_width_px`` of a wide dark run.

    A dead line along the very edge of the detector has no far side and is not found: give a mask file for it.

    Parameters
    ----------
    sum_pattern : ndarray of integers
        (det_row, det_col) counts of the whole scan.
    min_counts : int
        Least counts of the neighbours on either side.
    max_width_px : int
        Widest run that is taken for dead pixels.

    Returns
    -------
    ndarray of bool
        (det_row, det_col), True = dead.
    """
    level = sum_pattern.astype(np.float64)
    dark = level == 0
    narrow = np.zeros_like(dark)
    for _ in range(_MAX_PASSES):
        fill = np.maximum(_between(level, max_width_px), _between(level.T, max_width_px).T)
        found = dark & ~narrow & (fill > 0)
        if not found.any():
            break
        level[found] = fill[found]
        narrow |= found
    wide = dark & ~narrow
    near_wide = ndimage.maximum_filter(wide, size=2 * max_width_px + 1)
    dead: NDArray[np.bool_] = narrow & (level >= min_counts) & ~near_wide
    return dead


def _between(level: NDArray[np.float64], max_width_px: int) -> NDArray[np.float64]:
    """Return, for pixels without counts in a narrow run along their row, the lower level at its two ends; else 0."""
    n_cols = level.shape[1]
    col = np.arange(n_cols)
    counting = level > 0
    left = np.maximum.accumulate(np.where(counting, col, -1), axis=1)
    right = np.minimum.accumulate(np.where(counting, col, n_cols)[:, ::-1], axis=1)[:, ::-1]
    narrow = ~counting & (left >= 0) & (right < n_cols) & (right - left - 1 <= max_width_px)
    at_left = np.take_along_axis(level, np.maximum(left, 0), axis=1)
    at_right = np.take_along_axis(level, np.minimum(right, n_cols - 1), axis=1)
    return np.where(narrow, np.minimum(at_left, at_right), 0.0)
