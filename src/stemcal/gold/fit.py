"""Joint fit of centre, ellipse, scale and ring width, and what is left when it is done.

Gauss-Newton with Levenberg's damping on the variable-projection residual, with Kaufman's approximation of its Jacobian
(L. Kaufman, BIT 15, 49 (1975)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemcal.gold.model import (
    APERTURE,
    COL,
    HIGHEST,
    LOG_SPREAD,
    LOG_WIDTH,
    LOWEST,
    N_GEOMETRY,
    PRIOR,
    ROW,
    Annulus,
    Array,
    SectorSolver,
    amplitudes_of,
    beyond_linear,
    in_sectors,
    radius_derivatives,
    ring_widths,
    shapes_at,
    solve_sectors,
)
from stemcal.gold.profile import RingShape

_MOST_STEPS = 40
_LONGEST_STEP = np.array([1.0, 1.0, 0.01, 0.01, 0.01, 0.3, 1.0, 0.5])
_CONVERGED_STEP = np.array([1e-3, 1e-3, 1e-5, 1e-5, 5e-6, 1e-2, np.inf, np.inf])
"""Steps below these end the fit, below what the data of any scan can tell; the finer shape of a spot is not asked."""
_SHAPE = np.array([LOG_WIDTH, APERTURE, LOG_SPREAD])


@dataclass(frozen=True)
class State:
    """The model at one geometry.

    Attributes
    ----------
    geometry : numpy.ndarray
        (8,).
    amplitudes : numpy.ndarray
        (N_SECTORS, n_rings).
    model : numpy.ndarray
        (n,).
    residual : numpy.ndarray
        (n,) weighted.
    solvers : list of SectorSolver
        For other data at this geometry.
    radius, by_geometry : numpy.ndarray
        (n,) round radius, and (n, 4) its derivatives by centre and strain.
    shape : RingShape
        Rings at the pixels.
    """

    geometry: Array
    amplitudes: Array
    model: Array
    residual: Array
    solvers: list[SectorSolver]
    radius: Array
    by_geometry: Array
    shape: RingShape

    @property
    def cost(self) -> float:
        """Sum of squares, with the priors on the shape."""
        prior = sum(((self.geometry[which] - mean) / sd) ** 2 for which, (mean, sd) in PRIOR.items())
        return float(self.residual @ self.residual + prior)


def evaluate(annulus: Annulus, q: Array, geometry: Array, data: Array, root_weight: Array) -> State:
    """Solve for all linear parameters at ``geometry``.

    Parameters
    ----------
    annulus : Annulus
        Pixels.
    q : numpy.ndarray
        (n_rings,) on a flat detector, 1/angstrom.
    geometry : numpy.ndarray
        (8,).
    data, root_weight : numpy.ndarray
        (n,) mean counts, square root of their weight.
    """
    radius, by_geometry = radius_derivatives(annulus, geometry)
    shape = shapes_at(radius, q, geometry)
    solvers = solve_sectors(annulus, shape, data, root_weight)
    amplitudes, model = amplitudes_of(annulus, solvers, data, root_weight)
    return State(geometry, amplitudes, model, (data - model) * root_weight, solvers, radius, by_geometry, shape)


def jacobian(annulus: Annulus, q: Array, state: State, root_weight: Array) -> Array:
    """Return the weighted derivatives (n, 8) of the model by the geometry, less what is linear."""
    amplitudes = np.nan_to_num(state.amplitudes)
    shape, widths = state.shape, ring_widths(q, state.geometry)
    by_radius = in_sectors(annulus, shape.by_radius, amplitudes)
    by_aperture = in_sectors(annulus, shape.by_aperture, amplitudes)
    by_width, by_part, by_spread = (
        in_sectors(annulus, shape.by_sigma, amplitudes * change) for change in widths.sigma_by
    )
    by_scale = in_sectors(annulus, shape.by_ring_radius, amplitudes * widths.ring) + by_spread
    by_width += widths.aperture_by[0] * by_aperture
    by_part += widths.aperture_by[1] * by_aperture
    columns = np.column_stack([by_radius[:, None] * state.by_geometry, by_scale, by_width, by_part, by_spread])
    return beyond_linear(annulus, state.solvers, columns * root_weight[:, None])


@dataclass(frozen=True)
class JointFit:
    """The fitted state, its Jacobian, and whether the fit came to rest."""

    state: State
    jacobian: Array
    converged: bool


def fit(
    annulus: Annulus, q: Array, start: Array, data: Array, root_weight: Array, *, tolerance: float = 1.0
) -> JointFit:
    """Fit the geometry to the data; arguments as for :func:`evaluate`, from ``start`` (8,).

    ``tolerance`` widens the steps that end the fit, for a first pass with preliminary weights.

    The capture range is some 3 percent in scale (the comb search comes well within it) and a ring width in the centre.
    """
    state = evaluate(annulus, q, start, data, root_weight)
    slope = jacobian(annulus, q, state, root_weight)
    damping = 1e-3
    for _ in range(_MOST_STEPS):
        step = _step(slope, state, damping)
        tried = evaluate(annulus, q, state.geometry + step, data, root_weight)
        better = tried.cost <= state.cost
        if better:
            state, damping = tried, damping / 10
            slope = jacobian(annulus, q, state, root_weight)
        else:
            damping *= 10
        if (np.abs(step) < tolerance * _CONVERGED_STEP).all():
            return JointFit(state, slope, True)
    return JointFit(state, slope, False)


def _step(slope: Array, state: State, damping: float) -> Array:
    """Return the damped Gauss-Newton step; what would leave its bounds goes to them, the others follow."""
    normal = slope.T @ slope
    gradient = slope.T @ state.residual
    for which, (mean, sd) in PRIOR.items():
        normal[which, which] += 1 / sd**2
        gradient[which] -= (state.geometry[which] - mean) / sd**2
    scale = np.sqrt(np.maximum(np.diag(normal), 1e-12 * np.trace(normal) + 1e-300))
    normal = normal / np.outer(scale, scale) + damping * np.eye(N_GEOMETRY)
    low = np.maximum(-_LONGEST_STEP, LOWEST - state.geometry)
    high = np.minimum(_LONGEST_STEP, HIGHEST - state.geometry)
    step, free = np.zeros(N_GEOMETRY), np.ones(N_GEOMETRY, np.bool_)
    for _ in range(_SHAPE.size + 1):
        rest = gradient / scale - normal @ np.where(free, 0.0, step * scale)
        step[free] = np.linalg.solve(normal[np.ix_(free, free)], rest[free]) / scale[free]
        over = _SHAPE[(step[_SHAPE] < low[_SHAPE]) | (step[_SHAPE] > high[_SHAPE])]
        if not free[over].any():
            break
        step[over] = np.clip(step[over], low[over], high[over])
        free[over] = False
    return np.asarray(step * min(1.0, float(np.min(_LONGEST_STEP / np.maximum(np.abs(step), 1e-300)))))


def ring_offsets(annulus: Annulus, q: Array, joint: JointFit, root_weight: Array) -> Array:
    """Return how far each ring lies outside its fitted radius, (n_rings,) px; NaN where it has no amplitude.

    One Gauss-Newton step with a radius of its own for every ring, geometry held.
    """
    state = joint.state
    amplitudes = np.nan_to_num(state.amplitudes)
    columns = [
        in_sectors(annulus, state.shape.by_ring_radius[:, k, None], amplitudes[:, k, None]) for k in range(q.size)
    ]
    slope = beyond_linear(annulus, state.solvers, np.stack(columns, axis=1) * root_weight[:, None])
    norm = np.sqrt((slope**2).sum(axis=0))
    seen = norm > 0
    offsets = np.full(q.size, np.nan)
    scaled = slope[:, seen] / norm[seen]
    offsets[seen] = np.linalg.lstsq(scaled, state.residual, rcond=1e-6)[0] / norm[seen]
    return offsets


def harmonics(annulus: Annulus, joint: JointFit, root_weight: Array) -> Array:
    """Return the distortions that an ellipse leaves, (4,): cos 3a, sin 3a, cos 4a, sin 4a in radius change / radius.

    One Gauss-Newton step of these four together with the geometry.
    """
    state = joint.state
    by_radius = in_sectors(annulus, state.shape.by_radius, np.nan_to_num(state.amplitudes))
    azimuth = np.arctan2(annulus.rows - state.geometry[ROW], annulus.cols - state.geometry[COL])
    waves = [wave(order * azimuth) for order in (3, 4) for wave in (np.cos, np.sin)]
    # a ring drawn further out by x is met by a round radius that is smaller by x
    columns = np.stack([-by_radius * state.radius * wave for wave in waves], axis=1) * root_weight[:, None]
    slope = np.hstack([joint.jacobian, beyond_linear(annulus, state.solvers, columns)])
    norm = np.sqrt((slope**2).sum(axis=0)) + 1e-300
    normal = (slope / norm).T @ (slope / norm)
    step = np.linalg.pinv(normal, hermitian=True) @ (slope.T @ state.residual / norm) / norm
    return np.asarray(step[N_GEOMETRY:])


@dataclass(frozen=True)
class Sample:
    """What one set of data says: geometry (8,), harmonics (4,), mean amplitude of each ring (n_rings,)."""

    geometry: Array
    harmonics: Array
    amplitudes: Array


def sample_of(annulus: Annulus, joint: JointFit, root_weight: Array) -> Sample:
    """Return what the data of a finished fit say."""
    return Sample(joint.state.geometry, harmonics(annulus, joint, root_weight), _mean_amplitudes(joint.state))


def neighbour_sample(annulus: Annulus, q: Array, centre: Array, data: Array, root_weight: Array) -> Sample:
    """Return what data say that differ a little from those fitted by ``centre``: one Gauss-Newton step from there.

    The step takes amplitudes and derivatives from the new data, which matters where spots make the rings: against a
    full refit of every tile it gives the standard deviations to 1 percent, a frozen Jacobian to 25 percent.
    """
    state = evaluate(annulus, q, centre, data, root_weight)
    joint = JointFit(state, jacobian(annulus, q, state, root_weight), True)
    geometry = centre + _step(joint.jacobian, state, 0.0)
    return Sample(geometry, harmonics(annulus, joint, root_weight), _mean_amplitudes(state))


def _information(state: State) -> Array:
    """Return (N_SECTORS, n_rings) weights for averages over the sectors: one that sees a ring's edge counts little."""
    return np.stack([np.where(solver.sees, solver.information, 0.0) for solver in state.solvers])


def _mean_amplitudes(state: State) -> Array:
    """Average over the sectors that see a ring; 0 for one that none sees."""
    weight = _information(state)
    return np.asarray((weight * np.nan_to_num(state.amplitudes)).sum(axis=0) / np.maximum(weight.sum(axis=0), 1e-300))


def amplitude_noise(state: State) -> Array:
    """Return the standard deviation of the mean amplitudes for unit weighted noise, (n_rings,); inf where unseen."""
    weight = _information(state)
    variance, known = np.zeros(weight.shape[1]), np.zeros(weight.shape[1])
    for solver, share in zip(state.solvers, weight, strict=True):
        is_ring = solver.active < share.size
        rings = solver.active[is_ring]
        variance[rings] += share[rings] ** 2 * (solver.to_coefficients[is_ring] ** 2).sum(axis=1)
        known[rings] += share[rings] ** 2
    # a sector whose ring came out negative says nothing on the noise: the others stand for it
    total, squares = weight.sum(axis=0), (weight**2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(known > 0, np.sqrt(variance * squares / known) / total, np.inf)
