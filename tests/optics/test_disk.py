from __future__ import annotations

import numpy as np
import pytest

from stemcal.optics.disk import BrightDisk, NoDisk, find_bright_disk, window_centroid

SHAPE = (96, 128)


def disk(row, col, radius, height=100.0, background=1.0, edge=0.4):
    rows, cols = np.indices(SHAPE)
    distance = np.hypot(rows - row, cols - col)
    return background + height / (1 + np.exp(np.clip((distance - radius) / edge, -50, 50)))


@pytest.mark.parametrize("radius", [2.0, 4.5, 12.0])
def test_centre_and_radius(radius):
    found = find_bright_disk(disk(40.3, 61.8, radius))
    assert isinstance(found, BrightDisk)
    assert found.centre_px == pytest.approx((40.3, 61.8), abs=0.01)
    assert found.radius_px == pytest.approx(radius, abs=0.3)


def test_hot_pixels_are_no_disk():
    pattern = disk(40.3, 61.8, 4.0)
    pattern[10, 10] = pattern[70, 100] = 1e6
    found = find_bright_disk(pattern)
    assert isinstance(found, BrightDisk)
    assert found.centre_px == pytest.approx((40.3, 61.8), abs=0.02)


def test_masked_pixels_are_not_looked_at():
    pattern = disk(40.3, 61.8, 4.0)
    valid = np.ones(SHAPE, bool)
    pattern[:, 20:30] = 1e6
    valid[:, 20:30] = False
    assert find_bright_disk(pattern, valid).centre_px == pytest.approx((40.3, 61.8), abs=0.01)


@pytest.mark.parametrize(("width", "radius"), [(1, 5.0), (3, 5.0), (3, 9.0), (3, 20.0), (5, 9.0), (5, 20.0)])
@pytest.mark.parametrize("place", [(0.0, 0.0), (0.6, -0.5), (0.2, 0.9)])
def test_a_cross_of_dead_pixels_does_not_cut_the_disk(width, radius, place):
    """The chips of a quad do not touch, and the beam is often where they meet."""
    centre = 45 + (width - 1) / 2 + place[0] * radius, 60 + (width - 1) / 2 + place[1] * radius
    pattern, valid = disk(*centre, radius), np.ones(SHAPE, bool)
    valid[45 : 45 + width] = valid[:, 60 : 60 + width] = False
    pattern[~valid] = 0
    found = find_bright_disk(pattern, valid)
    assert isinstance(found, BrightDisk)
    assert found.centre_px == pytest.approx(centre, abs=0.5)
    assert found.radius_px == pytest.approx(radius, abs=0.6)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (np.ones(SHAPE), "not 3 times the median"),
        (np.zeros(SHAPE), "not 3 times the median"),
        (np.full(SHAPE, np.nan), "no pixel of the pattern is valid"),
        (disk(2.0, 60.0, 6.0), "touches the edge of the frame"),
        (disk(40.0, 60.0, 14.0) - disk(40.0, 60.0, 10.0) + 1, "beam stop"),
    ],
)
def test_expected_failure_is_a_value_with_a_reason(pattern, reason):
    found = find_bright_disk(pattern)
    assert isinstance(found, NoDisk)
    assert reason in found.reason


def test_centroids_of_frames_follow_the_disk():
    generator = np.random.default_rng(3)
    centres = np.array([44.0, 60.0]) + generator.uniform(-2, 2, (40, 2))
    frames = generator.poisson([disk(row, col, 4.0, 50.0) for row, col in centres]).astype(np.uint16)
    found = window_centroid(frames, (44.0, 60.0), 4.0)
    error = found - centres
    assert np.abs(error.mean(axis=0)).max() < 0.02
    assert error.std() < 0.06


def test_dead_line_across_the_disk():
    centres = np.array([44.0, 60.0]) + np.random.default_rng(4).uniform(-1, 1, (20, 2))
    frames = np.array([disk(row, col, 9.0) for row, col in centres])
    valid = np.ones(SHAPE, bool)
    valid[:, 53:56] = False
    frames[:, ~valid] = 0
    error = window_centroid(frames, (44.0, 60.0), 9.0, valid) - centres
    assert np.abs(error).max() < 0.08
    # taken for zeros the line pushes the centroid aside
    pushed = window_centroid(frames, (44.0, 60.0), 9.0) - centres
    assert np.abs(pushed[:, 1]).mean() > 0.4


def test_frames_without_counts_have_no_centroid():
    frames = np.stack([disk(44.0, 60.0, 4.0), np.zeros(SHAPE)])
    found = window_centroid(frames, (44.0, 60.0), 4.0)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()
    assert np.isnan(window_centroid(frames, np.full((2, 2), np.nan), 4.0)).all()
