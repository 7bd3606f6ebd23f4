"""The work on one block of the raw file: read, decode, add up, compress, a few frames at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.convert.binning import BinPlan
from stemcal.convert.decoding import Pixels, from_frames, from_records
from stemcal.convert.detectors import CIRCLES, Circles, circles, locate_disk, sample_patterns, virtual_detectors
from stemcal.convert.journal import Journal
from stemcal.convert.patterns import Passed, PatternSums, pattern_sums
from stemcal.convert.preview import PreviewPlan
from stemcal.convert.settings import ConvertSettings
from stemcal.convert.sums import BlockSums, Image
from stemcal.formats.extras import FrameStatus
from stemcal.formats.merlin.pixels import counter_ceiling
from stemcal.frames.mib import MibSource
from stemcal.frames.plan import Block
from stemcal.optics.disk import NoDisk
from stemcal.records.convert import VirtualDetectors
from stemcal.stages import BLOCK_BYTES

_TOGETHER_BYTES = 2**22
"""Frames that are read and worked on together: few enough that they stay in the cache."""
_FEWEST_TOGETHER = 8
"""Enough to share the sums' traffic."""


@dataclass(frozen=True)
class BlockResult:
    """What becomes of one block.

    Attributes
    ----------
    chunks : tuple of bytes
        One compressed frame each, in file order.
    sums : BlockSums
        Images and preview of the block; its patterns come with those of all blocks at the end.
    records : ndarray of uint8 or None
        (n, stride_bytes) what of the block was read from the file, as it stands there; None where nobody asked for it.
    binned : ndarray or None
        (n, det_row, det_col) binned over the detector, None where nobody asked for it.
    """

    chunks: tuple[bytes, ...]
    sums: BlockSums
    records: NDArray[np.uint8] | None
    binned: NDArray[Any] | None


def locate(frames: MibSource, valid: NDArray[np.bool_], settings: ConvertSettings) -> VirtualDetectors | NoDisk:
    """Find the bright disk on a sample of frames and lay the virtual detectors around it, or say why there is none."""
    found = locate_disk(sample_patterns(frames, settings.n_sample_frames), valid)
    if isinstance(found, NoDisk):
        return found
    return virtual_detectors(*found, frames.frame_shape, settings)


@dataclass(frozen=True)
class _Lane:
    """What one thread adds up: patterns, and frames in which a pixel is at its ceiling, (det_row, det_col)."""

    sums: PatternSums
    saturated: Image


