"""Factorisation by maximum likelihood under counting noise (generalised Kullback-Leibler divergence).

The mean over a ring of n effective pixels stands for n times as many counts: it is a Poisson variable over its
exposure. Multiplicative updates (Lee and Seung, Adv. Neural Inf. Process. Syst. 13, 556 (2001), eq. 5, with the
exposure as weight; for fixed components they are those of Richardson and Lucy) never raise the deviance.
"""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy

from stemcal.nmf.factorise import SWEEPS_PER_ROUND, Factorisation, FloatArray
from stemcal.nmf.settings import NmfSettings

LOADING_ROUNDS = 6
"""For loadings with fixed components, an update and a step each: after them the mean change is 2e-6 of the largest."""

_RIDGE = 1e-9
"""Relative; keeps the step finite where two components are alike."""

_LEAST_COUNTS = 1e-6
"""Expected on a ring at least, so that an empty profile divides by something."""

_NEARLY = 1e-3
"""A loading below this part of its profile's that would go down is taken to be zero for the step."""

_FLOOR = 1e-3
"""An update multiplies, so nothing starts at zero but at this part of the average."""


def maximise_likelihood(
    values: FloatArray, exposure: FloatArray, start: FloatArray, loadings: FloatArray, settings: NmfSettings
) -> Factorisation:
    """Factorise ``values`` from a start that is near.

    Parameters
    ----------
    values : ndarray
        (n_profiles, n_bins), non-negative, e.g. mean counts per pixel and dose.
    exposure : ndarray
        (n_profiles, n_bins) counts per unit of ``values``: effective pixels times dose.
    start : ndarray
        (n_components, n_bins) components.
    loadings : ndarray
        (n_profiles, n_components) their loadings.
    settings : NmfSettings
        Tolerance on the deviance and bound on the updates.

    Returns
    -------
    Factorisation
        ``loss`` is the deviance.
    """
    counts = values * exposure
    components = np.maximum(start, _FLOOR * start.mean(axis=1, keepdims=True))
    loadings = _above_zero(loadings)
    lowest, n_iterations, converged = deviance(counts, exposure * (loadings @ components)), 0, False
    while n_iterations < settings.max_iterations and not converged:
        for _ in range(SWEEPS_PER_ROUND):
            loadings = _update(counts, exposure, loadings, components)
            ratio = _quotient(counts, loadings @ components)
            components = components * _quotient(loadings.T @ ratio, loadings.T @ exposure)
        n_iterations += SWEEPS_PER_ROUND
        before, lowest = lowest, deviance(counts, exposure * (loadings @ components))
        converged = before - lowest <= settings.tolerance * lowest
    return Factorisation(components, loadings, lowest, n_iterations, converged)


def likely_loadings(
    values: FloatArray, exposure: FloatArray, components: FloatArray, loadings: FloatArray
) -> FloatArray:
    """Return the loadings of greatest likelihood for fixed ``components``; arguments as `maximise_likelihood`.

    The problem is convex. Updates alone approach a loading of zero for ever; so each is followed by a projected Newton
    step (Bertsekas, SIAM J. Control Optim. 20, 221 (1982)), taken where it raises the likelihood. Rows do not depend
    on one another, so that a data set may go in blocks.
    """
    counts, loadings = values * exposure, _above_zero(loadings)
    products = (components[:, None] * components).reshape(-1, components.shape[1])
    for _ in range(LOADING_ROUNDS):
        loadings = _update(counts, exposure, loadings, components)
        moved = _newton(counts, exposure, loadings, components, products)
        losses = [_deviances(counts, exposure * (one @ components)) for one in (loadings, moved)]
        loadings = np.where((losses[1] < losses[0])[:, None], moved, loadings)
    return loadings


def _newton(
    counts: FloatArray, exposure: FloatArray, loadings: FloatArray, components: FloatArray, products: FloatArray
) -> FloatArray:
    """Return the loadings after a step in those that are not held at zero, never below zero.

    With the expected curvature (Fisher scoring): the observed one says nothing of a profile of fewer counts than
    components.
    """
    n_components = len(components)
    expected = np.maximum(loadings @ components, _LEAST_COUNTS / np.maximum(exposure, 1.0))
    slope = (exposure - _quotient(counts, expected)) @ components.T
    curvature = (_quotient(exposure, expected) @ products.T).reshape(-1, n_components, n_components)
    held = (loadings <= _NEARLY * loadings.sum(axis=1, keepdims=True)) & (slope >= 0)
    curvature[held[:, :, None] | held[:, None, :]] = 0.0
    diagonal = np.einsum("nii->ni", curvature)
    diagonal += np.where(held, 1.0, _RIDGE * diagonal + np.finfo(np.float64).tiny)
    step = np.linalg.solve(curvature, np.where(held, 0.0, slope)[..., None])[..., 0]
    return np.where(held, 0.0, np.maximum(loadings - step, 0.0))


def deviance(counts: FloatArray, expected: FloatArray) -> float:
    """Return twice the log likelihood that is missing to a perfect model, 2 sum(n log(n / m) - n + m)."""
    return float(_deviances(counts, expected).sum())


def _deviances(counts: FloatArray, expected: FloatArray) -> FloatArray:
    each: FloatArray = 2 * (xlogy(counts, _quotient(counts, expected)) - counts + expected).sum(axis=1)
    return each


def _update(counts: FloatArray, exposure: FloatArray, loadings: FloatArray, components: FloatArray) -> FloatArray:
    ratio = _quotient(counts, loadings @ components)
    return loadings * _quotient(ratio @ components.T, exposure @ components.T)


def _above_zero(loadings: FloatArray) -> FloatArray:
    return np.maximum(loadings, _FLOOR * loadings.mean(axis=1, keepdims=True))


def _quotient(upper: FloatArray, lower: FloatArray) -> FloatArray:
    quotient: FloatArray = upper / np.maximum(lower, np.finfo(np.float64).tiny)
    return quotient
