"""Defocus and astigmatism from the phase ramps of the sidebands, without unwrapping.

Over a sideband the phase chi(k) - chi(k - d) of a quadratic chi is a plane in k with the slope H d, H the matrix of
second derivatives. The slope is where the two-dimensional Fourier transform of the sideband peaks.

Source: ours; the slope instead of the unwrapped phase of Ning et al., Microsc. Microanal. 28 (2022) 622.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry.coherent import Whitened

FEWEST_PIXELS = 12
PADDING = 2.0
ROUNDS = 12


def quadratic_phases(data: Whitened, b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return C10, C12a and C12b, (3,), as phases in rad at the edge; zeros where no sideband is large enough.

    Parameters
    ----------
    data : Whitened
        The slices.
    b : ndarray
        (2, 2) B in px per cycle per step.
    """
    slopes, shifts, weights = [], [], []
    for values, shift in zip(data.values, data.frequencies @ b.T, strict=True):
        found = _slope(data, values, shift)
        if found is not None:
            slopes.append(found[0])
            weights.append(found[1])
            shifts.append(shift)
    if len(slopes) < 2:
        return np.zeros(3)
    d = np.array(shifts) * 2 / data.radius_px**2
    # row and column of H d, where C10 is in both diagonal elements of H and C12a in them with opposite signs
    design = np.concatenate(
        [np.stack([d[:, 0], -d[:, 0], d[:, 1]], axis=1), np.stack([d[:, 1], d[:, 1], d[:, 0]], axis=1)]
    )
    return _robust(design, np.array(slopes).T.ravel(), np.tile(weights, 2))


def _slope(
    data: Whitened, values: NDArray[np.complex128], shift: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float] | None:
    """Return the slope (row, col) in rad/px of the phase of a slice's sidebands, and its weight."""
    side = 2 * round(PADDING * (data.radius_px + 1))
    row = np.round(data.row_px - data.row_px.min()).astype(np.int64)
    col = np.round(data.col_px - data.col_px.min()).astype(np.int64)
    inner = data.radius_px - 0.7
    power = np.zeros((side, side))
    for plus, minus in ((shift, -shift), (-shift, shift)):
        lit = np.hypot(data.row_px, data.col_px) < inner
        lit &= np.hypot(data.row_px - plus[0], data.col_px - plus[1]) < inner
        lit &= np.hypot(data.row_px - minus[0], data.col_px - minus[1]) > data.radius_px + 0.7
        if lit.sum() < FEWEST_PIXELS:
            continue
        image = np.zeros((side, side), dtype=np.complex128)
        image[row[lit], col[lit]] = values[lit]
        power += np.abs(np.fft.fft2(image)) ** 2 / lit.sum()
    if not power.any():
        return None
    peak = np.unravel_index(int(power.argmax()), power.shape)
    bins = np.array([_vertex(power[:, peak[1]], int(peak[0])), _vertex(power[peak[0]], int(peak[1]))])
    bins -= side * (bins > side / 2)
    return 2 * np.pi * bins / side, float(np.sqrt(power.max() / np.median(power)))


def _vertex(line: NDArray[np.float64], at: int) -> float:
    """Return where the parabola through three points, on a circle, is largest."""
    left, middle, right = line[at - 1], line[at], line[(at + 1) % line.size]
    bend = left - 2 * middle + right
    return at + (0.5 * float(left - right) / float(bend) if bend < 0 else 0.0)


def _robust(
    design: NDArray[np.float64], wanted: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the least squares solution, outliers weighted down by their residuals (Cauchy)."""
    now = weights.copy()
    solution = np.zeros(design.shape[1])
    for _ in range(ROUNDS):
        solution = np.linalg.lstsq(design * now[:, None], wanted * now, rcond=None)[0]
        residual = wanted - design @ solution
        spread = 1.4826 * float(np.median(np.abs(residual))) + 0.02
        now = weights / np.sqrt(1 + (residual / (2 * spread)) ** 2)
    return solution
