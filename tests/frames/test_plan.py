from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemcal.frames.plan import evenly_spaced, owner, plan_blocks


@given(n_frames=st.integers(0, 3000), frame_bytes=st.integers(1, 5000), block_bytes=st.integers(1, 100_000))
def test_every_frame_is_in_exactly_one_block(n_frames: int, frame_bytes: int, block_bytes: int) -> None:
    plan = plan_blocks(n_frames, frame_bytes, block_bytes)
    frames = [frame for block in plan for frame in range(block.start, block.stop)]
    assert frames == list(range(n_frames))
    assert [block.index for block in plan] == list(range(len(plan)))
    assert all(block.n_frames == 1 or block.n_frames * frame_bytes <= block_bytes for block in plan)


def test_a_block_is_never_less_than_one_frame() -> None:
    assert [block.n_frames for block in plan_blocks(3, 1000, 10)] == [1, 1, 1]


@pytest.mark.parametrize("numbers", [(-1, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_impossible_numbers_are_named(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="cannot plan"):
        plan_blocks(*numbers)


def test_blocks_go_round_the_ranks() -> None:
    plan = plan_blocks(10, 1, 2)
    assert [owner(block, 3) for block in plan] == [0, 1, 2, 0, 1]


@given(n_frames=st.integers(1, 5000), at_most=st.integers(1, 100))
def test_a_sample_is_spread_over_the_scan(n_frames: int, at_most: int) -> None:
    sample = evenly_spaced(n_frames, at_most)
    assert len(sample) == len(set(sample)) == min(n_frames, at_most)
    assert 0 <= sample[0] <= sample[-1] < n_frames
    gaps = {after - before for before, after in itertools.pairwise(sample)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_an_empty_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        evenly_spaced(10, 0)
