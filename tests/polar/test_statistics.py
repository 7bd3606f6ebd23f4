from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from stemcal.optics.ellipse import correction_matrix, strain_from_ratio
from stemcal.polar.operator import Geometry, RadialGrid, RingOperators, ring_operator
from stemcal.polar.statistics import block_statistics, quantise, ring_statistics

from .test_operator import weights

SHAPE = (128, 128)
CENTRE = (63.3, 62.1)
MATRIX = correction_matrix(*strain_from_ratio(1.05, 0.6))


def geometry(valid: np.ndarray | None = None, n_bins: int = 60, width: float = 1.0) -> Geometry:
    usable = np.ones(SHAPE, bool) if valid is None else valid
    return Geometry(usable, MATRIX, RadialGrid(width, n_bins), 4)


def statistics(frames: np.ndarray, shape: Geometry, least: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    return ring_statistics(frames, ring_operator(shape, CENTRE), least)


def interpolated_dispersion(frame: np.ndarray, radii: np.ndarray, n_angles: int = 180) -> np.ndarray:
    """Variance over mean the usual way: interpolate onto a polar grid first."""
    angle = np.arange(n_angles) * 2 * np.pi / n_angles
    offset = np.stack([np.outer(radii, np.sin(angle)), np.outer(radii, np.cos(angle))])
    polar = ndimage.map_coordinates(frame.astype(float), offset + np.array(CENTRE)[:, None, None], order=1)
    return np.asarray(polar.var(axis=1) / polar.mean(axis=1))


@pytest.mark.parametrize("expected", [0.05, 10.0])
@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_flat_poisson_counts_have_dispersion_one_at_every_radius(expected: float, width: float) -> None:
    n_frames, n_bins = 96, int(60 / width)
    frames = np.random.default_rng(5).poisson(expected, (n_frames, *SHAPE))
    shape = geometry(n_bins=n_bins, width=width)
    mean, variance = statistics(frames, shape)
    known = np.isfinite(variance[0])
    assert known[int(2 / width) :].all()
    ratio = variance.mean(axis=0) / expected
    # Standard error of a variance of n Poisson pixels: var * sqrt((2 + 1 / expected) / n).
    n = ring_operator(shape, CENTRE).n_effective * n_frames
    with np.errstate(divide="ignore"):
        sigma = np.sqrt((2 + 1 / expected) / n)
    assert (np.abs(ratio - 1)[known] < 4.5 * sigma[known]).all()
    weight = np.where(known, n, 0)
    assert abs(np.average(np.nan_to_num(ratio), weights=weight) - 1) < 4 * np.sqrt((2 + 1 / expected) / weight.sum())
    assert abs(mean[:, known].mean() / expected - 1) < 0.02


def test_interpolating_first_breaks_it() -> None:
    frame = np.random.default_rng(5).poisson(10.0, SHAPE)
    dispersion = interpolated_dispersion(frame, np.array([5.0, 20.0, 40.0, 55.0]))
    assert (dispersion < 0.75).all()


def test_without_the_effective_number_small_rings_are_wrong() -> None:
    frames = np.random.default_rng(6).poisson(10.0, (400, *SHAPE))
    _, variance = statistics(frames, geometry(n_bins=4))
    n = ring_operator(geometry(n_bins=4), CENTRE).n_effective
    biased = (variance * (n - 1) / n).mean(axis=0) / 10
    right = variance.mean(axis=0) / 10
    assert abs(right[1] - 1) < 0.025
    assert biased[1] < 0.95


def test_mean_of_a_radially_symmetric_pattern_is_its_profile() -> None:
    row, col = np.indices(SHAPE)
    offset = np.tensordot(MATRIX, np.stack([row - CENTRE[0], col - CENTRE[1]]), axes=1)
    radius = np.hypot(*offset)
    pattern = 100 * np.exp(-radius / 25) + 40 * np.exp(-0.5 * ((radius - 30) / 3) ** 2)
    mean, _ = statistics(pattern[None], geometry())
    centres = geometry().grid.centres_px
    truth = 100 * np.exp(-centres / 25) + 40 * np.exp(-0.5 * ((centres - 30) / 3) ** 2)
    np.testing.assert_allclose(mean[0, 2:], truth[2:], rtol=0.007)
    round_mean, _ = ring_statistics(
        pattern[None],
        ring_operator(Geometry(np.ones(SHAPE, bool), np.eye(2), RadialGrid(1.0, 60), 4), CENTRE),
        2,
    )
    assert np.abs(round_mean[0, 2:] / truth[2:] - 1).max() > 0.012, "without the ellipse it is not"


def test_a_dead_cross_makes_no_variance() -> None:
    valid = np.ones(SHAPE, bool)
    valid[80:85] = valid[:, 80:85] = False
    frames = np.random.default_rng(7).poisson(20.0, (60, *SHAPE)) * valid
    mean, variance = statistics(frames, geometry(valid))
    dispersion = np.nanmean(variance, axis=0) / np.nanmean(mean, axis=0)
    assert np.abs(dispersion[4:] - 1).max() < 0.06
    assert np.abs(np.nanmean(mean, axis=0) / 20 - 1).max() < 0.05
    # Taking the dead pixels for zeros makes a peak at the cross's distance from the origin.
    _, spurious = statistics(frames, geometry())
    peak = np.nanmean(spurious, axis=0) / 20
    assert peak[20] > 3


def test_hot_pixels_under_the_mask_do_not_leak() -> None:
    valid = np.ones(SHAPE, bool)
    valid[70, 70] = False
    frames = np.full((1, *SHAPE), 3.0)
    frames[0, 70, 70] = np.nan
    mean, variance = statistics(frames, geometry(valid))
    np.testing.assert_allclose(mean, 3.0)
    np.testing.assert_allclose(variance[:, 3:], 0.0, atol=1e-12)


def test_empty_and_scarce_rings_are_missing() -> None:
    valid = np.ones(SHAPE, bool)
    row, col = np.indices(SHAPE)
    valid[np.hypot(row - CENTRE[0], col - CENTRE[1]) < 6] = False
    valid[63, 62] = True
    mean, variance = statistics(np.ones((1, *SHAPE)), geometry(valid, n_bins=120))
    assert np.isfinite(mean[0, 0])
    assert np.isnan(variance[0, 0]), "one pixel has no variance"
    assert np.isnan(mean[0, 3]), "nothing valid"
    assert np.isnan(mean[0, -1]), "beyond the detector"
    assert np.isfinite(variance[0, 20])


def test_double_precision_keeps_the_shot_noise_of_a_bright_ring() -> None:
    frames = np.random.default_rng(8).poisson(60000.0, (20, *SHAPE)).astype(np.uint16)
    mean, variance = statistics(frames, geometry())
    assert abs(np.nanmean((variance / mean)[:, 10:]) - 1) < 0.01


def block_geometry(keys: np.ndarray) -> RingOperators:
    return RingOperators(geometry(n_bins=30), keys, 4, 2**30)


@pytest.mark.parametrize("peak", [3, 200, 65535])
@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "f4"])
def test_sums_are_those_of_plain_numpy(kind: str, peak: int) -> None:
    """Odd sizes, rows that do not fill a vector, invalid pixels that hold anything, counts of any size."""
    generator = np.random.default_rng(3)
    shape = (37, 70)
    highest = min(peak, 255) if kind == "u1" else peak
    frames = generator.integers(0, highest, (6, *shape), endpoint=True).astype(kind)
    frames[:, generator.random(shape) < 0.4] = 0
    valid = generator.random(shape) < 0.95
    frames[:, ~valid] = np.iinfo(kind).max if kind != "f4" else np.nan
    operator = ring_operator(Geometry(valid, MATRIX, RadialGrid(1.0, 25), 4), (17.3, 40.2))
    chosen = np.array([4, 0, 5])
    mean, variance = ring_statistics(frames, operator, 2.0, chosen)
    dense = weights(operator)
    counts = np.where(valid, frames[chosen], 0).reshape(3, -1).astype(float)
    area = dense.sum(axis=1)
    np.testing.assert_allclose(mean, counts @ dense.T / area, rtol=1e-12)
    n = area**2 / (dense**2).sum(axis=1)
    wanted = (counts**2 @ dense.T / area - mean**2) * n / (n - 1)
    np.testing.assert_allclose(variance[:, 2:], wanted[:, 2:], rtol=1e-9, atol=1e-9)


