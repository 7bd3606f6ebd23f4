"""How far components can be trusted: the same fit to halves of the data, half of the places at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stemcal.nmf.estimate import Sample, estimate
from stemcal.nmf.factorise import FloatArray, matched_cosines
from stemcal.nmf.settings import NmfSettings


def regions(shape: tuple[int, int], side_px: int) -> NDArray[np.int64]:
    """Return the number of the square of ``side_px`` that each position lies in, (n_positions,) in raster order.

    Squares are smaller on a small scan, so that it has at least four along its longer side.
    """
    side = max(1, min(side_px, max(shape) // 4))
    rows, cols = (np.arange(n) // side for n in shape)
    numbers: NDArray[np.int64] = (rows[:, None] * (cols[-1] + 1) + cols).ravel()
    return numbers


def resampled_cosines(sample: Sample, components: FloatArray, settings: NmfSettings) -> FloatArray:
    """Return how well each component comes back from half of the regions, drawn anew each time.

    Whole regions are drawn, as neighbours share grains: single profiles would make each half look like the other.

    Parameters
    ----------
    sample : Sample
        The profiles that ``components`` were fitted to.
    components : ndarray
        (n_components, n_bins) without weights.
    settings : NmfSettings
        Number of resamplings and their seed.

    Returns
    -------
    ndarray
        (n_resamplings, n_components) cosine with the counterpart, weighted so that noise is alike in all bins; a
        half with too few profiles for a fit gives 0.
    """
    generator = np.random.default_rng(settings.random_seed)
    places = np.unique(sample.region)
    cosines = np.zeros((settings.n_resamplings, len(components)))
    for index in range(settings.n_resamplings):
        half = generator.permutation(places)[: max(1, len(places) // 2)]
        part = sample.rows(np.isin(sample.region, half))
        if len(part) >= len(components):
            fit = estimate(part, len(components), settings)
            cosines[index] = matched_cosines(components * sample.weight, fit.components * sample.weight)
    return cosines
