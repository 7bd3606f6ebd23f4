"""Rings made of spots: exact profile, few grains, wide disks, places kept to a fraction of a pixel."""

from __future__ import annotations

import numpy as np
import pytest
from gold_truth import CAMERA, MemorySource, powder_of

from stemcal.gold.measure import Optics, measure
from stemcal.gold.model import LOG_SCALE
from stemcal.gold.profile import profile, ring_shapes
from stemcal.gold.settings import GoldSettings
from stemcal.gold.sum_kernels import add_frames
from stemcal.optics.rings import blurred_ring
from stemcal.phantoms.powder import Camera, gold_phase
from stemcal.phantoms.standard_scan import StandardScan, standard_frames

BLIND = Optics(200.0, None)


def calibration_of(scan):
    frames, valid = standard_frames(scan)
    attempt = measure(powder_of(MemorySource(frames, scan.scan_shape, valid)), BLIND, GoldSettings())
    assert attempt.refusal is None, attempt.refusal
    return attempt.calibration


def error_of(log_scale, camera):
    return float(np.exp(-log_scale)) / camera.pixel_size_per_angstrom - 1


def test_the_profile_is_a_circle_blurred_by_disk_and_gaussian():
    """Against a sum over offsets inside the disk, each of which shifts a circle of points."""
    ring, sigma, aperture = 12.0, 0.8, 2.5
    radius = np.linspace(7.0, 17.0, 41)
    shares = (np.arange(400) + 0.5) / 400
    offset, turn = aperture * np.sqrt(shares), np.pi * (np.arange(200) + 0.5) / 200
    away = np.hypot(ring + offset[:, None] * np.cos(turn), offset[:, None] * np.sin(turn)).ravel()
    expected = np.array([blurred_ring(r, away, sigma).mean() for r in radius])
    scale = (2 * np.pi) ** 1.5 * ring * np.hypot(sigma, aperture / 2)
    found = profile(radius, ring, sigma, aperture, 12)
    np.testing.assert_allclose(found, scale * expected, atol=2e-5)
    narrow = scale * blurred_ring(radius, ring, float(np.hypot(sigma, aperture / 2)))
    assert np.abs(found - narrow).max() > 0.05, "a Gaussian of the same width would do as well"


def test_derivatives_of_the_profile():
    radius, rings, sigma, aperture, step = (
        np.linspace(10, 30, 200),
        np.array([15.0, 22.0]),
        np.array([0.8, 0.9]),
        2.0,
        1e-3,
    )
    at = ring_shapes(radius, rings, sigma, aperture)
    for found, up, down in (
        (at.by_radius, (radius + step, rings, sigma, aperture), (radius - step, rings, sigma, aperture)),
        (at.by_ring_radius, (radius, rings + step, sigma, aperture), (radius, rings - step, sigma, aperture)),
        (at.by_sigma, (radius, rings, sigma + step, aperture), (radius, rings, sigma - step, aperture)),
        (at.by_aperture, (radius, rings, sigma, aperture + step), (radius, rings, sigma, aperture - step)),
    ):
        difference = (ring_shapes(*up).value - ring_shapes(*down).value) / (2 * step)
        np.testing.assert_allclose(found, difference, atol=2e-3)


def test_twenty_grains():
    """Every grain is seen by a few frames only and its spots are few: in sectors that is four times as uncertain."""
    scan = StandardScan(CAMERA, gold_phase(grains_per_frame=1.0), (10, 10), n_grains=20, seed=1)
    found = calibration_of(scan)
    assert found.fitted.in_spots
    assert abs(error_of(found.fitted.geometry[LOG_SCALE], CAMERA)) < 7e-5
    assert found.ellipse.ratio.value == pytest.approx(CAMERA.ratio, abs=2e-4)
    assert found.fitted.chi_square < 1.6
    assert abs(error_of(found.fitted.joint.state.geometry[LOG_SCALE], CAMERA)) > 1e-4, "sectors would do as well"


def test_wide_disks_that_overlap():
    phase = gold_phase(grains_per_frame=8.0, spot_radius_px=4.5, ring_width_px=0.5)
    found = calibration_of(StandardScan(CAMERA, phase, (10, 10), disk_radius_px=4.5, seed=2))
    assert abs(error_of(found.fitted.geometry[LOG_SCALE], CAMERA)) < 1.5e-4
    assert abs(found.ellipse.ratio.value - CAMERA.ratio) < 3 * found.ellipse.ratio.sigma
    assert found.ellipse.ratio.sigma < 1e-3
    assert found.fitted.chi_square < 1.3


def test_a_shape_at_its_bound_leaves_the_uncertainties_alone():
    """Rings that do not widen at all: the step of that parameter once held back all others in the resampling."""
    found = calibration_of(StandardScan(CAMERA, gold_phase(grains_per_frame=0.0), (8, 8), descan=0.0, seed=3))
    relative = found.pixel_size.sigma / CAMERA.pixel_size_per_angstrom
    assert 5e-6 < relative < 1e-4
    assert abs(error_of(found.fitted.geometry[LOG_SCALE], CAMERA)) < 4 * relative


def test_a_beam_in_the_corner_of_the_inner_half_and_a_ratio_of_1_15():
    camera = Camera((160, 160), 45.0, 112.0, 0.021, 1.148, 110.0, 300.0)
    found = calibration_of(StandardScan(camera, gold_phase(grains_per_frame=6.0), (8, 8), seed=4))
    assert abs(error_of(found.fitted.geometry[LOG_SCALE], camera)) < 3e-4
    assert found.ellipse.ratio.value == pytest.approx(1.148, abs=1e-3)
    assert found.ellipse.angle_deg.value == pytest.approx(110.0, abs=0.5)


def test_frames_are_added_where_the_beam_stands_still():
    frames = np.arange(2 * 4 * 5, dtype=np.uint16).reshape(2, 4, 5)
    valid = np.ones((4, 5), bool)
    valid[1, 2] = False
    counts, moment = np.zeros((1, 4, 5)), np.zeros((1, 2, 4, 5))
    offset = np.array([[0.25, -0.5], [0.0, 0.125]])
    add_frames(frames, np.array([0, -1]), np.array([[1, -1], [0, 0]]), offset, valid, counts, moment)
    expected = np.zeros((4, 5))
    expected[:3, 1:] = np.where(valid, frames[0], 0)[1:, :4]
    np.testing.assert_array_equal(counts[0], expected)
    np.testing.assert_array_equal(moment[0], expected * offset[0][:, None, None])
