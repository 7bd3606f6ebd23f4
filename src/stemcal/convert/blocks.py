"""The work on one block of the raw file: read, decode, add up, compress, a few frames at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.convert import kernels
from stemcal.convert.binning import BinPlan
from stemcal.convert.decoding import from_frames, from_records
from stemcal.convert.detectors import CIRCLES, Circles, circles, locate_disk, sample_patterns, virtual_detectors
from stemcal.convert.journal import Journal
from stemcal.convert.patterns import PatternSums
from stemcal.convert.preview import PreviewPlan
from stemcal.convert.settings import ConvertSettings
from stemcal.convert.sums import BlockSums, Image
from stemcal.formats import bitshuffle
from stemcal.formats.extras import FrameStatus
from stemcal.formats.merlin.pixels import counter_ceiling
from stemcal.frames.mib import MibSource
from stemcal.frames.plan import Block
from stemcal.optics.disk import NoDisk
from stemcal.records.convert import VirtualDetectors
from stemcal.stages import BLOCK_BYTES

_TOGETHER = 8
"""Frames that are worked on together: few enough that they stay in the cache, enough to share the sums' traffic."""


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
        self._all_sums: list[PatternSums] = []
        self._free: SimpleQueue[NDArray[np.uint8]] = SimpleQueue()

    def __call__(self, block: Block) -> BlockResult:
        """Return what becomes of frames block.start to block.stop of the file."""
        source = self._source
        records = self._buffer(block.n_frames)
        sums, frames = self._mine()
        images: list[dict[str, Image]] = []
        chunks: list[bytes] = []
        binned: list[NDArray[Any]] = []
        for start, stop in self._groups(block):
            taken = frames[: stop - start]
            pictures = taken.reshape(-1, *source.frame_shape)
            done = self._journal.frames(start, pictures) if self._journal and start < self._n_done else []
            if done:
                pixels = from_frames(pictures, source.gap_px)
            else:
                part = source.mib.read_records(start, stop, records[start - block.start : stop - block.start])
                pixels = from_records(part, source.layout.header)
            cell = int(self._cells[start])
            row_sums, col_sums = sums.absorb(pixels, taken, cell)
            found = self._images(taken, row_sums, col_sums)
            if self._ceiling is not None and int(found["max_count"].max()) >= self._ceiling:
                found["saturated_pixels"] = sums.note_saturation(taken, self._ceiling, self._masked, cell)
            images.append(found)
            chunks.extend(done or map(bitshuffle.compress, pictures))
            if self._binning is not None:
                binned.append(self._binning.bin_detector(pictures))
        merged = {name: np.concatenate([one[name] for one in images]) for name in images[0]}
        kept = records[max(0, self._n_done - block.start) :] if self._keep_records else None
        if kept is None:
            self.release(records)
        both = np.concatenate(binned) if binned else None
        return BlockResult(tuple(chunks), BlockSums(None, merged, sums.take_preview()), kept, both)

    def collect(self) -> list[tuple[int, BlockSums]]:
        """Return, once every block is done, the patterns of each thread with the number of frames in them."""
        return [(sums.n_counted, sums.finish()) for sums in self._all_sums]

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

    def _mine(self) -> tuple[PatternSums, NDArray[Any]]:
        """Return the sums and the frames that this thread works with; the frames' gap stays zero."""
        if not hasattr(self._local, "sums"):
            n_pixels = self._source.frame_shape[0] * self._source.frame_shape[1]
            self._local.sums = PatternSums(self._source, self._preview)
            self._local.frames = np.zeros((_TOGETHER, n_pixels), self._source.dtype)
            self._all_sums.append(self._local.sums)
        return self._local.sums, self._local.frames

    def _groups(self, block: Block) -> Iterator[tuple[int, int]]:
        """Yield runs of frames that are all done or not, and go into the same cell of the preview, or into none."""
        frames = np.arange(block.start, block.stop)
        kinds = 2 * self._cells[block.start : block.stop] + (frames < self._n_done)
        breaks = np.flatnonzero(np.diff(kinds)) + 1
        for begin, end in zip((0, *breaks), (*breaks, kinds.size), strict=True):
            for start in range(int(begin), int(end), _TOGETHER):
                yield block.start + start, block.start + min(start + _TOGETHER, int(end))

    def _images(self, frames: NDArray[Any], row_sums: Image, col_sums: Image) -> dict[str, Image]:
        n_rows, n_cols = self._source.frame_shape
        maximum = frames.max(axis=1)
        found = {
            "total_counts": row_sums.sum(axis=1),
            "moment_row": row_sums @ np.arange(n_rows, dtype=np.uint64),
            "moment_col": col_sums @ np.arange(n_cols, dtype=np.uint64),
            "saturated_pixels": np.zeros(len(frames), np.uint64),
        }
        inside = self._inside(frames)
        if self._masked.size:
            left_out = frames[:, self._masked].astype(np.uint64)
            rows, cols = np.divmod(self._masked.astype(np.uint64), np.uint64(n_cols))
            found["total_counts"] -= left_out.sum(axis=1)
            found["moment_row"] -= left_out @ rows
            found["moment_col"] -= left_out @ cols
            if self._circles is not None:
                inside -= left_out @ self._circles.inside[:, self._masked].T.astype(np.uint64)
            open_pixels = frames.copy()
            open_pixels[:, self._masked] = 0
            maximum = open_pixels.max(axis=1)
        found["max_count"] = maximum.astype(np.uint64)
        if self._circles is not None:
            high, dark, bright, inner = (inside[:, CIRCLES.index(name)] for name in CIRCLES)
            found["bright_field"] = bright.copy()
            found["annular_bright_field"] = bright - inner
            found["annular_dark_field"] = found["total_counts"] - dark
            found["high_angle_dark_field"] = found["total_counts"] - high
        return found

    def _inside(self, frames: NDArray[Any]) -> Image:
        """Return the sums of each frame inside each circle, (n, k)."""
        sums = np.zeros((len(frames), len(CIRCLES)), np.uint64)
        if self._circles is None:
            return sums
        if frames.itemsize in kernels.ITEMSIZES:
            kernels.circle_sums(frames, self._circles.edges, sums)
            return sums
        for circle, pixels in enumerate(self._circles.inside):
            sums[:, circle] = frames[:, pixels].sum(axis=1, dtype=np.uint64)
        return sums
