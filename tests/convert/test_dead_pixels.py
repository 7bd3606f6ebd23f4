from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stemcal.convert.dead_pixels import find_dead_pixels

SHAPE = (256, 256)
ROW, COL = np.mgrid[: SHAPE[0], : SHAPE[1]]


def pattern(seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Counts of a pattern that falls from 30 000 to almost nothing, and what was expected of each pixel."""
    radius = np.hypot(ROW - 140, COL - 120)
    expected = 3e4 * np.exp(-radius / 12) + 200 * np.exp(-radius / 20)
    return np.random.default_rng(seed).poisson(expected), expected


def find(counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    return find_dead_pixels(counts, min_counts=20, max_width_px=5)


def test_a_pattern_that_fades_into_the_dark_has_no_dead_pixel() -> None:
    counts, _ = pattern()
    assert np.count_nonzero(counts == 0) > 1000
    assert not find(counts).any()


def test_a_dead_cross_is_found_whole() -> None:
    counts, expected = pattern()
    truth = np.zeros(SHAPE, bool)
    truth[126:131] = truth[:, 126:131] = True
    counts[truth] = 0
    found = find(counts)
    assert found[truth].all()
    assert not found[~truth].any()
    assert expected[truth].min() < 1


def test_single_pixels_clusters_and_parts_of_lines_are_found() -> None:
    counts, expected = pattern()
    truth = np.zeros(SHAPE, bool)
    truth[140, 120] = truth[100, 100] = True
    truth[150:153, 130:133] = True
    truth[128:, 90] = True
    truth[120:160, 140] = True
    counts[truth] = 0
    found = find(counts)
    bright = expected > 60
    assert found[truth & bright].all()
    assert found[128:, 90].all()
    assert not found[~truth].any()


@pytest.mark.parametrize(
    "shadow",
    [
        COL > 200,
        np.hypot(ROW - 128, COL - 128) < 60.3,
        (np.abs(ROW - 128) < 40) & (np.abs(COL - 128) < 30),
        np.abs(ROW - 128) + np.abs(COL - 128) < 40,
        np.hypot(ROW - 128, COL - 128) > 90,
    ],
    ids=["half", "disk", "square", "diamond", "outside of an aperture"],
)
def test_a_sharp_shadow_is_not_dead(shadow: NDArray[np.bool_]) -> None:
    counts = np.random.default_rng(1).poisson(1000.0, SHAPE)
    counts[shadow] = 0
    assert not find(counts).any()


def test_the_gap_between_two_disks_on_black_is_not_dead() -> None:
    disks = (np.hypot(ROW - 128, COL - 100) < 20) | (np.hypot(ROW - 128, COL - 143) < 20)
    counts = np.where(disks, 1000, 0)
    assert counts[128, 120:124].min() == 0
    assert not find(counts).any()


def test_without_enough_counts_nothing_is_claimed() -> None:
    counts = np.random.default_rng(2).poisson(3.0, SHAPE)
    counts[50, 50] = 0
    assert not find(counts).any()
    assert not find(np.zeros(SHAPE, np.int64)).any()
