"""Slices of the spectrum: for every peak the complex amplitude of each bright-field pixel, per tile of the scan."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from stemcal.geometry.aperture import Aperture
from stemcal.geometry.bright_field import BrightField
from stemcal.geometry.leakage import frequency_pairs, without_leakage
from stemcal.geometry.pixel_grid import PixelGrid
from stemcal.geometry.preparation import Preparation
from stemcal.geometry.scan_window import Tiling, edges, scan_window

Array = NDArray[np.float64]

TILES_PER_AXIS = 4
_MOVE_STEP_PX = 0.05
"""Parts of the scan are shifted by multiples of this."""
_LARGEST_TRAVEL_PX = 0.2
_BLOCK_BYTES = 2**24


@dataclass(frozen=True)
class Slices:
    """G(k, f) at the peaks, tile by tile; the tiles add up to the whole.

    Attributes
    ----------
    values : ndarray of complex64
        (n_tiles, K, n_pix) sum over the tile of window * weight * counts * exp(-2 pi i f.n), less the leakage of the
        mean pattern and of the other peaks; residual descan is shifted away.
    variance : ndarray of float64
        (n_tiles, n_pix) variance of ``values`` by shot noise, of real and imaginary part together.
    mean : ndarray of float64
        (n_pix,) counts per frame.
    sum_window : float
        Sum of the window over the usable positions.
    frequencies : ndarray of float64
        (K, 2) cycles per step.
    row_px, col_px : ndarray of float64
        (n_pix,) round offsets from the centre of the aperture, in (binned) px.
    radius_px, edge_px : float
        Of the aperture, in (binned) px.
    usable : ndarray of bool
        (n_pix,) True where a pixel can be used in a fit.
    scan_shape : tuple of int
        (scan_row, scan_col).
    tile_frequencies : ndarray of float64
        (n_tiles, K, 2) frequencies when that tile is left out, for the jackknife.
    """

    values: NDArray[np.complex64]
    variance: NDArray[np.float64]
    mean: NDArray[np.float64]
    sum_window: float
    frequencies: NDArray[np.float64]
    row_px: NDArray[np.float64]
    col_px: NDArray[np.float64]
    radius_px: float
    edge_px: float
    usable: NDArray[np.bool_]
    scan_shape: tuple[int, int]
    tile_frequencies: NDArray[np.float64]


@dataclass(frozen=True)
class Weighted:
    """How the positions of a scan enter a slice.

    Attributes
    ----------
    window : ndarray of float64
        (scan_row, scan_col) window, 0 at positions that are not used.
    dose : ndarray of float64
        (scan_row, scan_col) factor on the counts.
    """

    window: Array
    dose: Array

    @classmethod
    def of(cls, preparation: Preparation) -> Weighted:
        """Return window and dose factors of a prepared scan."""
        used = preparation.weights > 0
        window = scan_window((used.shape[0], used.shape[1])) * used
        return cls(window, np.where(used, preparation.weights, 0.0))

    @property
    def factor(self) -> Array:
        """(scan_row, scan_col) what the counts are multiplied by."""
        return self.window * self.dose


def cut_slices(
    field: BrightField,
    preparation: Preparation,
    aperture: Aperture,
    frequencies: Array,
    *,
    tile_frequencies: Array | None = None,
    tiles_per_axis: int = TILES_PER_AXIS,
) -> Slices:
    """Cut the spectrum of every pixel at some frequencies, tile by tile, and bring all tiles to one place of the disk.

    The transform is a product with a matrix of phases along the columns of each tile, then a sum along its rows, in
    blocks of pixels. Where the disk moves over the scan, the tiles are cut finer and each part is shifted back by
    cubic convolution (Keys, IEEE Trans. ASSP 29 (1981) 1153, a = -1/2) before the parts are added up.

    Parameters
    ----------
    field : BrightField
        The pixels of the disk.
    preparation : Preparation
        Weights and descan.
    aperture : Aperture
        The disk of the mean pattern.
    frequencies : ndarray
        (K, 2) cycles per step.
    tile_frequencies : ndarray, optional
        (n_tiles, K, 2) handed on; ``frequencies`` for each tile if absent.
    tiles_per_axis : int
        The scan is cut into the square of that number of tiles.
    """
    weighted = Weighted.of(preparation)
    coarse = Tiling.of(field.scan_shape, (tiles_per_axis, tiles_per_axis))
    drift = _drift_px(field, preparation)
    fine = _fine_tiling(coarse, preparation.descan_px_per_step, field)
    with threadpool_limits(limits=1):
        values, variance, mean = _transform(field, weighted, frequencies, fine)
    moves = np.stack([fine.means(axis, weighted.window) for axis in drift], axis=1) / field.binning
    member = fine.members(coarse)
    usable = field.valid.copy()
    steps = np.rint(moves / _MOVE_STEP_PX).astype(np.intp)
    for step in np.unique(steps, axis=0):
        if step.any():
            shift = PixelGrid.of(field).shift(step * _MOVE_STEP_PX)
            chosen = np.flatnonzero((steps == step).all(axis=1))
            values[chosen] = _mapped(shift.matrix, values[chosen])
            variance[chosen] = _mapped(shift.matrix.multiply(shift.matrix).tocsr(), variance[chosen])
            usable &= shift.whole
    summed = np.zeros((coarse.n_tiles, *values.shape[1:]), np.complex64)
    spread = np.zeros((coarse.n_tiles, variance.shape[1]))
    for one, tile in enumerate(member):
        summed[tile] += values[one]
        spread[tile] += variance[one]
    summed = without_leakage(summed, _response(weighted, frequencies, coarse))
    row, col = aperture.round_offsets(field.det_row, field.det_col)
    if tile_frequencies is None:
        tile_frequencies = np.broadcast_to(frequencies, (coarse.n_tiles, *frequencies.shape)).copy()
    return Slices(
        values=summed,
        variance=spread,
        mean=mean,
        sum_window=float(weighted.window.sum()),
        frequencies=frequencies,
        row_px=row / field.binning,
        col_px=col / field.binning,
        radius_px=aperture.radius_px / field.binning,
        edge_px=aperture.edge_px / field.binning,
        usable=usable,
        scan_shape=field.scan_shape,
        tile_frequencies=tile_frequencies,
    )


def _mapped(matrix: sparse.csr_matrix, values: NDArray[Any]) -> NDArray[Any]:
    """Return values (..., n_pix) with a linear map done to the pixels."""
    flat = values.reshape(-1, values.shape[-1])
    return np.ascontiguousarray((matrix @ flat.T).T).reshape(values.shape)


def _drift_px(field: BrightField, preparation: Preparation) -> Array:
    """Return (2, scan_row, scan_col) where the disk still is off its mean place, in px of the frame."""
    row, col = np.indices(field.scan_shape, dtype=np.float64)
    plane = np.stack([k[0] * (row - row.mean()) + k[1] * (col - col.mean()) for k in preparation.descan_px_per_step])
    return np.asarray(plane - field.shift_px)


def _fine_tiling(coarse: Tiling, descan_px_per_step: Array, field: BrightField) -> Tiling:
    """Return the tiles cut so fine that the disk moves by a small part of a pixel within each."""
    travel = np.abs(descan_px_per_step).max(axis=0) * np.array(field.scan_shape) / field.binning
    parts = [
        max(1, math.ceil(t / _LARGEST_TRAVEL_PX / (len(b) - 1)))
        for t, b in zip(travel, (coarse.rows, coarse.cols), strict=True)
    ]
    bounds = []
    for count, outer in zip(parts, (coarse.rows, coarse.cols), strict=True):
        inner = [start + edges(stop - start, count)[:-1] for start, stop in itertools.pairwise(outer)]
        bounds.append(np.append(np.concatenate(inner), outer[-1]))
    return Tiling(bounds[0], bounds[1])


def _transform(
    field: BrightField, weighted: Weighted, frequencies: Array, tiling: Tiling
) -> tuple[NDArray[np.complex64], Array, Array]:
    """Return (n_tiles, K, n_pix) slices without leakage of the mean, (n_tiles, n_pix) variance, (n_pix,) mean."""
    n_rows, n_cols = field.scan_shape
    n_pix, n_peaks = len(field.counts), len(frequencies)
    factor = weighted.factor
    phase_row, phase_col = (_phases(n, frequencies[:, axis]) for axis, n in enumerate(field.scan_shape))
    values = np.empty((tiling.n_tiles, n_peaks, n_pix), np.complex64)
    variance = np.empty((tiling.n_tiles, n_pix))
    step = max(1, _BLOCK_BYTES // (4 * n_rows * n_cols))
    for start in range(0, n_pix, step):
        counts = field.counts[start : start + step]
        product: NDArray[np.float32] = np.multiply(counts, factor, dtype=np.float32)
        values[:, :, start : start + step] = _block(product, phase_row, phase_col, tiling)
        squares = np.add.reduceat(product * factor.astype(np.float32), tiling.cols[:-1], axis=2, dtype=np.float64)
        squares = np.add.reduceat(squares, tiling.rows[:-1], axis=1)
        variance[:, start : start + step] = squares.reshape(len(counts), -1).T
    still = _block(weighted.window[None].astype(np.float32), phase_row, phase_col, tiling)
    flat = _flat(field, weighted)
    values -= still.astype(np.complex64) * flat.astype(np.float32)
    return values, variance, flat


def _response(weighted: Weighted, frequencies: Array, tiling: Tiling) -> NDArray[np.complex64]:
    """Return (n_tiles, K, 2 K) what each peak, and its opposite, makes of the window of a tile at each peak."""
    pairs = frequency_pairs(frequencies)
    phase_row, phase_col = (_phases(n, pairs[:, axis]) for axis, n in enumerate(weighted.window.shape))
    found = _block(weighted.window[None].astype(np.float32), phase_row, phase_col, tiling)
    return found.reshape(tiling.n_tiles, len(frequencies), -1)


def _flat(field: BrightField, weighted: Weighted) -> Array:
    """Return the mean of each pixel under the window, (n_pix,)."""
    total = max(float(weighted.window.sum()), 1e-300)
    flat = field.counts.reshape(len(field.counts), -1)
    weight = weighted.factor.ravel()
    return np.array([one @ weight for one in flat]) / total


def _phases(n_steps: int, frequency: Array) -> NDArray[np.complex128]:
    """Return (n_steps, K) exp(-2 pi i f n)."""
    return np.asarray(np.exp(-2j * np.pi * np.outer(np.arange(n_steps), frequency)))


def _block(
    product: NDArray[np.float32],
    phase_row: NDArray[np.complex128],
    phase_col: NDArray[np.complex128],
    tiling: Tiling,
) -> NDArray[np.complex64]:
    """Return (n_tiles, K, n) transforms of images (n, scan_row, scan_col), the tiles in raster order."""
    n, n_rows, n_peaks = len(product), product.shape[1], phase_col.shape[1]
    found = np.empty((len(tiling.rows) - 1, len(tiling.cols) - 1, n_peaks, n), np.complex64)
    for j, (left, right) in enumerate(itertools.pairwise(tiling.cols)):
        part = np.ascontiguousarray(product[:, :, left:right]).reshape(n * n_rows, right - left)
        waves = np.concatenate([phase_col[left:right].real, phase_col[left:right].imag], axis=1).astype(np.float32)
        both = (part @ waves).reshape(n, n_rows, 2, n_peaks)
        lines = (both[:, :, 0] + 1j * both[:, :, 1]) * phase_row.astype(np.complex64)
        found[:, j] = np.moveaxis(np.add.reduceat(lines, tiling.rows[:-1], axis=1), 0, 2)
    return found.reshape(tiling.n_tiles, n_peaks, n)
