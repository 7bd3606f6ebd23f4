"""The compiled kernels of the single-sideband reconstruction: overlaps of disks, pixel by pixel and beam by beam.

Frequencies go in runs of neighbours, one in each lane of the machine's vectors: the loops over a run have no branch,
and no sum goes across lanes, so that the result does not depend on how wide the vectors are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.compiled import compiled

RUN = 16
"""Frequencies that go together: few enough that for many pixels a whole run lies outside the probe."""
_F = np.float32
_U = np.uint32


@compiled
def contrast(counts: NDArray[Any], weights: NDArray[np.float32], images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Write weighted images without their means, 0 where a position is not usable, and return the means.

    Parameters
    ----------
    counts : ndarray
        (n_pix, scan_row, scan_col).
    weights : ndarray of float32
        (scan_row, scan_col), 0 = not usable.
    images : ndarray of float32
        Shape of ``counts``, overwritten.
    """
    means = np.zeros(counts.shape[0])
    used: Any = 0
    for row in range(weights.shape[0]):
        for col in range(weights.shape[1]):
            used += weights[row, col] > 0
    for pixel in range(counts.shape[0]):
        total: Any = 0.0
        for row in range(counts.shape[1]):
            line: Any = 0.0
            for col in range(counts.shape[2]):
                value = _F(counts[pixel, row, col]) * weights[row, col]
                images[pixel, row, col] = value
                line += value
            total += line
        means[pixel] = total / max(used, 1)
        mean = _F(means[pixel])
        for row in range(counts.shape[1]):
            for col in range(counts.shape[2]):
                if weights[row, col] > 0:
                    images[pixel, row, col] -= mean
    return means


@compiled
def add_sidebands(
    spectra: NDArray[np.float32],
    pixels: NDArray[np.float32],
    direct: NDArray[np.float32],
    shifts: NDArray[np.float32],
    places: NDArray[np.int64],
    table: NDArray[np.float32],
    sums: NDArray[np.float64],
) -> None:
    """Add the normal equations of one block of pixels, for every frequency the two amplitudes of its sidebands.

    Parameters
    ----------
    spectra : ndarray of float32
        (n_pix, 2 n_spectrum) spectrum of each pixel's image of the scan, real and imaginary parts in turn.
    pixels : ndarray of float32
        (n_pix, 2) where the pixels lie in ``table``, in nodes.
    direct : ndarray of float32
        (n_pix, 2) the probe P(k) there, real and imaginary part.
    shifts : ndarray of float32
        (2, n) shifts d of the disks, in nodes; n is a multiple of `RUN`.
    places : ndarray of int64
        (n,) where in the spectrum their frequencies are.
    table : ndarray of float32
        (m, m, 2) probe at the nodes, 0 in the two outermost rows and columns; P is linear between nodes.
    sums : ndarray of float64
        (8, n) sums over the pixels, overwritten: T+* G, T-* G (real, imaginary), |T+|^2, |T-|^2, T+* T- (real,
        imaginary), with T+ = P(k-d) P*(k) and T- = P(k) P*(k+d).
    """
    flat = table.reshape(-1)
    side = _U(table.shape[0])
    middle, reach = _F(0.5) * (_F(side) - _F(1)), _F(0.5) * _F(side)
    plus, minus, part = np.empty((2, RUN), np.float32), np.empty((2, RUN), np.float32), np.empty((8, RUN), np.float32)
    for first in range(0, shifts.shape[1], RUN):
        run: Any = shifts[:, first : first + RUN]
        half_row, half_col = _F(0.5) * (run[0, 0] + run[0, RUN - 1]), _F(0.5) * (run[1, 0] + run[1, RUN - 1])
        wide: Any = _F(0)
        for lane in range(RUN):
            wide = max(wide, (run[0, lane] - half_row) ** 2 + (run[1, lane] - half_col) ** 2)
        near = (reach + np.sqrt(wide)) ** 2
        part[:] = 0
        for pixel in range(pixels.shape[0]):
            row, col = pixels[pixel, 0], pixels[pixel, 1]
            down, right = row - middle, col - middle
            has_plus = (down - half_row) ** 2 + (right - half_col) ** 2 < near
            has_minus = (down + half_row) ** 2 + (right + half_col) ** 2 < near
            if not has_plus and not has_minus:
                continue
            if has_plus:
                _look_up(flat, side, row, col, run, _F(-1), plus)
            else:
                plus[:] = 0
            if has_minus:
                _look_up(flat, side, row, col, run, _F(1), minus)
            else:
                minus[:] = 0
            _accumulate(
                plus, minus, direct[pixel, 0], direct[pixel, 1], spectra[pixel], places[first : first + RUN], part
            )
        for quantity in range(8):
            for lane in range(RUN):
                sums[quantity, first + lane] = part[quantity, lane]


@compiled
def _look_up(
    flat: NDArray[np.float32],
    side: Any,
    row: Any,
    col: Any,
    run: NDArray[np.float32],
    sign: Any,
    wave: NDArray[np.float32],
) -> None:
    """Write the probe at ``sign`` times each shift of a run from a pixel; outside the table it is 0."""
    last = _F(side) - _F(1.001)
    for lane in range(RUN):
        down = min(max(row + sign * run[0, lane], _F(0)), last)
        right = min(max(col + sign * run[1, lane], _F(0)), last)
        i, j = _U(down), _U(right)
        v, u = down - _F(i), right - _F(j)
        above = (i * side + j) * _U(2)
        below = above + side * _U(2)
        upper_real = flat[above] + u * (flat[above + _U(2)] - flat[above])
        lower_real = flat[below] + u * (flat[below + _U(2)] - flat[below])
        upper_imag = flat[above + _U(1)] + u * (flat[above + _U(3)] - flat[above + _U(1)])
        lower_imag = flat[below + _U(1)] + u * (flat[below + _U(3)] - flat[below + _U(1)])
        wave[0, lane] = upper_real + v * (lower_real - upper_real)
        wave[1, lane] = upper_imag + v * (lower_imag - upper_imag)


@compiled
def _accumulate(
    plus: NDArray[np.float32],
    minus: NDArray[np.float32],
    here_real: Any,
    here_imag: Any,
    spectrum: NDArray[np.float32],
    places: NDArray[np.int64],
    part: NDArray[np.float32],
) -> None:
    """Add one pixel to the sums of a run."""
    for lane in range(RUN):
        # T+ = P(k-d) P*(k), T- = P(k) P*(k+d)
        plus_real = plus[0, lane] * here_real + plus[1, lane] * here_imag
        plus_imag = plus[1, lane] * here_real - plus[0, lane] * here_imag
        minus_real = here_real * minus[0, lane] + here_imag * minus[1, lane]
        minus_imag = here_imag * minus[0, lane] - here_real * minus[1, lane]
        real, imag = spectrum[2 * places[lane]], spectrum[2 * places[lane] + 1]
        part[0, lane] += plus_real * real + plus_imag * imag
        part[1, lane] += plus_real * imag - plus_imag * real
        part[2, lane] += minus_real * real + minus_imag * imag
        part[3, lane] += minus_real * imag - minus_imag * real
        part[4, lane] += plus_real * plus_real + plus_imag * plus_imag
        part[5, lane] += minus_real * minus_real + minus_imag * minus_imag
        part[6, lane] += plus_real * minus_real + plus_imag * minus_imag
        part[7, lane] += plus_real * minus_imag - plus_imag * minus_real
