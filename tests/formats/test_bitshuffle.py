from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stemcal.formats import bitshuffle

SHAPES = [(1, 1), (3, 5), (256, 256), (129, 515)]


def counts(shape: tuple[int, int], kind: str) -> NDArray[Any]:
    return np.random.default_rng(2).poisson(0.4, shape).astype(kind)


def test_the_library_is_there() -> None:
    assert bitshuffle.functions() is not None


KINDS = ["u1", "u2", "u4", "u8"]


def from_hdf5(chunk: bytes, like: NDArray[Any], path: Path) -> NDArray[Any]:
    """Let HDF5's own filter decompress ``chunk``."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset("d", like.shape, like.dtype, chunks=like.shape, **bitshuffle.filter_options())
        data.id.write_direct_chunk((0,) * like.ndim, chunk)
    with h5py.File(path) as file:
        read: NDArray[Any] = file["d"][...]
    return read


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_compressed_comes_back_here_and_by_hdf5(shape: tuple[int, int], kind: str, tmp_path: Path) -> None:
    frame = counts(shape, kind)
    chunk = bitshuffle.compress(frame)
    back = np.empty_like(frame)
    bitshuffle.decompress(chunk, back)
    np.testing.assert_array_equal(back, frame)
    np.testing.assert_array_equal(from_hdf5(chunk, frame, tmp_path / "a.h5"), frame)


@pytest.mark.parametrize("kind", KINDS)
def test_what_hdf5_compresses_is_read_here(kind: str, tmp_path: Path) -> None:
    frame = (counts((256, 130), kind) * 37).astype(kind)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("d", data=frame, chunks=frame.shape, **bitshuffle.filter_options())
        file.flush()
        _mask, chunk = data.id.read_direct_chunk((0, 0))
    back = np.empty_like(frame)
    bitshuffle.decompress(chunk, back)
    np.testing.assert_array_equal(back, frame)


@given(
    kind=st.sampled_from(KINDS),
    runs=st.lists(st.tuples(st.integers(0, 255), st.integers(1, 700)), min_size=1, max_size=40),
)
@settings(max_examples=150, deadline=None)
def test_any_mixture_of_runs_and_noise_comes_back(kind: str, runs: list[tuple[int, int]]) -> None:
    pieces = [np.full(length, value) if value % 3 else np.arange(length) * value for value, length in runs]
    frame = np.concatenate(pieces).astype(kind)
    chunk, back = bitshuffle.compress(frame), np.empty_like(frame)
    bitshuffle.decompress(chunk, back)
    np.testing.assert_array_equal(back, frame)


def test_dense_counts_have_the_bytes_of_the_filter_with_and_without_its_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame = np.random.default_rng(3).poisson(1000, (64, 256)).astype("u2")
    chunk = bitshuffle.compress(frame)
    assert len(chunk) < frame.nbytes / 1.6
    monkeypatch.setattr(bitshuffle, "functions", lambda: None)
    assert bitshuffle.compress(frame) == chunk


@pytest.mark.parametrize("mean_counts", [0.02, 0.5, 15.0])
def test_sparse_counts_take_little_more_room_than_with_the_filter(mean_counts: float, tmp_path: Path) -> None:
    frame = np.random.default_rng(4).poisson(mean_counts, (256, 256)).astype("u2")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("d", data=frame, chunks=frame.shape, **bitshuffle.filter_options())
        of_filter = data.id.get_storage_size()
    assert len(bitshuffle.compress(frame)) < 1.2 * of_filter


@given(place=st.integers(12, 10**6), value=st.integers(0, 255), cut=st.integers(0, 10**6))
@settings(max_examples=300, deadline=None)
def test_damage_anywhere_is_an_error_or_other_counts_but_never_a_crash(place: int, value: int, cut: int) -> None:
    frame = counts((64, 64), "u2")
    chunk = bytearray(bitshuffle.compress(frame))
    chunk[12 + place % (len(chunk) - 12)] = value
    for damaged in (bytes(chunk), bytes(chunk[: 12 + cut % len(chunk)])):
        with suppress(ValueError):
            bitshuffle.decompress(damaged, np.empty_like(frame))


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
