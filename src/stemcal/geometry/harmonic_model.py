"""Patterns with the symmetry of a zone axis as sums of angular harmonics: the model of the bright and the dark field.

About its zone axis a pattern of an n-fold crystal with mirrors is ::

    sum_{m = 0, n, 2n, ...} R_m(r) cos(m (phi - phi_0))

with phi_0 the direction of a mirror and R_m smooth functions, here cubic B-splines. The model is evaluated at the
pixels and the pixels are never moved, so that nothing is interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import BSpline

FloatArray = NDArray[np.float64]

_DEGREE = 3
_RIDGE = 1e-10


@dataclass(frozen=True)
class Points:
    """What is fitted.

    Attributes
    ----------
    row, col : ndarray of float64
        (n,) positions of the pixels.
    values : ndarray of float64
        (n,) what was measured there.
    weights : ndarray of float64
        (n,) reciprocal standard deviations.
    """

    row: FloatArray
    col: FloatArray
    values: FloatArray
    weights: FloatArray


@dataclass(frozen=True)
class Harmonics:
    """Rotational symmetry, number of harmonics beside the radial one, splines along the radius."""

    fold: int
    count: int
    splines: int


def radial_splines(radius: FloatArray, inner: float, outer: float, count: int) -> FloatArray:
    """Return ``count`` cubic B-splines between two radii, (n, count); beyond these they stay as they are at the end."""
    inside = np.linspace(inner, outer, count - _DEGREE + 1)
    knots = np.concatenate([[inner] * _DEGREE, inside, [outer] * _DEGREE])
    bounded = np.clip(radius, inner, inner + (outer - inner) * (1 - 1e-9))
    return np.asarray(BSpline.design_matrix(bounded, knots, _DEGREE).toarray())


def harmonic_columns(points: Points, centre: ArrayLike, axis_rad: float | None, harmonics: Harmonics) -> FloatArray:
    """Return the columns of the model about ``centre``; without an axis, sines too: rotations but no mirrors."""
    middle = np.asarray(centre, dtype=np.float64)
    row, col = points.row - middle[0], points.col - middle[1]
    radius, angle = np.hypot(row, col), np.arctan2(row, col) - (axis_rad or 0.0)
    radial = radial_splines(radius, float(radius.min()), float(radius.max()), harmonics.splines)
    columns = [radial]
    for number in range(1, harmonics.count + 1):
        columns.append(radial * np.cos(number * harmonics.fold * angle)[:, None])
        if axis_rad is None:
            columns.append(radial * np.sin(number * harmonics.fold * angle)[:, None])
    return np.concatenate(columns, axis=1)


@dataclass(frozen=True)
class LinearFit:
    """Weighted residuals, coefficients and the columns, weighted, that they go with."""

    residuals: FloatArray
    coefficients: FloatArray
    columns: FloatArray

    @property
    def chi_square(self) -> float:
        """Sum of the squares of the weighted residuals."""
        return float(self.residuals @ self.residuals)


def fit_columns(points: Points, columns: FloatArray) -> LinearFit:
    """Return the weighted least-squares fit; columns that the pixels hardly tell apart share what they explain.

    The weighted mean of the values is taken off before: the radial splines add up to 1 and would fit it anyway.
    """
    weighted = columns * points.weights[:, None]
    target = (points.values - np.average(points.values, weights=points.weights**2)) * points.weights
    normal = weighted.T @ weighted
    normal += _RIDGE * np.trace(normal) * np.eye(len(normal))
    coefficients = np.linalg.solve(normal, weighted.T @ target)
    return LinearFit(target - weighted @ coefficients, coefficients, weighted)


def sector_jackknife(fit: LinearFit, slopes: FloatArray, sectors: NDArray[np.int64]) -> FloatArray:
    """Return the covariance of nonlinear parameters when whole sectors of the pattern are left out in turn.

    What a model cannot follow is no noise of pixels but has a shape; it differs between sectors, so that leaving these
    out shows what it does to the parameters. Each is left out of one step of Gauss and Newton from the common optimum.

    Parameters
    ----------
    fit : LinearFit
        At the optimum.
    slopes : ndarray
        (n, p) derivative of the weighted model with respect to the nonlinear parameters.
    sectors : ndarray of int64
        (n,) sector of each pixel, 0 ... n_sectors - 1.
    """
    jacobian = np.concatenate([slopes, fit.columns], axis=1)
    scale = 1 / np.maximum(np.linalg.norm(jacobian, axis=0), 1e-300)
    jacobian = jacobian * scale
    n_parameters, n_sectors = slopes.shape[1], int(sectors.max()) + 1
    steps = np.empty((n_sectors, n_parameters))
    for number in range(n_sectors):
        kept = sectors != number
        part = jacobian[kept]
        normal = part.T @ part
        normal += 1e-6 * np.eye(len(normal))
        step = np.linalg.solve(normal, part.T @ fit.residuals[kept])
        steps[number] = (step * scale)[:n_parameters]
    deviations = steps - steps.mean(axis=0)
    return np.asarray((n_sectors - 1) / n_sectors * deviations.T @ deviations)
