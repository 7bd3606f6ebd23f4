"""Rings on a background: the model of a powder pattern, and its best linear parameters.

The annulus that holds the rings is cut into sectors of azimuth. In every sector each ring has its own amplitude and
the background its own B-spline over the radius, so that neither a spotty ring, nor Friedel mates of unequal strength,
nor a background that leans to one side can pull the geometry: only where the rings are can. All of these parameters
are linear and are solved for in each evaluation (variable projection; Golub and Pereyra, SIAM J. Numer. Anal. 10, 413
(1973)), and the eight that are left are the geometry: five that are asked for, three for the shape of the rings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from stemcal.gold.profile import RingShape, ring_shapes
from stemcal.optics.ellipse import correction_matrix, strain_matrix

Array = NDArray[np.float64]

N_SECTORS = 24
N_GEOMETRY = 8
ROW, COL, E1, E2, LOG_SCALE, LOG_WIDTH, APERTURE, LOG_SPREAD = range(N_GEOMETRY)
"""Geometry: centre (px), strain, ln of px per 1/angstrom, ln of the standard deviation of a spot (px), logit of the
part of its variance that the aperture's image makes, ln of the growth of the blur with the radius."""

LOWEST, HIGHEST = np.full(N_GEOMETRY, -np.inf), np.full(N_GEOMETRY, np.inf)
LOWEST[LOG_WIDTH:] = np.log(0.2), -4.0, np.log(3e-4)
HIGHEST[LOG_WIDTH:] = np.log(40.0), 6.0, np.log(0.05)
"""Beyond these a parameter of the shape does not change the rings any more, and its steps would grow without end."""
PRIOR = {LOG_SPREAD: (np.log(0.004), 1.0), APERTURE: (0.0, 2.0)}
"""Mean and standard deviation of what ties a fit where the data say nothing of the shape."""

_SHARPEST = 0.99
"""Largest part of a spot's variance that is the aperture's."""
_PIXEL_VARIANCE = 1 / 12
"""Of a position inside a pixel."""
_STEP = 1e-5
_FULL_TURN_SAMPLES = 720
_NEGLIGIBLE = 1e-6
_SINGULAR = 1e-10


@dataclass(frozen=True)
class Annulus:
    """The pixels that a fit looks at, sorted by sector.

    Attributes
    ----------
    rows, cols : numpy.ndarray
        (n,) detector coordinates: where the electrons of a pixel came down on average.
    index : numpy.ndarray
        (n,) flat index into the frame.
    bounds : numpy.ndarray
        (N_SECTORS + 1,) where each sector begins and the last one ends.
    background : numpy.ndarray
        (n, n_spline) B-spline basis over the radius.
    """

    rows: Array
    cols: Array
    index: NDArray[np.intp]
    bounds: NDArray[np.intp]
    background: Array

    def sectors(self) -> list[slice]:
        """Return the range of each sector."""
        return [slice(int(a), int(b)) for a, b in zip(self.bounds[:-1], self.bounds[1:], strict=True)]


def round_radius(rows: Array, cols: Array, geometry: Array) -> tuple[Array, Array, Array]:
    """Return the round radius of detector points and the two components of the round offset, all (n,)."""
    matrix = correction_matrix(geometry[E1], geometry[E2])
    d_row, d_col = rows - geometry[ROW], cols - geometry[COL]
    u_row = matrix[0, 0] * d_row + matrix[0, 1] * d_col
    u_col = matrix[1, 0] * d_row + matrix[1, 1] * d_col
    return np.hypot(u_row, u_col), u_row, u_col


def make_annulus(
    index: NDArray[np.intp], places: Array, geometry: Array, inner_px: float, outer_px: float, knot_px: float
) -> Annulus:
    """Select the pixels whose round radius is in [inner_px, outer_px].

    Parameters
    ----------
    index : numpy.ndarray
        (n,) flat indices of the pixels that have data.
    places : numpy.ndarray
        (2, n) detector coordinates (row, col) of their electrons.
    geometry : numpy.ndarray
        (8,) start of the fit.
    inner_px, outer_px : float
        Radii in the round frame.
    knot_px : float
        Distance of the knots of the background.
    """
    rows, cols = places
    radius, u_row, u_col = round_radius(rows, cols, geometry)
    outer_px = min(outer_px, max(float(radius.max(initial=0.0)), inner_px + knot_px))
    chosen = np.flatnonzero((radius >= inner_px) & (radius <= outer_px))
    azimuth = np.arctan2(u_row[chosen], u_col[chosen]) % (2 * np.pi)
    sector = np.minimum((azimuth * (N_SECTORS / (2 * np.pi))).astype(np.intp), N_SECTORS - 1)
    order = np.argsort(sector, kind="stable")
    chosen, sector = chosen[order], sector[order]
    bounds = np.searchsorted(sector, np.arange(N_SECTORS + 1)).astype(np.intp)
    n_intervals = max(2, round((outer_px - inner_px) / knot_px))
    knots = np.linspace(inner_px, outer_px, n_intervals + 1)
    knots = np.concatenate([np.repeat(knots[0], 3), knots, np.repeat(knots[-1], 3)])
    background = BSpline.design_matrix(radius[chosen], knots, 3).toarray()
    return Annulus(rows[chosen], cols[chosen], index[chosen], bounds, background)


