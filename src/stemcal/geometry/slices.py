"""Slices of the spectrum: for every peak the complex amplitude of each bright-field pixel, per tile of the scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Slices:
    """G(k, f) at the peaks, tile by tile; the tiles add up to the whole.

    Attributes
    ----------
    values : ndarray of complex64
        (n_tiles, K, n_pix) sum over the tile of window * weight * counts * exp(-2 pi i f.n), less the leakage of the
        mean pattern; residual descan is shifted away.
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
