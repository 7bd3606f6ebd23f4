"""The work on one block of the raw file: read, decode, add up, compress, a few frames at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.convert import kernels
from stemcal.convert.binning import BinPlan
from stemcal.convert.detectors import CIRCLES, Circles, circles, locate_disk, sample_patterns, virtual_detectors
from stemcal.convert.preview import PreviewPlan
from stemcal.convert.settings import ConvertSettings
from stemcal.convert.sums import BlockSums, Image, Patterns, reduce_frames, split_squares
from stemcal.errors import DataError
from stemcal.formats import bitshuffle
from stemcal.formats.chip_gap import insert_gap
from stemcal.formats.extras import FrameStatus
from stemcal.formats.merlin.header import RAW
from stemcal.formats.merlin.pixels import decode
from stemcal.frames.mib import MibSource
from stemcal.frames.plan import Block
from stemcal.optics.disk import NoDisk
from stemcal.records.convert import VirtualDetectors

_TOGETHER = 8
"""Frames that are worked on together: few enough that they stay in the cache, enough to share the sums' traffic."""
_CEILINGS = {6: 2**6 - 1, 12: 2**12 - 1, 24: 2**24 - 1}
"""Largest count by counter depth; a 1-bit counter has nothing below its ceiling."""
_LARGEST_COUNT = 2**32 - 1


@dataclass(frozen=True)
class BlockResult:
    """What becomes of one block.

    Attributes
    ----------
    chunks : tuple of bytes
        One compressed frame each, in file order.
    sums : BlockSums
        Sums of the block.
    n_counted : int
        Frames that are in its patterns.
    records : ndarray of uint8 or None
        (n, stride_bytes) the block as it stands in the file, None where nobody asked for it.
    binned : ndarray or None
        (n, det_row, det_col) binned over the detector, None where nobody asked for it.
    """

    chunks: tuple[bytes, ...]
    sums: BlockSums
    n_counted: int
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
        keep_records: bool = False,
    ) -> None:
        self._source = source
        self._binning = binning
        self._preview = preview
        self.positions = source.scan_map.positions(source.mib.n_frames)
        counted = (self.positions >= 0) & (source.frame_status[self.positions] == FrameStatus.OK)
        self._cells = np.where(counted, preview.cell_of(self.positions), -1)
        self._masked = np.flatnonzero(source.valid & ~valid)
        self._circles: Circles | None = (
            None if isinstance(detectors, NoDisk) else circles(detectors, source.frame_shape)
        )
        self._ceiling = _CEILINGS.get(source.layout.header.counter_depth_bit or 0)
        self._keep_records = keep_records

    def __call__(self, block: Block) -> BlockResult:
        """Return what becomes of frames block.start to block.stop of the file."""
        source = self._source
        records = np.empty((block.n_frames, source.layout.stride_bytes), np.uint8)
        sums = _Adding(source, self._preview)
        images: list[dict[str, Image]] = []
        chunks: list[bytes] = []
        binned: list[NDArray[Any]] = []
        frames = np.zeros((_TOGETHER, source.frame_shape[0] * source.frame_shape[1]), source.dtype)
        for start, stop in self._groups(block):
            part = records[start - block.start : stop - block.start]
            source.mib.read_records(start, stop, part)
            taken = frames[: stop - start]
            row_sums, col_sums = sums.absorb(part, taken, int(self._cells[start]))
            found = self._images(taken, row_sums, col_sums)
            if self._ceiling is not None and int(found["max_count"].max()) >= self._ceiling:
                found["saturated_pixels"] = sums.note_saturation(taken, self._ceiling, self._masked)
            images.append(found)
            pictures = taken.reshape(-1, *source.frame_shape)
            chunks.extend(map(bitshuffle.compress, pictures))
            if self._binning is not None:
                binned.append(self._binning.bin_detector(pictures))
        merged = {name: np.concatenate([one[name] for one in images]) for name in images[0]}
        kept = records if self._keep_records else None
        both = np.concatenate(binned) if binned else None
        return BlockResult(tuple(chunks), sums.finish(merged), sums.n_counted, kept, both)

    def _groups(self, block: Block) -> Iterator[tuple[int, int]]:
        """Yield runs of frames that go into the same cell of the preview, or into none."""
        cells = self._cells[block.start : block.stop]
        breaks = np.flatnonzero(np.diff(cells)) + 1
        for begin, end in zip((0, *breaks), (*breaks, cells.size), strict=True):
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


