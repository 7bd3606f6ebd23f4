from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stemcal.formats.chip_gap import gap_valid, gapped_shape, insert_gap, remove_gap


@pytest.fixture
def frames() -> NDArray[np.uint16]:
    return np.arange(1, 5 * 6 * 8 + 1, dtype=np.uint16).reshape(5, 6, 8)


def test_the_sizes_of_the_field():
    assert gapped_shape((512, 512), 3) == (515, 515)
    assert gapped_shape((512, 512), 2) == (514, 514)
    assert gapped_shape((256, 256), 0) == (256, 256)
    assert gapped_shape((255, 256), 0) == (255, 256)


@pytest.mark.parametrize("gap_px", [1, 2, 3])
def test_every_chip_keeps_its_pixels(frames: NDArray[np.uint16], gap_px: int) -> None:
    wide = insert_gap(frames, gap_px)
    assert wide.shape == (5, 6 + gap_px, 8 + gap_px)
    assert wide.dtype == frames.dtype
    assert wide.flags.c_contiguous
    np.testing.assert_array_equal(wide[:, :3, :4], frames[:, :3, :4])
    np.testing.assert_array_equal(wide[:, :3, -4:], frames[:, :3, -4:])
    np.testing.assert_array_equal(wide[:, -3:, :4], frames[:, -3:, :4])
    np.testing.assert_array_equal(wide[:, -3:, -4:], frames[:, -3:, -4:])
    assert wide.sum(dtype=np.int64) == frames.sum(dtype=np.int64)
    np.testing.assert_array_equal(remove_gap(wide, gap_px), frames)


def test_the_gap_is_empty_and_not_valid(frames: NDArray[np.uint16]) -> None:
    valid = gap_valid((6, 8), 3)
    np.testing.assert_array_equal(insert_gap(frames, 3)[0] > 0, valid)
    assert np.count_nonzero(~valid) == 3 * 11 + 3 * 9 - 9
    assert not valid[3:6].any()
    assert not valid[:, 4:7].any()


def test_one_frame_and_any_stack(frames: NDArray[np.uint16]) -> None:
    np.testing.assert_array_equal(insert_gap(frames[0], 3), insert_gap(frames, 3)[0])
    np.testing.assert_array_equal(insert_gap(frames[None], 3)[0], insert_gap(frames, 3))


def test_no_gap_copies_nothing(frames: NDArray[np.uint16]) -> None:
    assert insert_gap(frames, 0) is frames
    assert remove_gap(frames, 0) is frames
    assert gap_valid((5, 7), 0).all()


def test_what_is_no_assembly_is_refused(frames: NDArray[np.uint16]) -> None:
    with pytest.raises(ValueError, match="5 x 8 pixels is no 2 x 2 assembly"):
        insert_gap(frames[:, :5], 3)
    with pytest.raises(ValueError, match="0 x 2 pixels is no 2 x 2"):
        gapped_shape((0, 2), 3)
    with pytest.raises(ValueError, match="a gap of -1 pixels is impossible"):
        gapped_shape((512, 512), -1)
    with pytest.raises(ValueError, match="3 x 5 pixels is no 2 x 2"):
        remove_gap(frames, 3)
