"""Frequencies of the peaks, to a hundredth of a bin, from slices of the tiles.

Near the frequency f at which the slices were cut, that of the whole scan is the sum of those of the tiles, each turned
by exp(-2 pi i delta . n_t), where n_t is the middle of the tile. The power of all channels over their shot noise,

    L(delta) = sum_g | sum_t G_tg exp(-2 pi i delta . n_t) |^2 / V_g,

is the logarithm of the likelihood of a wave at f + delta whose amplitude is free in every channel. It is maximised by
Newton's method: peak by peak, or over the four numbers of a lattice that all peaks share. A tile that is left out is
left out of the sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

_ROUNDS = 8
_LARGEST_STEP = 0.3
"""In bins of the scan spectrum, so that a step never leaves the peak."""
_SMALLEST_STEP = 1e-6


@dataclass(frozen=True)
class Tone:
    """The slices of the tiles at one peak, in channels that suit it.

    Attributes
    ----------
    values : ndarray of complex128
        (n_tiles, n_channels) over the square root of the whole variance of the channel.
    middle : ndarray of float64
        (n_tiles, 2) middles of the tiles, steps from the middle of the scan.
    """

    values: Complex
    middle: Array

    def without(self, tile: int) -> Tone:
        """Return the same with one tile left out."""
        kept = np.arange(len(self.values)) != tile
        return Tone(self.values[kept], self.middle[kept])

    def power(self, delta: Array) -> float:
        """Return L at ``delta`` (2,), cycles per step."""
        turned = np.exp(-2j * np.pi * (self.middle @ delta)) @ self.values
        return float((np.abs(turned) ** 2).sum())

    def slope(self, delta: Array) -> tuple[Array, Array]:
        """Return gradient (2,) and Hessian (2, 2) of L at ``delta``."""
        turned = np.exp(-2j * np.pi * (self.middle @ delta))[:, None] * self.values
        moment = -2j * np.pi * self.middle
        whole = turned.sum(axis=0)
        first = moment.T @ turned
        second = np.einsum("ti,tj,tg->ijg", moment, moment, turned)
        gradient = 2 * (first @ whole.conj()).real
        hessian = 2 * (np.einsum("ig,jg->ij", first, first.conj()) + second @ whole.conj()).real
        return gradient, hessian


def refine_one(tone: Tone, bin_width: Array) -> tuple[Array, Array]:
    """Return the best ``delta`` (2,) of one peak and its standard uncertainty (2,), both in cycles per step.

    Parameters
    ----------
    tone : Tone
        The peak.
    bin_width : ndarray
        (2,) width of a bin, cycles per step.
    """
    delta = np.zeros(2)
    for _ in range(_ROUNDS):
        gradient, hessian = tone.slope(delta)
        change = np.clip(_newton(gradient, hessian), -_LARGEST_STEP * bin_width, _LARGEST_STEP * bin_width)
        delta = delta + change
        if np.abs(change / bin_width).max() < _SMALLEST_STEP:
            break
    return delta, np.sqrt(np.diag(_covariance(tone.slope(delta)[1])))


def refine_lattice(
    tones: list[Tone], frequencies: Array, indices: NDArray[np.int64], vectors: Array, bin_width: Array
) -> tuple[Array, Array]:
    """Return the lattice (2, 2) that serves all peaks best, and the covariance (4, 4) of its numbers.

    Parameters
    ----------
    tones : list of Tone
        The peaks that belong to the lattice.
    frequencies : ndarray
        (K, 2) where their slices were cut.
    indices : ndarray
        (K, 2) their indices.
    vectors : ndarray
        (2, 2) start, rows are the basis.
    bin_width : ndarray
        (2,) width of a bin, cycles per step.
    """
    lattice = vectors.copy()
    for _ in range(_ROUNDS):
        gradient, hessian = _lattice_slope(tones, frequencies, indices, lattice)
        change = _newton(gradient, hessian).reshape(2, 2)
        moved = np.abs(indices @ change / bin_width).max()
        lattice = lattice + change * min(1.0, _LARGEST_STEP / max(moved, _SMALLEST_STEP))
        if moved < _SMALLEST_STEP:
            break
    return lattice, _covariance(_lattice_slope(tones, frequencies, indices, lattice)[1])


def _lattice_slope(
    tones: list[Tone], frequencies: Array, indices: NDArray[np.int64], lattice: Array
) -> tuple[Array, Array]:
    gradient, hessian = np.zeros((2, 2)), np.zeros((2, 2, 2, 2))
    for tone, cut_at, index in zip(tones, frequencies, indices.astype(np.float64), strict=True):
        one, curvature = tone.slope(index @ lattice - cut_at)
        gradient += np.outer(index, one)
        hessian += np.einsum("a,b,ij->aibj", index, index, _convex(curvature))
    return gradient.ravel(), hessian.reshape(4, 4)


def _convex(hessian: Array) -> Array:
    """Return the part of a Hessian that is that of a maximum: a weak peak may sit on a saddle of the noise."""
    values, axes = np.linalg.eigh(hessian)
    return np.asarray(axes @ np.diag(np.minimum(values, 0.0)) @ axes.T)


def _newton(gradient: Array, hessian: Array) -> Array:
    """Return the step to the maximum, uphill wherever the function is not curved like one."""
    values, axes = np.linalg.eigh(hessian)
    scale = np.maximum(np.abs(values), 1e-9 * np.abs(values).max() + 1e-300)
    return np.asarray(axes @ ((axes.T @ gradient) / scale))


def _covariance(hessian: Array) -> Array:
    """Return the inverse of minus the Hessian, infinite along an axis that is not curved like a maximum."""
    values, axes = np.linalg.eigh(-hessian)
    if values.min() <= 0:
        return np.diag(np.full(len(values), np.inf))
    return np.asarray((axes / values) @ axes.T)
