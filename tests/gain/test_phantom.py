"""The flat field of a synthetic session, and the detector behind it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stemcal.formats.merlin import MibFile
from stemcal.phantoms.gain import tilted_dose
from stemcal.phantoms.plan import SessionPlan
from stemcal.phantoms.session import detector_gain, scan_frames, write_scan
from stemcal.phantoms.truth import session_truth

PLAN = SessionPlan.tiny().with_gain(spread=0.05, parity_spread=0.02)
FLAT = PLAN.scans[-1]


def test_the_plan_without_gain_is_the_one_it_was() -> None:
    plain = SessionPlan.tiny()
    assert plain.detector.is_even
    assert PLAN.scans[:-1] == plain.scans
    assert session_truth(PLAN).datasets[FLAT.name].role == "gain"


def test_the_flat_field_shows_the_gain_of_the_detector(tmp_path: Path) -> None:
    with MibFile(write_scan(tmp_path, PLAN, FLAT)) as mib:
        frames = mib.read(0, mib.n_frames)
    assert frames.shape == (49, 128, 128)
    gain = detector_gain(PLAN)
    assert float(gain.mean(axis=0).std()) == pytest.approx(0.05, rel=0.03)
    for side in (0, 1):
        seen = frames[side::2].mean(axis=0) / tilted_dose((128, 128), 3600 / 49, (0.12, -0.08))
        good = (seen > 0) & (seen < 2)
        # half of 3600 counts: 2.4 percent of noise on 5.4 percent of gain
        assert np.corrcoef(seen[good], gain[side][good])[0, 1] == pytest.approx(0.91, abs=0.02)
    assert (frames[:, 64] == 0).all()


def test_a_sample_is_counted_by_the_same_detector() -> None:
    plain, scan = SessionPlan.tiny(), PLAN.scans[1]
    seen = np.concatenate(list(scan_frames(PLAN, scan, 0, 12))).astype(float)
    true = np.concatenate(list(scan_frames(plain, scan, 0, 12))).astype(float)
    gain = detector_gain(PLAN)
    expected = true * (gain / gain.max())[np.arange(12) % 2]
    bright = (true > 20) & (true < 300)
    score = (seen - expected)[bright] / np.sqrt(np.maximum(expected * (1 - expected / np.maximum(true, 1)), 1))[bright]
    assert float(np.mean(score**2)) == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize("scan", [PLAN.scans[1], FLAT])
def test_a_frame_does_not_depend_on_where_the_blocks_begin(scan) -> None:
    whole = np.concatenate(list(scan_frames(PLAN, scan, 0, 9)))
    np.testing.assert_array_equal(np.concatenate(list(scan_frames(PLAN, scan, 5, 9))), whole[5:])
