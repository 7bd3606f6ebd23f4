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

LOADING_UPDATES = 100
"""For loadings with fixed components, from a start by least squares: beyond it they move by less than their noise."""

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
            ratio = _ratio(counts, loadings @ components)
            components = components * _quotient(loadings.T @ ratio, loadings.T @ exposure)
        n_iterations += SWEEPS_PER_ROUND
        before, lowest = lowest, deviance(counts, exposure * (loadings @ components))
        converged = before - lowest <= settings.tolerance * lowest
    return Factorisation(components, loadings, lowest, n_iterations, converged)


def likely_loadings(
    values: FloatArray, exposure: FloatArray, components: FloatArray, loadings: FloatArray
) -> FloatArray:
    """Return the loadings of greatest likelihood for fixed ``components``; arguments as `maximise_likelihood`.

    Rows do not depend on one another, so that a data set may go in blocks.
    """
    counts, loadings = values * exposure, _above_zero(loadings)
    for _ in range(LOADING_UPDATES):
        loadings = _update(counts, exposure, loadings, components)
    return loadings


def deviance(counts: FloatArray, expected: FloatArray) -> float:
    """Return twice the log likelihood that is missing to a perfect model, 2 sum(n log(n / m) - n + m)."""
    ratio = _ratio(counts, expected)
    return 2 * float((xlogy(counts, ratio) - counts + expected).sum())


def _update(counts: FloatArray, exposure: FloatArray, loadings: FloatArray, components: FloatArray) -> FloatArray:
    ratio = _ratio(counts, loadings @ components)
    return loadings * _quotient(ratio @ components.T, exposure @ components.T)


def _above_zero(loadings: FloatArray) -> FloatArray:
    scale = np.maximum(loadings.mean(axis=1, keepdims=True), _FLOOR * loadings.mean())
    return np.maximum(loadings, _FLOOR * scale)


def _ratio(counts: FloatArray, expected: FloatArray) -> FloatArray:
    return _quotient(counts, expected)


def _quotient(upper: FloatArray, lower: FloatArray) -> FloatArray:
    quotient: FloatArray = upper / np.maximum(lower, np.finfo(np.float64).tiny)
    return quotient
