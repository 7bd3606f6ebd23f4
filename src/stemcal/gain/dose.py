"""How many electrons fell onto each pixel of a flat field: a smooth polynomial, and what it does not describe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.gain.pixels import CELL_PX, MAD_TO_SIGMA, Array, Mask, cell_statistic

_ROUNDS = 20
_CUT_SIGMA = 4.0
_LAG_PX = 2
"""Neighbours share the charge of an electron; two pixels apart that is over."""
_FEWEST_IN_CELL = CELL_PX * CELL_PX // 4


@dataclass(frozen=True)
class Dose:
    """The polynomial.

    Attributes
    ----------
    degree : int
        Total degree in the detector's row v and column u, each scaled to [-1, 1].
    coefficients : ndarray
        (n_terms,) counts, in the order 1, v, u, v^2, vu, u^2, ...
    counts : ndarray
        (det_row, det_col) its value at each pixel.
    """

    degree: int
    coefficients: Array
    counts: Array


@dataclass(frozen=True)
class Structure:
    """What is left of a flat field beyond the polynomial and the pixels' own gain.

    Attributes
    ----------
    rms : float
        Root of the covariance of pixels two apart, over the dose: what neighbours share. 0 where it is not above zero.
    sigma : float
        The value of ``rms`` that chance alone reaches.
    patch : float
        Largest deviation of the mean of a patch of 8 x 8 pixels, over the dose.
    patch_sigma : float
        Scatter of such a mean if pixels were independent.
    """

    rms: float
    sigma: float
    patch: float
    patch_sigma: float


def fit_dose(total: NDArray[np.int64], good: Mask, degree: int, spread: float) -> Dose | None:
    """Fit the dose to the good pixels by weighted least squares with a cut at 4 robust standard deviations.

    Weights are those of the model, never of the data: variance = (spread * dose)^2 + dose. Weighting each pixel by
    its own counts would pull the dose toward the pixels that count little.

    Parameters
    ----------
    total : ndarray
        (det_row, det_col) counts.
    good : ndarray of bool
        (det_row, det_col), True = valid.
    degree : int
        Total degree of the polynomial.
    spread : float
        Relative standard deviation of the gain.

    Returns
    -------
    Dose or None
        None where the polynomial is not above zero at every good pixel: no uniform beam is that uneven.
    """
    terms = _terms(total.shape, degree)
    basis = np.stack([np.broadcast_to(term, total.shape)[good] for term in terms], axis=1)
    counts = total[good].astype(np.float64)
    model = np.full(counts.size, max(float(np.median(counts)), 1.0))
    kept = np.ones(counts.size, np.bool_)
    coefficients = np.zeros(len(terms))
    for _ in range(_ROUNDS):
        deviation = np.sqrt((spread * model) ** 2 + model)
        weighted = basis[kept] / deviation[kept, None]
        coefficients = np.linalg.lstsq(weighted, counts[kept] / deviation[kept], rcond=None)[0]
        fitted = basis @ coefficients
        model = np.maximum(fitted, 1e-3 * float(np.median(counts)) + 1e-9)
        score = (counts - fitted) / np.sqrt((spread * model) ** 2 + model)
        unit = MAD_TO_SIGMA * float(np.median(np.abs(score - np.median(score))))
        now = np.abs(score) <= _CUT_SIGMA * max(unit, 1e-9)
        if np.array_equal(now, kept):
            break
        kept = now
    if fitted.min() <= 0:
        return None
    surface = np.asarray(sum(value * term for value, term in zip(coefficients, terms, strict=True)))
    return Dose(degree, coefficients, np.broadcast_to(surface, total.shape).copy())


def _terms(shape: tuple[int, ...], degree: int) -> list[Array]:
    """Return the terms of the polynomial, each broadcasting to ``shape``."""
    v, u = (np.linspace(-1.0, 1.0, size) for size in shape)
    return [v[:, None] ** (power - j) * u[None, :] ** j for power in range(degree + 1) for j in range(power + 1)]


def find_structure(gain: Array, good: Mask) -> Structure:
    """Return what neighbouring pixels of ``gain`` share.

    The gain of a pixel has nothing to do with that of the next but one, while rings, edges and shadows reach over
    many: the covariance of pixels two apart is the variance of all structure wider than that. (Chips of a quad that
    differ count as structure too: no single flat field tells them from the beam.)

    Parameters
    ----------
    gain : ndarray
        (det_row, det_col) counts over dose.
    good : ndarray of bool
        (det_row, det_col), True = valid.
    """
    deviation = np.where(good, gain - 1, 0.0)
    products, n_pairs = 0.0, 0
    for axis in (0, 1):
        ahead, behind = (np.take(deviation, _reach(deviation.shape[axis], side), axis) for side in (0, 1))
        both = np.take(good, _reach(good.shape[axis], 0), axis) & np.take(good, _reach(good.shape[axis], 1), axis)
        products += float((ahead * behind)[both].sum())
        n_pairs += int(both.sum())
    variance = float((deviation[good] ** 2).mean())
    share = max(products / max(n_pairs, 1), 0.0)
    patch, patch_sigma = _largest_patch(np.where(good, gain - 1, np.nan), variance)
    chance = variance / np.sqrt(max(n_pairs, 1))
    return Structure(float(np.sqrt(share)), float(np.sqrt(chance)), patch, patch_sigma)


def _reach(size: int, side: int) -> NDArray[np.int64]:
    return np.arange(_LAG_PX * side, size - _LAG_PX * (1 - side))


def _largest_patch(deviation: Array, variance: float) -> tuple[float, float]:
    means = cell_statistic(deviation, np.nanmean)
    filled = cell_statistic(np.isfinite(deviation).astype(np.float64), np.nansum)
    known = filled >= _FEWEST_IN_CELL
    if not known.any():
        return 0.0, 0.0
    place = int(np.argmax(np.where(known, np.abs(means), -1.0)))
    return float(abs(means.flat[place])), float(np.sqrt(variance / filled.flat[place]))
