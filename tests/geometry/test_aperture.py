import functools
import re

import numpy as np
import pytest
from disk_truth import counted, disk_pattern

from stemcal.geometry.aperture import Aperture, NoAperture, find_aperture
from stemcal.geometry.stray_pixels import stray_pixels

SHAPE, CENTRE, RADIUS, FRAMES = (64, 64), (31.87, 30.89), 15.3, 16384


@functools.cache
def pattern(**what):
    return counted(disk_pattern(SHAPE, CENTRE, RADIUS, **what), 1e3, FRAMES)


@pytest.mark.parametrize(("crystal", "blur_px"), [("none", 0.0), ("none", 0.5), ("thin", 0.0), ("thin", 0.5)])
def test_centre_and_radius_are_found_to_a_hundredth_of_a_pixel(crystal, blur_px):
    found = find_aperture(pattern(crystal=crystal, blur_px=blur_px))
    assert isinstance(found, Aperture)
    assert (found.centre_row_px, found.centre_col_px) == pytest.approx(CENTRE, abs=0.01)
    assert found.radius_px == pytest.approx(RADIUS, abs=0.01)
    assert found.edge_px == pytest.approx(np.hypot(blur_px, np.sqrt(1 / 12)), abs=0.04)
    assert not found.ellipse_significant
    assert (found.e1, found.e2) == (0.0, 0.0)
    assert 0 < found.sigma_centre_px < 0.01


def test_structure_of_a_thick_crystal_does_not_move_the_disk():
    found = find_aperture(pattern(crystal="thick"))
    assert (found.centre_row_px, found.centre_col_px) == pytest.approx(CENTRE, abs=0.02)
    assert found.radius_px == pytest.approx(RADIUS, rel=0.01)


def test_ellipse_is_used_only_where_it_is_significant():
    found = find_aperture(pattern(strain=(-0.02, 0.015)))
    assert found.ellipse_significant
    assert (found.e1, found.e2) == pytest.approx((-0.02, 0.015), abs=0.001)
    row, col = found.round_offsets(np.array([CENTRE[0]]), np.array([CENTRE[1] + 10.0]))
    assert (row[0], col[0]) == pytest.approx((-0.15, 10.2), abs=0.03)
    assert not find_aperture(pattern(strain=(0.002, 0.0))).ellipse_significant


def test_chip_gap_and_a_disk_cut_by_the_frame_are_allowed_for():
    counts, valid = pattern(), np.ones(SHAPE, bool)
    valid[30:33], valid[:, 31:34] = False, False
    found = find_aperture(np.where(valid, counts, 0), valid)
    assert (found.centre_row_px, found.centre_col_px) == pytest.approx(CENTRE, abs=0.01)
    cut = find_aperture(counts[:, 20:])
    assert (cut.centre_row_px, cut.centre_col_px) == pytest.approx((CENTRE[0], CENTRE[1] - 20), abs=0.02)


def ring():
    row, col = np.indices(SHAPE)
    return (np.abs(np.hypot(row - 31, col - 31) - 16) < 2).astype(float)


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (np.zeros(SHAPE), "empty"),
        (np.full(SHAPE, np.nan), "empty"),
        (np.ones(SHAPE), "fills the frame"),
        (np.random.default_rng(0).poisson(10, SHAPE) / 10, "stands out"),
        (np.indices(SHAPE)[1] + 5.0, "no edge"),
        (np.where(disk_pattern(SHAPE, CENTRE, RADIUS) > 0.5, 4095.0, 3.0), "saturated"),
        (ring(), "hollow|stands out"),
        (np.eye(1, 4096, 999).reshape(SHAPE) * 1e4, "radius"),
    ],
    ids=["zero", "nan", "uniform", "noise", "gradient", "saturated", "ring", "hot pixel"],
)
def test_what_is_no_disk_is_refused_with_a_reason(counts, reason):
    found = find_aperture(counts)
    assert isinstance(found, NoAperture)
    assert re.search(reason, found.reason)


def test_hot_and_dead_pixels_are_found_and_no_others():
    clean = pattern(crystal="thick")
    aperture = find_aperture(clean)
    valid = np.ones(SHAPE, bool)
    assert not stray_pixels(clean, valid, aperture, FRAMES).any()
    counts, bad = clean.copy(), np.zeros(SHAPE, bool)
    for (row, col), factor in {(30, 30): 0, (31, 40): 2.0, (25, 25): 0.5, (40, 33): 1.8, (40, 34): 1.8}.items():
        counts[row, col], bad[row, col] = factor * counts[row, col], True
    counts[5, 60], bad[5, 60] = 3.0, True
    np.testing.assert_array_equal(stray_pixels(counts, valid, aperture, FRAMES), bad)
