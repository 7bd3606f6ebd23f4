"""What the detector's own frame numbers say of frames that were lost or came twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.records.base import Flag


@dataclass(frozen=True)
class SequenceCheck:
    """Counts of what is wrong with the frame numbers; ``first_gap`` is the place of the first jump, from 0."""

    n_missing: int
    n_duplicate: int
    n_unreadable: int
    n_backward: int
    first_number: int | None
    first_gap: int | None


def check_sequence(numbers: NDArray[np.int64]) -> SequenceCheck:
    """Compare the frame numbers with a count without holes.

    Parameters
    ----------
    numbers : ndarray
        (n_frames,) numbers as they stand in the headers, -1 where a header is damaged.
    """
    readable = numbers[numbers >= 0]
    if readable.size == 0:
        return SequenceCheck(0, 0, int(numbers.size), 0, None, None)
    n_unreadable = int(numbers.size - readable.size)
    unique = np.unique(readable)
    span = int(unique[-1] - unique[0]) + 1
    steps = np.diff(readable)
    jumps = np.flatnonzero(np.diff(numbers) != 1)
    return SequenceCheck(
        n_missing=max(0, span - int(unique.size) - n_unreadable),
        n_duplicate=int(readable.size - unique.size),
        n_unreadable=n_unreadable,
        n_backward=int(np.count_nonzero(steps < 0)),
        first_number=int(readable[0]),
        first_gap=int(jumps[0]) + 1 if jumps.size else None,
    )


def sequence_flags(check: SequenceCheck) -> tuple[Flag, ...]:
    """Return a flag for frame numbers that are not a count without holes; none for a good sequence."""
    if check.first_gap is None and check.n_unreadable == 0 and check.first_number == 1:
        return ()
    if check.first_gap is None and check.n_unreadable == 0:
        message = f"the first frame is number {check.first_number}, not 1: earlier frames may be in another file"
        return (Flag(name="sequence_start", value=check.first_number, limit=1, message=message),)
    counts = (
        f"{check.n_missing} missing, {check.n_duplicate} twice, {check.n_backward} backward, "
        f"{check.n_unreadable} with a damaged header"
    )
    message = f"frame numbers are not contiguous ({counts}): positions behind frame {check.first_gap} may be displaced"
    return (Flag(name="sequence_broken", value=counts, limit="contiguous", message=message),)
