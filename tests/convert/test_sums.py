from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from stemcal.convert.detectors import CIRCLES, N_GROUPS, circles, locate_disk, virtual_detectors
from stemcal.convert.preview import plan_preview
from stemcal.convert.settings import ConvertSettings
from stemcal.convert.sums import BlockSums, ScanSums, reduce_frames
from stemcal.frames.plan import plan_blocks
from stemcal.optics.disk import BrightDisk, NoDisk

SHAPE = (33, 41)
DETECTORS = virtual_detectors(BrightDisk(15.2, 22.7, 6.5), None, SHAPE, ConvertSettings())


def summed(frames: NDArray[np.generic], block_frames: int = 5) -> ScanSums:
    """Add up frames in blocks, the last block first."""
    sums = ScanSums(plan_preview((1, len(frames)), SHAPE))
    for block in reversed(plan_blocks(len(frames), 1, block_frames)):
        part = frames[block.start : block.stop]
        images = {
            "total_counts": part.sum(axis=(1, 2), dtype=np.uint64),
            "moment_row": (part.sum(axis=2, dtype=np.uint64) * np.arange(SHAPE[0], dtype=np.uint64)).sum(axis=1),
            "moment_col": (part.sum(axis=1, dtype=np.uint64) * np.arange(SHAPE[1], dtype=np.uint64)).sum(axis=1),
        }
        sums.add(np.arange(block.start, block.stop), BlockSums(None, images))
        sums.add_patterns(block.n_frames, BlockSums(reduce_frames(part), {}))
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


def test_frames_outside_the_scan_are_in_no_image() -> None:
    sums = ScanSums(plan_preview((1, 3), SHAPE))
    images = {name: np.array([5, 6, 7], np.uint64) for name in ("total_counts", "moment_row", "moment_col")}
    sums.add(np.array([2, -1, 0]), BlockSums(None, images))
    assert sums.as_sums()["total_counts"].values.tolist() == [[7, 0, 5]]
    assert sums.centre_of_mass()[0].tolist() == pytest.approx([1, np.nan, 1], nan_ok=True)
    assert not sums.total.any()


def test_circles_are_the_pixels_whose_centres_are_nearer() -> None:
    found = circles(DETECTORS, SHAPE)
    row, col = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = np.hypot(row - 15.2, col - 22.7).ravel()
    assert CIRCLES == ("high_angle", "dark_field", "bright_field", "inner_bright_field")
    for inside, radius in zip(found.inside, (19.5, 7.8, 6.5, 3.25), strict=True):
        np.testing.assert_array_equal(inside, distance < radius)
    by_edges = np.zeros((4, row.size), bool)
    for edges in found.edges.astype(int):
        for circle in range(4):
            by_edges[circle, edges[circle] : edges[7 - circle]] = True
    np.testing.assert_array_equal(by_edges, found.inside)


def test_the_dark_field_reaches_the_corner() -> None:
    row, col = np.mgrid[: SHAPE[0], : SHAPE[1]]
    farthest = np.hypot(row - 15.2, col - 22.7).max()
    assert DETECTORS.annular_dark_field_px[1] > farthest
    assert DETECTORS.high_angle_dark_field_px == (19.5, DETECTORS.annular_dark_field_px[1])
    assert not circles(DETECTORS, SHAPE).inside[0].all()


def test_a_high_angle_beyond_the_detector_holds_nothing() -> None:
    wide = virtual_detectors(BrightDisk(15.2, 22.7, 12.0), None, SHAPE, ConvertSettings())
    inner, outer = wide.high_angle_dark_field_px
    assert inner == outer == wide.annular_dark_field_px[1]
    assert circles(wide, SHAPE).inside[0].all()


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
