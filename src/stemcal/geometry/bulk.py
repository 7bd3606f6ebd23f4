"""The crystal's mirrors from the mean pattern inside the bright-field disk.

Averaged over all positions of the probe, the pattern has lost the phase of the probe, and with it all aberrations: of a
crystal seen along a zone axis it has the point group of that axis, with the direction of its mirrors. It says nothing
of a tilt: its contrast is that of what the aperture cuts off, and the symmetry of a cut is that of the aperture.

Source: Ning et al., Microsc. Microanal. 28 (2022) 622 for the use of the symmetry; the fit is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from stemcal.geometry.harmonic_model import (
    FloatArray,
    Harmonics,
    Points,
    fit_columns,
    harmonic_columns,
    sector_jackknife,
)

INSIDE = 0.93
"""Radius of the fitted region in radii of the aperture: the soft edge is beyond."""
_SIZES = ((8, 16), (12, 16), (12, 24))
"""Harmonics and radial splines: edges of diffracted disks lie across the disk, and no smooth function follows them."""
_OTHER_ORDERS = (1, 2, 3)
_AXES = 45
_SECTORS = 10
_NEEDED = 600


@dataclass(frozen=True)
class MirrorFit:
    """Mirrors of the bright field.

    Attributes
    ----------
    axis_deg : float
        Direction of a mirror, modulo 180 deg / fold.
    sigma_axis_deg : float
        Standard uncertainty: sectors left out.
    significance : float
        Ratio of the variance per parameter that the harmonics of the fold explain to that which remains.
    asymmetry : float
        Part of the variance beyond the radial one that has harmonics which the fold forbids.
    """

    axis_deg: float
    sigma_axis_deg: float
    significance: float
    asymmetry: float


@dataclass(frozen=True)
class NoMirrors:
    """There are no mirrors to be measured, and why."""

    reason: str


def fit_mirrors(points: Points, fold: int) -> MirrorFit | NoMirrors:
    """Return the mirrors of the pattern about the aperture's centre.

    Parameters
    ----------
    points : Points
        As in ``stemcal.geometry.kikuchi.fit_kikuchi``.
    fold : int
        Symmetry of the zone axis, 4 or 6.
    """
    inside = np.hypot(points.row, points.col) < INSIDE
    part = Points(points.row[inside], points.col[inside], points.values[inside], points.weights[inside])
    if len(part.row) < _NEEDED:
        return NoMirrors(f"{len(part.row)} pixels inside the disk, {_NEEDED} are needed; use a longer camera length")
    period = math.pi / fold
    grid = np.arange(_AXES) * period / _AXES
    smallest = _Model(part, Harmonics(fold, *_SIZES[0]))
    start = float(min(grid, key=smallest.chi_square))
    fits = [_Model(part, Harmonics(fold, *size)).fitted(start, 1.5 * period / _AXES) for size in _SIZES]
    axes = np.array([fit.axis_deg for fit in fits])
    return replace(
        fits[0],
        axis_deg=float(axes.mean()) % (180 / fold),
        sigma_axis_deg=math.hypot(max(fit.sigma_axis_deg for fit in fits), float(axes.std(ddof=1))),
    )


class _Model:
    def __init__(self, points: Points, harmonics: Harmonics) -> None:
        self.points, self.harmonics = points, harmonics

    def columns(self, angle: float) -> FloatArray:
        return harmonic_columns(self.points, (0.0, 0.0), angle, self.harmonics)

    def chi_square(self, angle: float) -> float:
        return fit_columns(self.points, self.columns(angle)).chi_square

    def fitted(self, start: float, reach: float) -> MirrorFit:
        bounds = (start - reach, start + reach)
        found = minimize_scalar(self.chi_square, bounds=bounds, method="bounded", options={"xatol": 1e-6})
        axis, points, splines = float(found.x), self.points, self.harmonics.splines
        columns = self.columns(axis)
        fit = fit_columns(points, columns)
        slope = (self.columns(axis + 1e-4) - self.columns(axis - 1e-4)) @ fit.coefficients * points.weights / 2e-4
        covariance = sector_jackknife(fit, slope[:, None], _sectors(points, self.harmonics.fold))
        radial = fit_columns(points, columns[:, :splines]).chi_square
        allowed = max(0.0, radial - fit.chi_square)
        forbidden = max(0.0, fit.chi_square - fit_columns(points, _with_forbidden(points, columns, splines)).chi_square)
        free = max(1, len(points.row) - columns.shape[1] - 1)
        return MirrorFit(
            axis_deg=math.degrees(axis),
            sigma_axis_deg=math.degrees(math.sqrt(float(covariance[0, 0]))),
            significance=allowed / (columns.shape[1] - splines) / max(fit.chi_square / free, 1e-300),
            asymmetry=forbidden / max(allowed + forbidden, 1e-300),
        )


def _sectors(points: Points, fold: int) -> NDArray[np.int64]:
    """Return sectors of one period of the crystal: what the model cannot follow repeats itself in every period."""
    turn = np.arctan2(points.row, points.col) / (2 * math.pi) * fold % 1
    return np.minimum((turn * _SECTORS).astype(np.int64), _SECTORS - 1)


def _with_forbidden(points: Points, columns: FloatArray, splines: int) -> FloatArray:
    radial, angle = columns[:, :splines], np.arctan2(points.row, points.col)
    waves = [wave(order * angle) for order in _OTHER_ORDERS for wave in (np.cos, np.sin)]
    return np.concatenate([columns, *(radial * wave[:, None] for wave in waves)], axis=1)
