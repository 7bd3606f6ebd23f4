"""The compiled kernel of the single-sideband reconstruction: overlaps of disks, pixel by pixel and beam by beam."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.compiled import compiled


@compiled
def add_sidebands(
    spectra: NDArray[np.complex64],
    pixels: NDArray[np.float64],
    direct: NDArray[np.complex64],
    shifts: NDArray[np.float64],
    places: NDArray[np.int64],
    table: NDArray[np.complex64],
    nodes_per_px: float,
    sums: NDArray[np.complex128],
) -> None:
    """Add the normal equations of one block of pixels, for every frequency the two amplitudes of its sidebands.

    Parameters
    ----------
    spectra : ndarray of complex64
        (n_pix, n_spectrum) spectrum of each pixel's image of the scan.
    pixels : ndarray of float64
        (n_pix, 2) round offsets k of the pixels from the centre of the aperture, px.
    direct : ndarray of complex64
        (n_pix,) the probe P(k) there.
    shifts : ndarray of float64
        (n, 2) shifts d of the disks, px.
    places : ndarray of int64
        (n,) where in ``spectra`` their frequencies are.
    table : ndarray of complex64
        (m, m) probe at nodes around the centre, 0 at its border; P is linear between them.
    nodes_per_px : float
        Density of the nodes.
    sums : ndarray of complex128
        (n, 5) sums over the pixels, overwritten: T+* G, T-* G, |T+|^2, |T-|^2, T+* T- with T+ = P(k-d) P*(k) and
        T- = P(k) P*(k+d).
    """
    middle = 0.5 * (table.shape[0] - 1)
    reach = middle / nodes_per_px
    for index in range(shifts.shape[0]):
        row, col, place = shifts[index, 0], shifts[index, 1], places[index]
        plus_data: Any = 0j
        minus_data: Any = 0j
        plus_plus: Any = 0.0
        minus_minus: Any = 0.0
        plus_minus: Any = 0j
        for pixel in range(pixels.shape[0]):
            here = direct[pixel]
            down, right = pixels[pixel, 0], pixels[pixel, 1]
            plus = _probe(table, down - row, right - col, reach, nodes_per_px, middle) * np.conj(here)
            minus = here * np.conj(_probe(table, down + row, right + col, reach, nodes_per_px, middle))
            value = spectra[pixel, place]
            plus_data += np.conj(plus) * value
            minus_data += np.conj(minus) * value
            plus_plus += plus.real * plus.real + plus.imag * plus.imag
            minus_minus += minus.real * minus.real + minus.imag * minus.imag
            plus_minus += np.conj(plus) * minus
        sums[index, 0] = plus_data
        sums[index, 1] = minus_data
        sums[index, 2] = plus_plus
        sums[index, 3] = minus_minus
        sums[index, 4] = plus_minus


@compiled
def _probe(
    table: NDArray[np.complex64], row: float, col: float, reach: float, nodes_per_px: float, middle: float
) -> Any:
    """Return the probe between the nodes of its table; 0 outside."""
    if row * row + col * col >= reach * reach:
        return np.complex64(0)
    down, right = row * nodes_per_px + middle, col * nodes_per_px + middle
    i, j = int(down), int(right)
    v, u = np.float32(down - i), np.float32(right - j)
    one = np.float32(1)
    upper = (one - u) * table[i, j] + u * table[i, j + 1]
    lower = (one - u) * table[i + 1, j] + u * table[i + 1, j + 1]
    return (one - v) * upper + v * lower
