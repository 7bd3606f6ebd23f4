"""Uncertainties by leaving out one tile of the scan after the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def tile_numbers(scan_shape: tuple[int, ...], tiles_per_side: int) -> NDArray[np.intp]:
    """Return to which of the tiles, in raster order, each position belongs, (scan_row, scan_col)."""
    rows, cols = (np.arange(side) * tiles_per_side // side for side in scan_shape)
    return np.asarray(rows[:, None] * tiles_per_side + cols[None])


def tile_waves(
    field: NDArray[np.float64], window: NDArray[np.float64], frequencies: NDArray[np.float64], tiles_per_side: int
) -> NDArray[np.complex128]:
    """Return the windowed spectrum of a vector field at some frequencies, tile by tile; the tiles add up to the whole.

    Parameters
    ----------
    field : ndarray of float64
        (2, scan_row, scan_col); NaN is missing. Its mean is taken out.
    window : ndarray of float64
        (scan_row, scan_col); 0 = not usable.
    frequencies : ndarray of float64
        (K, 2) cycles per step.
    tiles_per_side : int
        The scan is cut into the square of this many tiles.

    Returns
    -------
    ndarray of complex128
        (tiles, 2, K).
    """
    usable = np.isfinite(field).all(axis=0) & (window > 0)
    mean = field[:, usable].mean(axis=1) if usable.any() else np.zeros(2)
    windowed = np.where(usable, (field - mean[:, None, None]) * window, 0)
    rows = np.exp(-2j * np.pi * np.outer(frequencies[:, 0], np.arange(window.shape[0])))
    cols = np.exp(-2j * np.pi * np.outer(np.arange(window.shape[1]), frequencies[:, 1]))
    tiles = tile_numbers(window.shape, tiles_per_side)
    parts = (np.where(tiles == tile, windowed, 0) for tile in range(tiles_per_side**2))
    return np.stack([np.einsum("kr,ark->ak", rows, part @ cols) for part in parts])


def jackknife_sigma(changes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard uncertainty of a result from what leaving out each tile made of it.

    Parameters
    ----------
    changes : ndarray of float64
        (n_tiles, ...) result without one tile, or its difference from that of the whole.

    Source: Efron & Stein, Ann. Statist. 9 (1981) 586, delete-one jackknife.
    """
    n = len(changes)
    spread = changes - changes.mean(axis=0)
    return np.asarray(np.sqrt((n - 1) / n * (spread**2).sum(axis=0)))
