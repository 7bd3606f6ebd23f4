"""Non-negative matrix factorisation, its number of components, and how far it can be trusted.

Coordinate descent from an NNDSVD start (Cichocki and Phan, IEICE Trans. E92-A, 708 (2009); Boutsidis and Gallopoulos,
Pattern Recognition 41, 1350 (2008)): unlike random starts with multiplicative updates it gives the same components at
every run, and a lower error in less time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment, nnls
from sklearn.decomposition import NMF

from stemcal.nmf.settings import NmfSettings

FloatArray = NDArray[np.float64]

SWEEPS_PER_ROUND = 10


@dataclass(frozen=True)
class Factorisation:
    """``matrix`` is near ``loadings @ components``.

    Attributes
    ----------
    components : ndarray
        (n_components, n_bins), non-negative.
    loadings : ndarray
        (n_profiles, n_components), non-negative.
    residual : float
        Sum of squares of the difference.
    n_iterations : int
        Sweeps of coordinate descent.
    converged : bool
        Whether it stopped by its tolerance.
    """

    components: FloatArray
    loadings: FloatArray
    residual: float
    n_iterations: int
    converged: bool


@dataclass(frozen=True)
class Step:
    """One number of components in the scan; ``gain`` and ``noise_gain`` as in `stemcal.records.nmf.RankScan`."""

    n_components: int
    explained_variance: float
    gain: float
    noise_gain: float


def factorise(matrix: FloatArray, n_components: int, settings: NmfSettings) -> Factorisation:
    """Factorise ``matrix`` (n_profiles, n_bins), non-negative, into ``n_components``.

    The descent runs in rounds and stops when a round lowers the sum of squares by less than ``settings.tolerance`` of
    itself. (The criterion of the library compares with its first step, which a good start makes small: it would go on
    for ever where it starts at the solution.)
    """
    start: dict[str, FloatArray] = {}
    init, residual, n_iterations = "nndsvd", np.inf, 0
    while n_iterations < settings.max_iterations:
        model = NMF(
            n_components, init=init, solver="cd", tol=0.0, max_iter=SWEEPS_PER_ROUND, random_state=settings.random_seed
        )
        loadings = model.fit_transform(matrix, **start)
        components = np.asarray(model.components_, dtype=np.float64)
        before, residual = residual, float(np.square(matrix - loadings @ components).sum())
        n_iterations += SWEEPS_PER_ROUND
        converged = before - residual <= settings.tolerance * residual
        if converged:
            break
        init, start = "custom", {"W": loadings, "H": components}
    return Factorisation(components, loadings, residual, n_iterations, converged)


def scan_numbers(matrix: FloatArray, fits: Sequence[Factorisation]) -> tuple[Step, ...]:
    """Return what each of ``fits`` (one component, two, ...) explains of ``matrix``, and what noise alone would give.

    Variance is counted about the mean profile. In white noise of n rows and b columns one more component removes
    about the largest eigenvalue of the covariance over its trace, (1 + sqrt(b / n))^2 / b (Marchenko and Pastur,
    Math. USSR Sb. 1, 457 (1967)).
    """
    n_profiles, n_bins = matrix.shape
    total = float(np.square(matrix - matrix.mean(axis=0)).sum())
    steps, unexplained = [], total
    for fit in fits:
        rank = len(fit.components)
        left = max(n_bins - rank + 1, 1)
        noise = min(1.0, (1 + np.sqrt(left / n_profiles)) ** 2 / left)
        gain = 1 - fit.residual / unexplained if unexplained > 0 else 0.0
        steps.append(Step(rank, 1 - fit.residual / total if total > 0 else 1.0, gain, noise))
        unexplained = fit.residual
    return tuple(steps)


def choose_number(steps: Sequence[Step], settings: NmfSettings) -> int:
    """Return the number of components after which no further one is worth having.

    Counting up from one, the next component is taken while it removes at least the `needed_gain`.
    """
    chosen = 1
    for before, step in pairwise(steps):
        if step.gain < needed_gain(step.noise_gain, before.explained_variance, settings):
            break
        chosen = step.n_components
    return chosen


def needed_gain(noise_gain: float, explained_before: float, settings: NmfSettings) -> float:
    """Return the part of the unexplained variance that one more component has to remove.

    The largest of three: ``min_gain``; twice what it would remove from noise; and what raises the explained part of
    all variance by ``min_explained``, so that the texture of grains does not count as a phase.

    Parameters
    ----------
    noise_gain : float
        Part that it would remove from pure noise.
    explained_before : float
        Explained part of all variance without it.
    settings : NmfSettings
        The thresholds.
    """
    unexplained = 1 - explained_before
    share = settings.min_explained / unexplained if unexplained > 0 else 1.0
    return min(1.0, max(settings.min_gain, 2 * noise_gain, share))


def ordered(fit: Factorisation, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the components in a form that does not depend on how the fit went.

    The weights are taken off, each component is scaled to sum 1 over the bins, so that a loading is the part of a
    profile's sum that the component carries, and components are ordered by their part of the whole, largest first.

    Parameters
    ----------
    fit : Factorisation
        Of the weighted matrix.
    weight : ndarray
        (n_bins,) the weights of the columns.

    Returns
    -------
    components : ndarray
        (n_components, n_bins), each of sum 1.
    share : ndarray
        (n_components,) of sum 1.
    """
    plain = fit.components / weight
    size = plain.sum(axis=1)
    amount = fit.loadings.sum(axis=0) * size
    order = np.argsort(-amount, kind="stable")
    components = plain[order] / np.where(size > 0, size, 1.0)[order, None]
    total = amount.sum()
    return components, amount[order] / (total if total > 0 else 1.0)


