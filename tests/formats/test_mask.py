from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from stemcal.errors import DataError
from stemcal.formats.chip_gap import gap_valid, insert_gap
from stemcal.formats.mask import fit_mask, read_mask


@pytest.mark.shared
def test_the_real_mask_of_e02(shared_data: Path) -> None:
    mask = read_mask(shared_data / "epsic" / "29042024_12bitmask.h5")
    assert mask.shape == (515, 515)
    assert np.count_nonzero(mask) == 5170
    assert mask[255:260].all()
    assert mask[:, 255:260].all()


@pytest.mark.shared
def test_the_real_mask_fits_frames_with_and_without_the_gap(shared_data: Path) -> None:
    valid = ~read_mask(shared_data / "epsic" / "29042024_12bitmask.h5")
    assert fit_mask(valid, (515, 515), 3) is valid
    read_out = fit_mask(valid, (512, 512), 3)
    assert read_out is not None
    # the cross is 5 pixels wide in 515: the 3 of the gap and one of each chip
    assert not read_out[255:257].any()
    assert not read_out[:, 255:257].any()
    assert np.count_nonzero(~read_out) == 5170 - (3 * 515 + 3 * 515 - 9)
    again = fit_mask(read_out, (515, 515), 3)
    assert again is not None
    np.testing.assert_array_equal(again, valid)


def test_a_mask_fits_when_the_gap_alone_is_the_difference() -> None:
    mask = np.random.default_rng(0).random((6, 8)) > 0.5
    wide = fit_mask(mask, (9, 11), 3)
    assert wide is not None
    np.testing.assert_array_equal(wide, insert_gap(mask, 3) & gap_valid((6, 8), 3))
    narrow = fit_mask(wide, (6, 8), 3)
    assert narrow is not None
    np.testing.assert_array_equal(narrow, mask)


@pytest.mark.parametrize(
    ("mask", "frame", "gap_px"),
    [
        ((515, 515), (512, 512), 0),
        ((515, 515), (512, 512), 2),
        ((515, 515), (512, 515), 3),
        ((515, 512), (512, 515), 3),
        ((515, 515), (256, 256), 3),
        ((8, 8), (5, 5), 3),
        ((5, 5), (2, 2), -3),
    ],
)
def test_a_mask_of_another_detector_does_not_fit(mask, frame, gap_px):
    assert fit_mask(np.ones(mask, bool), frame, gap_px) is None


def test_npy_and_hdf5_of_numbers(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((6, 7)) > 0.5
    np.save(tmp_path / "a.npy", mask)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["deep/mask"] = mask.astype(np.uint8)
    for name in ("a.npy", "a.h5"):
        np.testing.assert_array_equal(read_mask(tmp_path / name), mask)


def test_what_is_no_mask_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "counts.npy", np.arange(6).reshape(2, 3))
    with pytest.raises(DataError, match="other than 0 and 1"):
        read_mask(tmp_path / "counts.npy")
    np.save(tmp_path / "line.npy", np.ones(3, bool))
    with pytest.raises(DataError, match="not one"):
        read_mask(tmp_path / "line.npy")
    np.save(tmp_path / "text.npy", np.full((2, 2), "1"))
    with pytest.raises(DataError, match="other than 0 and 1"):
        read_mask(tmp_path / "text.npy")
    np.save(tmp_path / "empty.npy", np.ones((0, 4), bool))
    with pytest.raises(DataError, match=r"shape \(0, 4\)"):
        read_mask(tmp_path / "empty.npy")
    with (tmp_path / "archive.npy").open("wb") as file:
        np.savez(file, a=np.ones((2, 2), bool))
    with pytest.raises(DataError, match="archive of several arrays"):
        read_mask(tmp_path / "archive.npy")
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["a"] = file["b"] = np.ones((2, 2), bool)
    with h5py.File(tmp_path / "two.h5", "r+") as file:
        file["c"] = np.ones((2, 2), bool)
    with pytest.raises(DataError, match="images, not one"):
        read_mask(tmp_path / "two.h5")
    for name in ("absent.h5", "absent.npy"):
        with pytest.raises(DataError, match="cannot be read as a mask"):
            read_mask(tmp_path / name)
