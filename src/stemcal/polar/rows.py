"""From blocks of frames to whole scan rows, and the sums over the scan that the figure and the record need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.polar.statistics import RingStatistics, joined


def whole_rows(parts: Iterator[RingStatistics], n_cols: int) -> Iterator[RingStatistics]:
    """Regroup statistics in raster order into runs of whole scan rows.

    Parameters
    ----------
    parts : iterator of RingStatistics
        In raster order, of any length.
    n_cols : int
        Positions per scan row.

    Yields
    ------
    RingStatistics
        Of a multiple of ``n_cols`` positions; together all the rows that are complete.
    """
    held: list[RingStatistics] = []
    for part in parts:
        held.append(part)
        waiting = joined(held)
        ready = len(waiting.mean) // n_cols * n_cols
        if ready:
            yield waiting[:ready]
        held = [waiting[ready:]]


class ScanSums:
    """What is known of the whole scan once every row has been added.

    Parameters
    ----------
    n_bins : int
        Number of radial bins.
    bands : sequence of slice
        Runs of bins whose averages are mapped.
    counts_per_electron : float
        Variance over mean of the detector under uniform light.
    n_orders : int
        Number of symmetry orders.
    """

    def __init__(self, n_bins: int, bands: tuple[slice, ...], counts_per_electron: float, n_orders: int = 0) -> None:
        self._bands = bands
        self._gain = counts_per_electron
        self._mean_sum = np.zeros(n_bins)
        self._mean_count = np.zeros(n_bins, np.int64)
        self._excess_sum = np.zeros(n_bins)
        self._excess_count = np.zeros(n_bins, np.int64)
        self._power_sum = np.zeros((n_orders, n_bins))
        self._square_sum = np.zeros((n_orders, n_bins))
        self._band_rows: list[NDArray[np.float64]] = []
        self.n_positions_without_data = 0
        self.n_missing_means = 0
        self.n_missing_variances = 0

    def add(self, rows: RingStatistics) -> None:
        """Add statistics of further positions, in raster order."""
        mean, excess = rows.mean.astype(np.float64), excess_variance(rows, self._gain)
        known_mean, known_excess = np.isfinite(mean), np.isfinite(excess)
        self._mean_sum += mean.sum(axis=0, where=known_mean)
        self._mean_count += known_mean.sum(axis=0)
        self._excess_sum += excess.sum(axis=0, where=known_excess)
        self._excess_count += known_excess.sum(axis=0)
        self._add_symmetry(rows.symmetry_power.astype(np.float64), mean[:, None])
        self.n_positions_without_data += int((~known_mean.any(axis=1)).sum())
        self.n_missing_means += int((~known_mean).sum())
        self.n_missing_variances += int((~known_excess).sum())
        self._band_rows.append(_band_averages(mean, excess, rows.area, self._bands))

    def _add_symmetry(self, power: NDArray[np.float64], mean: NDArray[np.float64]) -> None:
        """Add powers as squares of counts: the ratio of sums is not biased by few counts, the sum of ratios is."""
        known = np.isfinite(power) & np.isfinite(mean)
        square = np.where(known, mean**2, 0.0)
        self._power_sum += (np.where(known, power, 0.0) * square).sum(axis=0)
        self._square_sum += square.sum(axis=0)

    @property
    def n_empty_bins(self) -> int:
        """Number of bins in which no position has a mean."""
        return int((self._mean_count == 0).sum())

    @property
    def mean_profile(self) -> NDArray[np.float64]:
        """Mean over the scan of the azimuthal mean, counts per pixel, (n_bins,); NaN where there is none."""
        return _ratio(self._mean_sum, self._mean_count)

    @property
    def excess_profile(self) -> NDArray[np.float64]:
        """Mean over the scan of the shot-noise corrected variance, counts^2, (n_bins,); NaN where there is none."""
        return _ratio(self._excess_sum, self._excess_count)

    @property
    def symmetry_profile(self) -> NDArray[np.float64]:
        """Power of each symmetry order over the scan, (n_orders, n_bins); NaN where there is none."""
        return _ratio(self._power_sum, self._square_sum)

    @property
    def band_maps(self) -> NDArray[np.float64]:
        """Normalised variance (excess variance over mean^2) of each band, (n_positions, n_bands); NaN = missing."""
        return np.concatenate(self._band_rows)


def excess_variance(rows: RingStatistics, counts_per_electron: float) -> NDArray[np.float64]:
    """Return the variance less that of shot noise, ``counts_per_electron`` times the mean; may be negative."""
    return rows.variance.astype(np.float64) - counts_per_electron * rows.mean.astype(np.float64)


def standard_error(rows: RingStatistics) -> NDArray[np.float64]:
    """Return the standard error of the mean, sqrt(variance / n_eff), counts; NaN where the variance is missing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.sqrt(rows.variance.astype(np.float64) / rows.n_effective))


def _band_averages(
    mean: NDArray[np.float64], excess: NDArray[np.float64], area: NDArray[np.float32], bands: tuple[slice, ...]
) -> NDArray[np.float64]:
    columns = []
    for band in bands:
        known = np.isfinite(mean[:, band]) & np.isfinite(excess[:, band])
        weight = np.where(known, area[:, band], 0.0)
        total = weight.sum(axis=1)
        level, spread = (
            _ratio((np.where(known, values[:, band], 0.0) * weight).sum(axis=1), total) for values in (mean, excess)
        )
        columns.append(_ratio(spread, level**2))
    return np.stack(columns, axis=1)


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.number[Any]]) -> NDArray[np.float64]:
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)