def ring_points(geometry: Array, radius_px: float) -> tuple[Array, Array]:
    """Return (rows, cols) of a fitted ring of round radius ``radius_px``, each (720,)."""
    turn = np.linspace(0, 2 * np.pi, _FULL_TURN_SAMPLES, endpoint=False)
    matrix = strain_matrix(float(geometry[E1]), float(geometry[E2]))
    points = matrix @ (radius_px * np.stack([np.sin(turn), np.cos(turn)]))
    return geometry[ROW] + points[0], geometry[COL] + points[1]


def ring_coverage(usable: NDArray[np.bool_], geometry: Array, radius_px: float) -> float:
    """Return the part of a ring that lies on usable pixels (det_row, det_col)."""
    rows, cols = (np.rint(axis).astype(np.intp) for axis in ring_points(geometry, radius_px))
    inside = (rows >= 0) & (rows < usable.shape[0]) & (cols >= 0) & (cols < usable.shape[1])
    return float(usable[rows[inside], cols[inside]].sum() / rows.size)


@dataclass(frozen=True)
class RingWidths:
    """Radius and Gaussian blur of the rings (n_rings,) px, radius of the aperture's image in px, and derivatives.

    ``sigma_by`` is (3, n_rings): by LOG_WIDTH, APERTURE and LOG_SPREAD; ``aperture_by`` is (2,): by the first two.
    """

    ring: Array
    sigma: Array
    aperture: float
    sigma_by: Array
    aperture_by: Array

    @property
    def spot_sd(self) -> Array:
        """(n_rings,) standard deviation of a spot along one axis, px."""
        return np.asarray(np.hypot(self.sigma, self.aperture / 2))


def ring_widths(q: Array, geometry: Array) -> RingWidths:
    """Return the widths of the rings at ``q`` (n_rings,), 1/angstrom on the detector."""
    ring = q * np.exp(geometry[LOG_SCALE])
    variance = np.exp(2 * geometry[LOG_WIDTH])
    part = _SHARPEST / (1 + np.exp(-geometry[APERTURE]))
    part_slope = part * (1 - part / _SHARPEST)
    grown = (np.exp(geometry[LOG_SPREAD]) * ring) ** 2
    sigma = np.sqrt((1 - part) * variance + grown + _PIXEL_VARIANCE)
    aperture = float(2 * np.sqrt(part * variance))
    by_width, by_part = (np.full_like(sigma, value) for value in ((1 - part) * variance, -part_slope * variance / 2))
    sigma_by = np.stack([by_width, by_part, grown]) / sigma
    return RingWidths(ring, sigma, aperture, sigma_by, aperture * np.array([1.0, part_slope / (2 * part)]))


def shapes_at(radius: Array, q: Array, geometry: Array) -> RingShape:
    """Evaluate the rings at round radii (n,)."""
    widths = ring_widths(q, geometry)
    return ring_shapes(radius, widths.ring, widths.sigma, widths.aperture)


def spot_shape(aperture_part: float) -> float:
    """Return the APERTURE of a spot of whose variance the aperture makes ``aperture_part``."""
    part = min(max(aperture_part / _SHARPEST, 0.02), 0.98)
    return float(np.log(part / (1 - part)))


def place_derivatives(annulus: Annulus, geometry: Array) -> list[Array]:
    """Return the derivatives of the round offsets by centre and strain, four arrays (2, n)."""
    offset = np.stack([annulus.rows - geometry[ROW], annulus.cols - geometry[COL]])
    matrix = correction_matrix(geometry[E1], geometry[E2])
    changes = [np.broadcast_to(-matrix[:, axis, None], offset.shape) for axis in (0, 1)]
    for step in ((_STEP, 0.0), (0.0, _STEP)):
        up = correction_matrix(geometry[E1] + step[0], geometry[E2] + step[1])
        down = correction_matrix(geometry[E1] - step[0], geometry[E2] - step[1])
        changes.append((up - down) / (2 * _STEP) @ offset)
    return changes


def radius_derivatives(annulus: Annulus, geometry: Array) -> tuple[Array, Array]:
    """Return the round radius (n,) and its derivatives by centre and strain (n, 4)."""
    radius, *offset = round_radius(annulus.rows, annulus.cols, geometry)
    outward = np.stack(offset) / radius
    return radius, np.stack([(outward * change).sum(axis=0) for change in place_derivatives(annulus, geometry)], axis=1)


