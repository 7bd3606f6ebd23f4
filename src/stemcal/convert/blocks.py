"""The work on one block of frames: compress, add up, note the frame numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.convert.detectors import apertures, locate_disk, sample_patterns, virtual_detectors
from stemcal.convert.settings import ConvertSettings
from stemcal.convert.sums import BlockSums, reduce_block
from stemcal.formats import bitshuffle
from stemcal.frames.mib import MibSource
from stemcal.frames.plan import Block
from stemcal.optics.disk import NoDisk
from stemcal.records.convert import VirtualDetectors


@dataclass(frozen=True)
class BlockResult:
    """What becomes of one block.

    Attributes
    ----------
    chunks : tuple of bytes
        One compressed frame each.
    sums : BlockSums
        Sums of the block.
    sequence : ndarray of int64
        (n,) numbers from the frame headers.
    """

    chunks: tuple[bytes, ...]
    sums: BlockSums
    sequence: NDArray[np.int64]


def locate(frames: MibSource, valid: NDArray[np.bool_], settings: ConvertSettings) -> VirtualDetectors | NoDisk:
    """Find the bright disk on a sample of frames and lay the virtual detectors around it, or say why there is none."""
    found = locate_disk(sample_patterns(frames, settings.n_sample_frames), valid)
    if isinstance(found, NoDisk):
        return found
    return virtual_detectors(*found, frames.frame_shape, settings)


def block_function(
    frames: MibSource, detectors: VirtualDetectors | NoDisk, valid: NDArray[np.bool_]
) -> Callable[[NDArray[Any], Block], BlockResult]:
    """Return the function that `stemcal.frames.stream.stream_blocks` applies to every block.

    Parameters
    ----------
    frames : MibSource
        Gives the frame numbers, which are not in the frames themselves.
    detectors : VirtualDetectors or NoDisk
        Virtual detectors; without a disk there are no bright and dark field images.
    valid : ndarray of bool
        (det_row, det_col), True = valid.
    """
    pixels = None if isinstance(detectors, NoDisk) else apertures(detectors, valid)
    mask = None if valid.all() else valid

    def work(block_frames: NDArray[Any], block: Block) -> BlockResult:
        chunks = tuple(bitshuffle.compress(frame) for frame in block_frames)
        sums = reduce_block(block_frames, pixels, mask)
        return BlockResult(chunks, sums, frames.sequence_numbers(block.start, block.stop))

    return work
