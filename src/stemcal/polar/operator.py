"""The sparse operator from detector pixels to radial bins.

W[b, p] is the part of pixel p's area that lies in radial bin b, once its corners are corrected for the ellipse: centre,
ellipse, mask and bin edges are all in W, and the raw counts are never resampled. With n_eff = (sum w)^2 / sum w^2 per
bin, ``stemcal.polar.statistics`` turns W I and W I^2 into mean and variance.

The area is shared out by n x n points per pixel, each of which falls into one bin (the "full splitting" of pyFAI, by
sampling instead of polygon clipping).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Key = tuple[int, int]


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
class RingOperator:
    """The operator for one origin.

    Attributes
    ----------
    weights : scipy.sparse.csc_matrix
        (n_bins, n_pixels) float64, by columns: a product then reads the frames once, in order, and adds into the few
        rows of the result, which is three times as fast as by rows.
    area : ndarray
        (n_bins,) valid area W 1 in px; 0 where the ring has no valid pixel.
    n_effective : ndarray
        (n_bins,) effective number of pixels (W 1)^2 / (W^2 1); 0 where there is none.
    """

    weights: sparse.csc_matrix
    area: NDArray[np.float64]
    n_effective: NDArray[np.float64]

    @property
    def nbytes(self) -> int:
        """Bytes that the operator occupies."""
        arrays = (self.weights.data, self.weights.indices, self.weights.indptr, self.area, self.n_effective)
        return int(sum(array.nbytes for array in arrays))


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


def ring_operator(geometry: Geometry, centre_px: tuple[float, float]) -> RingOperator:
    """Build the operator for an origin at ``centre_px``.

    Parameters
    ----------
    geometry : Geometry
        Detector, ellipse and bins.
    centre_px : tuple of float
        Origin (row, col) in detector pixels; pixel (0, 0) has its centre at 0.
    """
    first, counts = _share_out(_sample_bins(geometry, centre_px))
    n_bins, n_pixels = geometry.grid.n_bins, geometry.valid.size
    bins = first[:, None] + np.arange(counts.shape[1], dtype=np.int32)
    keep = (counts > 0) & (bins < n_bins) & geometry.valid.reshape(-1, 1)
    rows, shares = bins[keep], counts[keep] / geometry.subsamples**2
    ends = np.zeros(n_pixels + 1, np.int32)
    np.cumsum(np.count_nonzero(keep, axis=1), out=ends[1:])
    weights = sparse.csc_matrix((shares, rows, ends), shape=(n_bins, n_pixels))
    area = np.bincount(rows, weights=shares, minlength=n_bins).astype(np.float64)
    squares = np.bincount(rows, weights=shares**2, minlength=n_bins).astype(np.float64)
    n_effective = np.divide(area**2, squares, out=np.zeros(n_bins), where=squares > 0)
    return RingOperator(weights, area, n_effective)


def _sample_bins(geometry: Geometry, centre_px: tuple[float, float]) -> NDArray[np.int16]:
    """Return the bin of every sample point, (subsamples^2, n_pixels).

    The squared radius is added up in float32: it moves the edge of a bin by some 1e-5 px and takes half the time.
    """
    n = geometry.subsamples
    metric = geometry.matrix.T @ geometry.matrix / geometry.grid.bin_width_px**2
    offsets = (np.arange(n) + 0.5) / n - 0.5
    n_rows, n_cols = geometry.valid.shape
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


class OperatorCache:
    """Operators by quantised origin, least recently used ones dropped beyond ``max_bytes``; safe for threads."""

    def __init__(self, build: Callable[[Key], RingOperator], max_bytes: int) -> None:
        self._build = build
        self._max_bytes = max_bytes
        self._held: OrderedDict[Key, RingOperator] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Key) -> RingOperator:
        """Return the operator for ``key``, built if it is not held."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        # Built outside the lock: two threads may build the same operator, which costs time and changes nothing.
        operator = self._build(key)
        with self._lock:
            if key not in self._held:
                self._held[key] = operator
                self._bytes += operator.nbytes
            while self._bytes > self._max_bytes and len(self._held) > 1:
                self._bytes -= self._held.popitem(last=False)[1].nbytes
        return operator
