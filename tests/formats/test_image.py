from __future__ import annotations

import h5py
import numpy as np
import pytest
from PIL import Image

from stemcal.errors import DataError
from stemcal.formats.image import is_pattern, read_pattern, write_pattern

PATTERN = np.arange(12, dtype=np.uint16).reshape(3, 4) * 1000


@pytest.mark.parametrize("suffix", [".tif", ".tiff", ".npy"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_round_trip(tmp_path, suffix, dtype):
    path = tmp_path / f"pattern{suffix}"
    write_pattern(path, (PATTERN // 100).astype(dtype))
    assert is_pattern(path)
    found = read_pattern(path)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, PATTERN // 100)


def test_png(tmp_path):
    path = tmp_path / "pattern.png"
    Image.fromarray(PATTERN.astype(np.uint8)).save(path)
    np.testing.assert_array_equal(read_pattern(path), PATTERN.astype(np.uint8))


def hyperspy_like(path, data):
    with h5py.File(path, "w") as file:
        file.create_dataset("Experiments/gold/data", data=data)


def test_hspy(tmp_path):
    hyperspy_like(tmp_path / "one.hspy", PATTERN)
    assert is_pattern(tmp_path / "one.hspy")
    np.testing.assert_array_equal(read_pattern(tmp_path / "one.hspy"), PATTERN)
    hyperspy_like(tmp_path / "stack.hspy", np.zeros((2, 2, 3, 4)))
    assert not is_pattern(tmp_path / "stack.hspy")


def test_a_stack_is_no_pattern(tmp_path):
    np.save(tmp_path / "stack.npy", np.zeros((2, 2, 3, 4)))
    assert not is_pattern(tmp_path / "stack.npy")
    assert not is_pattern(tmp_path / "absent.npy")
    with pytest.raises(DataError, match=r"holds an array of shape \(2, 2, 3, 4\)"):
        read_pattern(tmp_path / "stack.npy")


def test_what_cannot_be_read_says_so(tmp_path):
    with pytest.raises(DataError, match="there is no such file; check the path"):
        read_pattern(tmp_path / "absent.tif")
    for name in ("broken.tif", "broken.png", "broken.npy", "broken.hspy"):
        (tmp_path / name).write_bytes(b"garbage")
        with pytest.raises(DataError, match="cannot be read as a pattern"):
            read_pattern(tmp_path / name)
    (tmp_path / "pattern.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"files ending in '\.jpg' are not read"):
        read_pattern(tmp_path / "pattern.jpg")
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(tmp_path / "colour.png")
    with pytest.raises(DataError, match=r"shape \(3, 4, 3\)"):
        read_pattern(tmp_path / "colour.png")
    with pytest.raises(DataError, match=r"name it \.tif or \.npy"):
        write_pattern(tmp_path / "pattern.png", PATTERN)
