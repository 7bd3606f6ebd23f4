"""Numbers that change only with a new revision of the step (``stemcal.stages.STAGES``)."""

from __future__ import annotations

import numpy as np

from stemcal.gold.measure import Optics, measure
from stemcal.gold.pattern import single_pattern
from stemcal.gold.settings import GoldSettings
from stemcal.optics.ellipse import correction_matrix, strain_from_ratio
from stemcal.optics.rings import cubic_rings
from stemcal.stages import STAGES

GOLDEN = {
    "ratio": 1.04004791,
    "angle_deg": 34.32316155,
    "pixel_size": 0.01609839914,
    "row": 83.30044851,
    "col": 72.59728447,
    "score": 0.9108405934,
}
REMEDY = "numbers changed: raise the revision of gold in stemcal.stages and write the new numbers here"


def pattern() -> np.ndarray:
    """Gold in whole numbers, without any random generator."""
    rows, cols = np.indices((160, 160))
    offset = np.stack([rows - 83.3, cols - 72.6])
    row, col = np.tensordot(correction_matrix(*strain_from_ratio(1.04, 0.6)), offset, axes=1)
    radius, azimuth = np.hypot(row, col), np.arctan2(row, col)
    counts = 3000 / (1 + np.exp(np.minimum((radius - 3) / 0.5, 50))) + 300 * np.exp(-radius / 15) + 8
    for ring in cubic_rings(4.0782, "F", max_index_square=27):
        grain = 1 + 0.5 * np.cos(9 * azimuth + ring.q_per_angstrom)
        profile = np.exp(-0.5 * ((radius - ring.q_per_angstrom / 0.0161) / 1.3) ** 2)
        counts += 60 * ring.multiplicity * np.exp(-2 * ring.q_per_angstrom) * grain * profile
    return np.rint(counts)


def test_gold() -> None:
    assert STAGES["gold"].revision == 2, REMEDY
    attempt = measure(single_pattern(pattern()), Optics(300.0, None), GoldSettings())
    found = attempt.calibration
    assert found is not None
    numbers = {
        "ratio": found.ellipse.ratio.value,
        "angle_deg": found.ellipse.angle_deg.value,
        "pixel_size": found.pixel_size.value,
        "row": found.centre[0].value,
        "col": found.centre[1].value,
        "score": found.search.best.score,
    }
    for name, value in numbers.items():
        np.testing.assert_allclose(value, GOLDEN[name], rtol=1e-5, err_msg=f"{name}: {REMEDY}")
