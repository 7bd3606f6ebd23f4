"""The patterns, the preview and the saturation while the frames pass by."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.convert import kernels
from stemcal.convert.decoding import Pixels
from stemcal.convert.preview import PreviewPlan
from stemcal.convert.sums import BlockSums, Image, Patterns, reduce_frames, split_squares
from stemcal.errors import DataError
from stemcal.formats.chip_gap import insert_gap
from stemcal.frames.mib import MibSource

_LARGEST_COUNT = 2**32 - 1


class PatternSums:
    """Adds up frames; one thread works with it, for as many blocks as it gets.

    Parameters
    ----------
    source : MibSource
        The acquisition.
    preview : PreviewPlan
        How the preview is binned.

    Attributes
    ----------
    n_counted : int
        Frames that are in the patterns.
    """

    def __init__(self, source: MibSource, preview: PreviewPlan) -> None:
        self._source = source
        self._shape = source.frame_shape
        self._plan = preview
        n_pixels = self._shape[0] * self._shape[1]
        self._quick = source.dtype.itemsize in kernels.ITEMSIZES
        self._part = np.zeros(n_pixels, np.uint32)
        self._squares = np.zeros(n_pixels, np.uint64)
        self._squares_high = np.zeros(n_pixels, np.uint64)
        self._maximum = np.zeros(n_pixels, source.dtype)
        self._aside = (np.zeros(n_pixels, np.uint64), np.zeros(n_pixels, source.dtype))
        self._total = np.zeros(n_pixels, np.uint64)
        self._preview: dict[int, Image] = {}
        self._saturated: Image | None = None
        self.n_counted = 0

    def absorb(self, pixels: Pixels, frames: NDArray[Any], cell: int) -> tuple[Image, Image]:
        """Put pixels in their places and add them up.

        Parameters
        ----------
        pixels : Pixels
            Of n frames.
        frames : ndarray
            (n, det_row det_col) overwritten, except for the gap.
        cell : int
            Cell of the preview that all of them belong to; -1 for frames that are in no pattern.

        Returns
        -------
        tuple of ndarray
            (n, det_row) and (n, det_col) uint64 sums along rows and columns.
        """
        self.n_counted += len(frames) if cell >= 0 else 0
        return self._absorb(pixels, frames, cell) if self._quick else self._absorb_wide(pixels, frames, cell)

    def _absorb(self, pixels: Pixels, frames: NDArray[Any], cell: int) -> tuple[Image, Image]:
        squares, maximum = (self._squares, self._maximum) if cell >= 0 else self._aside
        row_sums, col_sums = (np.empty((len(frames), size), np.uint32) for size in self._shape)
        kernels.absorb(
            pixels.flat,
            pixels.begin,
            pixels.step,
            pixels.swap,
            (*self._shape, self._source.gap_px),
            frames,
            self._part,
            squares,
            maximum,
            row_sums,
            col_sums,
        )
        if cell >= 0:
            kernels.add_part(self._part, self._shape[1], self._total, self._plan.pixels_per_bin, self._cell(cell))
        return row_sums.astype(np.uint64), col_sums.astype(np.uint64)

    def _absorb_wide(self, pixels: Pixels, frames: NDArray[Any], cell: int) -> tuple[Image, Image]:
        pictures = frames.reshape(-1, *self._shape)
        as_read = pixels.flat.reshape(-1, *self._source.mib.frame_shape)
        pictures[:] = insert_gap(as_read[:, ::-1], self._source.gap_px)
        if int(pictures.max()) > _LARGEST_COUNT:
            problem = f"holds a count of {int(pictures.max())}, more than any counter of a Merlin detector gives"
            raise DataError(self._source.path, problem, "copy the file again from the microscope")
        if cell >= 0:
            self._add(reduce_frames(pictures), cell)
        return pictures.sum(axis=2, dtype=np.uint64), pictures.sum(axis=1, dtype=np.uint64)

    def _add(self, patterns: Patterns, cell: int) -> None:
        self._total += patterns.total.reshape(-1)
        np.maximum(self._maximum, patterns.maximum.reshape(-1).astype(self._maximum.dtype), out=self._maximum)
        self._squares += patterns.squares_low.reshape(-1)
        self._squares_high += patterns.squares_high.reshape(-1)
        rows, cols = (np.arange(0, size, self._plan.pixels_per_bin) for size in self._shape)
        self._cell(cell)[:] += np.add.reduceat(np.add.reduceat(patterns.total, rows, axis=0), cols, axis=1)

    def _cell(self, cell: int) -> Image:
        if cell not in self._preview:
            self._preview[cell] = np.zeros(self._plan.bins, np.uint64)
        return self._preview[cell]

    def note_saturation(self, frames: NDArray[Any], ceiling: int, masked: NDArray[np.intp], cell: int) -> Image:
        """Count pixels at ``ceiling``, those ``masked`` left out; return how many each frame has.

        As in `absorb`, frames of cell -1 are in no pattern.
        """
        full = frames >= ceiling
        full[:, masked] = False
        if cell >= 0:
            if self._saturated is None:
                self._saturated = np.zeros(self._shape, np.uint64)
            self._saturated += full.sum(axis=0, dtype=np.uint64).reshape(self._shape)
        in_frame: Image = full.sum(axis=1, dtype=np.uint64)
        return in_frame

    def take_preview(self) -> dict[int, Image]:
        """Return what was added to the preview since the last time: flat cell -> (det_row, det_col) binned sum."""
        preview, self._preview = self._preview, {}
        return preview

    def finish(self) -> BlockSums:
        """Return the patterns over all frames."""
        if self.n_counted == 0:
            return BlockSums(None, {}, {}, self._saturated)
        low, high = split_squares(self._squares)
        patterns = (self._total, self._maximum.astype(np.uint64), low, high + self._squares_high)
        return BlockSums(Patterns(*(one.reshape(self._shape) for one in patterns)), {}, {}, self._saturated)
