"""Profiles of other pixel sizes on one common radial axis, by the areas that rings share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.formats.hspy import Axis

FloatArray = NDArray[np.float64]

_WHOLE = 1e-6
"""A common bin is measured where no more than this part of its area lies outside the data."""


@dataclass(frozen=True)
class Rebinning:
    """Takes ring means from one axis to another and keeps the counts: a mean is weighted by the area that it covers.

    Attributes
    ----------
    areas : ndarray
        (n_common, n_own) part of the area of each common ring that lies in each own ring.
    """

    areas: FloatArray

    @classmethod
    def between(cls, own: Axis, n_own: int, common: Axis, n_common: int) -> Rebinning:
        """Return the way from ``own`` to ``common``; axes give the centres of rings as wide as their step."""
        inner, outer = (np.clip(edges, 0, None)[None] for edges in _edges(own, n_own))
        low, high = (np.clip(edges, 0, None)[:, None] for edges in _edges(common, n_common))
        shared = np.minimum(outer, high) ** 2 - np.maximum(inner, low) ** 2
        areas = np.where(np.minimum(outer, high) > np.maximum(inner, low), shared, 0.0) / (high**2 - low**2)
        return cls(areas)

    @property
    def covered(self) -> NDArray[np.bool_]:
        """(n_common,) which common rings lie inside the data."""
        covered: NDArray[np.bool_] = self.areas.sum(axis=1) > 1 - _WHOLE
        return covered

    def means(self, values: FloatArray) -> FloatArray:
        """Return ``values`` (n, n_own) as (n, n_common); NaN where a ring that takes part is missing."""
        missing = ~np.isfinite(values)
        means: FloatArray = (
            np.where(missing, 0.0, values) @ (self.areas / self.areas.sum(axis=1, keepdims=True).clip(1e-12)).T
        )
        touched = missing.astype(np.float64) @ (self.areas > 0).T.astype(np.float64) > 0
        means[touched | ~self.covered] = np.nan
        return means

    def effective(self, n_effective: FloatArray) -> FloatArray:
        """Return the effective number of pixels (n, n_common) behind `means`, as if own rings were independent.

        The variance of a mean weighted by a over rings of n pixels each is proportional to sum(a^2 / n) / sum(a)^2.
        """
        inverse = np.divide(1.0, n_effective, out=np.zeros_like(n_effective), where=n_effective > 0)
        spread = inverse @ np.square(self.areas).T
        total = np.square(self.areas.sum(axis=1))
        n_common: FloatArray = np.divide(total, spread, out=np.zeros_like(spread), where=spread > 0)
        return n_common


def _edges(axis: Axis, n: int) -> tuple[FloatArray, FloatArray]:
    centres = axis.values(n)
    return centres - axis.scale / 2, centres + axis.scale / 2
