"""Which frames make up which block, and which rank works on it: pure arithmetic, tested without MPI."""

from __future__ import annotations

from dataclasses import dataclass

from stemcal.stages import BLOCK_BYTES


@dataclass(frozen=True)
class Block:
    """A run of whole frames in raster order.

    Attributes
    ----------
    index : int
        Place of the block in the plan.
    start, stop : int
        First frame, and one past the last.
    """

    index: int
    start: int
    stop: int

    @property
    def n_frames(self) -> int:
        """Number of frames in the block."""
        return self.stop - self.start


def plan_blocks(n_frames: int, frame_bytes: int, block_bytes: int = BLOCK_BYTES) -> tuple[Block, ...]:
    """Cut ``n_frames`` into blocks of at most ``block_bytes``, never less than one frame.

    The plan depends on the data alone, never on threads or ranks: that is what makes results independent of them.

    Parameters
    ----------
    n_frames : int
        Number of frames, >= 0.
    frame_bytes : int
        Bytes of one raw frame, >= 1.
    block_bytes : int
        Target size of a block in bytes.

    Returns
    -------
    tuple of Block
        In raster order, each frame in exactly one block.

    Raises
    ------
    ValueError
        If a number is out of bounds.
    """
    if n_frames < 0 or frame_bytes < 1 or block_bytes < 1:
        message = f"cannot plan {n_frames} frames of {frame_bytes} bytes in blocks of {block_bytes}"
        raise ValueError(f"{message}: frames must be >= 0, sizes >= 1")
    per_block = max(1, block_bytes // frame_bytes)
    starts = range(0, n_frames, per_block)
    return tuple(Block(index, start, min(start + per_block, n_frames)) for index, start in enumerate(starts))


def owner(block: Block, n_ranks: int) -> int:
    """Return the rank that computes ``block``: round robin, so that rank 0 receives in the order it writes."""
    return block.index % n_ranks


def evenly_spaced(n_frames: int, at_most: int) -> tuple[int, ...]:
    """Return at most ``at_most`` frame numbers spread evenly over ``n_frames``, each in the middle of its share.

    The middle, because the first frame of a scan is often a different one (beam settling, blanked).
    """
    if at_most < 1:
        raise ValueError(f"a sample of {at_most} frames is empty: ask for at least 1")
    count = min(n_frames, at_most)
    return tuple((2 * place + 1) * n_frames // (2 * count) for place in range(count))
