"""Smooth maps without relation are not taken for related; a shuffling of positions would take most of them so."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import pearsonr, spearmanr

from stemcal.nmf.surrogates import correlate, holm, ranks

SHAPE = (32, 40)
ALL = np.ones(SHAPE, dtype=bool)


def smooth(generator: np.random.Generator, length: float) -> np.ndarray:
    """A random field without a seam at its edges: cut from a larger one."""
    margin = int(4 * length) + 2
    noise = generator.normal(size=[size + 2 * margin for size in SHAPE])
    return gaussian_filter(noise, length)[margin:-margin, margin:-margin]


def p_values(n_pairs: int, valid: np.ndarray, n_surrogates: int) -> np.ndarray:
    """Of unrelated pairs, smooth over 1 to 4 positions."""
    generator = np.random.default_rng(3)
    found = []
    for number in range(n_pairs):
        one, other = smooth(generator, 1 + number % 4), smooth(generator, 1 + number % 4)
        found.append(correlate(one[None], other[None], valid, n_surrogates, [number]).p_value[0, 0])
    return np.array(found)


def test_of_200_unrelated_smooth_pairs_at_most_6_percent_are_below_5_percent() -> None:
    found = p_values(200, ALL, 399)
    assert np.mean(found <= 0.05) <= 0.06
    assert np.mean(found) == pytest.approx(0.5, abs=0.05)
    assert np.mean(found <= 0.5) == pytest.approx(0.5, abs=0.08)


def test_vacuum_that_is_left_out_makes_no_relation() -> None:
    rows, cols = np.indices(SHAPE)
    disk = np.hypot(rows - 15, cols - 15) > 10
    assert np.mean(p_values(100, disk, 99) <= 0.05) <= 0.1


def test_the_p_value_that_knows_nothing_of_neighbours_fails_on_the_same_pairs() -> None:
    generator = np.random.default_rng(3)
    pairs = [(smooth(generator, 2.5), smooth(generator, 2.5)) for _ in range(100)]
    assert np.mean([pearsonr(one.ravel(), other.ravel()).pvalue <= 0.05 for one, other in pairs]) > 0.5


def test_a_relation_under_noise_is_found() -> None:
    generator = np.random.default_rng(4)
    shape = smooth(generator, 2.5)
    noisy = shape / shape.std() + generator.normal(size=SHAPE)
    result = correlate(shape[None], noisy[None], ALL, 999, [0])
    assert result.p_value[0, 0] == pytest.approx(0.001)
    assert result.coefficient[0, 0] == pytest.approx(0.7, abs=0.1)


@pytest.mark.parametrize("n_missing", [5, 300])
def test_coefficients_are_those_of_scipy(n_missing: int) -> None:
    generator = np.random.default_rng(5)
    maps = np.stack([smooth(generator, 1.5) for _ in range(3)])
    others = np.round(np.stack([smooth(generator, 1.5), maps[0] + 0.3 * maps[1]]), 2)
    valid = ALL.copy()
    valid.ravel()[generator.choice(valid.size, n_missing, replace=False)] = False
    valid[:, 0] = False
    maps[:, ~valid] = np.nan
    linear = correlate(np.nan_to_num(maps), others, valid, 99, [0]).coefficient
    ranked = correlate(ranks(maps, valid), ranks(others, valid), valid, 99, [0]).coefficient
    for index, one in enumerate(maps):
        for place, other in enumerate(others):
            assert linear[index, place] == pytest.approx(pearsonr(one[valid], other[valid]).statistic)
            assert ranked[index, place] == pytest.approx(spearmanr(one[valid], other[valid]).statistic)


def test_both_ways_of_drawing_agree() -> None:
    generator = np.random.default_rng(6)
    maps = np.stack([smooth(generator, 2.0), smooth(generator, 2.0)])
    few, more = ALL.copy(), ALL.copy()
    few[3, 3:12] = False
    more[3, 3:18] = False
    first, second = (correlate(maps, maps[:1] + 2 * maps[1:], valid, 999, [1]).p_value for valid in (few, more))
    np.testing.assert_allclose(first, second, atol=0.03)


def test_a_constant_map_correlates_with_nothing() -> None:
    flat = np.full((1, *SHAPE), 0.1)
    result = correlate(flat, smooth(np.random.default_rng(7), 2)[None], ALL, 99, [0])
    assert result.coefficient[0, 0] == 0
    assert result.p_value[0, 0] == 1


def test_holm_multiplies_the_smallest_by_the_number_and_keeps_the_order() -> None:
    np.testing.assert_allclose(holm(np.array([[0.01, 0.4], [0.02, 0.03]])), [[0.04, 0.4], [0.06, 0.06]])