def loadings_of(matrix: FloatArray, components: FloatArray) -> FloatArray:
    """Return the non-negative loadings (n_profiles, n_components) that fit each row of ``matrix`` best.

    Exact non-negative least squares (Lawson and Hanson, Solving Least Squares Problems, 1974, ch. 23) per row, in the
    space that the components span.

    Parameters
    ----------
    matrix : ndarray
        (n_profiles, n_bins), weighted.
    components : ndarray
        (n_components, n_bins), weighted alike.
    """
    basis, triangle = np.linalg.qr(components.T)
    projected = matrix @ basis
    found = np.empty((len(matrix), len(components)))
    for index, row in enumerate(projected):
        found[index] = nnls(triangle, row)[0]
    return found


def relative_residual(matrix: FloatArray, loadings: FloatArray, components: FloatArray) -> FloatArray:
    """Return |row - model| / |row| for each row; NaN for a row of zeros."""
    size = np.sqrt(np.square(matrix).sum(axis=1))
    difference = np.sqrt(np.square(matrix - loadings @ components).sum(axis=1))
    return np.divide(difference, size, out=np.full(len(matrix), np.nan), where=size > 0)


def matched_cosines(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the cosine of each row of ``first`` with its counterpart in ``second``, best assignment overall."""
    cosines = _unit(first) @ _unit(second).T
    rows, cols = linear_sum_assignment(-cosines)
    matched = np.zeros(len(first))
    matched[rows] = cosines[rows, cols]
    return matched


def _unit(rows: FloatArray) -> FloatArray:
    length = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    unit: FloatArray = rows / np.where(length > 0, length, 1.0)
    return unit


def stability(matrix: FloatArray, components: FloatArray, settings: NmfSettings) -> FloatArray:
    """Return how well each component comes back from two disjoint halves of the profiles.

    Parameters
    ----------
    matrix : ndarray
        (n_profiles, n_bins), weighted.
    components : ndarray
        (n_components, n_bins), weighted alike.
    settings : NmfSettings
        For the fits and the seed of the split.

    Returns
    -------
    ndarray
        (n_components,) the smaller of the two matched cosines.
    """
    shuffled = np.random.default_rng(settings.random_seed).permutation(len(matrix))
    halves = np.array_split(shuffled, 2)
    fits = [factorise(matrix[np.sort(half)], len(components), settings) for half in halves]
    return np.minimum(*(matched_cosines(components, fit.components) for fit in fits))
