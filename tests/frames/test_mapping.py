"""Every frame of the file has one position or lies outside, and every position says what it holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stemcal.formats.extras import FrameStatus
from stemcal.frames.mib import contiguous
from stemcal.frames.scan.decide import ScanLayout
from stemcal.frames.scan.mapping import map_scan
from stemcal.frames.scan.placement import Slots, place_frames

NONE = np.empty(0, np.int64)


def slots_of(*numbers: int) -> Slots:
    return place_frames(np.array(numbers, np.int64))


def layout(
    rows: int, cols: int, first: int = 0, fly_back: tuple[int, ...] = (), spikes: tuple[int, ...] = ()
) -> ScanLayout:
    return ScanLayout((rows, cols), first, fly_back, np.array(spikes, np.int64), 1.0, certain=True)


def test_a_plain_scan() -> None:
    found = map_scan(slots_of(*range(1, 7)), layout(2, 3), 6)
    assert found.places.tolist() == list(range(6))
    assert found.outside.tolist() == []
    assert not found.status.any()
    assert found.positions(6).tolist() == list(range(6))


def test_lead_in_and_what_comes_behind_lie_outside() -> None:
    found = map_scan(slots_of(*range(1, 10)), layout(2, 3, first=2), 9)
    assert found.places.tolist() == [2, 3, 4, 5, 6, 7]
    assert found.outside.tolist() == [0, 1, 8]
    assert found.positions(9).tolist() == [-1, -1, 0, 1, 2, 3, 4, 5, -1]


def test_a_lost_frame_leaves_a_hole_and_one_that_came_twice_lies_outside() -> None:
    found = map_scan(slots_of(1, 2, 4, 5, 5, 6), layout(2, 3), 6)
    assert found.places.tolist() == [0, 1, -1, 2, 3, 5]
    assert found.outside.tolist() == [4]
    assert found.status.tolist() == [0, 0, FrameStatus.MISSING, 0, 0, 0]


def test_positions_behind_the_last_frame_are_missing() -> None:
    found = map_scan(slots_of(1, 2, 3, 4), layout(2, 3), 4)
    assert found.places.tolist() == [0, 1, 2, 3, -1, -1]
    assert found.status.tolist() == [0, 0, 0, 0, FrameStatus.MISSING, FrameStatus.MISSING]


def test_missing_outweighs_fly_back_and_fly_back_a_spike() -> None:
    found = map_scan(slots_of(1, 2, 3, 5, 6, 7, 8, 9), layout(3, 3, fly_back=(0,), spikes=(1, 3, 6)), 8)
    ok, fly_back, spike, missing = FrameStatus
    assert found.status.reshape(3, 3).tolist() == [[fly_back, spike, ok], [missing, ok, ok], [fly_back, ok, ok]]


def test_spikes_outside_the_scan_are_no_position() -> None:
    found = map_scan(slots_of(*range(1, 10)), layout(2, 3, first=2, spikes=(0, 3, 8)), 9)
    assert found.status.tolist() == [0, FrameStatus.SPIKE, 0, 0, 0, 0]


@settings(max_examples=200, deadline=None)
@given(
    numbers=st.lists(st.integers(-1, 40), min_size=1, max_size=40),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 8)),
    first=st.integers(0, 12),
)
def test_nothing_is_lost_whatever_the_numbers(numbers: list[int], shape: tuple[int, int], first: int) -> None:
    slots = slots_of(*numbers)
    found = map_scan(slots, layout(*shape, first=first), len(numbers))
    placed = found.places[found.places >= 0]
    assert sorted([*placed.tolist(), *found.outside.tolist()]) == list(range(len(numbers)))
    assert (found.outside[:-1] < found.outside[1:]).all()
    np.testing.assert_array_equal(found.status == FrameStatus.MISSING, found.places < 0)
    positions = found.positions(len(numbers))
    np.testing.assert_array_equal(found.places[positions[placed]], placed)
    assert np.count_nonzero(positions < 0) == found.outside.size


@pytest.mark.parametrize(
    ("places", "at_most", "wanted"),
    [
        ([], 4, []),
        ([-1, -1], 4, []),
        ([-1, 0, 1], 4, [(1, 0, 2)]),
        ([3, 4, 5], 4, [(0, 3, 6)]),
        ([3, 4, 5, 6, 7], 2, [(0, 3, 5), (2, 5, 7), (4, 7, 8)]),
        ([0, -1, 1, 2, -1, -1, 9, 3], 4, [(0, 0, 1), (2, 1, 3), (6, 9, 10), (7, 3, 4)]),
    ],
)
def test_runs_of_frames_are_read_together(places: list[int], at_most: int, wanted: list[tuple[int, int, int]]) -> None:
    assert list(contiguous(np.array(places, np.int64), at_most)) == wanted


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-1, 6), max_size=30), st.integers(1, 7))
def test_runs_give_every_frame_once(places: list[int], at_most: int) -> None:
    found: NDArray[np.int64] = np.full(len(places), -1)
    for at, first, last in contiguous(np.array(places, np.int64), at_most):
        assert 0 < last - first <= at_most
        assert (found[at : at + last - first] == -1).all()
        found[at : at + last - first] = np.arange(first, last)
    assert found.tolist() == places
