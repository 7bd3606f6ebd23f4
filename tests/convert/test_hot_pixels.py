from __future__ import annotations

import numpy as np
import pytest

from stemcal.convert.hot_pixels import find_hot_pixels

SHAPE = (64, 64)
BEAM = (30.0, 33.0, 3.0)


def pattern(rng: np.random.Generator, n_frames: int) -> np.ndarray:
    """A beam, sharp spots of half a pixel (standard deviation) and a faint background."""
    rows, cols = np.indices(SHAPE)
    expected = 0.02 + 200.0 * (np.hypot(rows - BEAM[0], cols - BEAM[1]) < BEAM[2])
    for row, col in ((10.0, 10.0), (50.3, 41.6), (12.5, 55.0)):
        expected = expected + 30.0 * np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / (2 * 0.5**2))
    return rng.poisson(n_frames * expected)


def find(total: np.ndarray, beam: tuple[float, float, float] | None = BEAM) -> list[tuple[int, int]]:
    return [
        (int(row), int(col)) for row, col in np.argwhere(find_hot_pixels(total, min_counts=20, factor=10, beam=beam))
    ]


@pytest.mark.parametrize("n_frames", [1, 20, 1000])
def test_hot_pixels_are_found_and_sharp_spots_are_not(n_frames: int) -> None:
    total = pattern(np.random.default_rng(3), n_frames)
    assert find(total) == []
    hot = [(5, 40), (40, 3), (63, 63)]
    for row, col in hot:
        total[row, col] = 400 * n_frames
    assert find(total) == hot


def test_a_beam_of_one_pixel_is_no_hot_pixel() -> None:
    total = np.zeros(SHAPE, np.int64)
    total[30, 33] = 10**6
    total[5, 40] = 10**4
    assert find(total) == [(5, 40)]
    assert find(total, beam=None) == []
