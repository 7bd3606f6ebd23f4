from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from stemcal.formats import bitshuffle

SHAPES = [(1, 1), (3, 5), (256, 256), (129, 515)]


def counts(shape: tuple[int, int], kind: str) -> NDArray[Any]:
    return np.random.default_rng(2).poisson(0.4, shape).astype(kind)


def test_the_library_is_there() -> None:
    assert bitshuffle.functions() is not None


@pytest.mark.parametrize("kind", ["u1", "u2", "u4"])
@pytest.mark.parametrize("shape", SHAPES)
def test_bytes_are_those_of_the_hdf5_filter(shape: tuple[int, int], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = counts(shape, kind)
    chunk = bitshuffle.compress(frame)
    back = np.empty_like(frame)
    bitshuffle.decompress(chunk, back)
    np.testing.assert_array_equal(back, frame)
    monkeypatch.setattr(bitshuffle, "functions", lambda: None)
    assert bitshuffle.compress(frame) == chunk


def test_h5py_reads_what_was_compressed_here(tmp_path: Path) -> None:
    frame = counts((100, 77), "u2")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("d", frame.shape, "<u2", chunks=frame.shape, **bitshuffle.filter_options())
        data.id.write_direct_chunk((0, 0), bitshuffle.compress(frame))
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["d"][...], frame)


def test_a_view_that_is_not_contiguous_is_refused() -> None:
    frame = counts((8, 8), "u2")
    for bad in (frame[:, ::2], frame.astype(">u2")):
        with pytest.raises(ValueError, match="ascontiguousarray"):
            bitshuffle.compress(bad)


def test_damage_is_noticed() -> None:
    frame = counts((256, 256), "u2")
    chunk = bitshuffle.compress(frame)
    out = np.empty_like(frame)
    with pytest.raises(ValueError, match="shorter than its own prefix"):
        bitshuffle.decompress(chunk[:5], out)
    with pytest.raises(ValueError, match="holds 131072 bytes"):
        bitshuffle.decompress(chunk, out[:100])
    with pytest.raises(ValueError, match="damaged"):
        bitshuffle.decompress(chunk[:12] + b"\xff" * (len(chunk) - 12), out)
    with pytest.raises(ValueError, match="damaged"):
        bitshuffle.decompress(chunk + b"\0", out)
