"""Numbers that change only with a new revision of the step (``stemcal.stages.STAGES``)."""

from __future__ import annotations

import numpy as np

from stemcal.nmf.factorise import choose_number, factorise, scan_numbers
from stemcal.nmf.settings import NmfSettings
from stemcal.stages import STAGES

REMEDY = "numbers changed: raise the revision of the step in stemcal.stages and write the new numbers here"
GOLDEN_EXPLAINED = (0.537874406312, 0.996696814364, 0.999584644616)
GOLDEN_SHARE = (0.432645782727, 0.55394320985)


def mixtures() -> np.ndarray:
    """Two bands in smoothly varying amounts on a background, without any random generator."""
    q = np.linspace(0, 1, 40)
    bands = np.stack([np.exp(-0.5 * ((q - centre) / 0.07) ** 2) for centre in (0.3, 0.65)])
    step = np.arange(120)
    amounts = np.stack([1 + np.sin(step / 7.0), 1 + np.cos(step / 11.0)], axis=1)
    ripple = 0.01 * (1 + np.sin(0.7 * step[:, None] + 3.1 * np.arange(40)))
    return amounts @ bands + 0.05 + ripple


def test_nmf() -> None:
    assert STAGES["nmf"].revision == 1, REMEDY
    matrix, settings = mixtures(), NmfSettings()
    fits = [factorise(matrix, number, settings) for number in (1, 2, 3)]
    steps = scan_numbers(matrix, fits)
    assert choose_number(steps, settings) == 2, REMEDY
    found = [step.explained_variance for step in steps]
    np.testing.assert_allclose(found, GOLDEN_EXPLAINED, rtol=1e-6, err_msg=REMEDY)
    share = fits[1].components.sum(axis=1) * fits[1].loadings.sum(axis=0) / matrix.sum()
    np.testing.assert_allclose(np.sort(share), GOLDEN_SHARE, rtol=1e-6, err_msg=REMEDY)
