"""From a sample of profiles to components: start, purest corners, refinement in the loss that was chosen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.nmf.corners import purest
from stemcal.nmf.factorise import Factorisation, FloatArray, factorise, loadings_of
from stemcal.nmf.poisson import likely_loadings, maximise_likelihood
from stemcal.nmf.settings import NmfSettings


@dataclass(frozen=True)
class Sample:
    """Profiles that are factorised together.

    Attributes
    ----------
    values : ndarray
        (n_profiles, n_bins), non-negative, per dose.
    exposure : ndarray
        (n_profiles, n_bins) counts per unit of ``values``.
    weight : ndarray
        (n_bins,) makes noise alike in all bins.
    region : ndarray of int
        (n_profiles,) number of the block of neighbouring positions that the profile belongs to.
    """

    values: FloatArray
    exposure: FloatArray
    weight: FloatArray
    region: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def weighted(self) -> FloatArray:
        """``values`` with the weights of least squares."""
        weighted: FloatArray = self.values * self.weight
        return weighted

    def rows(self, chosen: NDArray[np.bool_]) -> Sample:
        """Return the profiles that are True in ``chosen``."""
        return Sample(self.values[chosen], self.exposure[chosen], self.weight, self.region[chosen])


def estimate(sample: Sample, n_components: int, settings: NmfSettings) -> Factorisation:
    """Return ``n_components`` components of ``sample`` without weights, refined in ``settings.chosen_loss``."""
    weighted = sample.weighted
    corners = purest(factorise(weighted, n_components, settings))
    if settings.chosen_loss == "frobenius":
        fit = factorise(weighted, n_components, settings, start=corners)
        return Factorisation(fit.components / sample.weight, fit.loadings, fit.loss, fit.n_iterations, fit.converged)
    loadings = loadings_of(weighted, corners)
    return maximise_likelihood(sample.values, sample.exposure, corners / sample.weight, loadings, settings)


def express(sample: Sample, components: FloatArray, settings: NmfSettings) -> FloatArray:
    """Return the loadings (n_profiles, n_components) of ``sample`` in ``components`` by ``settings.chosen_loss``."""
    loadings = loadings_of(sample.weighted, components * sample.weight)
    if settings.chosen_loss == "frobenius":
        return loadings
    return likely_loadings(sample.values, sample.exposure, components, loadings)
