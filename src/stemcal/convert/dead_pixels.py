"""Which detector pixels are dead: they never count while their neighbours do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_WINDOW_IN_WIDTHS = 3
_MAX_DARK_PART = 0.1
"""Part of a pixel's surroundings that may be dark: a dead column one pixel wide takes 1/15 of a window of 15."""
_MIN_LIT_PART = 0.125
"""Part of a line that must have counts on both sides: the gap between two disks on black has them at its neck only."""


def find_dead_pixels(sum_pattern: NDArray[Any], *, min_counts: int, max_width_px: int) -> NDArray[np.bool_]:
    """Find pixels without a single count between pixels that count well.

    A pixel lies in a gap if, along its row or its column, it is in a run of at most ``max_width_px`` pixels without
    counts; the level of the gap is the lower count of the two pixels at its ends. Lines first: a row or column, whole
    or half (one chip of a quad), is dead if it has no counts, an eighth of it lies in gaps across it, and their
    levels sum to at least ``min_counts``. Then pixels, the dead lines now filled: a pixel is dead if it lies in a gap
    of a level of at least ``min_counts`` and nine tenths of the pixels around it (a window of three times that width)
    do count.

    The last condition is what keeps dark regions out: the inside of a shadow, its tips and edges, the gap between two
    disks on a black ground, and the faint parts of a pattern, where a pixel without counts is nothing unusual. A dead
    line along the very edge of the detector has no far side and is not found: give a mask file for it.

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
    along, across = _between(level, max_width_px), _between(level.T, max_width_px).T
    lines = _dead_rows(level, across, min_counts) | _dead_rows(level.T, along.T, min_counts).T
    level[lines] = np.maximum(np.maximum(along, across)[lines], min_counts)
    dark_part = ndimage.uniform_filter((level == 0).astype(np.float64), _WINDOW_IN_WIDTHS * max_width_px)
    gap = np.maximum(_between(level, max_width_px), _between(level.T, max_width_px).T)
    dead: NDArray[np.bool_] = lines | ((gap >= min_counts) & (dark_part <= _MAX_DARK_PART))
    return dead


def _dead_rows(level: NDArray[np.float64], across: NDArray[np.float64], min_counts: int) -> NDArray[np.bool_]:
    """Return the rows, whole or half, that never count while what lies above and below them does."""
    dead = np.zeros(level.shape, np.bool_)
    middle = level.shape[1] // 2
    for part in (slice(None), slice(0, middle), slice(middle, None)):
        dark = ~level[:, part].any(axis=1)
        lit = (across[:, part] > 0).mean(axis=1) >= _MIN_LIT_PART
        dead[dark & lit & (across[:, part].sum(axis=1) >= min_counts), part] = True
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
