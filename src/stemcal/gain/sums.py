"""What is summed up in one pass over a flat field: exact counts per run of frames and per parity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.frames.gain import acquisition_parity
from stemcal.frames.plan import Block
from stemcal.frames.ranks import World
from stemcal.frames.source import FrameSource
from stemcal.frames.stream import stream_blocks

CEILINGS = (63, 255, 4095, 65535, 2**24 - 1)
"""Values at which counters of 6, 12 and 24 bit and files of 8 and 16 bit stop."""

_LEAST_FRAMES_PER_RUN = 4


@dataclass(frozen=True)
class FlatSums:
    """Sums over the usable frames of a flat field.

    Attributes
    ----------
    counts : ndarray of int64
        (n_runs, 2, det_row, det_col) counts of the even (0) and odd (1) frames of each run.
    frames : ndarray of int64
        (n_runs, 2) how many frames that were.
    n_frames_total : int
        Frames in the data set.
    top : int
        Greatest count of all.
    at_top : ndarray of int64
        (det_row, det_col) in how many frames a pixel had it; zero where ``top`` is no ceiling of a counter.
    """

    counts: NDArray[np.int64]
    frames: NDArray[np.int64]
    n_frames_total: int
    top: int
    at_top: NDArray[np.int64]

    @property
    def n_frames(self) -> int:
        """Number of frames that were added up."""
        return int(self.frames.sum())

    @property
    def n_runs(self) -> int:
        """Number of runs; 1 where there are too few frames to resample."""
        return len(self.frames)

    @property
    def total(self) -> NDArray[np.int64]:
        """(det_row, det_col) counts of all usable frames."""
        return np.asarray(self.counts.sum(axis=(0, 1)))

    @property
    def per_parity(self) -> NDArray[np.int64]:
        """(2, det_row, det_col) counts of the even and of the odd frames."""
        return np.asarray(self.counts.sum(axis=0))


@dataclass(frozen=True)
class _Part:
    """What one block of frames adds: sums by (run, parity), and its greatest count."""

    sums: dict[tuple[int, int], tuple[int, NDArray[np.int64]]]
    top: int
    at_top: NDArray[np.int64] | None


def accumulate(
    source: FrameSource,
    max_runs: int,
    *,
    threads: int,
    world: World,
    progress: Callable[[int, int], None] | None,
) -> FlatSums | None:
    """Sum up a flat field in one pass; rank 0 gets the sums, the others None.

    Parameters
    ----------
    source : FrameSource
        The frames, whole numbers of counts. Fly-back, spike and missing frames are left out.
    max_runs : int
        Largest number of runs of frames; fewer where a run would have fewer than four frames.
    threads, world, progress :
        See ``stemcal.frames.stream.stream_blocks``. Results do not depend on them.

    Raises
    ------
    DataError
        If the frames are not whole numbers: counts that were already worked on say nothing of the detector.
    """
    if source.dtype.kind not in "ui":
        remedy = "give the counts as the detector wrote them"
        raise DataError(source.path, f"holds {source.dtype.name}, not counts in whole numbers", remedy)
    usable = np.asarray(source.frame_status == 0)
    run, n_runs = _runs(usable, max_runs)
    parity = acquisition_parity(source)
    counts = np.zeros((n_runs, 2, *source.frame_shape), np.int64)
    frames = np.zeros((n_runs, 2), np.int64)
    top, at_top = 0, np.zeros(source.frame_shape, np.int64)

    def work(block_frames: NDArray[Any], block: Block) -> _Part:
        part = slice(block.start, block.stop)
        return _add_up(block_frames, usable[part], run[part], parity[part])

    for _, part in stream_blocks(source, work, threads=threads, world=world, progress=progress):
        for (number, side), (n, added) in part.sums.items():
            frames[number, side] += n
            counts[number, side] += added
        if part.top > top:
            top, at_top = part.top, np.zeros(source.frame_shape, np.int64)
        if part.top == top and part.at_top is not None:
            at_top += part.at_top
    return FlatSums(counts, frames, source.n_frames, top, at_top) if world.rank == 0 else None


def _runs(usable: NDArray[np.bool_], max_runs: int) -> tuple[NDArray[np.int64], int]:
    """Return the run of each frame, (n_frames,), and the number of runs, all equally long to a frame."""
    n_usable = int(usable.sum())
    n_runs = max(1, min(max_runs, n_usable // _LEAST_FRAMES_PER_RUN))
    place = np.maximum(np.cumsum(usable) - 1, 0)
    return place * n_runs // max(n_usable, 1), n_runs


def _add_up(
    frames: NDArray[Any], usable: NDArray[np.bool_], run: NDArray[np.int64], parity: NDArray[np.uint8]
) -> _Part:
    sums = {}
    for number in np.unique(run[usable]):
        for side in (0, 1):
            chosen = np.flatnonzero(usable & (run == number) & (parity == side))
            if chosen.size:
                sums[int(number), side] = (chosen.size, frames[chosen].sum(axis=0, dtype=np.int64))
    counted = frames if usable.all() else frames[usable]
    top = int(counted.max()) if counted.size else 0
    return _Part(sums, top, (counted == top).sum(axis=0) if top in CEILINGS else None)
