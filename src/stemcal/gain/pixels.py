"""Which pixels of a flat field are faulty, by what their surroundings count and by how steadily they count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from stemcal.gain.settings import GainSettings

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

CELL_PX = 8
"""Side of the patches in which the level is taken: their median is known to a sixth of a pixel's scatter."""

MAD_TO_SIGMA = 1.4826
_FALSE_ALARMS = 0.01
"""Sound pixels that may be called noisy, per detector."""
_LEAST_EXPECTED = 20.0
"""Counts that a sound pixel misses all of with a chance of 2e-9."""


@dataclass(frozen=True)
class Faults:
    """Pixels that cannot be corrected, each (det_row, det_col); a pixel has at most one fault.

    Attributes
    ----------
    masked : ndarray of bool
        Invalid before.
    dead, hot, noisy : ndarray of bool
        Counts nothing or far too little; far too much; unsteadily.
    dispersion : float or None
        Median over the pixels of the variance between runs over that of counting; None with too few runs.
    """

    masked: Mask
    dead: Mask
    hot: Mask
    noisy: Mask
    dispersion: float | None

    @property
    def good(self) -> Mask:
        """(det_row, det_col), True = valid."""
        return ~(self.masked | self.dead | self.hot | self.noisy)

    @property
    def n_new(self) -> int:
        """Number of faults that the mask did not know."""
        return int((self.dead | self.hot | self.noisy).sum())

    @property
    def codes(self) -> NDArray[np.uint8]:
        """0 sound, 1 masked before, 2 dead, 3 hot, 4 noisy."""
        kinds = (self.masked, self.dead, self.hot, self.noisy)
        return np.asarray(sum(code * kind.astype(np.uint8) for code, kind in enumerate(kinds, start=1)), np.uint8)


def find_faults(runs: NDArray[np.int64], valid: Mask, settings: GainSettings) -> Faults:
    """Find dead, hot and noisy pixels.

    A pixel is dead (hot) when it counts less (more) than its surroundings by ``outlier_sigma`` standard deviations,
    those of the gain of all pixels and of counting together, and by ``min_outlier`` of the level. It is noisy when
    its counts scatter between the runs more than counting allows: chi-square with the median over all pixels as unit,
    so that a beam that drifts during the scan makes no pixel noisy.

    Parameters
    ----------
    runs : ndarray of int64
        (n_runs, det_row, det_col) counts of each run of frames.
    valid : ndarray of bool
        (det_row, det_col), True = valid.
    settings : GainSettings
        The limits.
    """
    total = np.asarray(runs.sum(axis=0), np.float64)
    counting = valid & (total > 0)
    none = np.zeros(valid.shape, np.bool_)
    if not counting.any():
        return Faults(~valid, valid & (total == 0), none, none, None)
    level = local_level(total, counting)
    ratio = total / level
    spread = gain_spread(ratio[counting] - 1, 1 / level[counting])
    apart = np.maximum(settings.outlier_sigma * np.sqrt(spread**2 + 1 / level), settings.min_outlier)
    empty = (total == 0) & (np.median(total[counting]) > _LEAST_EXPECTED)
    dead = valid & (empty | (ratio < 1 - apart))
    hot = counting & (ratio > 1 + apart)
    noisy, dispersion = _find_noisy(runs, valid & ~dead & ~hot)
    return Faults(~valid, dead, hot, noisy, dispersion)


def gain_spread(deviation: Array, counting_variance: Array | float) -> float:
    """Return the robust standard deviation of ``deviation`` less the variance that counting explains, at least 0."""
    scale = MAD_TO_SIGMA * float(np.median(np.abs(deviation - np.median(deviation))))
    return float(np.sqrt(max(0.0, scale**2 - float(np.median(counting_variance)))))


def local_level(total: Array, used: Mask) -> Array:
    """Return the level around each pixel: medians of patches of 8 x 8 used pixels, with straight lines between them.

    Parameters
    ----------
    total : ndarray
        (det_row, det_col) counts.
    used : ndarray of bool
        (det_row, det_col); at least one is.
    """
    cells = cell_statistic(np.where(used, total, np.nan), np.nanmedian)
    empty = ~np.isfinite(cells)
    nearest = ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
    cells = cells[tuple(nearest)]
    place = [(np.arange(size) + 0.5) / CELL_PX - 0.5 for size in total.shape]
    grid = np.meshgrid(*place, indexing="ij")
    return np.asarray(ndimage.map_coordinates(cells, grid, order=1, mode="nearest"))


def cell_statistic(values: Array, statistic: Callable[..., Array]) -> Array:
    """Return ``statistic`` (such as numpy.nanmean) of every patch of 8 x 8 pixels; NaN for a patch of NaN."""
    rows, cols = (-(-size // CELL_PX) for size in values.shape)
    padded = np.full((rows * CELL_PX, cols * CELL_PX), np.nan)
    padded[: values.shape[0], : values.shape[1]] = values
    patches = padded.reshape(rows, CELL_PX, cols, CELL_PX).swapaxes(1, 2).reshape(rows * cols, -1)
    result = np.full(rows * cols, np.nan)
    some = np.isfinite(patches).any(axis=1)
    result[some] = statistic(patches[some], axis=1)
    return result.reshape(rows, cols)


def run_shares(runs: NDArray[np.int64], among: Mask) -> Array:
    """Return which part of all counts of the pixels ``among`` fell into each run, (n_runs,)."""
    totals = runs[:, among].sum(axis=1).astype(np.float64)
    return np.asarray(totals / totals.sum())


def _find_noisy(runs: NDArray[np.int64], sound: Mask) -> tuple[Mask, float | None]:
    none = np.zeros(sound.shape, np.bool_)
    n_runs = len(runs)
    if n_runs < 4 or not sound.any():
        return none, None
    counts = runs[:, sound].astype(np.float64)
    expected = run_shares(runs, sound)[:, None] * counts.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        chi_square = np.nansum((counts - expected) ** 2 / expected, axis=0)
    unit = float(np.median(chi_square)) / float(stats.chi2.median(n_runs - 1))
    limit = max(unit, 1.0) * float(stats.chi2.isf(_FALSE_ALARMS / counts.shape[1], n_runs - 1))
    noisy = none.copy()
    noisy[sound] = chi_square > limit
    return noisy, unit
