"""Uncertainties from the data: every tile of the scan is left out once, and the fit repeated.

The covariance of the least squares knows of shot noise only. What differs from place to place on the sample and over
the time of the scan is in the spread of the fits, with the frequencies of the peaks measured anew each time. A fit
without one tile is near that of all, so that one Gauss-Newton step is enough.

Source: the jackknife with groups of unequal size, Busing, Meijer & van der Leeden, Statistics and Computing 9 (1999) 3,
with weights that hold for a window.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry.coherent import CoherentModel, Solution, Whitened, whiten
from stemcal.geometry.slices import Slices

SMALLEST_PART = 1e-4
"""Of the signal; a tile with less has no say."""

FEWEST_TILES = 8
APERTURE_STEP = 0.03
EDGE_MISFIT = 0.02
"""By how much of the edge's blur the radius is wrong in simulations of pixels and of a point spread."""

BLUR_MISFIT = 0.1
"""By which part the blur of the edge is wrong in them."""


@dataclass(frozen=True)
class Resampled:
    """The fit without each tile.

    Attributes
    ----------
    tiles : ndarray of int64
        (n,) tiles that have a say.
    parts : ndarray of float64
        (n,) part of the signal in the tile.
    shifts : ndarray of float64
        (n, n_parameters) parameters without the tile less those of all; 0 where one is not free.
    """

    tiles: NDArray[np.int64]
    parts: NDArray[np.float64]
    shifts: NDArray[np.float64]


def jackknife(
    slices: Slices, data: Whitened, interference: NDArray[np.complex128], solution: Solution
) -> Resampled | None:
    """Return how the parameters move without each tile; None where fewer than `FEWEST_TILES` have a say.

    Parameters
    ----------
    slices : Slices
        With tiles.
    data : Whitened
        All tiles together.
    interference : ndarray
        (K, n_pix) what pairs of diffracted beams add to ``data``.
    solution : Solution
        Fit of all tiles.
    """
    model = CoherentModel(replace(data, values=data.values - interference), solution.order)
    centre = model.fit(solution.parameters, solution.free, max_steps=20)
    tiles, parts, shifts = [], [], []
    for tile in range(len(slices.values)):
        left = _without(slices, data, interference, centre, tile)
        part = 1.0 - _kept(centre.amplitudes, left.values, model, centre)
        if part < SMALLEST_PART:
            continue
        tiles.append(tile)
        parts.append(part)
        shifts.append(_step(left, centre))
    if len(tiles) < FEWEST_TILES:
        return None
    return Resampled(np.array(tiles), np.array(parts), np.array(shifts))


def aperture_covariance(
    data: Whitened, interference: NDArray[np.complex128], solution: Solution, sigma_radius_px: float
) -> NDArray[np.float64]:
    """Return what the aperture, which is the same for all tiles, adds to the covariance, (n_parameters, n_parameters).

    Parameters
    ----------
    data, interference, solution
        As for `jackknife`.
    sigma_radius_px : float
        Standard uncertainty of the radius by its own fit. To it comes that of the shape of the edge, of which a pixel
        and a detector make no Gaussian: see `EDGE_MISFIT` and `BLUR_MISFIT`.
    """
    clean = replace(data, values=data.values - interference)
    centre = CoherentModel(clean, solution.order).fit(solution.parameters, solution.free, max_steps=20)
    step = APERTURE_STEP * data.blur_px
    by_radius = _step(replace(clean, radius_px=data.radius_px + step), centre) / step
    by_blur = _step(replace(clean, blur_px=data.blur_px + step), centre) / step
    by_radius *= np.hypot(sigma_radius_px, EDGE_MISFIT * data.blur_px)
    by_blur *= BLUR_MISFIT * data.blur_px
    return np.asarray(np.outer(by_radius, by_radius) + np.outer(by_blur, by_blur))


