"""The thin fit: from the slices of the scan spectrum to the geometry, the aberrations and their uncertainties.

The search proposes a few geometries, the coherent fit of defocus and astigmatism decides between them, and the winner
is refined: higher aberrations, the interference of diffracted beams, the averaging over pixels, the focal spread.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry.coherent import (
    SHARED,
    SPREAD,
    CoherentModel,
    Solution,
    Whitened,
    fitted_pixels,
    freedom,
    start,
    whiten,
)
from stemcal.geometry.lattice import ScanLattice
from stemcal.geometry.order import FIRST_ORDER, best_order, resized
from stemcal.geometry.ramp import quadratic_phases
from stemcal.geometry.resampling import Resampled, aperture_covariance, group_covariance, jackknife, misfit_covariance
from stemcal.geometry.search import DISTINCT, candidates, com_direction, distinct
from stemcal.geometry.second_order import beams, interference, pairs, source_size, undiffracted
from stemcal.geometry.settings import GeometrySettings
from stemcal.geometry.slices import Slices
from stemcal.geometry.symmetry import SymmetryFit, symmetric_geometry
from stemcal.optics.aberrations import terms

NODES_PER_AXIS = 3
NODES_OF_LARGE = 2
LARGE_RADIUS_PX = 20.0
"""From this radius on the edges are a small part of a disk, and fewer points of a pixel do."""
ROUNDS = 3
"""Of subtracting the interference of diffracted beams and fitting again, before the points of a pixel are looked at."""
MOST_PIXELS = 900
"""With which the proposed geometries are compared; of a larger disk every n-th."""
LEAST_DIRECTIONS = 0.1
"""Smaller over larger singular value of the peaks' directions below which they lie along one line."""
LEAST_GAIN = 12.0
"""Log-likelihood that the two amplitudes of a slice have to add for it to count; noise exceeds it once in 12000."""
NOISE_SIGMAS = 5.0
BEST_STEPS = 30
OTHER_STEPS = 10
SPREAD_SIGMAS = 3.0
UNUSABLE_SIGMA = 0.05
"""Relative uncertainty of B beyond which the fit determines nothing."""


@dataclass(frozen=True)
class ThinStart:
    """What is known before the fit.

    Attributes
    ----------
    unit_px : float, optional
        Nominal px per cycle per step: wavelength over the angle of a pixel over the step.
    com_direction : ndarray, optional
        (2, 2) B up to a factor, from the centre of mass; taken from the slices where absent.
    lattice : ScanLattice, optional
        Of the peaks; without it no symmetry is tried.
    sigma_radius_px : float
        Standard uncertainty of the aperture's radius, in the pixels of the slices.
    """

    unit_px: float | None = None
    com_direction: NDArray[np.float64] | None = None
    lattice: ScanLattice | None = None
    sigma_radius_px: float = 0.0


@dataclass(frozen=True)
class ThinFit:
    """What the interference says; (B, aberrations) stands for (-B, -aberrations) as well.

    Attributes
    ----------
    b : ndarray of float64
        (2, 2) disk shift in px per cycle per step.
    covariance_b : ndarray of float64
        (4, 4) of B in row-major order.
    centre_shift_px : ndarray of float64
        (2,) optic axis less the aperture's fitted centre, (row, col).
    order : int
        Of the aberrations.
    aberrations_rad : dict
        Phase at the edge of the aperture by name; the order is that of ``names``.
    names : tuple of str
        ``b00``, ``b01``, ``b10``, ``b11``, ``centre_row``, ``centre_col``, ``spread``, then the aberrations.
    covariance : ndarray of float64
        Of all these; that of ``spread`` is of its square.
    focal_spread_rad : float
        Standard deviation of the defocus, as a phase at the edge; 0 where it is not significant.
    amplitudes : ndarray of complex128
        (K, 2) O_Q O_0* and O_0 O_-Q* times the sum of the window and the intensity.
    explained : float
        Part of the slices' energy above the noise that the model explains.
    chi_square : float
        Mean square of the residuals in units of shot noise.
    margin : float
        Log-likelihood by which the next distinct geometry, or none at all, is worse.
    symmetry : SymmetryFit or None
        Geometry under the symmetry of the lattice, where it has one.
    """

    b: NDArray[np.float64]
    covariance_b: NDArray[np.float64]
    centre_shift_px: NDArray[np.float64]
    order: int
    aberrations_rad: dict[str, float]
    names: tuple[str, ...]
    covariance: NDArray[np.float64]
    focal_spread_rad: float
    amplitudes: NDArray[np.complex128]
    explained: float
    chi_square: float
    margin: float
    symmetry: SymmetryFit | None


