"""The compiled likelihood of a geometry from where the slices have energy, without their phases."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stemcal.compiled import compiled


@compiled
def overlap_gain(
    power: NDArray[np.float64],
    row: NDArray[np.float64],
    col: NDArray[np.float64],
    frequencies: NDArray[np.float64],
    matrices: NDArray[np.float64],
    radius: float,
    fewest: float,
    gain: NDArray[np.float64],
) -> None:
    """Write by how much the log-likelihood grows when exactly one sideband lights a pixel of the slices.

    Both regions of a slice hold complex Gaussian noise of a variance of their own, against one variance for both.

    Parameters
    ----------
    power : ndarray
        (K, n_pix) squares of the slices in units of the noise.
    row, col : ndarray
        (n_pix,) offsets from the centre in px, all inside the disk.
    frequencies : ndarray
        (K, 2) cycles per step.
    matrices : ndarray
        (n, 2, 2) hypotheses B.
    radius : float
        Of the disk in px.
    fewest : float
        Pixels that a region must hold.
    gain : ndarray
        (n,) written to.
    """
    for h in range(matrices.shape[0]):
        total = 0.0
        for k in range(power.shape[0]):
            down = matrices[h, 0, 0] * frequencies[k, 0] + matrices[h, 0, 1] * frequencies[k, 1]
            right = matrices[h, 1, 0] * frequencies[k, 0] + matrices[h, 1, 1] * frequencies[k, 1]
            lit = dark = lit_power = dark_power = 0.0
            for i in range(row.size):
                plus = _inside((row[i] - down) ** 2 + (col[i] - right) ** 2, radius)
                minus = _inside((row[i] + down) ** 2 + (col[i] + right) ** 2, radius)
                one = plus + minus - 2 * plus * minus
                lit += one
                lit_power += one * power[k, i]
                dark += 1 - one
                dark_power += (1 - one) * power[k, i]
            if lit < fewest or dark < fewest:
                continue
            mean_lit, mean_dark = max(lit_power / lit, 1e-9), max(dark_power / dark, 1e-9)
            if mean_lit <= mean_dark:
                continue
            mean = (lit_power + dark_power) / (lit + dark)
            total += (lit + dark) * math.log(mean) - lit * math.log(mean_lit) - dark * math.log(mean_dark)
        gain[h] = total


@compiled
def _inside(square: float, radius: float) -> float:
    """Return how much of a pixel is inside a disk, roughly, from the square of its distance."""
    return min(1.0, max(0.0, 0.5 + 0.25 * (radius - square / radius)))
