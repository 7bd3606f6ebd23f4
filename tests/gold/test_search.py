"""The comb search finds the scale without being told, over a factor of five."""

from __future__ import annotations

import numpy as np
import pytest

from stemcal.gold.centre import symmetric_centre
from stemcal.gold.search import find_comb, sector_profiles
from stemcal.optics.rings import cubic_powder_rings
from stemcal.phantoms.powder import Camera, gold_phase, powder_frames

RINGS = cubic_powder_rings(4.0782, "F", max_index_square=44)
Q = np.array([ring.q_per_angstrom for ring in RINGS])


def mean_of(camera, n=16, counts=2e4):
    blocks = powder_frames(
        camera,
        (gold_phase(grains_per_frame=4.0),),
        np.ones((n, 1)),
        np.zeros((n, 2)),
        counts_per_frame=counts,
        direct_beam_fraction=0.4,
        disk_radius_px=3.0,
        seed=1,
    )
    return next(blocks).mean(axis=0)


def search(camera, pattern, scale_range=(1.0, 1e5)):
    centre = (camera.centre_row_px + 0.5, camera.centre_col_px - 0.6)
    profiles = sector_profiles(pattern, np.ones(pattern.shape, bool), centre, 9.0)
    return find_comb(profiles, RINGS, Q, (1.3, 1.9), scale_range, 0.06)


@pytest.mark.parametrize("pixel_size", [0.025, 0.0117, 0.0075, 0.0043])
@pytest.mark.parametrize(("ratio", "angle_deg"), [(1.0, 0.0), (1.08, 140.0)])
def test_blind(pixel_size, ratio, angle_deg):
    camera = Camera((256, 256), 131.3, 123.4, pixel_size, ratio, angle_deg)
    found = search(camera, mean_of(camera))
    assert found.best.scale * pixel_size == pytest.approx(1, abs=0.015)
    assert np.subtract(found.best.strain, camera.strain) == pytest.approx(0, abs=0.03)
    assert found.best.score > (0.55 if pixel_size < 0.02 else 0.45)
    assert found.runner_up.score < 0.85 * found.best.score


def test_range_without_the_right_scale_scores_low():
    camera = Camera((256, 256), 131.3, 123.4, 0.0117)
    assert search(camera, mean_of(camera), (95.0, 180.0)).best.score < 0.3


def test_no_room_for_three_rings():
    camera = Camera((256, 256), 131.3, 123.4, 0.0117)
    assert search(camera, mean_of(camera), (400.0, 900.0)) is None


def test_centre_without_a_disk():
    camera = Camera((200, 220), 109.2, 96.6, 0.014)
    pattern = mean_of(camera)
    usable = np.ones(pattern.shape, bool)
    rows, cols = np.indices(pattern.shape)
    usable[np.hypot(rows - 110, cols - 98) < 16] = False
    usable[105:112, 96:] = False
    row, col = symmetric_centre(np.where(usable, pattern, 0.0), usable)
    assert (row, col) == pytest.approx((109.2, 96.6), abs=0.5)
