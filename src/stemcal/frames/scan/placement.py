"""Frames go where the detector's own numbers put them, so that a lost frame shifts nothing. Pure.

A slot is one trigger of the detector: slot 0 belongs to the first number in the file. A hole in the numbers is an empty
slot, a number that comes twice fills its slot once. Numbers are only text in a header, so one that cannot be true (a
jump that no neighbour confirms, a hole larger than the file) is treated as unreadable, and an unreadable number is
replaced by what its neighbours leave room for, if that is exactly one place.

Frames that are missing before the first number cannot be told from a counter that does not start at 1 (a second file
of an acquisition, software that counts from 0), so no slots are made for them: ``first_sequence`` says where it began.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

REORDER = 16
"""Frames by which a number may come late; a larger step backward begins a new numbering."""
MAX_RUNS = 64
"""Numberings in one file; more are no count of frames at all."""
MAX_STRETCH = 4
"""Slots per frame; a numbering with larger holes on the whole is no count of frames either."""
_STRAY = 2


def _none() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


@dataclass(frozen=True)
class Slots:
    """An acquisition with its holes.

    Attributes
    ----------
    file_index : ndarray
        (n_slots,) int64, index of the frame in the file, -1 where it is missing.
    duplicates : ndarray
        (k,) int64, file indices that were not placed because their slot was taken.
    restarts : tuple of int
        File indices at which the numbering starts again; the frames from there on follow the earlier ones.
    n_unreadable : int
        Frames whose header has no believable number.
    first_sequence : int or None
        Number of slot 0; None if no number is believable (the frames then lie in file order).
    unplaced : ndarray
        (k,) int64, file indices without a number that their neighbours leave no room for, or more than one place.
    """

    file_index: NDArray[np.int64]
    duplicates: NDArray[np.int64]
    restarts: tuple[int, ...]
    n_unreadable: int
    first_sequence: int | None
    unplaced: NDArray[np.int64] = field(default_factory=_none)

    @property
    def n_slots(self) -> int:
        """Slots, the empty ones included."""
        return int(self.file_index.size)

    @property
    def n_missing(self) -> int:
        """Slots without a frame."""
        return int(np.count_nonzero(self.file_index < 0))


def place_frames(sequence: NDArray[np.int64]) -> Slots:
    """Place frames by the detector's own numbers.

    Parameters
    ----------
    sequence : ndarray
        (n_frames,) int64 in file order, -1 where a header has no number.

    Returns
    -------
    Slots
        Every frame is in ``file_index`` once, or in ``duplicates``, or in ``unplaced``.
    """
    numbers = _believable(sequence)
    known = np.flatnonzero(numbers >= 0)
    starts = _run_starts(numbers[known], sequence.size) if known.size else known
    slot = _slots(numbers, known, starts) if 0 < starts.size <= MAX_RUNS else None
    if slot is None:
        return Slots(np.arange(sequence.size, dtype=np.int64), _none(), (), int(sequence.size), None)
    file_index, duplicates = _fill(slot)
    first_run = numbers[known[: starts[1]] if starts.size > 1 else known]
    first = int(first_run.min())
    return Slots(
        file_index=file_index,
        duplicates=duplicates,
        restarts=tuple(int(index) for index in known[starts[1:]]),
        n_unreadable=int(sequence.size - known.size),
        first_sequence=first - int(known[0]) if first >= known[0] else first,
        unplaced=np.flatnonzero(slot < 0).astype(np.int64),
    )


def _believable(sequence: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the numbers with -1 in place of those that their neighbours contradict."""
    numbers = np.where(sequence >= 0, sequence, -1)
    known = np.flatnonzero(numbers >= 0)
    found = numbers[known]
    before, here, after = found[:-2], found[1:-1], found[2:]
    joined = (before < after) & (after - before <= _largest_step(sequence.size))
    numbers[known[1:-1][joined & ((here < before - REORDER) | (here > after + REORDER))]] = -1
    known = np.flatnonzero(numbers >= 0)
    for stray in _stray_runs(numbers[known], sequence.size):
        numbers[known[stray]] = -1
    return numbers


def _largest_step(n_frames: int) -> int:
    return max(n_frames, REORDER) + 1


def _run_starts(numbers: NDArray[np.int64], n_frames: int) -> NDArray[np.int64]:
    """Return where the numbering starts, 0 included, as indices of ``numbers`` (all readable, at least one).

    A step back by more than reordering starts it again, as does a hole larger than the file, or a step back to the
    very first number from which counting goes on (frames in the wrong order do not count on).
    """
    step = np.diff(numbers)
    new = (step < -REORDER) | (step > _largest_step(n_frames))
    new[:-1] |= (step[:-1] < 0) & (numbers[1:-1] == numbers[0]) & (step[1:] == 1)
    return np.concatenate([[0], np.flatnonzero(new) + 1])


def _stray_runs(numbers: NDArray[np.int64], n_frames: int) -> list[slice]:
    """Return short runs that only interrupt the count: it goes on behind them, or they stand alone at an end."""
    if numbers.size < 3:
        return []
    starts = _run_starts(numbers, n_frames)
    if not 1 < starts.size <= MAX_RUNS:
        return []
    ends = np.append(starts[1:], numbers.size)
    lone = np.flatnonzero(ends - starts <= _STRAY)
    long = np.flatnonzero(ends - starts > _STRAY)
    strays = []
    for run in lone:
        before, after = long[long < run], long[long > run]
        start, end = int(starts[run]), int(ends[run])
        if before.size and after.size:
            step = numbers[starts[after[0]]] - numbers[ends[before[-1]] - 1]
            stray = 0 < step <= _largest_step(n_frames)
        elif start == 0:
            stray = end == 1 and numbers[0] > numbers[1]
        else:
            stray = end == start + 1 == numbers.size and numbers[start] > numbers[start - 1]
        if stray:
            strays.append(slice(start, end))
    return strays


def _slots(numbers: NDArray[np.int64], known: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the slot of every frame, -1 for none; None where the holes are too many to be believed."""
    slot = np.full(numbers.size, -1, np.int64)
    begin = int(known[0])
    bounds = [*starts.tolist(), known.size]
    for first, last in pairwise(bounds):
        here = known[first:last]
        until = int(known[last]) if last < known.size else numbers.size
        if first == 0:
            slot[: here[0]] = np.arange(here[0])
        slot[here] = numbers[here] - numbers[here].min() + begin
        behind = until - int(here[-1]) - 1
        end = int(slot[here].max()) + 1
        slot[here[-1] + 1 : until] = np.arange(end, end + behind)
        _bridge(slot, here)
        begin = end + behind
    return slot if begin <= MAX_STRETCH * numbers.size + REORDER else None


def _bridge(slot: NDArray[np.int64], known: NDArray[np.int64]) -> None:
    """Give the frames between two known ones of a run their slots, where there are exactly as many as frames."""
    frames, places = np.diff(known), np.diff(slot[known])
    for gap in np.flatnonzero((frames > 1) & (frames == places)):
        start, length = int(known[gap]), int(frames[gap])
        slot[start + 1 : start + length] = slot[start] + np.arange(1, length)


def _fill(slot: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (file index of every slot, frames whose slot was taken by an earlier one)."""
    frames = np.flatnonzero(slot >= 0)
    file_index = np.full(int(slot.max(initial=-1)) + 1, -1, np.int64)
    file_index[slot[frames[::-1]]] = frames[::-1]
    return file_index, frames[file_index[slot[frames]] != frames].astype(np.int64)
