"""Numbers that change only with a new revision of the step (``stemcal.stages.STAGES``)."""

from __future__ import annotations

import numpy as np

from stemcal.nmf.estimate import Sample, estimate
from stemcal.nmf.factorise import ordered
from stemcal.nmf.number import choose_number, try_numbers
from stemcal.nmf.settings import NmfSettings
from stemcal.stages import STAGES

REMEDY = "numbers changed: raise the revision of the step in stemcal.stages and write the new numbers here"
GOLDEN_ERROR = (0.185156255037, 0.00385355354322, 0.00113864010025)
GOLDEN_SHARE = (0.540984762468, 0.459015237532)
GOLDEN_VALUE = (0.12533497249, 0.00556575568573)


def mixtures() -> np.ndarray:
    """Two bands in smoothly varying amounts on a rippled background, without any random generator."""
    q = np.linspace(0, 1, 40)
    bands = np.stack([np.exp(-0.5 * ((q - centre) / 0.07) ** 2) for centre in (0.3, 0.65)])
    step = np.arange(120)
    amounts = np.stack([1 + np.sin(step / 7.0), 1 + np.cos(step / 11.0)], axis=1)
    ripple = 0.01 * (1 + np.sin(0.7 * step[:, None] + 3.1 * np.arange(40)))
    return amounts @ bands + 0.05 + ripple


def test_nmf() -> None:
    assert STAGES["nmf"].revision == 2, REMEDY
    matrix, settings = mixtures(), NmfSettings()
    sample = Sample(matrix, np.full(matrix.shape, 50.0), np.ones(matrix.shape[1]), np.arange(len(matrix)) // 10)
    trials = try_numbers(sample, 3, settings)
    assert choose_number(trials, settings) == 3, REMEDY
    np.testing.assert_allclose([one.error for one in trials], GOLDEN_ERROR, rtol=1e-6, err_msg=REMEDY)
    fit = estimate(sample, 2, settings)
    components, share = ordered(fit.components, fit.loadings)
    np.testing.assert_allclose(share, GOLDEN_SHARE, rtol=1e-6, err_msg=REMEDY)
    np.testing.assert_allclose(components[:, 12], GOLDEN_VALUE, rtol=1e-6, err_msg=REMEDY)
