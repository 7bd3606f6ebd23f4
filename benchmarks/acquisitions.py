"""The raw files that the benchmarks work on: Merlin acquisitions of Poisson counts, and huge ones that are mostly hole.

Frames are drawn from a pool of distinct ones, because drawing every pixel anew would take longer than all runs; a
compressor sees one frame at a time and cannot gain from that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.formats.merlin.header import encode_header
from stemcal.formats.merlin.layout import inspect_mib
from stemcal.formats.merlin.writer import write_mib
from stemcal.frames.plan import evenly_spaced

_POOL_FRAMES = 384
_BLOCK_FRAMES = 64
_COUNTS_PER_FRAME = 3e4
_N_SPOTS = 6
_N_SAMPLE_FRAMES = 64
_FILLED_EVERY = 512
_START = datetime(2026, 1, 1, tzinfo=UTC)
_PERIOD_US = 1095


def acquisition(path: str, scan_shape: list[int], frame_px: int, seed: int = 1) -> Callable[[], None]:
    """Return what writes a U16 acquisition: bright disk, Bragg disks, diffuse background, 30 000 counts a frame."""

    def work() -> None:
        rng = np.random.default_rng(seed)
        pool = _pool(frame_px, rng)
        rows, cols = scan_shape
        frames = _draw(pool, rows * cols, rng)
        write_mib(Path(path), frames, assembly=_assembly(frame_px), scan_shape=(rows, cols), scan_in_hdr=True)

    return work


def mostly_holes(path: str, scan_shape: list[int], frame_px: int, seed: int = 1) -> Callable[[], dict[str, int]]:
    """Return what writes an acquisition with every header in place but few pixels: its size costs next to no disk.

    The frames that `stemcal convert` looks at to find the bright disk, and every 512th, are real ones; the pixels of
    the others are holes in the file, which read as zeros.
    """

    def work() -> dict[str, int]:
        rng = np.random.default_rng(seed)
        pool = _pool(frame_px, rng)
        rows, cols = scan_shape
        n_frames = rows * cols
        mib = Path(path)
        write_mib(
            mib,
            [pool[:1]],
            assembly=_assembly(frame_px),
            scan_shape=(rows, cols),
            scan_in_hdr=True,
            frames_in_acquisition=n_frames,
        )
        filled = {*evenly_spaced(n_frames, _N_SAMPLE_FRAMES), *range(0, n_frames, _FILLED_EVERY)}
        _punch(mib, n_frames, filled, pool)
        status = mib.stat()
        return {"size_bytes": status.st_size, "disk_bytes": status.st_blocks * 512}

    return work


def _assembly(frame_px: int) -> str:
    return "2x2" if frame_px > 256 else "1x1"


def _pool(frame_px: int, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return distinct frames, (n, det_row, det_col)."""
    centre = frame_px / 2
    row, col = np.mgrid[:frame_px, :frame_px]
    radius = np.hypot(row - centre, col - centre)
    mean = 0.02 * np.exp(-radius / (0.15 * frame_px)) + 2e-4 + (radius < 0.05 * frame_px)
    for angle in 0.2 + np.arange(_N_SPOTS) * 2 * np.pi / _N_SPOTS:
        spot = centre + 0.25 * frame_px * np.sin(angle), centre + 0.25 * frame_px * np.cos(angle)
        mean += 0.08 * (np.hypot(row - spot[0], col - spot[1]) < 0.05 * frame_px)
    expected = mean / mean.sum() * _COUNTS_PER_FRAME
    return np.stack([rng.poisson(expected).astype(np.uint16) for _ in range(_POOL_FRAMES)])


def _draw(pool: NDArray[Any], n_frames: int, rng: np.random.Generator) -> Iterator[NDArray[Any]]:
    for start in range(0, n_frames, _BLOCK_FRAMES):
        yield pool[rng.integers(0, len(pool), min(_BLOCK_FRAMES, n_frames - start))]


def _punch(mib: Path, n_frames: int, filled: set[int], pool: NDArray[Any]) -> None:
    """Write the headers of all frames and the pixels of the ``filled`` ones, and leave holes between them."""
    layout = inspect_mib(mib)
    first = layout.header
    descriptor = os.open(mib, os.O_WRONLY)
    try:
        os.ftruncate(descriptor, n_frames * layout.stride_bytes)
        for index in range(n_frames):
            header = replace(first, sequence=index + 1, timestamp=_timestamp(index), local_time=None)
            data = encode_header(header)
            if index in filled:
                data += pool[index % len(pool)].astype(">u2").tobytes()
            os.pwrite(descriptor, data, index * layout.stride_bytes)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _timestamp(index: int) -> str:
    """Return the UTC time of frame ``index`` in Merlin's form: nine decimals and a Z."""
    return f"{_START + timedelta(microseconds=index * _PERIOD_US):%Y-%m-%dT%H:%M:%S.%f}000Z"
