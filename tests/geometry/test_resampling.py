"""Leaving out tiles: the spread of the fits is the uncertainty, however unequal the tiles."""

import numpy as np
import pytest

from stemcal.geometry.resampling import group_covariance


def test_groups_of_a_tapered_window_give_the_variance_of_the_weighted_mean() -> None:
    random = np.random.default_rng(5)
    window = np.sin(np.pi * (np.arange(160) + 0.5) / 160) ** 2
    groups = np.repeat(np.arange(16), 10)
    total = np.bincount(groups, window)
    truth = (window**2).sum() / window.sum() ** 2
    found = []
    for _ in range(400):
        values = random.normal(size=(160, 2)) @ np.array([[1.0, 0.0], [0.6, 0.8]])
        sums = np.stack([np.bincount(groups, window * column) for column in values.T], axis=1)
        mean = sums.sum(axis=0) / window.sum()
        left = (sums.sum(axis=0) - sums) / (window.sum() - total)[:, None]
        found.append(group_covariance(left - mean, total / window.sum()))
    average = np.mean(found, axis=0)
    expected = truth * np.array([[1.36, 0.48], [0.48, 0.64]])
    assert average == pytest.approx(expected, rel=0.08)
