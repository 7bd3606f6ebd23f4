"""Classes and clusters are those that were drawn; patterns are sums of raw counts, whatever the threads."""

from __future__ import annotations

import numpy as np
import pytest

from stemcal.frames.npy import NpySource
from stemcal.nmf.class_settings import ClassSettings
from stemcal.nmf.classes import Threshold, class_maps, clusters, otsu, threshold
from stemcal.nmf.patterns import class_patterns, whole_shifts

PLAIN = ClassSettings()


def test_otsu_parts_two_groups_and_knows_one_from_two() -> None:
    generator = np.random.default_rng(0)
    two = np.concatenate([generator.normal(1, 0.2, 700), generator.normal(5, 0.2, 300)]).astype(np.float32)
    value, separability = otsu(two)
    assert 1.5 < value < 4.5
    assert separability > 0.98
    assert otsu(generator.normal(1, 0.2, 5000).astype(np.float32))[1] == pytest.approx(0.64, abs=0.03)
    assert otsu(np.full(10, 2.0, np.float32)) == (2.0, None)


def test_otsu_agrees_with_scikit_image() -> None:
    filters = pytest.importorskip("skimage.filters")
    values = np.random.default_rng(1).gamma(2.0, 1.0, 3000).astype(np.float32)
    assert otsu(values)[0] == pytest.approx(filters.threshold_otsu(values, nbins=512), abs=np.ptp(values) / 512)


def test_quantile_and_share() -> None:
    values = np.arange(100, dtype=np.float32)
    assert threshold(values, values, ClassSettings(threshold="quantile", quantile=0.9)).value == pytest.approx(89.1)
    loadings = np.array([[[9.0, 1.0, 0.001, np.nan]], [[1.0, 9.0, 0.0, 1.0]]], np.float32)
    sums = loadings[:, 0, :3].sum(axis=0)
    settings = ClassSettings(threshold="share", share=0.6)
    found = class_maps(loadings, [threshold(one[0, :3], sums, settings) for one in loadings], settings)
    np.testing.assert_array_equal(found[:, 0], [[True, False, False, False], [False, True, False, False]])


def drawn() -> np.ndarray:
    present = np.zeros((30, 40), dtype=bool)
    present[20:26, 30:36] = True
    present[2:6, 3:12] = True
    present[12:16, 3:12] = True
    present[28, 1] = True
    return present


def test_clusters_are_numbered_by_size_and_then_by_place() -> None:
    present = drawn()
    loading = np.where(present, np.arange(40, dtype=np.float32), 0)
    numbers, found = clusters(present, loading, PLAIN)
    assert [one.n_positions for one in found] == [36, 36, 36]
    assert [one.centre for one in found] == [(3.5, 7.0), (13.5, 7.0), (22.5, 32.5)]
    assert found[2].mean_loading == pytest.approx(32.5)
    assert numbers[28, 1] == 0
    assert (numbers[2:6, 3:12] == 1).all()
    present[26, 30:36] = True
    assert clusters(present, loading, PLAIN)[1][0].centre == (23.0, 32.5)


def test_missing_positions_and_empty_classes() -> None:
    loadings = np.full((1, 4, 4), np.nan, np.float32)
    found = class_maps(loadings, [Threshold(0.5, 0.0, None)], PLAIN)
    assert not found.any()
    numbers, none = clusters(found[0], loadings[0], PLAIN)
    assert not numbers.any()
    assert none == ()


@pytest.fixture
def frames(tmp_path) -> NpySource:
    """Frames of a beam that wanders over the detector, one wrong pixel."""
    counts = np.random.default_rng(2).poisson(0.2, (6, 50, 24, 20)).astype(np.uint16)
    origin = wandering()
    for index, (row, col) in enumerate(np.rint(origin).astype(int)):
        counts.reshape(-1, 24, 20)[index, row, col] = 1000 + index % 7
    counts[:, :, 5, 5] = 60000
    path = tmp_path / "scan.npy"
    np.save(path, counts)
    source = NpySource(path, None)
    source.valid = source.valid.copy()
    source.valid[5, 5] = False
    return source


def wandering() -> np.ndarray:
    rows, cols = np.divmod(np.arange(300), 50)
    return np.stack([11 + 0.7 * rows, 8 + 0.08 * cols], axis=1)


def members() -> np.ndarray:
    chosen = np.random.default_rng(3).random((3, 300)) < 0.4
    chosen[2] = False
    return chosen


def test_patterns_are_whole_counts_with_the_beam_in_one_place(frames: NpySource) -> None:
    shifts, centre = whole_shifts(wandering())
    found = class_patterns(frames, members(), shifts)
    assert found.counts.dtype == np.int64
    stack = frames.read(0, 300).astype(np.int64)
    for one, chosen in enumerate(members()):
        counts, exposure = np.zeros((24, 20), np.int64), np.zeros((24, 20), np.int64)
        for index in np.flatnonzero(chosen):
            for row in range(24):
                for col in range(20):
                    r, c = row + shifts[index, 0], col + shifts[index, 1]
                    if 0 <= r < 24 and 0 <= c < 20 and (r, c) != (5, 5):
                        counts[row, col] += stack[index, r, c]
                        exposure[row, col] += 1
        np.testing.assert_array_equal(found.counts[one], counts)
        np.testing.assert_array_equal(found.exposure[one], exposure)
    mean = found.mean
    assert np.isnan(mean[2]).all()
    assert np.nanmax(mean[0]) < 1010
    row, col = np.unravel_index(np.nanargmax(mean[0]), mean[0].shape)
    assert np.hypot(row - centre[0], col - centre[1]) < 1.0


def test_without_the_correction_the_beam_is_smeared(frames: NpySource) -> None:
    shifts, _ = whole_shifts(wandering())
    straight = class_patterns(frames, members(), shifts).mean[0]
    smeared = class_patterns(frames, members(), np.zeros_like(shifts)).mean[0]
    assert np.nanmax(straight) > 2 * np.nanmax(smeared)


def test_threads_change_nothing_and_floats_are_read(frames: NpySource, tmp_path) -> None:
    shifts, _ = whole_shifts(wandering())
    one, three = (class_patterns(frames, members(), shifts, threads=n) for n in (1, 3))
    np.testing.assert_array_equal(one.counts, three.counts)
    np.save(tmp_path / "float.npy", frames.read(0, 300).reshape(6, 50, 24, 20).astype(np.float32))
    source = NpySource(tmp_path / "float.npy", None)
    source.valid = frames.valid
    np.testing.assert_array_equal(class_patterns(source, members(), shifts).mean, one.mean)
