"""Whether the outputs hold the same counts: every contestant's file against the raw one, to the bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from contestants.raw import map_frames

_CACHE_BYTES = 2**29
_BLOCK_BYTES = 2**27
_FILTERS = hdf5plugin.PLUGIN_PATH
"""Importing hdf5plugin is what makes h5py know the filters."""


def converted(source: str, target: str, n_frames: int = 300, seed: int = 2) -> Callable[[], dict[str, Any]]:
    """Return the comparison of an HDF5 file with the raw file it was made from.

    All frames go into the sum pattern; ``n_frames`` of them, drawn at random, are compared pixel by pixel. The file is
    read by h5py alone. Where it stores a sum pattern (ours does), that is compared too.
    """

    def work() -> dict[str, Any]:
        raw = map_frames(source)[:, ::-1]
        drawn = np.random.default_rng(seed).choice(len(raw), min(n_frames, len(raw)), replace=False)
        total = np.zeros(raw.shape[1:], np.uint64)
        n_equal = 0
        with h5py.File(target, "r", rdcc_nbytes=_CACHE_BYTES) as file:
            data = _stack(file)
            for start, frames in _blocks(data):
                total += frames.sum(axis=0, dtype=np.uint64)
                inside = drawn[(drawn >= start) & (drawn < start + len(frames))]
                n_equal += sum(bool((frames[place - start] == raw[place]).all()) for place in inside)
            stored = _stored_sum(file)
        expected = _sum(raw)
        return {
            "agrees": bool(n_equal == len(drawn) and (total == expected).all() and _same(stored, expected)),
            "n_frames_compared": len(drawn),
            "sum_sha256": hashlib.sha256(total.tobytes()).hexdigest(),
            "size_bytes": Path(target).stat().st_size,
        }

    return work


def summed(source: str, answer: str) -> Callable[[], dict[str, Any]]:
    """Return the comparison of a sum pattern with that of the raw file; floating point is given its rounding."""

    def work() -> dict[str, Any]:
        expected, found = _sum(map_frames(source)[:, ::-1]), np.load(answer)
        exact = bool((found == expected).all())
        return {"agrees": exact or bool(np.allclose(found, expected, rtol=1e-5, atol=0)), "exact": exact}

    return work


def _sum(frames: NDArray[Any]) -> NDArray[np.uint64]:
    total = np.zeros(frames.shape[1:], np.uint64)
    for start in range(0, len(frames), 64):
        total += frames[start : start + 64].sum(axis=0, dtype=np.uint64)
    return total


def _same(stored: NDArray[Any] | None, expected: NDArray[Any]) -> bool:
    return stored is None or bool((stored == expected).all())


def _stack(file: h5py.File) -> h5py.Dataset:
    """Return the data set of four axes, the largest if there are others beside it."""
    found: list[h5py.Dataset] = []
    file.visititems(lambda _name, item: found.append(item) if getattr(item, "ndim", 0) == 4 else None)
    return max(found, key=lambda item: item.size)


def _stored_sum(file: h5py.File) -> NDArray[Any] | None:
    places: list[h5py.Dataset] = []
    file.visititems(lambda name, item: places.append(item) if name.endswith("sums/sum_pattern") else None)
    return places[0][()] if places else None


def _blocks(data: h5py.Dataset) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield (first frame, frames) in raster order, in whole chunks, so that none is decompressed twice."""
    rows, cols = data.shape[:2]
    row_bytes = cols * data.shape[2] * data.shape[3] * data.dtype.itemsize
    step = data.chunks[0] * max(1, _BLOCK_BYTES // (row_bytes * data.chunks[0]))
    for row in range(0, rows, step):
        block = data[row : row + step]
        yield row * cols, block.reshape(-1, *data.shape[2:])
