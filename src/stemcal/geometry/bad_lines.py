"""Scan lines and positions that hold something else than the specimen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stemcal.geometry.bright_field import FrameSums

Array = NDArray[np.float64]

_DIM, _BRIGHT = 0.5, 2.0
_NEIGHBOURS = 9
_LEAST_USABLE = 0.5
_SIGMAS = 6.0
_LEAST_CORRELATION = 0.2
_FEWEST_LINES = 8
_MAD_TO_SIGMA = 1.4826


def usable_positions(sums: FrameSums, ok: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the positions of status ok whose counts are neither none nor far from those of the lines around.

    Parameters
    ----------
    sums : FrameSums
        Sums of the frames.
    ok : ndarray of bool
        (scan_row, scan_col) whether the status of the frame is ok.
    """
    counting = ok & (sums.total > 0)
    if not counting.any():
        return counting
    level = _running_median(_line_level(sums.total, counting))[:, None]
    return np.asarray(counting & (sums.total > level * _DIM / 2) & (sums.total < level * _BRIGHT * 2))


def find_bad_lines(sums: FrameSums, usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the scan lines that are not what they should be, (scan_row,).

    Mostly unusable; less than half or more than twice as bright as the lines around; the line before once more, count
    by count; or unlike both neighbours, where all others are alike (correlation of the segments, six robust standard
    deviations below the others).

    Parameters
    ----------
    sums : FrameSums
        Sums of the frames.
    usable : ndarray of bool
        (scan_row, scan_col) positions that may be used.
    """
    level = _line_level(sums.total, usable)
    around = _running_median(level)
    bad = (usable.mean(axis=1) < _LEAST_USABLE) | (level < _DIM * around) | (level > _BRIGHT * around)
    same = (np.diff(sums.total, axis=0) == 0).all(axis=1) & (np.diff(sums.segments, axis=1) == 0).all(axis=(0, 2))
    bad[1:] |= same
    return np.asarray(bad | _unlike_neighbours(sums, usable, bad))


def _line_level(total: Array, usable: NDArray[np.bool_]) -> Array:
    """Return the median counts of the usable positions of each line, 0 where there are none."""
    lines = zip(total, usable, strict=True)
    return np.array([float(np.median(line[good])) if good.any() else 0.0 for line, good in lines])


def _running_median(level: Array) -> Array:
    lit = level > 0
    if not lit.any():
        return level
    known = np.interp(np.arange(len(level)), np.flatnonzero(lit), level[lit])
    return np.asarray(ndimage.median_filter(known, size=min(_NEIGHBOURS, len(level)), mode="nearest"))


def _unlike_neighbours(sums: FrameSums, usable: NDArray[np.bool_], bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    lines = np.flatnonzero(~bad)
    unlike = np.zeros(len(bad), np.bool_)
    if len(lines) < _FEWEST_LINES:
        return unlike
    share = sums.segments / np.where(usable, np.maximum(sums.disk_total, 1), 1)
    contrast = np.where(usable, share - share.mean(axis=(1, 2), keepdims=True), 0)[:, lines]
    contrast = np.moveaxis(contrast, 1, 0).reshape(len(lines), -1)
    contrast /= np.maximum(np.linalg.norm(contrast, axis=1, keepdims=True), 1e-30)
    following = (contrast[1:] * contrast[:-1]).sum(axis=1)
    best = np.maximum(np.append(following, -1), np.insert(following, 0, -1))
    typical = float(np.median(best))
    spread = _MAD_TO_SIGMA * float(np.median(np.abs(best - typical)))
    if typical > _LEAST_CORRELATION:
        unlike[lines] = best < min(typical - _SIGMAS * spread, typical / 2)
    return unlike
