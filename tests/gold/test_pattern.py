"""Adding up frames: descan by whole pixels, masks carried along, tiles of the scan."""

from __future__ import annotations

import numpy as np
import pytest
from gold_truth import CAMERA, MemorySource, gold_source, powder_of

from stemcal.gold.faults import stray_pixels
from stemcal.gold.pattern import tile_numbers
from stemcal.optics.disk import BrightDisk


@pytest.fixture(scope="module")
def source():
    return gold_source(5, scan_shape=(10, 10))


def test_counts_are_moved_and_never_interpolated(source):
    powder = powder_of(source)
    assert (powder.sums.counts == np.rint(powder.sums.counts)).all()
    lost = 1 - powder.sums.counts.sum() / source.frames.sum(dtype=float)
    assert 0 <= lost < 1e-3
    assert powder.sums.exposure.max() == 100


def test_a_masked_pixel_stays_masked_wherever_it_is_moved(source):
    mean = powder_of(source).sums.mean
    rows, cols = np.indices(mean.shape)
    near = np.abs(np.hypot(rows - CAMERA.centre_row_px, cols - CAMERA.centre_col_px) - 19) < 1
    crossed = near & (np.abs(cols - 96) <= 3)
    assert mean[crossed].mean() == pytest.approx(mean[near & ~crossed].mean(), rel=0.1)


def test_disk_stands_still_and_leads_back_to_the_detector(source):
    powder = powder_of(source)
    assert isinstance(powder.disk, BrightDisk)
    assert powder.disk.radius_px == pytest.approx(3.0, abs=0.4)
    there = np.add(powder.disk.centre_px, powder.to_detector)
    assert there == pytest.approx((CAMERA.centre_row_px, CAMERA.centre_col_px), abs=0.02)


def test_tiles_add_up_to_the_whole(source):
    powder = powder_of(source)
    assert len(powder.tiles) == 16
    np.testing.assert_array_equal(sum(tile.counts for tile in powder.tiles), powder.sums.counts)
    np.testing.assert_array_equal(sum(tile.exposure for tile in powder.tiles), powder.sums.exposure)


def test_threads_change_nothing(source):
    one, two = powder_of(source), powder_of(source, threads=2)
    np.testing.assert_array_equal(one.sums.counts, two.sums.counts)
    np.testing.assert_array_equal(one.descan.fitted_px, two.descan.fitted_px)


def test_frames_that_are_not_whole_are_left_out(source):
    frames = source.frames.copy()
    frames[[3, 50]] = 60000
    status = np.zeros(100, np.uint8)
    status[[3, 50]] = (3, 1)
    powder = powder_of(MemorySource(frames, (10, 10), source.valid, status))
    assert powder.n_frames == 98
    assert powder.sums.exposure.max() == 98
    assert powder.sums.mean.max() < 5000


def test_saturated_disk_is_counted(source):
    frames = np.minimum(source.frames, 255)
    powder = powder_of(MemorySource(frames, (10, 10), source.valid))
    assert powder.saturated_fraction == pytest.approx(1.0, abs=0.05)
    assert powder_of(source).saturated_fraction == 0


def test_a_dark_scan_has_no_disk():
    powder = powder_of(MemorySource(np.zeros((4, 32, 32), np.uint16), (2, 2)))
    assert not isinstance(powder.disk, BrightDisk)
    assert powder.sums.counts.sum() == 0


def test_tile_numbers():
    tiles = tile_numbers((4, 6), 2).reshape(4, 6)
    np.testing.assert_array_equal(tiles, np.kron([[0, 1], [2, 3]], np.ones((2, 3), int)))
    assert len(np.unique(tile_numbers((1, 100), 4))) == 16
    assert len(np.unique(tile_numbers((3, 100), 4))) == 12


def test_stray_pixels():
    counts = np.full((40, 40), 100.0)
    counts[2, 2], counts[6, 6] = 900.0, 0.0
    counts[14:16, 12:14] = 900.0
    counts[20:23] = 0.0
    stray = stray_pixels(counts, np.ones(counts.shape, bool))
    assert [2, 2] in np.argwhere(stray).tolist()
    assert stray[6, 6]
    assert stray[20:23].all()
    assert stray.sum() == 2 + 120
    # the foot of a bright ring is no dead pixel
    counts[30:] = 0.0
    assert not stray_pixels(counts, np.ones(counts.shape, bool))[25:].any()


def test_faulty_detector_without_a_mask(source):
    """A dead cross and hot pixels that nobody masked are found before the frames are moved."""
    frames = source.frames.copy()
    frames[:, 40, 50] = 400
    bare = powder_of(MemorySource(frames, (10, 10)))
    assert bare.n_stray_pixels > 300
    masked = powder_of(source)
    dimmed = (bare.sums.exposure > 50) & (masked.sums.exposure == 0)
    # only where there is next to nothing to count does the cross stay in
    assert masked.sums.mean[~dimmed].max() > 100
    assert bare.sums.counts[dimmed].max(initial=0) < 100
