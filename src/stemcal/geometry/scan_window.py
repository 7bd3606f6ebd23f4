"""The window on the scan, and the tiles that the scan is cut into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TAPER = 0.3
"""Part of each axis that is tapered (Tukey): more counts than Hann's window keeps, and lobes that a rule can tell."""


def taper(n_steps: int, part: float = TAPER) -> Array:
    """Return Tukey's window of ``n_steps`` positions, symmetric, above 0 everywhere."""
    place = (np.arange(n_steps) + 0.5) / n_steps
    from_edge = np.minimum(place, 1 - place)
    return np.where(from_edge < part / 2, 0.5 - 0.5 * np.cos(2 * np.pi * from_edge / part), 1.0)


def scan_window(scan_shape: tuple[int, int]) -> Array:
    """Return the window, (scan_row, scan_col), the product of one taper per axis."""
    return np.outer(taper(scan_shape[0]), taper(scan_shape[1]))


def edges(n_steps: int, n_parts: int) -> NDArray[np.intp]:
    """Return the (n_parts + 1,) bounds of parts of equal length, to one; fewer parts where there are few steps."""
    parts = max(1, min(n_parts, n_steps))
    return np.asarray(np.arange(parts + 1) * n_steps // parts, dtype=np.intp)


@dataclass(frozen=True)
class Tiling:
    """A scan cut into rectangles.

    Attributes
    ----------
    rows, cols : ndarray of intp
        Bounds along each axis.
    """

    rows: NDArray[np.intp]
    cols: NDArray[np.intp]

    @classmethod
    def of(cls, scan_shape: tuple[int, int], per_axis: tuple[int, int]) -> Tiling:
        """Cut a scan into ``per_axis`` parts."""
        return cls(edges(scan_shape[0], per_axis[0]), edges(scan_shape[1], per_axis[1]))

    @property
    def n_tiles(self) -> int:
        """Number of tiles."""
        return (len(self.rows) - 1) * (len(self.cols) - 1)

    def sums(self, image: Array) -> Array:
        """Return the sum of an image (scan_row, scan_col) over each tile, (n_tiles,), raster order."""
        total = np.add.reduceat(np.add.reduceat(image, self.rows[:-1], axis=0), self.cols[:-1], axis=1)
        return np.asarray(total.ravel())

    def means(self, image: Array, weight: Array) -> Array:
        """Return the weighted mean of an image over each tile, 0 where all weights are."""
        total = self.sums(weight)
        return np.asarray(self.sums(image * weight) / np.where(total > 0, total, 1.0))

    def centres(self, weight: Array) -> Array:
        """Return the weighted mean (row, col) of the positions of each tile, (n_tiles, 2)."""
        row, col = np.indices(weight.shape, dtype=np.float64)
        return np.stack([self.means(row, weight), self.means(col, weight)], axis=1)

    def members(self, coarse: Tiling) -> NDArray[np.intp]:
        """Return for each of these tiles the tile of ``coarse``, whose bounds are among these, that it lies in."""
        row = np.searchsorted(coarse.rows, self.rows[:-1], side="right") - 1
        col = np.searchsorted(coarse.cols, self.cols[:-1], side="right") - 1
        return np.asarray((row[:, None] * (len(coarse.cols) - 1) + col).ravel())