def test_grouping_by_origin_changes_neither_order_nor_values() -> None:
    generator = np.random.default_rng(9)
    frames = generator.poisson(4.0, (23, *SHAPE)).astype(np.uint16)
    keys = quantise(np.array(CENTRE) + generator.choice([0.0, 0.3, 1.1], (23, 2)), 0.25)
    usable = np.ones(23, bool)
    usable[[4, 11]] = False
    together = block_statistics(frames, usable, keys, block_geometry(keys), 30, 2.0)
    for index in range(23):
        alone = block_statistics(
            frames[index : index + 1], usable[index : index + 1], keys[index : index + 1], block_geometry(keys), 30, 2.0
        )
        for name in ("mean", "variance", "n_effective", "area"):
            np.testing.assert_array_equal(getattr(together, name)[index], getattr(alone, name)[0])
    assert np.isnan(together.mean[[4, 11]]).all()
    assert (together.area[[4, 11]] == 0).all()
    assert np.isfinite(np.delete(together.mean, [4, 11], axis=0)).all()


def test_the_origin_follows_the_descan() -> None:
    row, col = np.indices(SHAPE)
    shifts = np.array([[0.0, 0.0], [5.25, -3.5]])
    frames = np.stack(
        [np.hypot(*np.tensordot(MATRIX, np.stack([row - r, col - c]), axes=1)) for r, c in shifts + CENTRE]
    )
    keys = quantise(shifts + CENTRE, 0.25)
    moved = block_statistics(frames, np.ones(2, bool), keys, block_geometry(keys), 30, 2.0)
    np.testing.assert_allclose(moved.mean[0, 2:], moved.mean[1, 2:], atol=0.02)
    still = block_statistics(frames, np.ones(2, bool), keys[[0, 0]], block_geometry(keys), 30, 2.0)
    assert np.abs(still.mean[0] - still.mean[1])[:10].max() > 1


def test_quantising_rounds_to_the_nearest_step() -> None:
    keys = quantise(np.array([[63.3, 62.1], [0.124, 0.126]]), 0.25)
    assert keys.tolist() == [[253, 248], [0, 1]]
