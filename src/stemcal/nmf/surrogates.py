"""Correlation of two maps, and its p-value against maps of the same smoothness that have nothing to do with each other.

Neighbouring positions are alike, so a test that shuffles positions finds a relation between any two smooth maps. Here
one map is replaced by surrogates that are as smooth as it is: each coefficient of its discrete cosine transform is
multiplied by a normal random number. The transform is near the Karhunen-Loeve transform of a smooth random field
(Ahmed, Natarajan and Rao, IEEE Trans. Comput. C-23, 90 (1974)), so the coefficients of a map are near independent, and
a surrogate is another field of the same spectrum (a wild bootstrap, Wu, Ann. Statist. 14, 1261 (1986)). Unlike Fourier
phases and cyclic shifts, which rest on the same idea, it needs no map that goes on at its other end: of unrelated maps
that are smooth over a tenth of their width or more those two take 8 to 18 percent for related at the level of 5
percent. What dependence the edges leave is mostly between a coefficient and the next one of the same parity; such
pairs get one number (in both directions, so four coefficients share it).

Missing positions are left out of every correlation, those of the surrogates too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn
from scipy.ndimage import distance_transform_edt
from scipy.stats import rankdata

FloatArray = NDArray[np.float64]

_CHUNK_BYTES = 32 * 2**20
_TOGETHER = 2
_FEW_MISSING = 0.01
"""Up to this part of the positions may be missing, and count as the mean, before the surrogates have to be made."""
_CAUTION = 1.05
"""Correlations count as this much smaller, on Fisher's scale: what dependence is left among coefficients would else
take 5.5 percent of unrelated pairs for related at the level of 5 percent; so it is 3.7 to 4.4."""
_LARGEST = 1 - 1e-12
"""Fisher's scale ends before 1."""


@dataclass(frozen=True)
class Correlations:
    """Correlation of each of k maps with each of m others, (k, m).

    Attributes
    ----------
    coefficient : ndarray
        Of Pearson, or of Spearman where ranks were given; 0 where a map is constant.
    p_value : ndarray
        Part of the surrogates, the map itself counted among them, that correlate at least as much, in either
        direction.
    """

    coefficient: FloatArray
    p_value: FloatArray


def ranks(maps: FloatArray, valid: NDArray[np.bool_]) -> FloatArray:
    """Return the rank of every valid position in each of ``maps`` (n, row, col), ties shared; 0 where not valid."""
    ranked = np.zeros(maps.shape)
    for ranking, values in zip(ranked, maps, strict=True):
        ranking[valid] = rankdata(values[valid])
    return ranked


def correlate(
    maps: FloatArray, others: FloatArray, valid: NDArray[np.bool_], n_surrogates: int, seed: list[int]
) -> Correlations:
    """Return the correlation of ``maps`` with ``others`` and its p-value.

    Parameters
    ----------
    maps : ndarray
        (k, row, col); their surrogates are drawn.
    others : ndarray
        (m, row, col).
    valid : ndarray of bool
        (row, col), True = counts. What the maps hold elsewhere does not matter.
    n_surrogates : int
        The smallest p-value is 1 / (n_surrogates + 1).
    seed : list of int
        Of the surrogates: the same for every pair of a call, and equal for equal seeds.
    """
    rows, cols = np.flatnonzero(valid.any(axis=1)), np.flatnonzero(valid.any(axis=0))
    maps, others = (one[:, rows[:, None], cols] for one in (maps, others))
    valid = valid[rows[:, None], cols]
    targets = _unit(others[:, valid])
    coefficient = _unit(maps[:, valid]) @ targets.T
    draw = _of_whole_maps if (~valid).mean() <= _FEW_MISSING else _of_maps_with_holes
    as_far = np.zeros(coefficient.shape, dtype=np.int64)
    least = np.tanh(np.arctanh(np.minimum(np.abs(coefficient), _LARGEST)) / _CAUTION)
    for found in draw(maps, targets, valid, n_surrogates, seed):
        as_far += (np.abs(found) >= least).sum(axis=0)
    return Correlations(coefficient, (1 + as_far) / (1 + n_surrogates))