@dataclass(frozen=True)
class NoFit:
    """The slices do not determine a geometry, and why."""

    reason: str


def fit_thin(slices: Slices, start_from: ThinStart, settings: GeometrySettings) -> ThinFit | NoFit:
    """Fit geometry and aberrations to the slices.

    Parameters
    ----------
    slices : Slices
        At the peaks of the scan spectrum.
    start_from : ThinStart
        What is known.
    settings : GeometrySettings
        Peaks and margin required, highest order, symmetry.
    """
    refusal = _too_little(slices.frequencies, settings)
    if refusal is not None:
        return refusal
    try:
        return _fit_all(slices, start_from, settings)
    except np.linalg.LinAlgError:
        return NoFit("the slices leave parameters undetermined: the normal equations are singular")


def _fit_all(slices: Slices, start_from: ThinStart, settings: GeometrySettings) -> ThinFit | NoFit:
    """Return the fit of enough peaks, or why there is none."""
    data = whiten(slices)
    if data.energy - data.noise < NOISE_SIGMAS * np.sqrt(data.values.size):
        return NoFit("no interference above the noise")
    direction = start_from.com_direction if start_from.com_direction is not None else com_direction(slices)
    proposed = candidates(data, start_from.unit_px, direction)
    if not proposed:
        return NoFit("no geometry puts the interference where the slices have energy")
    model = CoherentModel(data.every(-(-data.weight.size // MOST_PIXELS)), 1)
    ranked = _ranked(model, data, proposed)
    margin = _margin(ranked, model.data.energy)
    if margin < settings.min_margin:
        return NoFit(f"another geometry fits as well: log-likelihood worse by {margin:.1f} only")
    carrying = _carrying(data, ranked[0])
    refusal = _too_little(slices.frequencies[carrying], settings)
    if refusal is not None:
        return NoFit(f"of the peaks only those with interference in the disk count: {refusal.reason}")
    fitted = _refined(slices, data, ranked[0], settings)
    if not fitted.solution.converged:
        return NoFit("the coherent fit does not converge")
    return _result(slices, data, fitted, margin, start_from, settings)


def _too_little(f: NDArray[np.float64], settings: GeometrySettings) -> NoFit | None:
    """Return why peaks at these frequencies cannot determine a geometry, if so."""
    if len(f) < settings.min_peaks:
        return NoFit(f"{len(f)} peaks, {settings.min_peaks} are needed")
    singular = np.linalg.svd(f / np.hypot(f[:, 0], f[:, 1])[:, None], compute_uv=False)
    if singular[1] < LEAST_DIRECTIONS * singular[0]:
        return NoFit("all peaks lie along one direction")
    return None


def _ranked(model: CoherentModel, data: Whitened, proposed: list[NDArray[np.float64]]) -> list[Solution]:
    """Return the coherent fits of B, defocus and astigmatism near every proposed B, the best first.

    The likeliest at the start is fitted to the end, the others as far as it takes to see that they are worse.
    """
    phases = [quadratic_phases(data, b) for b in proposed]
    begun = [_defocused(model, b, ramps) for b, ramps in zip(proposed, phases, strict=True)]
    begun.sort(key=lambda solution: solution.residual)
    fits = [_quadratic_fit(model, data, one, BEST_STEPS if one is begun[0] else OTHER_STEPS) for one in begun]
    fits.sort(key=lambda solution: solution.residual)
    if not fits[0].converged:
        fits[0] = _quadratic_fit(model, data, fits[0], BEST_STEPS)
    return fits


def _defocused(model: CoherentModel, b: NDArray[np.float64], ramps: NDArray[np.float64]) -> Solution:
    """Return the fit of defocus and astigmatism at a fixed B, from those of the ramps or from none."""
    starts = (start(b, 1, ramps), start(b, 1, np.zeros(3)))
    fixed = freedom(1, geometry=False, centre=False, spread=False)
    return model.fit(min(starts, key=model.residual), fixed, max_steps=OTHER_STEPS)


def _quadratic_fit(model: CoherentModel, data: Whitened, begun: Solution, steps: int) -> Solution:
    """Return the fit of B, defocus and astigmatism, tried again from the ramps at the B that it found."""
    free = freedom(1, geometry=True, centre=False, spread=False)
    best = model.fit(begun.parameters, free, max_steps=steps)
    again = start(best.b, 1, quadratic_phases(data, best.b))
    if model.residual(again) < best.residual:
        best = model.fit(again, free, max_steps=steps)
    return best


def _margin(ranked: list[Solution], energy: float) -> float:
    """Return the log-likelihood between the best and the next distinct solution, the best's misfit taken as noise.

    Where the search found no other, the next is that of no interference at all.
    """
    best = ranked[0]
    others = [s.residual for s in ranked[1:] if distinct(s.b, [best.b], DISTINCT)]
    return (min([*others, energy]) - best.residual) / max(1.0, best.mean_square)


def _carrying(data: Whitened, solution: Solution) -> NDArray[np.bool_]:
    """Return which slices hold interference where the solution puts it, (K,)."""
    residual = CoherentModel(data, solution.order).project(solution.parameters)[0]
    gain = (np.abs(data.values) ** 2).sum(axis=1) - (np.abs(residual) ** 2).sum(axis=1)
    return np.asarray(gain > LEAST_GAIN)


@dataclass(frozen=True)
class _Fitted:
    solution: Solution
    interference: NDArray[np.complex128]
    source: float


def _refined(slices: Slices, data: Whitened, quadratic: Solution, settings: GeometrySettings) -> _Fitted:
    """Return the final fit, from that of defocus and astigmatism."""
    order = min(FIRST_ORDER, settings.max_aberration_order)
    fitted = _Fitted(
        _fit(data, order, resized(quadratic.parameters, order), spread=True), np.zeros_like(data.values), 0.0
    )
    for _ in range(ROUNDS):
        fitted = _with_interference(slices, data, fitted, nodes=1)
    # what a single point of a pixel gets wrong would call for more aberrations
    nodes = NODES_PER_AXIS if data.radius_px < LARGE_RADIUS_PX else NODES_OF_LARGE
    fitted = _with_interference(slices, data, fitted, nodes=nodes)
    left = replace(data, values=data.values - fitted.interference)
    spread = bool(fitted.solution.free[SPREAD])
    chosen = best_order(
        lambda n, parameters: _fit(left, n, parameters, spread=spread, nodes=nodes),
        fitted.solution,
        settings.max_aberration_order,
        2 * data.values.size,
    )
    return _with_interference(slices, data, replace(fitted, solution=chosen), nodes=nodes)


def _fit(data: Whitened, order: int, parameters: NDArray[np.float64], *, spread: bool, nodes: int = 1) -> Solution:
    """Return a fit of everything; the focal spread only where it is wanted and turns out to be significant."""
    model = CoherentModel(data, order, nodes)
    if spread:
        solution = model.fit(parameters, freedom(order, geometry=True, centre=True, spread=True))
        variance = np.linalg.inv(solution.normal)[SPREAD, SPREAD] / 2
        if solution.parameters[SPREAD] > SPREAD_SIGMAS * np.sqrt(variance):
            return solution
    none = parameters.copy()
    none[SPREAD] = 0.0
    return model.fit(none, freedom(order, geometry=True, centre=True, spread=False))


def _with_interference(slices: Slices, data: Whitened, fitted: _Fitted, nodes: int) -> _Fitted:
    """Return the fit after the interference of diffracted beams that it predicts is subtracted."""
    solution = fitted.solution
    model = CoherentModel(data, solution.order, nodes)
    now = model.with_values(data.values - fitted.interference)
    wave = beams(now, solution.parameters)
    used = fitted_pixels(slices)
    direct = undiffracted(now, solution.parameters, wave, slices.mean[used], slices.sum_window)
    triples = pairs(slices.frequencies, 0.5 / max(slices.scan_shape))
    source = fitted.source
    if nodes == 1:
        source = source_size(model, solution.parameters, wave, direct, triples)
    predicted = interference(now, solution.parameters, wave, direct, triples, source)
    left = model.with_values(data.values - predicted).data
    again = _fit(left, solution.order, solution.parameters, spread=bool(solution.free[SPREAD]), nodes=nodes)
    return _Fitted(again, predicted, source)


def _result(
    slices: Slices, data: Whitened, fitted: _Fitted, margin: float, start_from: ThinStart, settings: GeometrySettings
) -> ThinFit | NoFit:
    """Return the fit with its uncertainties, or why it is none."""
    solution = fitted.solution
    resampled = jackknife(slices, data, fitted.interference, solution)
    if resampled is None:
        return NoFit("the signal comes from too small a part of the scan for uncertainties")
    systematic = aperture_covariance(data, fitted.interference, solution, start_from.sigma_radius_px)
    systematic += misfit_covariance(data, fitted.interference, solution)
    covariance = group_covariance(resampled.shifts, resampled.parts) + systematic
    relative = float(np.sqrt(np.trace(covariance[:4, :4]) / 2) / np.sqrt(abs(np.linalg.det(solution.b))))
    if not relative < UNUSABLE_SIGMA:
        return NoFit(f"the geometry is uncertain by {100 * relative:.0f} %")
    symmetry = None
    if settings.symmetry == "auto" and start_from.lattice is not None:
        symmetry = symmetric_geometry(
            solution.b,
            covariance[:4, :4],
            start_from.lattice.vectors,
            resampled,
            _tile_lattices(slices, start_from.lattice, resampled),
            systematic[:4, :4],
            settings.max_symmetry_chi_square,
        )
    names = tuple(term.name for term in terms(solution.order))
    return ThinFit(
        b=solution.b.copy(),
        covariance_b=covariance[:4, :4],
        centre_shift_px=solution.parameters[4:6].copy(),
        order=solution.order,
        aberrations_rad=dict(zip(names, solution.parameters[SHARED:].tolist(), strict=True)),
        names=("b00", "b01", "b10", "b11", "centre_row", "centre_col", "spread", *names),
        covariance=covariance,
        focal_spread_rad=float(np.sqrt(max(0.0, solution.parameters[SPREAD]))),
        amplitudes=solution.amplitudes,
        explained=1.0 - (solution.residual - data.noise) / (data.energy - data.noise),
        chi_square=solution.residual / data.noise,
        margin=margin,
        symmetry=symmetry,
    )


def _tile_lattices(slices: Slices, lattice: ScanLattice, resampled: Resampled) -> NDArray[np.float64]:
    """Return the basis of the lattice, (n, 2, 2), without each of the tiles."""
    indexed = lattice.indices.any(axis=1)
    indices = lattice.indices[indexed].astype(np.float64)
    whole = np.linalg.lstsq(indices, slices.frequencies[indexed], rcond=None)[0]
    return np.stack(
        [
            lattice.vectors + np.linalg.lstsq(indices, slices.tile_frequencies[tile][indexed], rcond=None)[0] - whole
            for tile in resampled.tiles
        ]
    )
