"""The operator from detector pixels to radial bins.

The area of a pixel is shared out among the bins by n x n points, each of which falls into one bin once its place is
corrected for the ellipse (the "full splitting" of pyFAI, by sampling instead of polygon clipping). So W[b, p], the
points of pixel p in bin b, is a small whole number: the raw counts are never resampled, their sums W I and W I^2 are
exact, and with n_eff = (sum w)^2 / sum w^2 per bin ``stemcal.polar.statistics`` turns them into mean and variance.

One table per fraction of a pixel serves all origins (``stemcal.polar.tables``); the mask is laid over it where it
belongs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from stemcal.polar import ring_kernels
from stemcal.polar.tables import FractionTables, Key

_Contents = tuple[NDArray[np.uint64], NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class RadialGrid:
    """Equal radial bins from 0, in pixels of the round frame; bin b spans [b, b + 1) * ``bin_width_px``."""

    bin_width_px: float
    n_bins: int

    @property
    def centres_px(self) -> NDArray[np.float64]:
        """Middle of each bin in px, (n_bins,)."""
        return (np.arange(self.n_bins) + 0.5) * self.bin_width_px

    @property
    def areas_px(self) -> NDArray[np.float64]:
        """Area of each whole ring in px^2, (n_bins,): the corrected frame is area-preserving."""
        edges = np.arange(self.n_bins + 1) * self.bin_width_px
        return np.pi * np.diff(edges**2)


@dataclass(frozen=True)
class Geometry:
    """What is the same for every origin.

    Attributes
    ----------
    valid : ndarray
        (det_row, det_col), True = valid.
    matrix : ndarray
        (2, 2) takes a distorted (row, col) offset to the round one, determinant 1.
    grid : RadialGrid
        Radial bins.
    subsamples : int
        Points per pixel edge.
    """

    valid: NDArray[np.bool_]
    matrix: NDArray[np.float64]
    grid: RadialGrid
    subsamples: int


@dataclass(frozen=True)
class RingOperator:
    """The operator for one origin.

    Attributes
    ----------
    table : ndarray of uint16
        (row, col, 1 + span): the first bin of a pixel, then its points in that bin and in those behind it. Bins from
        ``n_bins`` on are nobody's.
    shift : tuple of int
        Where in ``table`` pixel (0, 0) of the detector is.
    valid : ndarray of bool
        (det_row, det_col).
    points : ndarray of uint64
        (n_bins,) points of valid pixels W 1; 0 where the ring has no valid pixel.
    area : ndarray
        (n_bins,) the same in px.
    n_effective : ndarray
        (n_bins,) effective number of pixels (W 1)^2 / (W^2 1); 0 where there is none.
    """

    table: NDArray[np.uint16]
    shift: tuple[int, int]
    valid: NDArray[np.bool_]
    points: NDArray[np.uint64]
    area: NDArray[np.float64]
    n_effective: NDArray[np.float64]

    @property
    def n_sums(self) -> int:
        """Bins that the kernels write to: those behind the last one take what lies beyond it."""
        return self.points.size + self.table.shape[2] - 1


def ring_operator(geometry: Geometry, centre_px: tuple[float, float]) -> RingOperator:
    """Build the operator for an origin at ``centre_px``.

    Parameters
    ----------
    geometry : Geometry
        Detector, ellipse and bins.
    centre_px : tuple of float
        Origin (row, col) in detector pixels; pixel (0, 0) has its centre at 0.
    """
    table = _table(geometry, _shape(geometry), centre_px)
    return RingOperator(table, (0, 0), geometry.valid, *_contents(geometry, table, (0, 0)))


class RingOperators:
    """The operators for many origins; safe for threads.

    Parameters
    ----------
    geometry : Geometry
        Detector, ellipse and bins.
    keys : ndarray of int64
        (n, 2) origins (row, col) in steps; only these are asked for.
    steps_per_px : int
        Steps to a pixel.
    max_bytes : int
        The tables used least recently are dropped beyond it.
    """

    def __init__(self, geometry: Geometry, keys: NDArray[np.int64], steps_per_px: int, max_bytes: int) -> None:
        self.geometry = geometry
        build = partial(_table, geometry)
        self._tables = FractionTables(build, _shape(geometry), keys, steps_per_px, max_bytes)
        self._contents: dict[Key, _Contents] = {}

    def __len__(self) -> int:
        """Return the number of tables that are held."""
        return len(self._tables)

    def get(self, key: Key) -> RingOperator:
        """Return the operator for ``key``."""
        table, shift = self._tables.get(key)
        if key not in self._contents:
            self._contents[key] = _contents(self.geometry, table, shift)
        return RingOperator(table, shift, self.geometry.valid, *self._contents[key])


def _shape(geometry: Geometry) -> tuple[int, int]:
    rows, cols = geometry.valid.shape
    return rows, cols


def _contents(geometry: Geometry, table: NDArray[np.uint16], shift: tuple[int, int]) -> _Contents:
    """Return points, area and effective number of pixels of each bin."""
    n_bins = geometry.grid.n_bins
    points, squares = (np.empty(n_bins + table.shape[2] - 1, np.uint64) for _ in range(2))
    ring_kernels.add_points(table, geometry.valid, shift, points, squares)
    points, squares = points[:n_bins], squares[:n_bins]
    n_effective = np.divide(points.astype(np.float64) ** 2, squares, out=np.zeros(n_bins), where=squares > 0)
    return points, points / geometry.subsamples**2, n_effective


def _table(geometry: Geometry, shape: tuple[int, int], centre_px: tuple[float, float]) -> NDArray[np.uint16]:
    """Return the table of an array of pixels with the origin at ``centre_px``."""
    first, points = _share_out(_sample_bins(geometry, shape, centre_px))
    # what begins beyond the last bin ends in those that nobody reads
    first = np.minimum(first, geometry.grid.n_bins)
    table = np.empty((*shape, 1 + points.shape[1]), np.uint16)
    table[..., 0] = first.reshape(shape)
    table[..., 1:] = points.reshape(*shape, -1)
    return table


def _sample_bins(geometry: Geometry, shape: tuple[int, int], centre_px: tuple[float, float]) -> NDArray[np.int16]:
    """Return the bin of every sample point, (subsamples^2, n_pixels).

    The squared radius is added up in float32: it moves the edge of a bin by some 1e-5 px and takes half the time.
    """
    n = geometry.subsamples
    metric = geometry.matrix.T @ geometry.matrix / geometry.grid.bin_width_px**2
    offsets = (np.arange(n) + 0.5) / n - 0.5
    n_rows, n_cols = shape
    bins = np.empty((n * n, n_rows * n_cols), np.int16)
    for index in range(n * n):
        row = np.arange(n_rows)[:, None] - centre_px[0] + offsets[index // n]
        col = np.arange(n_cols)[None, :] - centre_px[1] + offsets[index % n]
        square = (2 * metric[0, 1] * row).astype(np.float32) * col.astype(np.float32)
        square += (metric[0, 0] * row**2).astype(np.float32)
        square += (metric[1, 1] * col**2).astype(np.float32)
        bins[index] = np.sqrt(square, out=square).ravel()
    return bins


def _share_out(bins: NDArray[np.int16]) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
    """Return the first bin of each pixel (n_pixels,) and the points in it and in the next ones, (n_pixels, span).

    Counting from each pixel's own first bin needs no sort: a pixel spans only a few bins.
    """
    first = bins.min(axis=0)
    local = (bins - first).astype(np.uint8)
    counts = [(local == step).sum(axis=0, dtype=np.uint16) for step in range(int(local.max()) + 1)]
    return first.astype(np.int32), np.stack(counts, axis=1)


def choose_n_bins(
    valid: NDArray[np.bool_],
    matrix: NDArray[np.float64],
    centre_px: tuple[float, float],
    bin_width_px: float,
    min_coverage: float,
) -> int:
    """Return the number of bins up to the last ring of which ``min_coverage`` lies on valid pixels.

    Parameters
    ----------
    valid : ndarray
        (det_row, det_col), True = valid.
    matrix : ndarray
        (2, 2) distorted to round.
    centre_px : tuple of float
        Origin (row, col).
    bin_width_px : float
        Width of a bin.
    min_coverage : float
        Part of the ring, 0 to 1.

    Returns
    -------
    int
        0 when no ring is covered that far.
    """
    n_rows, n_cols = valid.shape
    corners = np.array([(r, c) for r in (-0.5, n_rows - 0.5) for c in (-0.5, n_cols - 0.5)]) - centre_px
    reach = float(np.hypot(*(matrix @ corners.T)).max())
    grid = RadialGrid(bin_width_px, math.ceil(reach / bin_width_px))
    area = ring_operator(Geometry(valid, matrix, grid, subsamples=2), centre_px).area
    covered = np.flatnonzero(area >= min_coverage * grid.areas_px)
    return int(covered[-1]) + 1 if covered.size else 0
