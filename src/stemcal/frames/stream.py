"""The one primitive of every pass over the frames: a function of a block, its results in plan order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from numpy.typing import NDArray

from stemcal.frames.plan import Block, owner, plan_blocks
from stemcal.frames.ranks import SERIAL, World
from stemcal.frames.source import FrameSource
from stemcal.stages import BLOCK_BYTES

T = TypeVar("T")
_AHEAD_PER_THREAD = 2
"""Results that may wait per thread: enough that no thread idles, few enough that memory stays bounded."""


def stream_blocks(
    source: FrameSource,
    function: Callable[[NDArray[Any], Block], T],
    *,
    threads: int = 1,
    world: World = SERIAL,
    progress: Callable[[int, int], None] | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[tuple[Block, T]]:
    """Apply ``function`` to every block of ``source``; rank 0 yields the results in plan order.

    The plan depends on the data alone and the results come in its order, so whatever is added up from them does not
    depend on the number of threads or ranks. At most ``2 * threads`` blocks are in flight on each rank.

    Parameters
    ----------
    source : FrameSource
        The frames.
    function : callable
        Pure function of (frames (n, det_row, det_col), block). With several ranks its result must be picklable.
    threads : int
        Worker threads on each rank.
    world : World
        The ranks; the others than 0 send their share to rank 0 and yield nothing.
    progress : callable or None
        Called on rank 0 with (frames done, frames in all) after each block.
    block_bytes : int
        Target size of one block of raw frames in bytes.

    Yields
    ------
    tuple of (Block, result)
        On rank 0 every block of the plan, elsewhere nothing.

    Raises
    ------
    Exception
        Whatever ``function`` or the source raised, on rank 0, also for a failure on another rank.
    """
    frame_bytes = source.frame_shape[0] * source.frame_shape[1] * source.dtype.itemsize
    plan = plan_blocks(source.n_frames, frame_bytes, block_bytes)

    def work(block: Block) -> T:
        return function(source.read(block.start, block.stop), block)

    yield from stream_plan(plan, work, threads=threads, world=world, progress=progress)


def stream_plan(
    plan: tuple[Block, ...],
    work: Callable[[Block], T],
    *,
    threads: int = 1,
    world: World = SERIAL,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[Block, T]]:
    """Apply ``work`` to every block of ``plan``, for functions that read by themselves; else as `stream_blocks`."""
    n_frames = plan[-1].stop if plan else 0
    share = [block for block in plan if owner(block, world.size) == world.rank]
    results = _in_order(work, share, threads)
    if world.rank != 0:
        _send_share(results, world)
        return
    for block in plan:
        source_rank = owner(block, world.size)
        result = next(results) if source_rank == 0 else _receive(world, source_rank)
        yield block, result
        if progress is not None:
            progress(block.stop, n_frames)


def _in_order(work: Callable[[Block], T], blocks: list[Block], threads: int) -> Iterator[T]:
    """Yield the result of each block in order, computed by a pool that stays a bounded number of blocks ahead."""
    if threads <= 1:
        yield from map(work, blocks)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for block in blocks:
                waiting.append(pool.submit(work, block))
                if len(waiting) >= _AHEAD_PER_THREAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def make_alike(make: Callable[[], T], seen: Callable[[T], object], world: World) -> tuple[T, bool]:
    """Make something on every rank, before any of them begins with what it would have to clean up.

    Parameters
    ----------
    make : callable
        Makes it.
    seen : callable
        Returns what has to be equal on all ranks, picklable.
    world : World
        The ranks.

    Returns
    -------
    tuple
        What ``make`` returned and, on rank 0, whether all ranks saw the same; elsewhere True.

    Raises
    ------
    Exception
        Whatever ``make`` raised, on rank 0, also for a failure on another rank.
    """
    if world.rank == 0:
        made = make()
        found = [_receive(world, rank) for rank in range(1, world.size)]
        return made, all(one == seen(made) for one in found)
    try:
        made = make()
    except Exception as error:
        _give_up(error, world)
        raise
    world.send(seen(made), 0)
    return made, True


class _Failure:
    """An exception on its way to rank 0, which cleans up and then ends all ranks.

    Exceptions whose constructor does not take their own ``args`` cannot be pickled; their parts can.
    """

    def __init__(self, error: Exception) -> None:
        self.kind = type(error)
        self.args = error.args
        if isinstance(error, OSError) and error.errno is not None:
            self.args = (error.errno, error.strerror, error.filename, None, error.filename2)
        self.state = dict(error.__dict__)

    def error(self) -> Exception:
        error = self.kind.__new__(self.kind, *self.args)
        error.args = error.args or self.args
        error.__dict__.update(self.state)
        return error


def _send_share(results: Iterator[T], world: World) -> None:
    try:
        for result in results:
            world.send(result, 0)
    except Exception as error:  # noqa: BLE001 (it is not lost: rank 0 raises it)
        _give_up(error, world)


def _give_up(error: Exception, world: World) -> None:
    """Pass ``error`` to rank 0 and wait for the end, which is not this rank's business."""
    world.send(_Failure(error), 0)
    world.barrier()


def _receive(world: World, source_rank: int) -> Any:
    received = world.recv(source_rank)
    if isinstance(received, _Failure):
        raise received.error()
    return received
