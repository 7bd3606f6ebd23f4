"""Every sum that one pass over the frames gives for little: exact integers until the very end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.convert.preview import PreviewPlan
from stemcal.formats.extras import Sum

_LOW = np.uint64(0xFFFFFFFF)
_HIGH = np.uint64(32)
Image = NDArray[np.uint64]

IMAGES = {
    "total_counts": "sum over the valid pixels",
    "max_count": "largest count of a valid pixel",
    "saturated_pixels": "valid pixels at the ceiling of their counter",
    "bright_field": "virtual bright field detector",
    "annular_bright_field": "virtual annular bright field detector",
    "annular_dark_field": "virtual annular dark field detector",
    "high_angle_dark_field": "virtual high-angle annular dark field detector",
}
"""One value per position; the virtual detectors only where a bright disk was found."""


@dataclass(frozen=True)
class Patterns:
    """Sums over some frames, each (det_row, det_col).

    Attributes
    ----------
    total, maximum : ndarray of uint64
        Counts.
    squares_low, squares_high : ndarray of uint64
        Sum of squares = low + 2^32 high: 64 bits do not hold a saturated 24-bit pixel over a scan.
    """

    total: Image
    maximum: Image
    squares_low: Image
    squares_high: Image


@dataclass(frozen=True)
class BlockSums:
    """What one block of frames adds.

    Attributes
    ----------
    patterns : Patterns or None
        Over the frames that count, None if none does.
    images : dict of str to ndarray
        (n,) uint64 per frame of the block.
    preview : dict of int to ndarray
        Flat cell of the preview -> (det_row, det_col) binned sum.
    saturated : ndarray or None
        (det_row, det_col) frames in which a pixel is at its ceiling, None if there is none.
    """

    patterns: Patterns | None
    images: dict[str, Image]
    preview: dict[int, Image] = field(default_factory=dict)
    saturated: Image | None = None


def reduce_frames(frames: NDArray[Any]) -> Patterns:
    """Add up frames of any unsigned type in plain NumPy.

    Parameters
    ----------
    frames : ndarray of unsigned integers
        (n, det_row, det_col), n >= 1, counts below 2^32.
    """
    total = frames.sum(axis=0, dtype=np.uint64)
    low, high = np.zeros_like(total), np.zeros_like(total)
    square = np.empty_like(total)
    for frame in frames:
        np.copyto(square, frame)
        np.multiply(square, square, out=square)
        low += square & _LOW
        high += square >> _HIGH
    return Patterns(total, frames.max(axis=0).astype(np.uint64), low, high)


def split_squares(squares: Image) -> tuple[Image, Image]:
    """Return sums of squares as (low, high), see `Patterns`."""
    return squares & _LOW, squares >> _HIGH


class ScanSums:
    """Sums of a whole scan, added up block by block.

    Parameters
    ----------
    preview : PreviewPlan
        How the preview is binned; it knows the shapes.
    """

    def __init__(self, preview: PreviewPlan) -> None:
        self.scan_shape, self.frame_shape = preview.scan_shape, preview.frame_shape
        self.n_positions = self.scan_shape[0] * self.scan_shape[1]
        self.n_counted = 0
        self.total = np.zeros(self.frame_shape, np.uint64)
        self.maximum = np.zeros(self.frame_shape, np.uint64)
        self.saturated = np.zeros(self.frame_shape, np.uint64)
        self._squares_low = np.zeros(self.frame_shape, np.uint64)
        self._squares_high = np.zeros(self.frame_shape, np.uint64)
        self.images: dict[str, Image] = {}
        self.preview_plan = preview
        self._preview = np.zeros((preview.cells[0] * preview.cells[1], *preview.bins), np.uint64)

    def add_patterns(self, n_counted: int, sums: BlockSums) -> None:
        """Add patterns over ``n_counted`` frames."""
        if sums.patterns is not None:
            self.n_counted += n_counted
            self.total += sums.patterns.total
            np.maximum(self.maximum, sums.patterns.maximum, out=self.maximum)
            self._squares_low += sums.patterns.squares_low
            self._squares_high += sums.patterns.squares_high
        if sums.saturated is not None:
            self.saturated += sums.saturated

    def add(self, positions: NDArray[np.int64], sums: BlockSums) -> None:
        """Add the images and the preview of a block; the order of the blocks does not matter.

        Parameters
        ----------
        positions : ndarray of int64
            (n,) scan position of each frame of the block, -1 for frames outside the scan.
        sums : BlockSums
            Of the block.
        """
        for cell, pattern in sums.preview.items():
            self._preview[cell] += pattern
        placed = positions >= 0
        for name, values in sums.images.items():
            if name not in self.images:
                self.images[name] = np.zeros(self.n_positions, np.uint64)
            self.images[name][positions[placed]] = values[placed]

    def mean(self) -> NDArray[np.float64]:
        """Return the mean pattern, (det_row, det_col) counts per frame."""
        return self.total / max(self.n_counted, 1)

    def variance(self) -> NDArray[np.float64]:
        """Return the variance over the scan of each pixel, (det_row, det_col) counts^2, divided by n, not n - 1.

        The difference n sum(x^2) - sum(x)^2 is taken in integers of any length: in floating point it would lose the
        variance of a bright pixel.
        """
        n = max(self.n_counted, 1)
        variance = np.empty(self.total.shape)
        rows = zip(variance, self.total, self._squares_low, self._squares_high, strict=True)
        for out, total, low, high in rows:
            squares = low.astype(object) + high.astype(object) * 2**32
            exact = n * squares - total.astype(object) ** 2
            out[:] = exact / n**2
        return variance

    def centre_of_mass(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (row, col) of the centre of mass per position, (n_positions,) each, NaN where there are no counts."""
        total = self.images["total_counts"]
        empty = np.where(total == 0, np.nan, 1.0)
        safe = np.maximum(total, np.uint64(1))
        return self.images["moment_row"] / safe * empty, self.images["moment_col"] / safe * empty

    def as_sums(self) -> dict[str, Sum]:
        """Return everything as it is stored: patterns (det_row, det_col), images (scan_row, scan_col), the preview."""
        row, col = self.centre_of_mass()
        com = "centre of mass over the valid pixels"
        sums = {
            "sum_pattern": Sum(self.total, "count", "sum over the frames that are ok"),
            "max_pattern": Sum(self.maximum, "count", "maximum over the frames that are ok"),
            "mean_pattern": Sum(self.mean(), "count", "mean over the frames that are ok"),
            "variance_pattern": Sum(self.variance(), "count^2", "population variance over the frames that are ok"),
            "saturated_pattern": Sum(self.saturated, "1", "frames that are ok in which the pixel is at the ceiling"),
            "centre_of_mass_row": Sum(row.reshape(self.scan_shape), "px", com),
            "centre_of_mass_col": Sum(col.reshape(self.scan_shape), "px", com),
        }
        for name, description in IMAGES.items():
            if name in self.images:
                unit = "1" if name == "saturated_pixels" else "count"
                sums[name] = Sum(self.images[name].reshape(self.scan_shape), unit, description)
        return sums | self._preview_sum()

    def _preview_sum(self) -> dict[str, Sum]:
        plan = self.preview_plan
        cell, pixels = plan.positions_per_cell, plan.pixels_per_bin
        words = f"frames that are ok, summed over {cell} x {cell} positions and {pixels} x {pixels} pixels"
        return {"preview": Sum(self._preview.reshape(*plan.cells, *plan.bins), "count", words)}
