from __future__ import annotations

import numpy as np
import pytest

from stemcal.errors import UsageError
from stemcal.optics.disk import window_centroid
from stemcal.optics.ellipse import correction_matrix
from stemcal.optics.rings import blurred_ring
from stemcal.phantoms.powder import Camera, PowderPhase, gold_phase, powder_frames

ROUND = Camera((128, 128), 60.3, 66.7, 0.02)
OVAL = Camera((128, 128), 60.3, 66.7, 0.02, 1.1, 40.0, 200.0)
RING = PowderPhase("ring", ((0.8, 1.0),), 1.5)


def frames_of(camera=ROUND, phases=(RING,), n=6, *, weights=None, descan=None, **changes):
    options = {"counts_per_frame": 3e4, "direct_beam_fraction": 0.3, "disk_radius_px": 4.0, "seed": 7} | changes
    weights = np.ones((n, len(phases))) if weights is None else weights
    descan = np.zeros((n, 2)) if descan is None else descan
    return np.concatenate(list(powder_frames(camera, phases, weights, descan, **options)))


def test_blocks_do_not_matter():
    whole = frames_of(phases=(gold_phase(),))
    np.testing.assert_array_equal(whole, frames_of(phases=(gold_phase(),), block=1))
    np.testing.assert_array_equal(whole, frames_of(phases=(gold_phase(),), block=4))
    assert not np.array_equal(whole, frames_of(phases=(gold_phase(),), seed=8))


@pytest.mark.parametrize("camera", [ROUND, OVAL])
def test_ring_has_the_blurred_profile_in_the_round_frame(camera):
    counts = frames_of(camera, n=40, direct_beam_fraction=0.0, diffuse_fraction=0.0).sum(axis=0)
    rows, cols = np.indices(counts.shape)
    offset = np.stack([rows - camera.centre_row_px, cols - camera.centre_col_px])
    radius = np.hypot(*np.tensordot(correction_matrix(*camera.strain), offset, axes=1))
    # a pixel averages over its area, which is a further blur of 1/12 px^2
    expected = 1.2e6 * blurred_ring(radius, camera.radius_px(0.8), np.sqrt(1.5**2 + 1 / 12))
    near = expected > 20
    pull = (counts[near] - expected[near]) / np.sqrt(expected[near])
    assert (pull**2).mean() == pytest.approx(1, abs=0.08)
    # the same counts do not fit a ring half a pixel larger
    wrong = 1.2e6 * blurred_ring(radius, camera.radius_px(0.8) + 0.5, np.sqrt(1.5**2 + 1 / 12))
    assert ((counts[near] - wrong[near]) ** 2 / wrong[near]).mean() > 5


def test_flat_detector_draws_rings_further_out():
    assert OVAL.radius_px(1.2) / ROUND.radius_px(1.2) - 1 == pytest.approx(3.4e-4, rel=0.01)


def test_counts_are_linear_in_the_weights():
    weights = np.repeat([[0.0], [0.5], [1.0]], 10, axis=0)
    total = frames_of(phases=(gold_phase(),), n=30, weights=weights).reshape(3, 10, -1).sum(axis=2).mean(axis=1)
    scattered = total - 0.3 * 3e4
    assert scattered[0] == pytest.approx(0, abs=150)
    # gold's outer rings and the tail of the diffuse background miss this detector
    assert scattered[1] / scattered[2] == pytest.approx(0.5, abs=0.04)


def test_descan_moves_the_whole_pattern_by_fractions_of_a_pixel():
    descan = np.random.default_rng(0).uniform(-3, 3, (30, 2))
    frames = frames_of(n=30, descan=descan, counts_per_frame=1e5)
    error = window_centroid(frames, (60.3, 66.7), 6.0) - descan - [60.3, 66.7]
    assert np.abs(error.mean(axis=0)).max() < 0.01
    assert error.std() < 0.04


def test_grains_are_friedel_pairs_of_unequal_strength():
    phase = PowderPhase("grain", ((0.8, 1.0),), 0.8, grains_per_frame=1.0)
    camera = Camera((128, 128), 64.0, 64.0, 0.02)
    frame = frames_of(camera, (phase,), n=12, direct_beam_fraction=0.0, diffuse_fraction=0.0, seed=3).astype(float)
    mirrored = np.roll(frame[:, ::-1, ::-1], 1, axis=(1, 2))
    strong = frame.max(axis=(1, 2)) > 100
    assert strong.sum() >= 5
    for one, other in zip(frame[strong], mirrored[strong], strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.7
        assert 0.3 < other.ravel()[one.argmax()] / one.max() < 1.1
    mates = [
        other.ravel()[one.argmax()] / one.max() for one, other in zip(frame[strong], mirrored[strong], strict=True)
    ]
    assert min(mates) < 0.8


def test_mean_over_grains_is_the_smooth_ring():
    spotty = PowderPhase("spotty", ((0.8, 1.0),), 1.5, grains_per_frame=200.0)
    counts = float(frames_of(phases=(spotty,), n=60).sum())
    assert counts == pytest.approx(float(frames_of(n=60).sum()), rel=0.02)


def test_counter_saturates():
    frames = frames_of(counts_per_frame=3e7, direct_beam_fraction=1.0, weights=np.zeros((1, 1)), n=1)
    assert frames.max() == 65535
    assert frames_of(counts_per_frame=3e7, direct_beam_fraction=1.0, n=1, dtype=np.uint32).max() > 4e5


def test_shapes_must_fit():
    with pytest.raises(UsageError, match=r"weights \(6, 2\) and descan \(6, 2\) must be \(n_frames, 1\)"):
        frames_of(weights=np.ones((6, 2)))