@dataclass(frozen=True)
class SectorSolver:
    """Least squares of one sector for one geometry, ready for other data on the same pixels.

    Attributes
    ----------
    basis : numpy.ndarray
        (n_sector, k) orthonormal basis of what the linear parameters can follow, weighted.
    to_coefficients : numpy.ndarray
        (n_active, k) from components in ``basis`` to coefficients.
    active : numpy.ndarray
        (n_active,) columns in use: ring k is column k, the background follows.
    design : numpy.ndarray
        (n_sector, n_active) unweighted.
    sees : numpy.ndarray
        (n_rings,) True where the sector has pixels on the ring.
    information : numpy.ndarray
        (n_rings,) weight of what the sector sees of each ring: the squared norm of its weighted profile.
    """

    basis: Array
    to_coefficients: Array
    active: NDArray[np.intp]
    design: Array
    sees: NDArray[np.bool_]
    information: Array

    def coefficients(self, weighted_data: Array) -> Array:
        """Return the coefficients of the active columns for weighted data (n_sector,)."""
        return np.asarray(self.to_coefficients @ (self.basis.T @ weighted_data))


def solve_sectors(annulus: Annulus, shape: RingShape, data: Array, root_weight: Array) -> list[SectorSolver]:
    """Find in every sector which rings have a positive amplitude, and how to solve for them.

    Parameters
    ----------
    annulus : Annulus
        Pixels and background basis.
    shape : RingShape
        Rings at the pixels.
    data, root_weight : numpy.ndarray
        (n,) mean counts and the square root of their weight.
    """
    n_rings = shape.value.shape[1]
    solvers = []
    for part in annulus.sectors():
        design = np.hstack([shape.value[part], annulus.background[part]])
        weighted = design * root_weight[part, None]
        norm = np.sqrt((weighted**2).sum(axis=0))
        seen = norm > _NEGLIGIBLE * max(1e-300, float(norm.max(initial=0.0)))
        active, basis, solve = _not_negative(weighted, norm, seen, data[part] * root_weight[part], n_rings)
        solvers.append(SectorSolver(basis, solve, active, design[:, active], seen[:n_rings], norm[:n_rings] ** 2))
    return solvers


def _not_negative(
    weighted: Array, norm: Array, seen: NDArray[np.bool_], target: Array, n_rings: int
) -> tuple[NDArray[np.intp], Array, Array]:
    """Least squares where a ring whose amplitude comes out negative is taken out of the model, worst first."""
    active = np.flatnonzero(seen)
    while True:
        scaled = weighted[:, active] / norm[active]
        values, vectors = np.linalg.eigh(scaled.T @ scaled)
        kept = values > _SINGULAR * max(1e-300, float(values.max(initial=0.0)))
        half = vectors[:, kept] / np.sqrt(values[kept])
        basis = scaled @ half
        rings = np.where(active < n_rings, half @ (basis.T @ target), 0.0)
        if rings.min(initial=0.0) >= 0:
            return active, basis, half / norm[active, None]
        active = np.delete(active, int(rings.argmin()))


def amplitudes_of(
    annulus: Annulus, solvers: list[SectorSolver], data: Array, root_weight: Array
) -> tuple[Array, Array]:
    """Return amplitudes (N_SECTORS, n_rings), NaN where a sector does not see the ring, and the model (n,)."""
    amplitudes = np.full((N_SECTORS, solvers[0].sees.size), np.nan)
    model = np.zeros_like(data)
    for sector, (part, solver) in enumerate(zip(annulus.sectors(), solvers, strict=True)):
        coefficients = solver.coefficients(data[part] * root_weight[part])
        is_ring = solver.active < solver.sees.size
        amplitudes[sector, solver.sees] = 0.0
        amplitudes[sector, solver.active[is_ring]] = coefficients[is_ring]
        model[part] = solver.design @ coefficients
    return amplitudes, model


def beyond_linear(annulus: Annulus, solvers: list[SectorSolver], columns: Array) -> Array:
    """Return weighted columns (n, k) less what the linear parameters can follow of them."""
    rest = columns.copy()
    for part, solver in zip(annulus.sectors(), solvers, strict=True):
        rest[part] -= solver.basis @ (solver.basis.T @ columns[part])
    return rest


def in_sectors(annulus: Annulus, columns: Array, per_sector: Array) -> Array:
    """Return (n,): ``columns`` (n, k) times the row of ``per_sector`` (N_SECTORS, k) of each pixel's sector."""
    return np.concatenate([columns[part] @ row for part, row in zip(annulus.sectors(), per_sector, strict=True)])
