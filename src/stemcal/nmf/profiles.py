"""From profiles per position to the matrix that is factorised: range, missing values, dose, weights, sample."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.nmf.settings import NmfSettings, Quantity

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """Some profiles in raster order.

    Attributes
    ----------
    first : int
        Position of the first.
    values : ndarray
        (n, n_bins); NaN is missing.
    n_effective : ndarray
        (n, n_bins) effective pixels behind each value.
    """

    first: int
    values: FloatArray
    n_effective: FloatArray


@dataclass(frozen=True)
class Census:
    """Sums over the profiles of one data set, (n_bins,) where not said otherwise.

    Attributes
    ----------
    n_positions : int
        Positions with any data.
    n_missing : ndarray of int
        Positions with data elsewhere at which the bin is missing.
    total : ndarray
        Sum of the quantity over the positions.
    """

    n_positions: int
    n_missing: NDArray[np.int64]
    total: FloatArray

    def __add__(self, other: Census) -> Census:
        return Census(self.n_positions + other.n_positions, self.n_missing + other.n_missing, self.total + other.total)

    def over(self, scale: float) -> Census:
        """Return the sums of the quantity divided by ``scale``."""
        return Census(self.n_positions, self.n_missing, self.total / scale)


@dataclass(frozen=True)
class Grid:
    """The radial bins that are factorised, and the weight of each.

    Attributes
    ----------
    used : ndarray of bool
        (n_bins of the data,) True = factorised.
    q_per_angstrom, weight : ndarray
        (n_used,).
    mean_sum : float
        Mean over all positions of the sum over the bins.
    n_left_out : int
        Bins inside the range that were left out for want of data.
    """

    used: NDArray[np.bool_]
    q_per_angstrom: FloatArray
    weight: FloatArray
    mean_sum: float
    n_left_out: int


def ring_areas(radius: FloatArray, width: float) -> FloatArray:
    """Return the area of the full rings of ``width`` around each of ``radius`` (same unit, squared)."""
    inner = np.maximum(radius - width / 2, 0.0)
    return np.pi * ((radius + width / 2) ** 2 - inner**2)


def counts(mean: FloatArray, areas: FloatArray) -> tuple[float, int]:
    """Return the counts of all frames together and how many frames hold data.

    Parameters
    ----------
    mean : ndarray
        (n_positions, n_bins) counts per pixel; NaN is missing and counts as nothing.
    areas : ndarray
        (n_bins,) areas of the full rings in pixels, direct beam included.
    """
    present = np.isfinite(mean).any(axis=1)
    return float((np.nan_to_num(mean[present]) @ areas).sum()), int(present.sum())


def census(values: FloatArray) -> Census:
    """Return the sums over ``values`` (n_positions, n_bins)."""
    present = np.isfinite(values).any(axis=1)
    chosen = values[present]
    missing = ~np.isfinite(chosen)
    return Census(
        n_positions=int(present.sum()),
        n_missing=missing.sum(axis=0),
        total=np.where(missing, 0.0, chosen).sum(axis=0),
    )


def q_range(settings: NmfSettings, disk_radii_per_angstrom: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the profiles in 1/angstrom: as set, but outside the largest bright disk."""
    beyond_disk = settings.direct_beam_margin * max(disk_radii_per_angstrom, default=0.0)
    high = settings.q_max_per_angstrom
    return max(settings.q_min_per_angstrom, beyond_disk), np.inf if high is None else high


def choose_grid(q: FloatArray, censuses: Sequence[Census], limits: tuple[float, float], settings: NmfSettings) -> Grid:
    """Return the bins to factorise and their weights.

    The weight makes noise alike in all bins, so that least squares is near maximum likelihood (Keenan and Kotula,
    Surface and Interface Analysis 36, 203 (2004)): the mean over a ring of area A has the counting variance mean / A,
    its sample variance scatters as variance / sqrt(A), and A grows with q. The weights are scaled to a matrix of
    mean 1.

    Parameters
    ----------
    q : ndarray
        (n_bins,) radial axis, 1/angstrom.
    censuses : sequence of Census
        One per data set, scaled.
    limits : tuple of float
        Ends of the range, see `q_range`.
    settings : NmfSettings
        Quantity and the bound on missing values.
    """
    n_positions = max(1, sum(one.n_positions for one in censuses))
    missing = np.sum([one.n_missing for one in censuses], axis=0)
    total = np.sum([one.total for one in censuses], axis=0)
    pooled = total / np.maximum(n_positions - missing, 1)
    inside = (q >= limits[0]) & (q <= limits[1])
    used = inside & (missing <= settings.max_missing_fraction * n_positions) & (pooled > 0)
    weight = np.sqrt(q[used]) * pooled[used] ** _noise_exponent(settings.quantity)
    if used.any():
        weight /= (weight * pooled[used]).mean()
    return Grid(used, q[used], weight, float(pooled[used].sum()), int((inside & ~used).sum()))


def _noise_exponent(quantity: Quantity) -> float:
    return -0.5 if quantity == "mean" else -1.0


def complete_positions(values: FloatArray, grid: Grid) -> NDArray[np.bool_]:
    """Return which positions of ``values`` (n_positions, n_bins) have every bin of ``grid``."""
    complete: NDArray[np.bool_] = np.isfinite(values[:, grid.used]).all(axis=1)
    return complete


def spectrum_scale(sums: FloatArray, total_counts: FloatArray, mean_sum: float, settings: NmfSettings) -> FloatArray:
    """Return what each profile is divided by on top of the dose, (n_profiles,).

    Its sum, but no less than a part of the mean sum and no less than the sum at which counting noise is small: an
    empty profile keeps its noise as small as it is.

    Parameters
    ----------
    sums : ndarray
        (n_profiles,) sums over the bins.
    total_counts : ndarray
        (n_profiles,) counts behind them.
    mean_sum : float
        Mean of the sums over all data sets.
    settings : NmfSettings
        The two bounds.
    """
    per_sum = np.divide(total_counts, sums, out=np.zeros_like(sums), where=sums > 0)
    counted = np.divide(settings.min_spectrum_counts, per_sum, out=np.zeros_like(sums), where=per_sum > 0)
    floor = np.maximum(settings.min_spectrum_share * mean_sum, counted)
    scale: FloatArray = np.maximum(sums, floor) / mean_sum
    return scale


def shares(n_profiles: Sequence[int], n_wanted: int) -> tuple[int, ...]:
    """Return how many profiles each data set gives to a sample of at most ``n_wanted``: in proportion, at least one."""
    total = sum(n_profiles)
    if total <= n_wanted:
        return tuple(n_profiles)
    return tuple(min(n, max(1, n * n_wanted // total)) for n in n_profiles)


def draw(dataset: str, n_profiles: int, n_wanted: int, seed: int) -> NDArray[np.int64]:
    """Return ``n_wanted`` of ``range(n_profiles)``, sorted; they depend on the data set's name and the seed alone."""
    if n_wanted >= n_profiles:
        return np.arange(n_profiles)
    generator = np.random.default_rng([seed, zlib.crc32(dataset.encode())])
    return np.sort(generator.choice(n_profiles, n_wanted, replace=False))
