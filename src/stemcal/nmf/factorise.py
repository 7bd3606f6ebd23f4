"""Non-negative matrix factorisation by least squares, and what the losses share.

Coordinate descent from an NNDSVD start (Cichocki and Phan, IEICE Trans. E92-A, 708 (2009); Boutsidis and Gallopoulos,
Pattern Recognition 41, 1350 (2008)): unlike random starts with multiplicative updates it gives the same components at
every run, and a lower error in less time.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    loss : float
        What was minimised: sum of squares, or deviance.
    n_iterations : int
        Sweeps of coordinate descent, or updates.
    converged : bool
        Whether it stopped by its tolerance.
    """

    components: FloatArray
    loadings: FloatArray
    loss: float
    n_iterations: int
    converged: bool


def factorise(
    matrix: FloatArray, n_components: int, settings: NmfSettings, *, start: FloatArray | None = None
) -> Factorisation:
    """Factorise ``matrix`` (n_profiles, n_bins), non-negative, into ``n_components`` by least squares.

    The descent runs in rounds and stops when a round lowers the sum of squares by less than ``settings.tolerance`` of
    itself. (The criterion of the library compares with its first step, which a good start makes small: it would go on
    for ever where it starts at the solution.)

    Parameters
    ----------
    matrix : ndarray
        (n_profiles, n_bins), weighted.
    n_components : int
        How many.
    settings : NmfSettings
        Tolerance, bound on the sweeps, seed.
    start : ndarray, optional
        (n_components, n_bins) components to start from; NNDSVD without.
    """
    init, given, residual, n_iterations = "nndsvd", {}, np.inf, 0
    if start is not None:
        init, given = "custom", {"W": loadings_of(matrix, start), "H": np.ascontiguousarray(start)}
    while n_iterations < settings.max_iterations:
        model = NMF(
            n_components, init=init, solver="cd", tol=0.0, max_iter=SWEEPS_PER_ROUND, random_state=settings.random_seed
        )
        loadings = model.fit_transform(matrix, **given)
        components = np.asarray(model.components_, dtype=np.float64)
        before, residual = residual, float(np.square(matrix - loadings @ components).sum())
        n_iterations += SWEEPS_PER_ROUND
        converged = before - residual <= settings.tolerance * residual
        if converged:
            break
        init, given = "custom", {"W": loadings, "H": components}
    return Factorisation(components, loadings, residual, n_iterations, converged)


def ordered(components: FloatArray, loadings: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the components in a form that does not depend on how the fit went.

    Each component is scaled to sum 1 over the bins, so that a loading is the part of a profile's sum that the
    component carries, and components are ordered by their part of the whole, largest first.

    Parameters
    ----------
    components : ndarray
        (n_components, n_bins), without weights.
    loadings : ndarray
        (n_profiles, n_components).

    Returns
    -------
    components : ndarray
        (n_components, n_bins).
    share : ndarray
        (n_components,) part of the modelled intensity, sum 1.
    """
    sums = components.sum(axis=1)
    amount = loadings.sum(axis=0) * sums
    share = amount / amount.sum() if amount.sum() > 0 else amount
    order = np.argsort(-share, kind="stable")
    return components[order] / np.where(sums > 0, sums, 1.0)[order, None], share[order]


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
