"""Rings that are made of spots: the geometry to the limit that the counts set.

Few grains make a ring that is uneven on the scale of its spots. A model whose amplitude is constant over a sector then
meets spots cut by the borders of the sectors, and what is a spot's flank to one sector is a ring further in to the
other. Here every ring is a row of spots close enough to each other to make any distribution over the azimuth, each an
image of the aperture at its place on the circle: a model that is linear in the strengths of some thousand spots and
has seven other parameters, five of the geometry and two of the shape of a spot. Strengths and background are solved
for by sparse least squares, the others by Gauss-Newton on what they leave (variable projection; Golub and Pereyra,
SIAM J. Numer. Anal. 10, 413 (1973), with Kaufman's Jacobian, BIT 15, 49 (1975)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import SuperLU, splu

from stemcal.gold.model import (
    APERTURE,
    COL,
    E1,
    E2,
    HIGHEST,
    LOWEST,
    PRIOR,
    ROW,
    Annulus,
    Array,
    place_derivatives,
    round_radius,
)
from stemcal.gold.spot_rows import Design, design_of
from stemcal.optics.ellipse import correction_matrix

_RIDGE = 1e-4
_LEAST_SEEN = 0.02
"""A spot of which less than this part of the usual one is on valid pixels is left out."""
_N_FITTED = APERTURE + 1
_MOST_STEPS = 8
_LONGEST = np.array([0.5, 0.5, 0.01, 0.01, 0.01, 0.2, 1.0])
_SETTLED = np.array([1e-3, 1e-3, 2e-5, 2e-5, 1e-5, 0.02, 0.5])
"""Steps below these end the fit: the last one is taken, and the next would be far smaller."""
_FURTHEST = np.array([1.0, 1.0, 0.01, 0.01, 0.01, np.inf, np.inf])
"""Centre (px), strain and ln scale do not move further than this from the fit in sectors."""
_SINGULAR = 1e-10


@dataclass(frozen=True)
class SpotSample:
    """What one set of data says.

    Attributes
    ----------
    geometry : numpy.ndarray
        (8,) see ``stemcal.gold.model``.
    harmonics : numpy.ndarray
        (4,) cos 3a, sin 3a, cos 4a, sin 4a of what the ellipse leaves, in radius change / radius.
    strengths : numpy.ndarray
        (n_rings,) mean strength of the spots of each ring.
    """

    geometry: Array
    harmonics: Array
    strengths: Array


@dataclass(frozen=True)
class SpotFit:
    """What all data say, what they say without every tile of the scan, and the reduced chi-square."""

    best: SpotSample
    leave_out: tuple[SpotSample, ...]
    chi_square: float


def fit_spots(
    annulus: Annulus,
    q: Array,
    geometry: Array,
    data: Array,
    root_weight: Array,
    left_out: Sequence[tuple[Array, Array]],
) -> SpotFit | None:
    """Refine a geometry.

    Parameters
    ----------
    annulus : Annulus
        The pixels.
    q : numpy.ndarray
        (n_rings,) on a flat detector, 1/angstrom.
    geometry : numpy.ndarray
        (8,) from the fit in sectors; the growth of the blur stays as it is.
    data, root_weight : numpy.ndarray
        (n,) mean counts, square root of their weight.
    left_out : sequence of (numpy.ndarray, numpy.ndarray)
        For every tile: the places (2, n) and the mean counts (n,) without it.

    Returns
    -------
    SpotFit or None
        ``None`` where there are more spots than the pixels can tell, or the spots lead away from the start.
    """
    fitted = _settled(annulus, q, geometry, data, root_weight)
    if fitted is None:
        return None
    leave_out = tuple(_without(fitted, *one) for one in left_out)
    n_linear = fitted.solver.kept.size + fitted.design.background.shape[1]
    freedom = max(1, data.size - n_linear - _N_FITTED)
    return SpotFit(fitted.sample, leave_out, float(fitted.rest @ fitted.rest) / freedom)


def _settled(annulus: Annulus, q: Array, geometry: Array, data: Array, root_weight: Array) -> _Fitted | None:
    """Return the last step of the fit; ``None`` where it leads away from its start, or nowhere."""
    now = geometry
    for _ in range(_MOST_STEPS):
        fitted = _fit_at(annulus, q, now, data, root_weight)
        if fitted is None:
            return None
        found = fitted.sample.geometry
        if not (np.abs(found - geometry)[:_N_FITTED] < _FURTHEST).all():
            return None
        if (np.abs(found - now)[:_N_FITTED] < _SETTLED).all():
            return fitted
        now = found
    return None


@dataclass(frozen=True)
class _Solver:
    """Least squares of strengths and background at one geometry, for any data on the same pixels.

    Attributes
    ----------
    kept : numpy.ndarray
        Spots in use.
    n_spots : int
        All spots.
    spots : sparse array
        (n, n_kept) weighted.
    factors : SuperLU
        Of their normal matrix.
    background, beyond : numpy.ndarray
        (n, k) weighted, and what of it the spots cannot follow.
    inverse : numpy.ndarray
        (k, k) of the normal matrix that is left for the background.
    """

    kept: NDArray[np.intp]
    n_spots: int
    spots: sparse.csr_array
    factors: SuperLU
    background: Array
    beyond: Array
    inverse: Array

    @classmethod
    def of(cls, design: Design, root_weight: Array) -> _Solver | None:
        """Prepare it; ``None`` where there are more unknowns than half of the pixels."""
        weighted = sparse.csc_array(design.value * root_weight[:, None])
        # by its pixels, not by their weight: that of a bright spot among dark ones is small
        pixels = np.asarray(design.value.power(2).sum(axis=0)).ravel()
        kept = np.flatnonzero(pixels > _LEAST_SEEN * np.median(pixels))
        information = np.asarray(weighted.power(2).sum(axis=0)).ravel()
        n_pixels, n_spots = weighted.shape
        if kept.size == 0 or 2 * (kept.size + design.background.shape[1]) > n_pixels:
            return None
        spots = sparse.csr_array(weighted[:, kept])
        ridge = sparse.diags_array(_RIDGE * information[kept])
        normal = sparse.csc_array(spots.T @ spots + ridge)
        factors = splu(normal, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
        background = design.background * root_weight[:, None]
        background /= np.linalg.norm(background, axis=0)
        beyond = background - spots @ factors.solve(spots.T @ background)
        inverse = np.linalg.pinv(background.T @ beyond, rcond=_SINGULAR, hermitian=True)
        return cls(kept, n_spots, spots, factors, background, beyond, inverse)

    def solve(self, weighted: Array) -> tuple[Array, Array]:
        """Return the strengths of all spots (n_spots, ...) and what is left of weighted data (n, ...)."""
        behind = self.inverse @ (self.beyond.T @ weighted)
        rest = weighted - self.background @ behind
        found = self.factors.solve(self.spots.T @ rest)
        strength = np.zeros((self.n_spots, *weighted.shape[1:]))
        strength[self.kept] = found
        return strength, rest - self.spots @ found


@dataclass(frozen=True)
class _Fitted:
    """One step of the fit.

    Attributes
    ----------
    annulus, geometry, design, solver, data, root_weight
        What it was made of.
    sample : SpotSample
        After the step.
    rest : numpy.ndarray
        (n,) weighted residual before it.
    slope : numpy.ndarray
        (2, n) derivatives of the model by the round offset of the pixel.
    """

    annulus: Annulus
    geometry: Array
    design: Design
    solver: _Solver
    data: Array
    root_weight: Array
    sample: SpotSample
    rest: Array
    slope: Array


def _fit_at(annulus: Annulus, q: Array, geometry: Array, data: Array, root_weight: Array) -> _Fitted | None:
    design = design_of(annulus, q, geometry)
    solver = _Solver.of(design, root_weight)
    return None if solver is None else _stepped(annulus, geometry, design, solver, data, root_weight)


def _stepped(
    annulus: Annulus, geometry: Array, design: Design, solver: _Solver, data: Array, root_weight: Array
) -> _Fitted:
    """Take a Gauss-Newton step."""
    strength, rest = solver.solve(data * root_weight)
    slope = np.stack([design.by_row @ strength, design.by_col @ strength])
    # a spot further out by d is the same as a pixel further in
    by_scale = -(design.by_row @ (strength * design.spot[0]) + design.by_col @ (strength * design.spot[1]))
    columns = [(slope * change).sum(axis=0) for change in place_derivatives(annulus, geometry)]
    columns += [by_scale, design.by_width @ strength, design.by_part @ strength, *_waves(annulus, geometry, slope)]
    _, jacobian = solver.solve(np.stack(columns, axis=1) * root_weight[:, None])
    step = _least_squares(jacobian[:, :_N_FITTED], rest, geometry)
    found = geometry.copy()
    found[:_N_FITTED] += np.clip(step, -_LONGEST, _LONGEST)
    harmonics = _least_squares(jacobian, rest, geometry)[_N_FITTED:]
    sample = SpotSample(np.clip(found, LOWEST, HIGHEST), harmonics, _mean_strengths(design, solver, strength))
    return _Fitted(annulus, geometry, design, solver, data, root_weight, sample, rest, slope)


def _least_squares(jacobian: Array, rest: Array, geometry: Array) -> Array:
    """Return the step, with the prior on the shape of a spot."""
    normal, gradient = jacobian.T @ jacobian, jacobian.T @ rest
    mean, sd = PRIOR[APERTURE]
    normal[APERTURE, APERTURE] += 1 / sd**2
    gradient[APERTURE] -= (geometry[APERTURE] - mean) / sd**2
    scale = np.sqrt(np.maximum(np.diag(normal), 1e-300))
    return np.asarray(np.linalg.pinv(normal / np.outer(scale, scale), hermitian=True) @ (gradient / scale) / scale)


def _waves(annulus: Annulus, geometry: Array, slope: Array) -> list[Array]:
    """Return the derivatives (n,) of the model by distortions of the orders 3 and 4."""
    _, u_row, u_col = round_radius(annulus.rows, annulus.cols, geometry)
    # a ring drawn further out by x is met by a round offset that is shorter by x
    inward = -(slope[0] * u_row + slope[1] * u_col)
    azimuth = np.arctan2(annulus.rows - geometry[ROW], annulus.cols - geometry[COL])
    return [inward * wave(order * azimuth) for order in (3, 4) for wave in (np.cos, np.sin)]


def _mean_strengths(design: Design, solver: _Solver, strength: Array) -> Array:
    """Return the mean over the spots in use of each ring, 0 where there are none."""
    used = np.zeros(strength.size)
    used[solver.kept] = 1.0
    total, number = (np.add.reduceat(values, design.bounds[:-1]) for values in (strength * used, used))
    return np.asarray(total / np.maximum(number, 1.0))


def _without(fitted: _Fitted, places: Array, data: Array) -> SpotSample:
    """Return what data (n,) at ``places`` (2, n) say that differ a little from those fitted.

    One step; the difference of the places is moved over to the counts.
    """
    annulus, geometry = fitted.annulus, fitted.geometry
    moved = correction_matrix(geometry[E1], geometry[E2]) @ (places - np.stack([annulus.rows, annulus.cols]))
    data = data - (fitted.slope * moved).sum(axis=0)
    return _stepped(annulus, geometry, fitted.design, fitted.solver, data, fitted.root_weight).sample
