from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stemcal.frames.scan import Slots, place_frames


def placed(*numbers: int) -> Slots:
    return place_frames(np.array(numbers, np.int64))


def count(start: int, stop: int) -> NDArray[np.int64]:
    return np.arange(start, stop + 1, dtype=np.int64)


def join(*parts: NDArray[np.int64] | list[int]) -> NDArray[np.int64]:
    return np.concatenate([np.asarray(part, np.int64) for part in parts])


def assert_every_frame_once(slots: Slots, n_frames: int) -> None:
    inside = slots.file_index[slots.file_index >= 0]
    everything = np.sort(np.concatenate([inside, slots.duplicates, slots.unplaced]))
    np.testing.assert_array_equal(everything, np.arange(n_frames))


def test_a_count_without_holes_keeps_the_order_of_the_file() -> None:
    slots = place_frames(count(1, 100))
    np.testing.assert_array_equal(slots.file_index, np.arange(100))
    assert (slots.n_missing, slots.n_unreadable, slots.restarts, slots.first_sequence) == (0, 0, (), 1)
    assert slots.duplicates.size == 0


def test_a_dropped_frame_leaves_a_hole_and_shifts_nothing() -> None:
    slots = place_frames(join(count(1, 50), count(52, 100)))
    assert slots.n_slots == 100
    assert slots.file_index[50] == -1
    assert slots.n_missing == 1
    np.testing.assert_array_equal(slots.file_index[51:], np.arange(50, 99))


def test_a_duplicate_is_reported_and_not_placed() -> None:
    slots = placed(1, 2, 2, 3, 4)
    np.testing.assert_array_equal(slots.file_index, [0, 1, 3, 4])
    np.testing.assert_array_equal(slots.duplicates, [2])


def test_frames_in_the_wrong_order_are_put_right() -> None:
    slots = placed(2, 1, 3, 5, 4, 6)
    np.testing.assert_array_equal(slots.file_index, [1, 0, 2, 4, 3, 5])
    assert slots.restarts == ()


def test_a_damaged_header_goes_between_its_neighbours() -> None:
    slots = placed(1, 2, -1, -1, 5, 6)
    np.testing.assert_array_equal(slots.file_index, np.arange(6))
    assert slots.n_unreadable == 2


def test_damaged_headers_at_the_ends_follow_the_file() -> None:
    slots = placed(-1, -1, 3, 4, 5, -1)
    np.testing.assert_array_equal(slots.file_index, np.arange(6))
    assert slots.first_sequence == 1


def test_a_damaged_header_beside_a_hole_is_not_guessed() -> None:
    slots = placed(1, 2, -1, 5, 6)
    np.testing.assert_array_equal(slots.file_index, [0, 1, -1, -1, 3, 4])
    np.testing.assert_array_equal(slots.unplaced, [2])


@pytest.mark.parametrize("wrong", [999_999_999_999, 5000, 0, 400])
def test_a_number_that_its_neighbours_contradict_is_unreadable(wrong: int) -> None:
    numbers = count(1, 1000)
    numbers[700] = wrong
    slots = place_frames(numbers)
    np.testing.assert_array_equal(slots.file_index, np.arange(1000))
    assert (slots.n_unreadable, slots.restarts) == (1, ())


@pytest.mark.parametrize("place", [0, 999])
def test_an_absurd_number_at_an_end_is_unreadable(place: int) -> None:
    numbers = count(1, 1000)
    numbers[place] = 2**62
    slots = place_frames(numbers)
    np.testing.assert_array_equal(slots.file_index, np.arange(1000))
    assert (slots.n_unreadable, slots.first_sequence) == (1, 1)


def test_two_absurd_numbers_side_by_side_are_unreadable() -> None:
    slots = place_frames(join(count(1, 100), [10**9, 2 * 10**9], count(103, 200)))
    np.testing.assert_array_equal(slots.file_index, np.arange(200))
    assert slots.n_unreadable == 2


def test_a_lone_frame_between_two_losses_is_believed() -> None:
    slots = place_frames(join(count(1, 100), [150], count(200, 300)))
    assert slots.n_slots == 300
    assert slots.file_index[149] == 100
    assert slots.n_unreadable == 0


def test_a_new_numbering_follows_the_old_one() -> None:
    slots = place_frames(join(count(1, 100), count(1, 50), count(52, 100)))
    assert slots.restarts == (100,)
    assert slots.n_slots == 200
    assert slots.file_index[150] == -1
    np.testing.assert_array_equal(slots.file_index[:150], np.arange(150))


def test_a_new_numbering_after_a_few_frames_is_not_a_row_of_duplicates() -> None:
    slots = placed(1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6, 7)
    assert slots.restarts == (5,)
    np.testing.assert_array_equal(slots.file_index, np.arange(12))


def test_a_damaged_header_before_a_new_numbering_belongs_to_the_old_one() -> None:
    slots = place_frames(join(count(1, 99), [-1], count(1, 100)))
    np.testing.assert_array_equal(slots.file_index, np.arange(200))
    assert slots.restarts == (100,)


def test_a_hole_larger_than_the_file_starts_a_new_numbering() -> None:
    slots = place_frames(join(count(1, 100), count(10**12, 10**12 + 99)))
    assert slots.restarts == (100,)
    assert slots.n_slots == 200


def test_a_series_may_begin_at_any_number() -> None:
    slots = place_frames(count(65_537, 65_636))
    assert slots.first_sequence == 65_537
    np.testing.assert_array_equal(slots.file_index, np.arange(100))


@pytest.mark.parametrize("numbers", [np.full(40, -1), np.random.default_rng(3).permutation(5000) * 7919])
def test_numbers_that_are_no_count_leave_the_order_of_the_file(numbers: NDArray[np.int64]) -> None:
    slots = place_frames(numbers.astype(np.int64))
    np.testing.assert_array_equal(slots.file_index, np.arange(numbers.size))
    assert (slots.n_unreadable, slots.first_sequence) == (numbers.size, None)


def test_holes_never_stretch_the_series_without_bound() -> None:
    slots = place_frames(np.arange(1, 5000, dtype=np.int64) * 900)
    assert slots.n_slots == 4999


def test_no_frames_and_one_frame() -> None:
    assert place_frames(np.empty(0, np.int64)).n_slots == 0
    one = placed(7)
    assert (one.n_slots, one.first_sequence) == (1, 7)


@pytest.mark.parametrize("seed", range(20))
def test_any_mixture_of_defects_loses_no_frame_and_moves_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.sort(rng.choice(np.arange(1, 3001), 2900, replace=False))
    numbers = truth.copy()
    damaged = rng.choice(2900, 20, replace=False)
    numbers[damaged] = np.where(rng.random(20) < 0.5, -1, rng.integers(0, 10**9, 20))
    slots = place_frames(numbers.astype(np.int64))
    assert_every_frame_once(slots, 2900)
    assert slots.restarts == ()
    at = np.flatnonzero(slots.file_index >= 0)
    assert slots.first_sequence is not None
    np.testing.assert_array_equal(truth[slots.file_index[at]], at + slots.first_sequence)


def test_a_million_frames_are_placed_with_their_holes() -> None:
    numbers = np.delete(count(1, 1_000_000), np.arange(0, 1_000_000, 997))
    slots = place_frames(numbers)
    assert slots.n_slots == 999_999
    assert_every_frame_once(slots, numbers.size)