def _of_whole_maps(
    maps: FloatArray, targets: FloatArray, valid: NDArray[np.bool_], count: int, seed: list[int]
) -> Iterator[FloatArray]:
    """Yield correlations of surrogates, (n, k, m) at a time, by Parseval's theorem: no surrogate is ever made."""
    spread = np.zeros((len(maps) + len(targets), *valid.shape))
    spread[:, valid] = np.concatenate([_unit(maps[:, valid]), targets])
    spectra = dctn(spread, axes=(1, 2), norm="ortho").reshape(len(spread), -1)
    group = _groups(valid.shape)
    n_groups = int(group.max()) + 1
    drawn, fixed = spectra[: len(maps)], spectra[len(maps) :]
    products = np.array([[np.bincount(group, one * other, minlength=n_groups) for other in fixed] for one in drawn])
    powers = np.array([np.bincount(group, one * one, minlength=n_groups) for one in drawn])
    for factors in _factors(count, n_groups, valid.size, seed):
        length = np.sqrt(np.square(factors) @ powers.T)[:, :, None]
        sums = (factors @ products.reshape(-1, n_groups).T).reshape(-1, len(maps), len(targets))
        yield np.where(length > 0, sums / np.where(length > 0, length, 1.0), 0.0)


def _of_maps_with_holes(
    maps: FloatArray, targets: FloatArray, valid: NDArray[np.bool_], count: int, seed: list[int]
) -> Iterator[FloatArray]:
    """Yield correlations of surrogates, (n, k, m) at a time, over the valid positions only.

    Holes are filled with the nearest value first: a hole that is filled with nothing adds edges of its own.
    """
    spectra = dctn(_filled(maps, valid), axes=(1, 2), norm="ortho")
    group = _groups(valid.shape)
    for factors in _factors(count, int(group.max()) + 1, valid.size, seed):
        spread = factors[:, group].reshape(-1, *valid.shape)
        yield np.stack(
            [_unit(idctn(spread * one, axes=(1, 2), norm="ortho")[:, valid]) @ targets.T for one in spectra], axis=1
        )


def _groups(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the number of the factor of each coefficient, flat: neighbours of equal parity share one."""
    rows, cols = (np.arange(size) // (2 * _TOGETHER) * 2 + np.arange(size) % 2 for size in shape)
    return np.asarray((rows[:, None] * (cols.max() + 1) + cols[None, :]).ravel())


def _factors(count: int, n_groups: int, n_pixels: int, seed: list[int]) -> Iterator[FloatArray]:
    """Yield ``count`` rows of ``n_groups`` normal random numbers, as many at a time as fit into memory as maps."""
    generator = np.random.default_rng(seed)
    at_once = max(1, _CHUNK_BYTES // (8 * n_pixels))
    for start in range(0, count, at_once):
        yield generator.normal(size=(min(at_once, count - start), n_groups))


def _unit(rows: FloatArray) -> FloatArray:
    """Return ``rows`` less their mean, of length 1; a constant row becomes 0."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    scale = np.linalg.norm(rows, axis=1, keepdims=True)
    varies = length > 1e-12 * scale
    unit: FloatArray = np.where(varies, centred / np.where(varies, length, 1.0), 0.0)
    return unit


def _filled(maps: FloatArray, valid: NDArray[np.bool_]) -> FloatArray:
    """Return ``maps`` with the nearest valid value where there is none, less the mean of the valid ones."""
    nearest = distance_transform_edt(~valid, return_distances=False, return_indices=True)
    filled: FloatArray = maps[:, nearest[0], nearest[1]] - maps[:, valid].mean(axis=1)[:, None, None]
    return filled


def holm(p_values: FloatArray) -> FloatArray:
    """Return p-values corrected for their number (Holm, Scand. J. Statist. 6, 65 (1979)), of the same shape.

    Whatever hangs together among the tests, the probability that any of those without a relation comes out below a
    level is at most that level.
    """
    flat = p_values.ravel()
    order = np.argsort(flat, kind="stable")
    steps = np.maximum.accumulate(flat[order] * np.arange(len(flat), 0, -1))
    corrected = np.empty_like(flat)
    corrected[order] = np.minimum(steps, 1.0)
    return corrected.reshape(p_values.shape)
