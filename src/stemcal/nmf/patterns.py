"""Mean diffraction pattern of each class, in one pass over the frames.

Frames are moved by whole pixels, so that the undiffracted beam stays in one place and counts stay counts: nothing is
interpolated. Every pixel is divided by how many frames had it on a valid pixel. Counts are added up as whole numbers
and blocks in the order of the plan, so that the number of threads does not change a bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.frames.plan import Block
from stemcal.frames.source import FrameSource
from stemcal.frames.stream import stream_blocks

BoolArray = NDArray[np.bool_]
Shifts = NDArray[np.int64]


@dataclass(frozen=True)
class PatternSums:
    """Sums over the frames of each class, (component, det_row, det_col).

    Attributes
    ----------
    counts : ndarray
        int64, or float64 where the frames hold floating numbers.
    exposure : ndarray of int64
        How many frames had the place on a valid pixel.
    """

    counts: NDArray[Any]
    exposure: NDArray[np.int64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Counts per frame, NaN where no frame has a valid pixel."""
        seen = self.exposure > 0
        mean: NDArray[np.float64] = np.where(seen, self.counts / np.where(seen, self.exposure, 1), np.nan)
        return mean


def whole_shifts(origin_px: NDArray[np.float64]) -> tuple[Shifts, tuple[float, float]]:
    """Return by how many whole pixels each frame is moved, and where the beam is then.

    Parameters
    ----------
    origin_px : ndarray
        (n_frames, 2) position of the beam (det_row, det_col).

    Returns
    -------
    ndarray of int64
        (n_frames, 2): place (r, c) of the pattern is pixel (r, c) + shift of the frame.
    tuple of float
        Mean position of the beam in the moved frames.
    """
    shifts = np.rint(origin_px - origin_px.mean(axis=0)).astype(np.int64)
    centre = (origin_px - shifts).mean(axis=0)
    return shifts, (float(centre[0]), float(centre[1]))


def class_patterns(source: FrameSource, classes: BoolArray, shifts: Shifts, *, threads: int = 1) -> PatternSums:
    """Add up the frames of each class.

    Parameters
    ----------
    source : FrameSource
        The frames.
    classes : ndarray of bool
        (component, n_frames) members of each class.
    shifts : ndarray of int64
        (n_frames, 2), see `whole_shifts`.
    threads : int
        Worker threads; no effect on the sums.

    Returns
    -------
    PatternSums
        In memory at the same time: two of these per thread and one more, besides the blocks of frames.
    """
    dtype = np.dtype(np.float64) if source.dtype.kind == "f" else np.dtype(np.int64)
    shape = (len(classes), *source.frame_shape)
    whole = PatternSums(np.zeros(shape, dtype), np.zeros(shape, np.int64))

    def add_up(frames: NDArray[Any], block: Block) -> dict[int, tuple[NDArray[Any], NDArray[np.int64]]]:
        run = slice(block.start, block.stop)
        return {
            int(one): _sum_of(frames, source.valid, classes[one, run], shifts[run], dtype)
            for one in np.flatnonzero(classes[:, run].any(axis=1))
        }

    for _, found in stream_blocks(source, add_up, threads=threads):
        for one, (counts, exposure) in found.items():
            whole.counts[one] += counts
            whole.exposure[one] += exposure
    return whole


def _sum_of(
    frames: NDArray[Any], valid: BoolArray, members: BoolArray, shifts: Shifts, dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return counts and exposure of the ``members`` (n,) of ``frames`` (n, det_row, det_col), moved by ``shifts``."""
    counts, exposure = np.zeros(valid.shape, dtype), np.zeros(valid.shape, np.int64)
    for shift, chosen in _by_shift(members, shifts):
        there, here = _overlap(shift, valid.shape)
        added = frames[chosen].sum(axis=0, dtype=dtype)
        counts[there] += np.where(valid, added, 0)[here]
        exposure[there] += len(chosen) * valid[here]
    return counts, exposure


def _by_shift(members: BoolArray, shifts: Shifts) -> Iterator[tuple[tuple[int, int], NDArray[np.int64]]]:
    """Yield each shift that occurs with the frames that have it."""
    chosen = np.flatnonzero(members)
    found, which = np.unique(shifts[chosen], axis=0, return_inverse=True)
    for index, (row, col) in enumerate(found):
        yield (int(row), int(col)), chosen[which.ravel() == index]


def _overlap(shift: tuple[int, int], shape: tuple[int, ...]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the places of the pattern that a moved frame covers, and the pixels of the frame that cover them."""
    there = [slice(max(0, -step), max(0, min(n, n - step))) for step, n in zip(shift, shape, strict=True)]
    here = [slice(one.start + step, one.stop + step) for one, step in zip(there, shift, strict=True)]
    return (there[0], there[1]), (here[0], here[1])
