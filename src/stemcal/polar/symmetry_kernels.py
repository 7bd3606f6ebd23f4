"""The compiled kernels of the symmetry orders: sums of the counts times the harmonics of their angle, in float64.

Frame by frame and in raster order, so that the sums of a frame do not depend on what is measured beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.compiled import compiled

U = np.uint64


@compiled
def add_harmonics(
    frame: NDArray[Any],
    table: NDArray[np.uint16],
    shift: tuple[int, int],
    harmonics: NDArray[np.float32],
    harmonics_shift: tuple[int, int],
    valid: NDArray[np.bool_],
    sums: NDArray[np.float64],
) -> None:
    """Add counts times harmonics to their bins.

    Parameters
    ----------
    frame : ndarray
        (det_row, det_col) counts.
    table, shift, valid :
        As `stemcal.polar.ring_kernels.add_counts` takes them.
    harmonics : ndarray of float32
        (row, col, n_terms) the harmonics at each pixel; the first is 1.
    harmonics_shift : tuple of int
        Where in ``harmonics`` pixel (0, 0) is.
    sums : ndarray of float64
        (bins, n_terms): points times counts times harmonics; overwritten.
    """
    sums[:] = 0
    n_terms = U(sums.shape[1])
    for row in range(U(frame.shape[0])):
        for col in range(U(frame.shape[1])):
            if valid[row, col] and frame[row, col] != 0:
                down, right, count = row + U(shift[0]), col + U(shift[1]), np.float64(frame[row, col])
                there = row + U(harmonics_shift[0]), col + U(harmonics_shift[1])
                ring: Any = U(table[down, right, 0])
                for step in range(U(1), U(table.shape[2])):
                    weighted = np.float64(table[down, right, step]) * count
                    if weighted != 0:
                        for term in range(n_terms):
                            sums[ring, term] += weighted * np.float64(harmonics[there[0], there[1], term])
                    ring += U(1)


@compiled
def add_products(
    table: NDArray[np.uint16],
    shift: tuple[int, int],
    harmonics: NDArray[np.float32],
    harmonics_shift: tuple[int, int],
    valid: NDArray[np.bool_],
    products: NDArray[np.float64],
) -> None:
    """Add the sample points of valid pixels times the products of each two harmonics: the normal equations.

    Parameters
    ----------
    table, shift, harmonics, harmonics_shift, valid :
        As for `add_harmonics`.
    products : ndarray of float64
        (bins, n_terms, n_terms); overwritten.
    """
    products[:] = 0
    n_terms = U(products.shape[1])
    for row in range(U(valid.shape[0])):
        for col in range(U(valid.shape[1])):
            if valid[row, col]:
                down, right = row + U(shift[0]), col + U(shift[1])
                here = harmonics[row + U(harmonics_shift[0]), col + U(harmonics_shift[1])]
                ring: Any = U(table[down, right, 0])
                for step in range(U(1), U(table.shape[2])):
                    points = np.float64(table[down, right, step])
                    if points != 0:
                        for one in range(n_terms):
                            for other in range(n_terms):
                                products[ring, one, other] += points * np.float64(here[one]) * np.float64(here[other])
                    ring += U(1)


@compiled
def add_noise(
    table: NDArray[np.uint16],
    shift: tuple[int, int],
    harmonics: NDArray[np.float32],
    harmonics_shift: tuple[int, int],
    valid: NDArray[np.bool_],
    inverse: NDArray[np.float64],
    noise: NDArray[np.float64],
) -> None:
    """Add up what the counting of each pixel adds to the power of each order, per unit of each coefficient.

    A pixel enters the coefficients with its points w times inverse h, so counts of variance v add w^2 |inverse h|^2 v
    to the squares of the cosine and the sine of an order; and v is the counts that the coefficients predict there.

    Parameters
    ----------
    table, shift, harmonics, harmonics_shift, valid :
        As for `add_harmonics`.
    inverse : ndarray of float64
        (n_bins, n_terms, n_terms) inverse of the normal equations.
    noise : ndarray of float64
        (n_bins, n_orders, n_terms); overwritten.
    """
    noise[:] = 0
    n_terms, n_bins = U(inverse.shape[1]), U(inverse.shape[0])
    for row in range(U(valid.shape[0])):
        for col in range(U(valid.shape[1])):
            if valid[row, col]:
                down, right = row + U(shift[0]), col + U(shift[1])
                here = harmonics[row + U(harmonics_shift[0]), col + U(harmonics_shift[1])]
                ring: Any = U(table[down, right, 0])
                for step in range(U(1), U(table.shape[2])):
                    points = np.float64(table[down, right, step])
                    if points != 0 and ring < n_bins:
                        for order in range(U(noise.shape[1])):
                            power = 0.0
                            for term in range(U(1) + U(2) * order, U(3) + U(2) * order):
                                part = 0.0
                                for other in range(n_terms):
                                    part += inverse[ring, term, other] * np.float64(here[other])
                                power += part * part
                            for term in range(n_terms):
                                noise[ring, order, term] += points * points * power * np.float64(here[term])
                    ring += U(1)


@compiled
def solve(
    sums: NDArray[np.float64], inverse: NDArray[np.float64], noise: NDArray[np.float64], coefficients: NDArray[Any]
) -> None:
    """Turn the sums of one frame into coefficients and the power that counting adds.

    Parameters
    ----------
    sums : ndarray of float64
        (bins, n_terms) from `add_harmonics`.
    inverse, noise : ndarray of float64
        As for `add_noise`.
    coefficients : ndarray of float64
        (n_bins, n_terms + n_orders): the coefficients, then the power by counting, for one count per electron;
        overwritten.
    """
    n_terms = U(inverse.shape[1])
    for ring in range(U(inverse.shape[0])):
        for term in range(n_terms):
            total = 0.0
            for other in range(n_terms):
                total += inverse[ring, term, other] * sums[ring, other]
            coefficients[ring, term] = total
        for order in range(U(noise.shape[1])):
            power = 0.0
            for term in range(n_terms):
                power += noise[ring, order, term] * coefficients[ring, term]
            coefficients[ring, n_terms + order] = power
