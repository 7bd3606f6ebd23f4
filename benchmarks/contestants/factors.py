"""Ways to factorise radial profiles, ours and scikit-learn as ePSIC calls it, on the same scan with known phases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = dict[str, float]
Work = Callable[[], Scores]
FloatArray = NDArray[np.float64]

BLOCK_PX = 8


def ours(scan: dict[str, Any], loss: str) -> Work:
    """Return start, corners, refinement and the loadings of all positions, with ``loss``."""
    from stemcal.nmf.estimate import estimate, express
    from stemcal.nmf.settings import NmfSettings
    from stemcal.phantoms.phase_scans import phase_scan

    truth, settings = phase_scan(**scan), NmfSettings(loss=loss)
    sample = _sample(truth)

    def work() -> Scores:
        fit = estimate(sample, len(truth.maps), settings)
        return _scores(truth, fit.components, express(sample, fit.components, settings))

    return work


def epsic(scan: dict[str, Any], scaled: bool) -> Work:
    """Return ``NMF(init="nndsvda", solver="mu", max_iter=2000)``, each profile scaled to its own range or as it is.

    The random state is fixed here, so that the table can be repeated; ePSIC leaves it free.
    """
    from sklearn.decomposition import NMF

    from stemcal.phantoms.phase_scans import phase_scan

    truth = phase_scan(**scan)
    profiles = truth.mean.reshape(-1, len(truth.pixels))

    def work() -> Scores:
        matrix = _to_own_range(profiles) if scaled else profiles
        model = NMF(len(truth.maps), init="nndsvda", solver="mu", max_iter=2000, random_state=0)
        loadings = model.fit_transform(matrix)
        return _scores(truth, model.components_, loadings)

    return work


def number(scan: dict[str, Any]) -> Work:
    """Return the number of components that our bi-cross-validation chooses."""
    from stemcal.nmf.number import choose_number, try_numbers
    from stemcal.nmf.settings import NmfSettings
    from stemcal.phantoms.phase_scans import phase_scan

    truth, settings = phase_scan(**scan), NmfSettings()
    sample = _sample(truth)
    return lambda: {"number": choose_number(try_numbers(sample, len(truth.maps) + 3, settings), settings)}


def _sample(truth: Any) -> Any:
    from stemcal.nmf.estimate import Sample
    from stemcal.nmf.resample import regions

    mean = truth.mean.reshape(-1, len(truth.pixels))
    weight = np.sqrt(truth.pixels / mean.mean(axis=0))
    exposure = np.broadcast_to(truth.pixels, mean.shape)
    return Sample(mean, exposure, weight / (weight * mean).mean(), regions(truth.maps.shape[1:], BLOCK_PX))


def _to_own_range(profiles: FloatArray) -> FloatArray:
    low = profiles.min(axis=1, keepdims=True)
    high = profiles.max(axis=1, keepdims=True)
    return (profiles - low) / np.where(high > low, high - low, 1.0)


def _scores(truth: Any, components: FloatArray, loadings: FloatArray) -> Scores:
    """Return the worst cosine of the components and the worst correlation of the maps, best assignment overall.

    ``vacuum`` is the loading where there is nothing, over that where there is matter, of the worst component.
    """
    from scipy.optimize import linear_sum_assignment

    lengths = [np.linalg.norm(rows, axis=1)[:, None] for rows in (truth.profiles, components)]
    cosines = (truth.profiles / lengths[0]) @ (components / lengths[1]).T
    rows, cols = linear_sum_assignment(-cosines)
    maps = truth.maps.reshape(len(truth.maps), -1)
    matched = loadings[:, cols].T
    correlations = [float(np.corrcoef(maps[row], one)[0, 1]) for row, one in zip(rows, matched, strict=True)]
    empty = maps.sum(axis=0) < 0.01
    strong = np.quantile(matched, 0.95, axis=1)
    vacuum = matched[:, empty].mean(axis=1) / np.where(strong > 0, strong, 1.0) if empty.any() else np.zeros(1)
    return {
        "cosine": float(cosines[rows, cols].min()),
        "correlation": min(correlations),
        "vacuum": float(vacuum.max()),
    }
