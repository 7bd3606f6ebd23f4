"""Numbers that change only with a new revision of the step (``stemcal.stages.STAGES``)."""

from __future__ import annotations

import numpy as np

from stemcal.gain.measure import measure
from stemcal.gain.settings import GainSettings
from stemcal.gain.sums import FlatSums
from stemcal.stages import STAGES

SHAPE = (40, 48)
REMEDY = "numbers changed: raise the revision of the step in stemcal.stages and write the new numbers here"
GOLDEN_FACTOR = (0.9435551430229, 1.010289228329, 1.022914065832)
GOLDEN_SIGMA = (0.01169138224323, 0.01293521954848, 0.01277375340379)
GOLDEN_COEFFICIENTS = (6565.943825583, 485.4737050612, -271.5431023087)
GOLDEN = (0.07716832481843, 0.01256126571878, 0.9683171294136, 1.033573234981)


def mixed(number: np.ndarray) -> np.ndarray:
    """Return a number in [0, 1) that looks unlike its neighbours'."""
    bits = (number.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return (bits >> np.uint64(40)) / 2.0**24


def flat_sums() -> FlatSums:
    """Return whole numbers without any random generator."""
    row, col = np.indices(SHAPE)
    gain = 0.9 + 0.2 * mixed(row * 48 + col)
    dose = 400 + 1.5 * row - 0.8 * col
    scatter = 0.17 * (mixed(np.arange(16 * row.size)).reshape(8, 2, *SHAPE) - 0.5)
    counts = np.rint(gain * dose * (1 + scatter)).astype(np.int64)
    counts[:, :, 5, 6] = 0
    counts[:, :, 20, 30] *= 3
    return FlatSums(counts, np.full((8, 2), 10, np.int64), 160, 70, np.zeros(SHAPE, np.int64))


def test_gain() -> None:
    assert STAGES["gain"].revision == 1, REMEDY
    attempt = measure(flat_sums(), np.ones(SHAPE, bool), GainSettings())
    gain, dose = attempt.gain, attempt.dose
    assert gain is not None
    assert dose is not None
    assert attempt.parity is not None
    assert (int(attempt.faults.dead.sum()), int(attempt.faults.hot.sum())) == (1, 1), REMEDY
    np.testing.assert_allclose(gain.factor[[0, 10, 39], [0, 20, 47]], GOLDEN_FACTOR, rtol=1e-9, err_msg=REMEDY)
    np.testing.assert_allclose(gain.sigma[[0, 10, 39], [0, 20, 47]], GOLDEN_SIGMA, rtol=1e-9, err_msg=REMEDY)
    np.testing.assert_allclose(dose.coefficients, GOLDEN_COEFFICIENTS, rtol=1e-9, err_msg=REMEDY)
    found = (gain.spread, gain.noise, attempt.parity.reduced_chi_square, attempt.faults.dispersion)
    np.testing.assert_allclose(np.array(found, float), GOLDEN, rtol=1e-9, err_msg=REMEDY)
