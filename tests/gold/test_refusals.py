"""What is no gold is refused with a sentence, and leaves no number behind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from gold_truth import CAMERA, NOMINAL_M, amorphous, gold_source, powder_of

from stemcal.gold.checks import judge
from stemcal.gold.measure import Optics, measure
from stemcal.gold.pattern import single_pattern
from stemcal.gold.settings import GoldSettings
from stemcal.optics.rings import cubic_rings
from stemcal.phantoms.powder import PowderPhase

SETTINGS = GoldSettings()
KNOWN = Optics(200.0, NOMINAL_M)
BLIND = Optics(200.0, None)
LONGER = replace(CAMERA, pixel_size_per_angstrom=0.0117)


def crystal(lattice_constant, centring, allowed=lambda _hkl: True):
    rings = cubic_rings(lattice_constant, centring, max_index_square=40)
    strengths = tuple((r.q_per_angstrom, r.multiplicity / r.q_per_angstrom**2) for r in rings if allowed(r.hkl))
    return PowderPhase("other", strengths, 1.4, 8.0)


def quality_of(powder, optics):
    attempt = measure(powder, optics, SETTINGS)
    quality = judge(powder, optics, SETTINGS, attempt)
    assert (attempt.calibration is None) == (quality.verdict == "fail")
    return quality


@pytest.mark.parametrize(
    ("phase", "name"),
    [
        (amorphous(), "no_rings"),
        (crystal(3.165, "I"), "no_rings"),
        (crystal(3.9, "P"), "no_rings"),
        (crystal(5.431, "F", lambda hkl: sum(hkl) % 2 == 1 or sum(hkl) % 4 == 0), "ambiguous_scale"),
        (PowderPhase("ring", ((0.5, 1.0),), 1.2, 3.0), None),
    ],
    ids=["amorphous", "tungsten", "primitive", "silicon", "one ring"],
)
def test_other_materials(phase, name):
    quality = quality_of(powder_of(gold_source(0, LONGER, phases=(phase,), scan_shape=(6, 6))), BLIND)
    assert quality.verdict == "fail"
    assert name is None or quality.flags[0].name == name


def test_exact_sentence_for_amorphous():
    quality = quality_of(powder_of(gold_source(0, phases=(amorphous(),), scan_shape=(6, 6))), KNOWN)
    message = quality.flags[0].message
    assert message.startswith(
        "no gold rings at effective camera lengths of 0.0476 to 0.204 m: the best comb of rings scores 0."
    )
    assert message.endswith(", below 0.55")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (np.zeros((64, 64)), "the pattern holds no counts on valid pixels"),
        (np.full((64, 64), np.nan), "the pattern holds no counts on valid pixels"),
        (np.ones((20, 20)), "the detector cannot hold three gold rings at any camera length"),
        (np.random.default_rng(0).poisson(5.0, (256, 256)).astype(float), "no gold rings at any camera length"),
    ],
)
def test_patterns_of_nothing(pattern, message):
    quality = quality_of(single_pattern(pattern), BLIND)
    assert quality.verdict == "fail"
    assert message in quality.flags[0].message


def test_half_of_the_rings_off_the_detector():
    camera = replace(CAMERA, pixel_size_per_angstrom=0.0073)
    powder = powder_of(gold_source(0, camera))
    quality = quality_of(powder, BLIND)
    assert quality.verdict == "warn"
    assert [flag.message for flag in quality.flags] == [
        "5 of 10 gold rings are off the detector (400, 331, 420, 422, 511)"
    ]
    found = measure(powder, BLIND, SETTINGS).calibration
    assert found.pixel_size.value == pytest.approx(0.0073, rel=5e-4)
    assert found.ellipse.ratio.value == pytest.approx(1.025, abs=5e-4)


def test_two_rings_are_not_enough():
    camera = replace(CAMERA, pixel_size_per_angstrom=0.0056)
    quality = quality_of(powder_of(gold_source(0, camera, scan_shape=(6, 6))), BLIND)
    assert quality.verdict == "fail"
    assert "are usable" in quality.flags[0].message or "no gold rings" in quality.flags[0].message


def test_wrong_camera_length_is_not_stretched_to_fit():
    quality = quality_of(powder_of(gold_source(1, scan_shape=(6, 6))), Optics(200.0, 0.45))
    assert quality.verdict == "fail"
    assert "at effective camera lengths of 0.315 to 1.35 m" in quality.flags[0].message


def test_beam_stop():
    source = gold_source(2, LONGER)
    pattern = source.frames.mean(axis=0)
    pattern[~source.valid] = np.nan
    rows, cols = np.indices(pattern.shape)
    pattern[np.hypot(rows - 106, cols - 80) < 12] = np.nan
    pattern[104:108, :80] = np.nan
    powder = single_pattern(pattern)
    attempt = measure(powder, BLIND, SETTINGS)
    assert attempt.calibration.pixel_size.value == pytest.approx(LONGER.pixel_size_per_angstrom, rel=5e-4)
    assert attempt.calibration.ellipse.ratio.sigma is None
    names = {flag.name for flag in judge(powder, BLIND, SETTINGS, attempt).flags}
    assert names == {"no_bright_disk", "no_resampling"}