class _Adding:
    """The patterns, the preview and the saturation of one block while its frames pass by."""

    def __init__(self, source: MibSource, preview: PreviewPlan) -> None:
        self._source = source
        self._preview_plan = preview
        n_pixels = source.frame_shape[0] * source.frame_shape[1]
        self._quick = source.dtype.itemsize in kernels.ITEMSIZES
        self._part = np.zeros(n_pixels, np.uint32)
        self._squares = np.zeros(n_pixels, np.uint64)
        self._maximum = np.zeros(n_pixels, source.dtype)
        self._aside = (np.zeros(n_pixels, np.uint64), np.zeros(n_pixels, source.dtype))
        self._total = np.zeros(source.frame_shape, np.uint64)
        self._high = np.zeros(source.frame_shape, np.uint64)
        self._preview: dict[int, Image] = {}
        self._saturated: Image | None = None
        self.n_counted = 0

    def absorb(self, records: NDArray[np.uint8], frames: NDArray[Any], cell: int) -> tuple[Image, Image]:
        """Decode ``records`` into ``frames`` (n, det_row det_col) and add them up; return their row and column sums.

        Frames of cell -1 are in no pattern.
        """
        self.n_counted += len(frames) if cell >= 0 else 0
        if self._quick:
            return self._absorb(records, frames, cell)
        shape = self._source.frame_shape
        pictures = frames.reshape(-1, *shape)
        pictures[:] = insert_gap(self._decoded(records)[:, ::-1], self._source.gap_px)
        if int(pictures.max()) > _LARGEST_COUNT:
            problem = f"holds a count of {int(pictures.max())}, more than any counter of a Merlin detector gives"
            raise DataError(self._source.path, problem, "copy the file again from the microscope")
        if cell >= 0:
            self._add(reduce_frames(pictures), cell)
        return pictures.sum(axis=2, dtype=np.uint64), pictures.sum(axis=1, dtype=np.uint64)

    def _absorb(self, records: NDArray[np.uint8], frames: NDArray[Any], cell: int) -> tuple[Image, Image]:
        source, shape = self._source, self._source.frame_shape
        squares, maximum = (self._squares, self._maximum) if cell >= 0 else self._aside
        row_sums, col_sums = (np.empty((len(frames), size), np.uint32) for size in shape)
        header, swap = source.layout.header.header_bytes, source.dtype.itemsize > 1
        if source.layout.header.pixel_type == RAW or (header | records.shape[1]) % source.dtype.itemsize:
            rows, cols = source.mib.frame_shape
            pixels, begin, step, swap = self._decoded(records).reshape(-1), 0, rows * cols, False
        else:
            pixels = records.reshape(-1).view(source.dtype)
            begin, step = header // source.dtype.itemsize, records.shape[1] // source.dtype.itemsize
        geometry = (*shape, source.gap_px)
        kernels.absorb(pixels, begin, step, swap, geometry, frames, self._part, squares, maximum, row_sums, col_sums)
        if cell >= 0:
            self._total += self._part.reshape(shape)
            kernels.add_binned(self._part, shape[1], self._preview_plan.pixels_per_bin, self._cell(cell))
        return row_sums.astype(np.uint64), col_sums.astype(np.uint64)

    def note_saturation(self, frames: NDArray[Any], ceiling: int, masked: NDArray[np.intp]) -> Image:
        """Count pixels at ``ceiling``, those ``masked`` left out; return how many each frame has."""
        full = frames >= ceiling
        full[:, masked] = False
        if self._saturated is None:
            self._saturated = np.zeros(self._source.frame_shape, np.uint64)
        self._saturated += full.sum(axis=0, dtype=np.uint64).reshape(self._source.frame_shape)
        in_frame: Image = full.sum(axis=1, dtype=np.uint64)
        return in_frame

    def finish(self, images: dict[str, Image]) -> BlockSums:
        """Return the sums of the block."""
        if self.n_counted == 0:
            return BlockSums(None, images, {}, self._saturated)
        shape = self._source.frame_shape
        low, high = split_squares(self._squares.reshape(shape))
        maximum = self._maximum.reshape(shape).astype(np.uint64)
        patterns = Patterns(self._total, maximum, low, high + self._high)
        return BlockSums(patterns, images, self._preview, self._saturated)

    def _decoded(self, records: NDArray[np.uint8]) -> NDArray[Any]:
        header = self._source.layout.header
        return decode(records[:, header.header_bytes :], header)

    def _add(self, patterns: Patterns, cell: int) -> None:
        self._total += patterns.total
        self._maximum[:] = np.maximum(self._maximum, patterns.maximum.reshape(-1).astype(self._maximum.dtype))
        self._squares += patterns.squares_low.reshape(-1)
        self._high += patterns.squares_high
        factor = self._preview_plan.pixels_per_bin
        rows, cols = (np.arange(0, size, factor) for size in patterns.total.shape)
        self._cell(cell)[:] += np.add.reduceat(np.add.reduceat(patterns.total, rows, axis=0), cols, axis=1)

    def _cell(self, cell: int) -> Image:
        if cell not in self._preview:
            self._preview[cell] = np.zeros(self._preview_plan.bins, np.uint64)
        return self._preview[cell]
