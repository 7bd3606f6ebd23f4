"""Frames on their way through the pass: what is added up over them, what each of them gives, and their chunks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stemcal.convert import kernels, strip_kernels
from stemcal.convert.decoding import Pixels
from stemcal.convert.detectors import Circles
from stemcal.convert.preview import PreviewPlan
from stemcal.convert.sums import Image, Patterns, reduce_frames, split_squares
from stemcal.errors import DataError
from stemcal.formats import bitshuffle
from stemcal.frames.mib import MibSource

_LARGEST_COUNT = 2**32 - 1


@dataclass(frozen=True)
class Passed:
    """What some frames gave.

    Attributes
    ----------
    total, moment_row, moment_col, maximum : ndarray of uint64
        (n,) counts of the valid pixels, counts times row and times column, largest count.
    inside : ndarray of uint64
        (n, k) counts inside each circle.
    chunks : list of bytes
        The compressed frames; empty if nobody wanted them.
    """

    total: Image
    moment_row: Image
    moment_col: Image
    maximum: Image
    inside: Image
    chunks: list[bytes]


class PatternSums(Protocol):
    """Adds up frames; one thread works with it, for as many blocks as it gets."""

    def absorb(self, pixels: Pixels, cells: NDArray[np.int64], *, compress: bool) -> Passed:
        """Add frames up, each in its cell of the preview, -1 for frames that are in no pattern."""

    def take_preview(self) -> dict[int, Image]:
        """Return what was added to the preview since the last time: flat cell -> (det_row, det_col) binned sum."""

    def finish(self) -> tuple[int, Patterns | None]:
        """Return the number of frames in the patterns, and the patterns, None if there are none."""


def pattern_sums(
    source: MibSource, preview: PreviewPlan, masked: NDArray[np.intp], around: Circles | None
) -> PatternSums:
    """Return what adds up the frames of ``source``.

    Parameters
    ----------
    source : MibSource
        The acquisition.
    preview : PreviewPlan
        How the preview is binned.
    masked : ndarray of int
        Flat places, ascending, of pixels that count in the patterns but not in the images.
    around : Circles or None
        The circles of the virtual detectors.
    """
    kind = QuickSums if source.dtype.itemsize in kernels.ITEMSIZES else WideSums
    return kind(source, preview, masked, around)


class QuickSums:
    """Frames of 8 and 16 bits, see `stemcal.convert.kernels`; parameters as `pattern_sums`."""

    def __init__(
        self, source: MibSource, preview: PreviewPlan, masked: NDArray[np.intp], around: Circles | None
    ) -> None:
        self._shape, self._gap_px, self._plan = source.frame_shape, source.gap_px, preview
        edges = np.empty((self._shape[0], 0), np.uint64) if around is None else around.edges
        places = masked.astype(np.uint64)
        self._detector = strip_kernels.Detector(*self._shape, source.gap_px, preview.pixels_per_bin, places, edges)
        self._rows = bitshuffle.ChunkRows(self._shape, source.dtype)
        n_pixels = math.prod(self._shape)
        self._total = np.zeros(n_pixels, np.uint64)
        self._squares = np.zeros(n_pixels, np.uint64)
        self._maximum = np.zeros(n_pixels, source.dtype)
        self._preview: dict[int, Image] = {}
        self._n_counted = 0

    def absorb(self, pixels: Pixels, cells: NDArray[np.int64], *, compress: bool) -> Passed:
        """See `PatternSums`."""
        n = len(cells)
        present, slots = np.unique(cells, return_inverse=True)
        n_outside = int(np.count_nonzero(present < 0))
        previews = np.zeros((present.size - n_outside, *self._plan.bins), np.uint64)
        total, moment_row, moment_col, maximum = np.empty((4, n), np.uint64)
        inside = np.empty((n, self._detector.edges.shape[1] // 2), np.uint64)
        rows = self._rows.take(n if compress else 0)
        chunks = kernels.Chunks(rows, bitshuffle.PREFIX_BYTES, self._rows.block, np.empty(n, np.int64))
        kernels.convert_frames(
            strip_kernels.Source(pixels.flat, pixels.begin, pixels.step, pixels.swap),
            self._detector,
            slots.astype(np.int64) - n_outside,
            kernels.Patterns(self._total, self._squares, self._maximum, previews),
            kernels.Images(total, moment_row, moment_col, maximum, inside),
            chunks,
        )
        self._n_counted += int(np.count_nonzero(cells >= 0))
        for cell, binned in zip(present[n_outside:].tolist(), previews, strict=True):
            add_to(self._preview, cell, binned)
        done = [self._chunk(pixels, index, row[: chunks.ends[index]]) for index, row in enumerate(rows)]
        return Passed(total, moment_row, moment_col, maximum, inside, done)

    def take_preview(self) -> dict[int, Image]:
        """See `PatternSums`."""
        preview, self._preview = self._preview, {}
        return preview

    def finish(self) -> tuple[int, Patterns | None]:
        """See `PatternSums`."""
        patterns = (self._total, self._maximum.astype(np.uint64), *split_squares(self._squares))
        return self._n_counted, Patterns(*(one.reshape(self._shape) for one in patterns)) if self._n_counted else None

    def _chunk(self, pixels: Pixels, index: int, row: NDArray[np.uint8]) -> bytes:
        """Return a chunk; dense counts are compressed once more by an encoder that finds more in them."""
        if self._rows.is_small(row.size):
            return row.tobytes()
        return bitshuffle.compress_dense(pixels.stored(index, index + 1, self._gap_px)[0])


class WideSums:
    """Frames of more bits, in plain NumPy; parameters as `pattern_sums`."""

    def __init__(
        self, source: MibSource, preview: PreviewPlan, masked: NDArray[np.intp], around: Circles | None
    ) -> None:
        self._source, self._plan, self._masked = source, preview, masked
        self._inside = np.empty((0, math.prod(source.frame_shape)), bool) if around is None else around.inside
        shape = source.frame_shape
        self._total, self._maximum, self._low, self._high = np.zeros((4, *shape), np.uint64)
        self._preview: dict[int, Image] = {}
        self._n_counted = 0

    def absorb(self, pixels: Pixels, cells: NDArray[np.int64], *, compress: bool) -> Passed:
        """See `PatternSums`.

        Raises
        ------
        DataError
            If a count is larger than that of any counter.
        """
        frames = pixels.stored(0, len(cells), self._source.gap_px)
        if int(frames.max()) > _LARGEST_COUNT:
            problem = f"holds a count of {int(frames.max())}, more than any counter of a Merlin detector gives"
            raise DataError(self._source.path, problem, "copy the file again from the microscope")
        for cell in np.unique(cells[cells >= 0]).tolist():
            self._add(reduce_frames(frames[cells == cell]), cell)
        self._n_counted += int(np.count_nonzero(cells >= 0))
        chunks = [bitshuffle.compress(frame) for frame in frames] if compress else []
        return _pass(frames, self._masked, self._inside, chunks)

    def take_preview(self) -> dict[int, Image]:
        """See `PatternSums`."""
        preview, self._preview = self._preview, {}
        return preview

    def finish(self) -> tuple[int, Patterns | None]:
        """See `PatternSums`."""
        patterns = Patterns(self._total, self._maximum, self._low, self._high)
        return self._n_counted, patterns if self._n_counted else None

    def _add(self, patterns: Patterns, cell: int) -> None:
        self._total += patterns.total
        np.maximum(self._maximum, patterns.maximum, out=self._maximum)
        self._low += patterns.squares_low
        self._high += patterns.squares_high
        rows, cols = (np.arange(0, size, self._plan.pixels_per_bin) for size in self._source.frame_shape)
        add_to(self._preview, cell, np.add.reduceat(np.add.reduceat(patterns.total, rows, axis=0), cols, axis=1))


def add_to(sums: dict[int, Image], cell: int, values: Image) -> None:
    """Add ``values`` to what ``sums`` has for ``cell``."""
    sums[cell] = sums[cell] + values if cell in sums else values


def _pass(frames: NDArray[Any], masked: NDArray[np.intp], inside: NDArray[np.bool_], chunks: list[bytes]) -> Passed:
    """Return the values of frames (n, det_row, det_col), masked pixels left out."""
    n, n_rows, n_cols = frames.shape
    counts = frames.reshape(n, -1).astype(np.uint64)
    counts[:, masked] = 0
    pictures = counts.reshape(frames.shape)
    return Passed(
        total=counts.sum(axis=1),
        moment_row=pictures.sum(axis=2) @ np.arange(n_rows, dtype=np.uint64),
        moment_col=pictures.sum(axis=1) @ np.arange(n_cols, dtype=np.uint64),
        maximum=counts.max(axis=1),
        inside=np.stack([counts[:, circle].sum(axis=1) for circle in inside], axis=1)
        if len(inside)
        else np.empty((n, 0), np.uint64),
        chunks=chunks,
    )
