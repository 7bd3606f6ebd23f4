"""Origin and descan of a scan: the degree of the polynomial, its coefficients, and how well the centre is known.

Neighbouring positions see the same piece of the sample, so their residuals are not independent and a criterion that
counts frames would take the highest degree every time. The scan is cut into tiles; the tile means are what counts as
observations (Bayesian information criterion), and leaving out each tile once gives the uncertainty of the centre
(delete-one jackknife).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.calibration.settings import CalibrationSettings
from stemcal.optics.descan import DescanFit, fit_descan, scan_basis

_FLOOR_PX = 1e-3
"""Residuals below a thousandth of a pixel say nothing about the degree: no centroid is that good."""
_MIN_TILES = 4


@dataclass(frozen=True)
class OriginFit:
    """The origin of a scan.

    Attributes
    ----------
    fit : DescanFit
        Polynomial of the chosen degree.
    measured_px : ndarray
        (n_frames, 2) measured (row, col); NaN where there is none.
    sigma_px : tuple of float or None
        Standard uncertainty of the centre (row, col); None with fewer than four tiles.
    criterion : tuple of float
        Information criterion of each degree tried, lowest first.
    """

    fit: DescanFit
    measured_px: NDArray[np.float64]
    sigma_px: tuple[float, float] | None
    criterion: tuple[float, ...]

    @property
    def fraction_used(self) -> float:
        """Part of all frames that the polynomial stands on."""
        return float(self.fit.used.mean())

    @property
    def descan_range_px(self) -> float:
        """Diagonal of the box in which the fitted origin moves."""
        return math.hypot(*np.ptp(self.fit.fitted_px, axis=0))

    @property
    def mean_measured_px(self) -> tuple[float, float]:
        """Mean (row, col) of the measured origins that were used."""
        row, col = self.measured_px[self.fit.used].mean(axis=0)
        return float(row), float(col)


def fit_origin(
    positions_px: NDArray[np.float64], scan_shape: tuple[int, int], settings: CalibrationSettings
) -> OriginFit | None:
    """Fit the polynomial of the degree that the data support.

    Parameters
    ----------
    positions_px : ndarray
        (n_frames, 2) measured (row, col), NaN = missing.
    scan_shape : tuple of int
        (scan_row, scan_col).
    settings : CalibrationSettings
        Highest degree, cut, tiles.

    Returns
    -------
    OriginFit or None
        None when there are too few positions for any degree.
    """
    finite = np.isfinite(positions_px).all(axis=1)
    fits = [
        fit
        for degree in range(settings.max_descan_degree + 1)
        if (fit := fit_descan(positions_px, scan_shape, degree, cut_sigma=settings.cut_sigma)) is not None
        and fit.degree == degree
    ]
    if not fits:
        return None
    tiles = tile_numbers(scan_shape, settings.resampling_tiles)
    # One set of positions for all degrees: the cut of a low degree is wide and would hide its own misfit.
    common = fits[-1].used & finite
    criterion = tuple(_criterion(positions_px, common, tiles, scan_basis(scan_shape, fit.degree)) for fit in fits)
    best = fits[int(np.argmin(criterion))]
    sigma = _centre_sigma(positions_px, best.used, tiles, scan_basis(scan_shape, best.degree))
    return OriginFit(best, positions_px, sigma, criterion)


def tile_numbers(scan_shape: tuple[int, int], tiles_per_axis: int) -> NDArray[np.int64]:
    """Return the tile that each position belongs to, (n_frames,); at most ``tiles_per_axis`` tiles along an axis."""
    counts = [min(tiles_per_axis, n) for n in scan_shape]
    row, col = (np.arange(n) * count // n for n, count in zip(scan_shape, counts, strict=True))
    return np.asarray((row[:, None] * counts[1] + col[None, :]).ravel(), dtype=np.int64)


def _criterion(
    positions: NDArray[np.float64], used: NDArray[np.bool_], tiles: NDArray[np.int64], basis: NDArray[np.float64]
) -> float:
    """Return n ln(mean square of the tile means of the residual) + k ln n, over both detector axes."""
    solution, _, rank, _ = np.linalg.lstsq(basis[used], positions[used], rcond=None)
    residual = positions[used] - basis[used] @ solution
    numbers = tiles[used]
    count = np.bincount(numbers)
    filled = count > 0
    means = np.stack([np.bincount(numbers, weights=axis)[filled] / count[filled] for axis in residual.T], axis=1)
    n = means.size
    return float(n * math.log(max((means**2).mean(), _FLOOR_PX**2)) + 2 * rank * math.log(n))


def _centre_sigma(
    positions: NDArray[np.float64], used: NDArray[np.bool_], tiles: NDArray[np.int64], basis: NDArray[np.float64]
) -> tuple[float, float] | None:
    """Return the jackknife standard error of the first coefficient, from normal equations added up per tile."""
    numbers = np.unique(tiles[used])
    if len(numbers) < _MIN_TILES:
        return None
    members = [np.flatnonzero(used & (tiles == number)) for number in numbers]
    normal = np.stack([basis[chosen].T @ basis[chosen] for chosen in members])
    right = np.stack([basis[chosen].T @ positions[chosen] for chosen in members])
    left_out = zip(normal.sum(axis=0) - normal, right.sum(axis=0) - right, strict=True)
    centres = np.stack([np.linalg.lstsq(matrix, vector, rcond=None)[0][0] for matrix, vector in left_out])
    n = len(centres)
    row, col = np.sqrt((n - 1) / n * ((centres - centres.mean(axis=0)) ** 2).sum(axis=0))
    return float(row), float(col)