class BlockWorker:
    """The function of a block that the pass applies; safe to call from several threads.

    Parameters
    ----------
    source : MibSource
        The acquisition.
    preview : PreviewPlan
        How the preview is binned.
    detectors : VirtualDetectors or NoDisk
        Virtual detectors; without a disk there are no bright and dark field images.
    valid : ndarray of bool
        (det_row, det_col), True = valid; other pixels count in the patterns but not in the images.
    binning : BinPlan or None
        How frames are binned for the second file.
    journal : Journal or None
        Frames that are done already; they are not read from the raw file again.
    keep_records : bool
        Whether the raw bytes are wanted.
    """

    def __init__(
        self,
        source: MibSource,
        preview: PreviewPlan,
        detectors: VirtualDetectors | NoDisk,
        valid: NDArray[np.bool_],
        *,
        binning: BinPlan | None = None,
        journal: Journal | None = None,
        keep_records: bool = False,
    ) -> None:
        self._source = source
        self._binning = binning
        self._journal = journal
        self._n_done = 0 if journal is None else journal.n_frames
        self._preview = preview
        self.positions = source.scan_map.positions(source.mib.n_frames)
        counted = (self.positions >= 0) & (source.frame_status[self.positions] == FrameStatus.OK)
        self._cells = np.where(counted, preview.cell_of(self.positions), -1)
        self._masked = np.flatnonzero(source.valid & ~valid)
        self._circles: Circles | None = (
            None if isinstance(detectors, NoDisk) else circles(detectors, source.frame_shape)
        )
        self._ceiling = counter_ceiling(source.layout.header)
        self._keep_records = keep_records
        self._local = threading.local()
        self._lanes: list[_Lane] = []
        self._free: SimpleQueue[NDArray[np.uint8]] = SimpleQueue()
        self._n_together = max(_FEWEST_TOGETHER, _TOGETHER_BYTES // source.layout.stride_bytes)

    def __call__(self, block: Block) -> BlockResult:
        """Return what becomes of frames block.start to block.stop of the file."""
        records, lane = self._buffer(block.n_frames), self._mine()
        images: list[dict[str, Image]] = []
        chunks: list[bytes] = []
        binned: list[NDArray[Any]] = []
        for start, stop in self._groups(block):
            done, pixels = self._pixels(start, stop, records[start - block.start : stop - block.start])
            cells = self._cells[start:stop]
            passed = lane.sums.absorb(pixels, cells, compress=not done)
            chunks.extend(done or passed.chunks)
            images.append(self._images(passed) | {"saturated_pixels": self._saturation(passed, pixels, cells, lane)})
            if self._binning is not None:
                binned.append(self._binning.bin_detector(pixels.stored(0, stop - start, self._source.gap_px)))
        merged = {name: np.concatenate([one[name] for one in images]) for name in images[0]}
        kept = records[max(0, self._n_done - block.start) :] if self._keep_records else None
        if kept is None:
            self.release(records)
        both = np.concatenate(binned) if binned else None
        return BlockResult(tuple(chunks), BlockSums(None, merged, lane.sums.take_preview()), kept, both)

    def collect(self) -> list[tuple[int, BlockSums]]:
        """Return, once every block is done, the patterns of each thread with the number of frames in them."""
        found = [(*lane.sums.finish(), lane.saturated) for lane in self._lanes]
        return [(n_counted, BlockSums(patterns, {}, {}, saturated)) for n_counted, patterns, saturated in found]

    def release(self, records: NDArray[np.uint8]) -> None:
        """Take back the memory of a result's ``records``: fresh memory would cost more than reading into it."""
        self._free.put(records if records.base is None else records.base)

    def _buffer(self, n_frames: int) -> NDArray[np.uint8]:
        """Return memory for as many records, (n, stride_bytes)."""
        stride = self._source.layout.stride_bytes
        try:
            free = self._free.get_nowait()
        except Empty:
            free = np.empty(max(BLOCK_BYTES // stride, 1) * stride, np.uint8)
        return free[: n_frames * stride].reshape(n_frames, stride)

    def _mine(self) -> _Lane:
        """Return what this thread adds up to."""
        if not hasattr(self._local, "lane"):
            sums = pattern_sums(self._source, self._preview, self._masked, self._circles)
            self._local.lane = _Lane(sums, np.zeros(self._source.frame_shape, np.uint64))
            self._lanes.append(self._local.lane)
        lane: _Lane = self._local.lane
        return lane

    def _groups(self, block: Block) -> Iterator[tuple[int, int]]:
        """Yield runs of frames that are all done or not."""
        middle = min(max(self._n_done, block.start), block.stop)
        for begin, end in ((block.start, middle), (middle, block.stop)):
            for start in range(begin, end, self._n_together):
                yield start, min(start + self._n_together, end)

    def _pixels(self, start: int, stop: int, records: NDArray[np.uint8]) -> tuple[list[bytes], Pixels]:
        """Return the chunks of frames that are done, and the pixels of the frames."""
        source = self._source
        if self._journal is None or start >= self._n_done:
            return [], from_records(source.mib.read_records(start, stop, records), source.layout.header)
        pictures = np.empty((stop - start, *source.frame_shape), source.dtype)
        return self._journal.frames(start, pictures), from_frames(pictures, source.gap_px)

    def _images(self, passed: Passed) -> dict[str, Image]:
        found = {
            "total_counts": passed.total,
            "moment_row": passed.moment_row,
            "moment_col": passed.moment_col,
            "max_count": passed.maximum,
        }
        if self._circles is not None:
            high, dark, bright, inner = (passed.inside[:, CIRCLES.index(name)] for name in CIRCLES)
            found["bright_field"] = bright
            found["annular_bright_field"] = bright - inner
            found["annular_dark_field"] = passed.total - dark
            found["high_angle_dark_field"] = passed.total - high
        return found

    def _saturation(self, passed: Passed, pixels: Pixels, cells: NDArray[np.int64], lane: _Lane) -> Image:
        """Return how many valid pixels of each frame are at the ceiling; frames of cell -1 are in no pattern."""
        n_full = np.zeros(len(cells), np.uint64)
        if self._ceiling is None:
            return n_full
        for index in np.flatnonzero(passed.maximum >= self._ceiling).tolist():
            full = pixels.stored(index, index + 1, self._source.gap_px)[0] >= self._ceiling
            full.reshape(-1)[self._masked] = False
            n_full[index] = np.count_nonzero(full)
            if cells[index] >= 0:
                np.add(lane.saturated, full, out=lane.saturated)
        return n_full
