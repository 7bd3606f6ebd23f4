from __future__ import annotations

import numpy as np
import pytest

from stemcal.convert.sequence import check_sequence, sequence_flags


def numbers(*parts: int | range) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([n for part in parts for n in ([part] if isinstance(part, int) else part)], np.int64)


def test_a_count_without_holes_is_good() -> None:
    check = check_sequence(numbers(range(1, 101)))
    assert (check.n_missing, check.n_duplicate, check.n_unreadable, check.first_gap) == (0, 0, 0, None)
    assert sequence_flags(check) == ()


@pytest.mark.parametrize(
    ("sequence", "missing", "duplicate", "unreadable", "gap"),
    [
        (numbers(range(1, 50), range(52, 100)), 2, 0, 0, 49),
        (numbers(range(1, 50), 49, range(50, 60)), 0, 1, 0, 49),
        (numbers(range(1, 51), range(1, 51)), 0, 50, 0, 50),
        (numbers(1, 2, 4, 3, 5), 0, 0, 0, 2),
        (numbers(1, 2, -1, 4), 0, 0, 1, 2),
        (numbers(-1, -1), 0, 0, 2, None),
    ],
)
def test_what_is_wrong_is_counted(
    sequence: np.ndarray[tuple[int], np.dtype[np.int64]], missing: int, duplicate: int, unreadable: int, gap: int | None
) -> None:
    check = check_sequence(sequence)
    assert (check.n_missing, check.n_duplicate, check.n_unreadable) == (missing, duplicate, unreadable)
    assert check.first_gap == gap
    assert [flag.name for flag in sequence_flags(check)] == ["sequence_broken"]


def test_a_count_that_begins_late_is_told() -> None:
    flags = sequence_flags(check_sequence(numbers(range(5, 20))))
    assert [(flag.name, flag.value) for flag in flags] == [("sequence_start", 5)]
