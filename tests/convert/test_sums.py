from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from stemcal.convert.detectors import N_GROUPS, apertures, locate_disk, virtual_detectors
from stemcal.convert.settings import ConvertSettings
from stemcal.convert.sums import ScanSums, reduce_block
from stemcal.frames.plan import plan_blocks
from stemcal.optics.disk import BrightDisk, NoDisk

SHAPE = (33, 41)
DETECTORS = virtual_detectors(BrightDisk(15.2, 22.7, 6.5), None, SHAPE, ConvertSettings())


def summed(frames: NDArray[np.generic], block_frames: int = 5, valid: NDArray[np.bool_] | None = None) -> ScanSums:
    mask = np.ones(SHAPE, bool) if valid is None else valid
    sums = ScanSums((1, len(frames)), SHAPE)
    for block in reversed(plan_blocks(len(frames), 1, block_frames)):
        sums.add(block, reduce_block(frames[block.start : block.stop], apertures(DETECTORS, mask), valid))
    return sums


@pytest.mark.parametrize(
    ("kind", "peak"), [("u1", 255), ("u2", 3), ("u2", 65535), ("u4", 2**24 - 1), ("u4", 2**32 - 1)]
)
def test_sums_are_exact(kind: str, peak: int) -> None:
    frames = np.random.default_rng(0).integers(0, peak, (17, *SHAPE), endpoint=True).astype(kind)
    sums = summed(frames).as_sums()
    exact = frames.astype(object)
    np.testing.assert_array_equal(sums["sum_pattern"].values.astype(object), exact.sum(axis=0))
    np.testing.assert_array_equal(sums["max_pattern"].values, frames.max(axis=0))
    np.testing.assert_array_equal(sums["total_counts"].values[0].astype(object), exact.sum(axis=(1, 2)))
    variance = (17 * (exact**2).sum(axis=0) - exact.sum(axis=0) ** 2) / 17**2
    np.testing.assert_array_equal(sums["variance_pattern"].values, variance.astype(float))
    np.testing.assert_allclose(sums["mean_pattern"].values, frames.mean(axis=0), rtol=1e-15)


def test_the_variance_of_a_bright_steady_pixel_is_not_lost() -> None:
    frames = np.full((1000, *SHAPE), 2**24 - 1, np.uint32)
    frames[0] -= 1
    wanted = Fraction(1, 1000) - Fraction(1, 1000) ** 2
    np.testing.assert_allclose(summed(frames, 100).variance(), float(wanted), rtol=1e-15)
    squares = (frames[:, 0, 0].astype(np.float64) ** 2).mean()
    assert abs(squares - frames[:, 0, 0].mean() ** 2 - float(wanted)) > 1e-4


def test_virtual_detectors_and_centre_of_mass() -> None:
    frames = np.random.default_rng(1).poisson(0.3, (9, *SHAPE)).astype(np.uint16)
    frames[4] = 0
    sums = summed(frames).as_sums()
    row, col = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = np.hypot(row - 15.2, col - 22.7)
    for name, mask in (
        ("bright_field", distance < 6.5),
        ("annular_bright_field", (distance >= 3.25) & (distance < 6.5)),
        ("annular_dark_field", distance >= 7.8),
    ):
        np.testing.assert_array_equal(sums[name].values[0], frames[:, mask].sum(axis=1))
    assert np.isnan(sums["centre_of_mass_row"].values[0, 4])
    wanted = (frames[0] * row).sum() / frames[0].sum()
    assert sums["centre_of_mass_row"].values[0, 0] == pytest.approx(wanted, rel=1e-14)
    wanted = (frames[0] * col).sum() / frames[0].sum()
    assert sums["centre_of_mass_col"].values[0, 0] == pytest.approx(wanted, rel=1e-14)


def test_invalid_pixels_count_in_the_patterns_only() -> None:
    frames = np.ones((3, *SHAPE), np.uint16)
    frames[:, 15, 22] = 60000
    valid = np.ones(SHAPE, bool)
    valid[15, 22] = False
    sums = summed(frames, valid=valid).as_sums()
    assert sums["max_pattern"].values[15, 22] == 60000
    assert sums["total_counts"].values.tolist() == [[frames[0].size - 1] * 3]
    assert sums["bright_field"].values.max() < 200


def test_the_dark_field_reaches_the_corner() -> None:
    pixels = apertures(DETECTORS, np.ones(SHAPE, bool))
    row, col = np.mgrid[: SHAPE[0], : SHAPE[1]]
    farthest = np.hypot(row - 15.2, col - 22.7).max()
    assert DETECTORS.annular_dark_field_px[1] > farthest
    assert len(pixels.inside_dark_field) < row.size


def disk(row: float, col: float, radius: float) -> NDArray[np.float64]:
    rows, cols = np.mgrid[:64, :64]
    return 50 / (1 + np.exp((np.hypot(rows - row, cols - col) - radius) / 0.5)) + 0.1


def test_the_disk_is_located_with_its_uncertainty() -> None:
    rng = np.random.default_rng(5)
    groups = np.array([rng.poisson(disk(30.4 + shift, 33.1, 7.0)) for shift in np.linspace(-0.4, 0.4, N_GROUPS)])
    found = locate_disk(groups.astype(float), np.ones((64, 64), bool))
    assert not isinstance(found, NoDisk)
    where, sigma = found
    assert where.centre_px == pytest.approx((30.4, 33.1), abs=0.1)
    assert where.radius_px == pytest.approx(7.0, abs=0.3)
    assert sigma is not None
    assert sigma[0] == pytest.approx(np.linspace(-0.4, 0.4, N_GROUPS).std(ddof=1) / np.sqrt(N_GROUPS), rel=0.5)
    assert sigma[1] < sigma[0] / 3


def test_few_frames_have_no_uncertainty_and_flat_ones_no_disk() -> None:
    one = locate_disk(disk(30, 33, 7)[None], np.ones((64, 64), bool))
    assert not isinstance(one, NoDisk)
    assert one[1] is None
    assert isinstance(locate_disk(np.ones((8, 64, 64)), np.ones((64, 64), bool)), NoDisk)
