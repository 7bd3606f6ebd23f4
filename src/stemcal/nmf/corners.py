"""Among equally good factorisations, the one whose components look like profiles that occur.

``W H`` does not fix ``H``: part of one component may be taken from another as long as nothing turns negative, and the
NNDSVD start takes as much as it can. The components that lie closest together (minimum volume, Craig, IEEE Trans.
Geosci. Remote Sens. 32, 542 (1994)) are the corners of the cloud of profiles: the purest places.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stemcal.nmf.factorise import Factorisation, FloatArray

PROFILES_PER_CORNER = (10, 100)
"""A corner is the sum of this many profiles at least and at most, else ..."""

SHARE_OF_CORNER = 0.02
"""... of this part of them: enough to average noise and the texture of grains, few enough to be pure."""

LEAST_SCATTERING = 0.05
"""A profile with less than this part of the scattering of the strongest ones is too noisy to be a corner."""

_SWEEPS = 4
_DEGENERATE = 1e-6


def purest(fit: Factorisation) -> FloatArray:
    """Return components (n_components, n_bins), each the sum of the profiles of ``fit`` that have most of it.

    Successive projection (Gillis and Vavasis, IEEE Trans. Pattern Anal. Mach. Intell. 36, 698 (2014)) with sums over
    several profiles for each corner (Nadisic, Gillis and Kervazo, Lin. Algebra Appl. 676, 174 (2023)), on the fitted
    profiles; then each corner is moved to where it is farthest from the space that the others span. Where the corners
    do not span the components, those of ``fit`` are returned.

    Parameters
    ----------
    fit : Factorisation
        Its residual is taken for noise.
    """
    n_components = len(fit.components)
    sums = fit.components.sum(axis=1)
    if n_components == 1 or not (sums > 0).all():
        return fit.components
    amounts = fit.loadings * sums
    total = amounts.sum(axis=1)
    strong = total > LEAST_SCATTERING * np.quantile(total, 0.95)
    amounts, total = amounts[strong], total[strong]
    units = fit.components / sums[:, None]
    points = (amounts / total[:, None]) @ _square_root(units @ units.T)
    least, most = PROFILES_PER_CORNER
    n_each = min(max(least, min(most, int(SHARE_OF_CORNER * len(points)))), len(points))
    chosen = _corners(points, n_components, n_each)
    mixed = np.stack([amounts[rows].sum(axis=0) / total[rows].sum() for rows in chosen])
    if np.linalg.svd(mixed, compute_uv=False)[-1] < _DEGENERATE:
        return fit.components
    corners: FloatArray = mixed @ units
    return corners


def _square_root(gram: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh(gram)
    root: FloatArray = vectors * np.sqrt(np.maximum(values, 0.0))
    return root


def _corners(points: FloatArray, n_corners: int, n_each: int) -> list[NDArray[np.intp]]:
    """Return the rows of ``points`` (n, n_corners) that make each corner."""
    chosen: list[NDArray[np.intp]] = []
    left = points
    for _ in range(n_corners):
        direction = left[np.square(left).sum(axis=1).argmax()]
        chosen.append(_foremost(left @ direction, n_each))
        axis = left[chosen[-1]].mean(axis=0)
        left = left - np.outer(left @ axis, axis) / max(float(axis @ axis), np.finfo(float).tiny)
    for _ in range(_SWEEPS):
        for index in range(n_corners):
            others = np.stack([points[rows].mean(axis=0) for other, rows in enumerate(chosen) if other != index])
            normal = np.linalg.svd(others, full_matrices=True)[2][-1]
            height = points @ normal
            sign = np.sign(height[chosen[index]].mean()) or 1.0
            chosen[index] = _foremost(sign * height, n_each)
    return chosen


def _foremost(heights: FloatArray, n: int) -> NDArray[np.intp]:
    return np.argsort(-heights, kind="stable")[:n]