def misfit_covariance(data: Whitened, interference: NDArray[np.complex128], solution: Solution) -> NDArray[np.float64]:
    """Return what the misfit, alike in all tiles, adds to the covariance, (n_parameters, n_parameters).

    What is left of one slice belongs together and pulls at the parameters as a whole, that of different slices does
    not. Shot noise is part of what is left; its share is taken out, and there is nothing to add where it is all.

    Source: the sandwich estimator with clusters, Liang & Zeger, Biometrika 73 (1986) 13; the share of noise is ours.

    Parameters
    ----------
    data, interference, solution
        As for `jackknife`.
    """
    clean = replace(data, values=data.values - interference)
    n_slices, free = len(clean.values), solution.free
    covariance = np.zeros((free.size, free.size))
    misfit = 1.0 - min(1.0, data.noise / solution.residual)
    if n_slices < 2 or misfit == 0:
        return covariance
    model = CoherentModel(clean, solution.order)
    centre = model.fit(solution.parameters, free, max_steps=20).parameters
    inverse = np.linalg.inv(model.normal_equations(centre, free)[0])
    pulls = np.stack(
        [CoherentModel(_slice(clean, one), solution.order).normal_equations(centre, free)[1] for one in range(n_slices)]
    )
    shared = inverse @ (pulls.T @ pulls) @ inverse * (misfit * n_slices / (n_slices - 1))
    covariance[np.ix_(free, free)] = shared
    return covariance


def _slice(data: Whitened, one: int) -> Whitened:
    chosen = slice(one, one + 1)
    return replace(data, values=data.values[chosen], frequencies=data.frequencies[chosen])


def _step(data: Whitened, solution: Solution) -> NDArray[np.float64]:
    """Return the Gauss-Newton step of all parameters with other data."""
    matrix, gradient, _, _ = CoherentModel(data, solution.order).normal_equations(solution.parameters, solution.free)
    step = np.zeros(solution.free.size)
    step[solution.free] = np.linalg.solve(matrix, gradient)
    return step


def group_covariance(shifts: NDArray[np.float64], parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the covariance (n, n) of estimates from how they move without one group.

    A group of the part p that is off by x moves the estimate by -p x / (1 - p) when it is left out, and adds p^2 x^2
    to the variance; its own share in the estimate, from which x is counted, makes that p^2 x^2 / (1 - p). No assumption
    on how x depends on p is needed, as it would be for pseudo-values: the window weights signal and noise differently.

    Parameters
    ----------
    shifts : ndarray
        (groups, n) estimate without the group less that of all.
    parts : ndarray
        (groups,) part of the data in the group.
    """
    centred = shifts - np.average(shifts, axis=0, weights=1 - parts)
    return np.asarray((centred.T * (1 - parts)) @ centred)


def _without(
    slices: Slices, data: Whitened, interference: NDArray[np.complex128], solution: Solution, tile: int
) -> Whitened:
    """Return the slices without a tile, and without the interference, which shrinks as the amplitudes do."""
    left = whiten(slices, without_tile=tile, weight=data.weight)
    model = CoherentModel(left, solution.order)
    _, amplitudes, _, _ = model.project(solution.parameters)
    power = (np.abs(solution.amplitudes) ** 2).sum(axis=1)
    ratio = (solution.amplitudes.conj() * amplitudes).sum(axis=1) / np.maximum(power, 1e-300)
    return replace(left, values=left.values - ratio[:, None] * interference)


def _kept(
    amplitudes: NDArray[np.complex128], values: NDArray[np.complex128], model: CoherentModel, solution: Solution
) -> float:
    """Return which part of the signal the slices still hold."""
    fitted = np.einsum("ki,kip->kp", amplitudes, model.templates(solution.parameters))
    # the amplitudes turn with the frequencies, so that it is their size that tells
    overlap = np.abs((fitted.conj() * values).sum(axis=1)).sum()
    return float(overlap / (np.abs(fitted) ** 2).sum())
