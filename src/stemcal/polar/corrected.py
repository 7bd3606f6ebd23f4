"""The frames as a round camera with a still beam would have seen them: count-conserving, float32, streamed.

A corrected pixel is a parallelogram; its counts are shared out among the pixels of the round frame by the areas that
they have in common. That moves counts by less than a pixel and neither loses nor makes any: the frame is as large as
every valid pixel of every position needs. The origin of each position, to the step of the rings, comes to lie in the
middle of one and the same pixel. Sums are whole numbers of 2^-14 counts and exact; only what is stored is rounded, to
float32, and never to an integer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.formats import bitshuffle
from stemcal.formats.container import Layout, open_container
from stemcal.formats.extras import Extras, Sum
from stemcal.formats.hspy import Axis
from stemcal.frames.plan import Block
from stemcal.frames.source import FrameSource
from stemcal.polar import corrected_kernels as kernels
from stemcal.polar.tables import FractionTables, Shape
from stemcal.stages import BLOCK_BYTES

_BLOCK_BYTES = BLOCK_BYTES // 4
"""The corrected frames take more bytes than the counts, so there are fewer of them in a block."""
_WHOLE = 0.99
"""Coverage from which a pixel counts as measured at every position; 2^-14 at a time it adds up to 1 within 1e-3."""


@dataclass(frozen=True)
class RoundFrame:
    """The frame that all positions are put into.

    Attributes
    ----------
    matrix : ndarray
        (2, 2) takes a distorted (row, col) offset to the round one.
    shape : tuple of int
        (row, col).
    origin : tuple of int
        Pixel in whose middle the origin is.
    """

    matrix: NDArray[np.float64]
    shape: Shape
    origin: Shape

    @classmethod
    def around(cls, frame_shape: Shape, matrix: NDArray[np.float64], origins_px: NDArray[np.float64]) -> RoundFrame:
        """Return the smallest frame that holds every pixel of a detector about each of the origins (n, 2)."""
        far = np.array(frame_shape) - 0.5
        least, most = -0.5 - origins_px.max(axis=0), far - origins_px.min(axis=0)
        corners = np.array([(row, col) for row in (least[0], most[0]) for col in (least[1], most[1])]) @ matrix.T
        first, last = np.floor(corners.min(axis=0) + 0.5), np.floor(corners.max(axis=0) + 0.5)
        rows, cols = (last - first + 1).astype(int)
        return cls(matrix, (int(rows), int(cols)), (int(-first[0]), int(-first[1])))

    @property
    def span(self) -> int:
        """Most pixels that a corrected pixel reaches along an axis."""
        return int(np.ceil(np.abs(self.matrix).sum(axis=1).max())) + 1

    def table(self, shape: Shape, centre_px: tuple[float, float]) -> NDArray[np.int16]:
        """Return where an array of pixels with the origin at ``centre_px`` goes, see `corrected_kernels.share_out`."""
        table = np.empty((*shape, 2 + self.span**2), np.int16)
        kernels.share_out(self.matrix, *centre_px, self.span, table)
        return table


@dataclass(frozen=True)
class CorrectedBlock:
    """A block of corrected frames: compressed, and what is added up from them."""

    chunks: list[bytes]
    total: NDArray[np.float64]
    coverage: NDArray[np.float64]


Stream = Callable[..., Iterator[tuple[Block, CorrectedBlock]]]


def corrected_frame(
    counts: NDArray[Any], valid: NDArray[np.bool_], table: NDArray[Any], shift: Shape, frame: RoundFrame
) -> NDArray[np.float64]:
    """Return one frame, (row, col) of ``frame``: counts, 0 where nothing was counted.

    Parameters
    ----------
    counts : ndarray
        (det_row, det_col) counts, or counts with their gain; invalid pixels may hold anything.
    valid : ndarray
        (det_row, det_col), True = valid.
    table, shift :
        From ``frame.table`` by `FractionTables`.
    frame : RoundFrame
        What to put it into.
    """
    exact = counts.dtype.kind == "u"
    sums = np.empty(frame.shape, np.uint64 if exact else np.float64)
    kernels.spread(counts, valid, table, shift, frame.origin, sums)
    return np.asarray(sums / kernels.PARTS)


def corrected_block(
    counts: NDArray[Any],
    usable: NDArray[np.bool_],
    keys: NDArray[np.int64],
    valid: NDArray[np.bool_],
    tables: FractionTables,
    frame: RoundFrame,
) -> CorrectedBlock:
    """Return a block of frames (n, det_row, det_col) corrected and compressed, NaN where nothing was measured.

    Parameters
    ----------
    counts : ndarray
        (n, det_row, det_col).
    usable : ndarray
        (n,) False for a frame that is none of the scan.
    keys : ndarray
        (n, 2) quantised origins.
    valid, tables, frame :
        As for `corrected_frame`.
    """
    ones = np.ones(valid.shape, np.uint8)
    total, covered = np.zeros(frame.shape), np.zeros(frame.shape)
    chunks = [bitshuffle.compress(np.full(frame.shape, np.nan, np.float32))] * len(counts)
    for key in sorted({(int(row), int(col)) for row, col in keys[usable]}):
        table, shift = tables.get(key)
        coverage = corrected_frame(ones, valid, table, shift, frame)
        for index in np.flatnonzero(usable & (keys == key).all(axis=1)):
            found = corrected_frame(counts[index], valid, table, shift, frame)
            total += found
            covered += coverage
            found[coverage == 0] = np.nan
            chunks[index] = bitshuffle.compress(found.astype(np.float32))
    return CorrectedBlock(chunks, total, covered)


def write_corrected(
    path: Path,
    source: FrameSource,
    frame: RoundFrame,
    keys: NDArray[np.int64],
    tables: FractionTables,
    stream: Stream,
    *,
    writes: bool,
    pixel_size_per_angstrom: float,
    parameter: str,
) -> None:
    """Write the corrected frames of a scan; only rank 0 writes, and what it writes does not depend on the others.

    Parameters
    ----------
    path : Path
        ``<id>_corrected.hspy``.
    source : FrameSource
        The counts.
    frame : RoundFrame
        What to put them into.
    keys : ndarray
        (n_frames, 2) quantised origins.
    tables : FractionTables
        Of ``frame.table`` for these origins.
    stream : callable
        `stemcal.frames.stream.stream_blocks` with its threads and ranks.
    writes : bool
        False on the ranks that only compute.
    pixel_size_per_angstrom : float
        Of the round frame.
    parameter : str
        Canonical JSON of stage, revision, settings and source.
    """
    usable = source.frame_status == 0

    def correct(counts: NDArray[Any], block: Block) -> CorrectedBlock:
        run = slice(block.start, block.stop)
        return corrected_block(counts, usable[run], keys[run], source.valid, tables, frame)

    blocks = stream(source, correct, block_bytes=_BLOCK_BYTES)
    if not writes:
        deque(blocks, maxlen=0)
        return
    total, covered = np.zeros(frame.shape), np.zeros(frame.shape)
    with open_container(path, _layout(source, frame, pixel_size_per_angstrom)) as writer:
        for block, done in blocks:
            writer.put(range(block.start, block.stop), done.chunks)
            total += done.total
            covered += done.coverage
        coverage = covered / max(1, int(usable.sum()))
        sums = {
            "sum": Sum(total, "counts", "sum of the corrected frames"),
            "coverage": Sum(coverage, "1", "part of the pixel that is measured, averaged over the frames"),
        }
        valid = coverage > _WHOLE
        writer.finish(Extras(valid=valid, frame_status=source.frame_status, sums=sums, parameter=parameter))


def _layout(source: FrameSource, frame: RoundFrame, pixel_size_per_angstrom: float) -> Layout:
    step = source.microscope.scan_step_nm if source.microscope else None
    scan = (step, "nm") if step else (1.0, "px")
    q_row, q_col = (
        Axis(name, "1/Å", pixel_size_per_angstrom, -place * pixel_size_per_angstrom)
        for name, place in zip(("q_row", "q_col"), frame.origin, strict=True)
    )
    axes = (Axis("scan_row", scan[1], scan[0]), Axis("scan_col", scan[1], scan[0]), q_row, q_col)
    return Layout("corrected", (*source.scan_shape, *frame.shape), axes, np.dtype(np.float32))
