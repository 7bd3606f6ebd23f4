from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from stemcal.errors import DataError
from stemcal.formats.mask import read_mask


@pytest.mark.shared
def test_the_real_mask_of_e02(shared_data: Path) -> None:
    mask = read_mask(shared_data / "epsic" / "29042024_12bitmask.h5")
    assert mask.shape == (515, 515)
    assert np.count_nonzero(mask) == 5170
    assert mask[255:260].all()


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
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["a"] = file["b"] = np.ones((2, 2), bool)
    with h5py.File(tmp_path / "two.h5", "r+") as file:
        file["c"] = np.ones((2, 2), bool)
    with pytest.raises(DataError, match="images, not one"):
        read_mask(tmp_path / "two.h5")
    for name in ("absent.h5", "absent.npy"):
        with pytest.raises(DataError, match="cannot be read as a mask"):
            read_mask(tmp_path / name)
