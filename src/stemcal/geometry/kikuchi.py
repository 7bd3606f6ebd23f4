"""The crystal's tilt and axes from what the mean pattern shows outside the bright-field disk.

Inside the disk and close to it, what is seen is cut by the aperture and moves with the aperture. Farther out the
intensity is diffuse; its Kikuchi bands belong to the crystal and cross at its zone axis. The logarithm of the intensity
is fitted with a radial function about the aperture, how far electrons are scattered, plus a pattern with the symmetry
of the crystal about a centre that is free: the zone axis.

Source: the use of Kikuchi bands is that of Ning et al., Microsc. Microanal. 28 (2022) 622; the fit is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from stemcal.geometry.harmonic_model import (
    FloatArray,
    Harmonics,
    LinearFit,
    Points,
    fit_columns,
    harmonic_columns,
    radial_splines,
    sector_jackknife,
)

INNER_RADII = (1.5, 1.6, 1.7)
"""Where the fitted region begins, in radii of the aperture: diffracted disks still reach beyond 1.3 radii."""
OUTER_RADIUS = 2.6
SEARCH_RADIUS = 0.4
"""Largest tilt, in radii of the aperture."""
_GRID = 0.06
_HARMONICS, _SPLINES, _BACKGROUND_SPLINES = 5, 6, 8
_MODEL_ERROR = 0.02
_SECTORS = 16
_AXES = 30


@dataclass(frozen=True)
class KikuchiFit:
    """Zone axis and mirrors of the pattern outside the disk.

    Attributes
    ----------
    tilt : ndarray of float64
        (2,) zone axis from the aperture's centre, (row, col) in radii of the aperture.
    axis_deg : float
        Direction of a mirror, modulo 180 deg / fold.
    sigma_tilt, sigma_axis_deg : float
        Standard uncertainties, the former along one axis: sectors left out, and regions compared.
    contrast : float
        Root mean square of the bands relative to the background.
    significance : float
        Ratio of the variance per parameter that the bands explain, beyond radial functions, to that which remains.
    """

    tilt: FloatArray
    axis_deg: float
    sigma_tilt: float
    sigma_axis_deg: float
    contrast: float
    significance: float


@dataclass(frozen=True)
class NoKikuchi:
    """There are no bands that can be measured, and why."""

    reason: str


def fit_kikuchi(points: Points, fold: int) -> KikuchiFit | NoKikuchi:
    """Return zone axis and mirrors from the diffuse intensity.

    Parameters
    ----------
    points : Points
        The mean pattern: positions in radii of the aperture from its centre; ``values`` the natural logarithm of the
        counts, ``weights`` the reciprocal standard deviation of that.
    fold : int
        Symmetry of the zone axis, 4 or 6.
    """
    radius = np.hypot(points.row, points.col)
    fits: list[KikuchiFit] = []
    for inner in INNER_RADII:
        inside = (radius > inner) & (radius < OUTER_RADIUS)
        part = Points(points.row[inside], points.col[inside], points.values[inside], points.weights[inside])
        problem = _coverage(part)
        if problem is not None:
            return NoKikuchi(problem)
        region = _Region(replace(part, weights=1 / np.hypot(1 / part.weights, _MODEL_ERROR)), fold)
        # each region searches for itself: disks that reach too far mislead the first one, and then they differ
        fits.append(region.refined(region.search()))
    return _joined(fits, fold)


def _coverage(points: Points) -> str | None:
    """Return why these pixels are too few, or do not go all the way round."""
    needed = 3 * (_BACKGROUND_SPLINES + _SPLINES * (2 * _HARMONICS + 1))
    if len(points.row) < needed:
        return f"{len(points.row)} pixels beyond the diffracted disks, {needed} are needed: the camera ends too early"
    per_sector = np.bincount(_sectors(points), minlength=_SECTORS)
    if per_sector.min() < 0.25 * needed / _SECTORS:
        return f"no pixels beyond the diffracted disks in one of {_SECTORS} directions; centre the disk on the camera"
    return None


def _sectors(points: Points) -> NDArray[np.int64]:
    turn = (np.arctan2(points.row, points.col) + math.pi) / (2 * math.pi)
    return np.minimum((turn * _SECTORS).astype(np.int64), _SECTORS - 1)


class _Region:
    """The model of one region: parameters are the zone axis (row, col) and the direction of a mirror."""

    def __init__(self, points: Points, fold: int) -> None:
        self.points, self.fold = points, fold
        self.harmonics = Harmonics(fold, _HARMONICS, _SPLINES)
        radius = np.hypot(points.row, points.col)
        self.background = radial_splines(radius, float(radius.min()), float(radius.max()), _BACKGROUND_SPLINES)

    def fit(self, centre: FloatArray, axis_rad: float | None) -> LinearFit:
        columns = harmonic_columns(self.points, centre, axis_rad, self.harmonics)
        return fit_columns(self.points, np.concatenate([self.background, columns], axis=1))

    def search(self) -> FloatArray:
        """Return the best centre of rotational symmetry on a grid, and with it the best mirror."""
        axis = np.arange(-SEARCH_RADIUS, SEARCH_RADIUS + _GRID / 2, _GRID)
        centres = [np.array([row, col]) for row in axis for col in axis if math.hypot(row, col) <= SEARCH_RADIUS]
        centre = min(centres, key=lambda place: self.fit(place, None).chi_square)
        axes = np.arange(_AXES) * math.pi / self.fold / _AXES
        mirror = min(axes, key=lambda angle: self.fit(centre, float(angle)).chi_square)
        return np.array([*centre, mirror])

    def refined(self, start: FloatArray) -> KikuchiFit:
        simplex = start + 0.02 * np.eye(4, 3, -1)
        found = minimize(
            self._chi_square,
            start,
            method="Nelder-Mead",
            options={"initial_simplex": simplex, "xatol": 3e-4, "fatol": 1e-2, "maxfev": 300},
        )
        best = np.asarray(found.x)
        fit = self.fit(best[:2], float(best[2]))
        covariance = sector_jackknife(fit, self._slopes(best, fit), _sectors(self.points))
        n_radial = self.background.shape[1] + _SPLINES
        radial = fit_columns(self.points, fit.columns[:, :n_radial] / self.points.weights[:, None]).chi_square
        free = max(1, len(self.points.row) - fit.columns.shape[1] - 3)
        explained = max(0.0, radial - fit.chi_square)
        return KikuchiFit(
            tilt=best[:2],
            axis_deg=math.degrees(best[2]),
            sigma_tilt=math.sqrt(0.5 * float(np.trace(covariance[:2, :2]))),
            sigma_axis_deg=math.degrees(math.sqrt(float(covariance[2, 2]))),
            contrast=math.sqrt(explained / float(np.sum(self.points.weights**2))),
            significance=explained / (fit.columns.shape[1] - n_radial) / max(fit.chi_square / free, 1e-300),
        )

    def _chi_square(self, parameters: FloatArray) -> float:
        return self.fit(parameters[:2], float(parameters[2])).chi_square

    def _slopes(self, parameters: FloatArray, fit: LinearFit) -> FloatArray:
        """Return the derivative of the weighted model at fixed coefficients."""
        slopes = []
        for step in 1e-3 * np.eye(3):
            ends = [self._model(parameters + side * step, fit) for side in (1, -1)]
            slopes.append((ends[0] - ends[1]) / 2e-3)
        return np.stack(slopes, axis=1)

    def _model(self, parameters: FloatArray, fit: LinearFit) -> FloatArray:
        columns = harmonic_columns(self.points, parameters[:2], float(parameters[2]), self.harmonics)
        whole = np.concatenate([self.background, columns], axis=1)
        return np.asarray(whole @ fit.coefficients * self.points.weights)


def _joined(fits: list[KikuchiFit], fold: int) -> KikuchiFit:
    """Return the mean of the regions; how they differ goes into the uncertainties, since they share their pixels."""
    period = 180 / fold
    tilts = np.array([fit.tilt for fit in fits])
    axes = np.array(
        [fits[0].axis_deg + (fit.axis_deg - fits[0].axis_deg + period / 2) % period - period / 2 for fit in fits]
    )
    spread_tilt = math.sqrt(0.5 * float(tilts.var(axis=0, ddof=1).sum()))
    return KikuchiFit(
        tilt=tilts.mean(axis=0),
        axis_deg=float(axes.mean()) % period,
        sigma_tilt=math.hypot(spread_tilt, float(np.mean([fit.sigma_tilt for fit in fits]))),
        sigma_axis_deg=math.hypot(float(axes.std(ddof=1)), float(np.mean([fit.sigma_axis_deg for fit in fits]))),
        contrast=float(np.mean([fit.contrast for fit in fits])),
        significance=min(fit.significance for fit in fits),
    )
