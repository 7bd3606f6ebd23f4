from __future__ import annotations

import pickle
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.frames.plan import Block
from stemcal.frames.ranks import SERIAL, World
from stemcal.frames.source import open_source
from stemcal.frames.stream import stream_blocks

N_FRAMES = 23
BLOCK_BYTES = 3 * 4 * 5 * 2


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    path = tmp_path / "stack.npy"
    frames = np.arange(N_FRAMES * 20, dtype=np.uint16).reshape(1, N_FRAMES, 4, 5)
    np.save(path, frames)
    return path


def total(frames: NDArray[Any], block: Block) -> tuple[int, int]:
    assert frames.shape == (block.n_frames, 4, 5)
    return block.index, int(frames.sum())


class Queues(World):
    """Ranks that are threads: what they send is pickled, as MPI does."""

    def __init__(self, rank: int, size: int, boxes: list[queue.Queue[bytes]]) -> None:
        self.rank, self.size, self._boxes = rank, size, boxes
        self.left = False

    def send(self, value: object, to: int) -> None:
        assert to == 0
        self._boxes[self.rank].put(pickle.dumps(value))

    def recv(self, source: int) -> Any:
        return pickle.loads(self._boxes[source].get(timeout=10))

    def barrier(self) -> None:
        self.left = True


def on_ranks(
    path: Path, function: Callable[[NDArray[Any], Block], Any], size: int, threads: int
) -> tuple[list[tuple[Block, Any]], list[Queues]]:
    boxes: list[queue.Queue[bytes]] = [queue.Queue() for _ in range(size)]
    worlds = [Queues(rank, size, boxes) for rank in range(size)]

    def work(world: World) -> list[tuple[Block, Any]]:
        with open_source(path) as source:
            return list(stream_blocks(source, function, threads=threads, world=world, block_bytes=BLOCK_BYTES))

    others = [threading.Thread(target=work, args=(world,), daemon=True) for world in worlds[1:]]
    for other in others:
        other.start()
    results = work(worlds[0])
    for other in others:
        other.join(10)
    return results, worlds


@pytest.mark.parametrize("size", [1, 2, 3, 20])
@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_plan_order_whatever_works_on_them(stack: Path, size: int, threads: int) -> None:
    results, _ = on_ranks(stack, total, size, threads)
    assert [block.index for block, _ in results] == list(range(8))
    assert [index for _, (index, _) in results] == list(range(8))
    frames = np.load(stack)[0]
    assert [value for _, (_, value) in results] == [int(frames[b.start : b.stop].sum()) for b, _ in results]


def test_progress_counts_frames(stack: Path) -> None:
    seen: list[tuple[int, int]] = []
    with open_source(stack) as source:
        for _ in stream_blocks(
            source, total, progress=lambda done, n: seen.append((done, n)), block_bytes=BLOCK_BYTES * 3
        ):
            pass
    assert seen == [(9, 23), (18, 23), (23, 23)]


def test_no_more_than_a_few_blocks_are_in_flight(stack: Path) -> None:
    begun: list[int] = []

    def note(_frames: NDArray[Any], block: Block) -> int:
        begun.append(block.index)
        return block.index

    with open_source(stack) as source:
        stream = stream_blocks(source, note, threads=1, block_bytes=1)
        next(stream)
        assert len(begun) == 1
        stream.close()
        pooled = stream_blocks(source, note, threads=2, world=SERIAL, block_bytes=1)
        begun.clear()
        next(pooled)
        pooled.close()
    assert len(begun) <= 4


def broken(frames: NDArray[Any], block: Block) -> int:
    if block.index == 1:
        raise DataError("scan.mib", "is broken", "mend it")
    return len(frames)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [1, 2])
def test_a_failure_on_any_rank_is_raised_on_rank_0(stack: Path, size: int, threads: int) -> None:
    with pytest.raises(DataError, match=r"scan\.mib: is broken; mend it") as caught:
        on_ranks(stack, broken, size, threads)
    assert caught.value.remedy == "mend it"


def test_an_error_of_the_system_keeps_its_number(stack: Path) -> None:
    def full(_frames: NDArray[Any], block: Block) -> int:
        if block.index == 1:
            raise OSError(28, "No space left on device", "scratch")
        return 0

    with pytest.raises(OSError, match="No space left") as caught:
        on_ranks(stack, full, 2, 1)
    assert caught.value.errno == 28
