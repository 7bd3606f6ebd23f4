"""Where the coherent fit starts: every flip, angle and scale, and the direction of the centre of mass.

The coherent fit finds the nearest of many minima, so that it is started from each of the few geometries that the
energies of the slices alone make likely.

Source: the likelihood is ours; the direction of the centre of mass is the J-matrix of Ning et al., Microsc. Microanal.
28 (2022) 622, in Fourier space.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from stemcal.geometry.coherent import Whitened
from stemcal.geometry.search_kernels import overlap_gain
from stemcal.geometry.slices import Slices

ANGLE_STEP_DEG = 3.0
SCALE_STEP = 0.05
KNOWN_SCALES = (0.6, 1.6)
STRONGEST = 12
"""Slices that the search looks at."""
FEWEST_PIXELS = 8.0
MOST_PIXELS = 400
"""Of a slice in the search; of a larger disk every n-th is used."""
DISTINCT = 0.12
"""Relative difference of two matrices below which they are one hypothesis."""


def com_direction(slices: Slices) -> NDArray[np.float64] | None:
    """Return B up to a factor, determinant +-1, from the centre of mass of the slices; None where they cannot tell.

    The centre of mass of the interference at f moves along B f, so that its Fourier component F(f) is parallel to B f:
    F_row (B f)_col = F_col (B f)_row, which is linear and homogeneous in B.

    Parameters
    ----------
    slices : Slices
        At least three of them, not all along one direction.
    """
    values = slices.values[:, :, slices.usable].sum(axis=0, dtype=np.complex128)
    f = slices.frequencies
    row, col = values @ slices.row_px[slices.usable], values @ slices.col_px[slices.usable]
    equations = np.concatenate([-col[:, None] * f, row[:, None] * f], axis=1) / np.hypot(f[:, 0], f[:, 1])[:, None]
    _, _, vectors = np.linalg.svd(np.concatenate([equations.real, equations.imag]), full_matrices=False)
    matrix = vectors[-1].reshape(2, 2)
    determinant = abs(float(np.linalg.det(matrix)))
    return matrix / np.sqrt(determinant) if determinant > 1e-6 else None


def candidates(
    data: Whitened, unit_px: float | None, direction: NDArray[np.float64] | None, keep: int = 4
) -> list[NDArray[np.float64]]:
    """Return the most likely distinct matrices B, the best first, by the energies of the slices alone.

    Parameters
    ----------
    data : Whitened
        The slices.
    unit_px : float, optional
        Nominal px per cycle per step; without it every scale that overlaps is tried.
    direction : ndarray, optional
        (2, 2) B up to a factor.
    keep : int
        How many at most.
    """
    look = _Overlap(data)
    grid = hypotheses(scales(data, unit_px))
    if direction is not None:
        grid = np.concatenate([grid, scales(data, unit_px)[:, None, None] * direction])
    gain = look.gain(grid)
    best: list[NDArray[np.float64]] = []
    for index in np.argsort(-gain, kind="stable"):
        if gain[index] <= 0 or len(best) == 2 * keep:
            break
        if distinct(grid[index], best, 2 * DISTINCT):
            best.append(grid[index])
    refined = sorted((look.refine(matrix) for matrix in best), key=lambda pair: -pair[0])
    kept: list[NDArray[np.float64]] = []
    for _, matrix in refined:
        if distinct(matrix, kept, DISTINCT) and len(kept) < keep:
            kept.append(matrix)
    return kept


def distinct(matrix: NDArray[np.float64], others: list[NDArray[np.float64]], least: float) -> bool:
    """Return whether a matrix differs from all others, and from their negatives, by more than this, relatively."""
    size = float(np.linalg.norm(matrix))
    return all(min(np.linalg.norm(matrix - o), np.linalg.norm(matrix + o)) > least * size for o in others)


def scales(data: Whitened, unit_px: float | None) -> NDArray[np.float64]:
    """Return the px per cycle per step that are tried."""
    if unit_px is not None:
        low, high = KNOWN_SCALES[0] * unit_px, KNOWN_SCALES[1] * unit_px
    else:
        length = np.hypot(data.frequencies[:, 0], data.frequencies[:, 1])
        low, high = 0.25 * data.radius_px / length.max(), 1.9 * data.radius_px / length.min()
    count = max(2, round(np.log(high / low) / SCALE_STEP) + 1)
    return np.geomspace(low, high, count)


def hypotheses(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, 2, 2) matrices: rotations over a half turn, with and without a flip, times every size."""
    angle = np.deg2rad(np.arange(0.0, 180.0, ANGLE_STEP_DEG))
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], axis=-2)
    both = np.concatenate([turn, turn * np.array([-1.0, 1.0])])
    return np.asarray((sizes[:, None, None, None] * both).reshape(-1, 2, 2))


class _Overlap:
    def __init__(self, data: Whitened) -> None:
        inside = np.flatnonzero(np.hypot(data.row_px, data.col_px) < data.radius_px)
        inside = inside[:: -(-inside.size // MOST_PIXELS)]
        power = np.abs(data.values[:, inside]) ** 2
        strongest = np.argsort(-power.sum(axis=1), kind="stable")[:STRONGEST]
        self.power = np.ascontiguousarray(power[strongest])
        self.frequencies = np.ascontiguousarray(data.frequencies[strongest])
        self.row, self.col = data.row_px[inside], data.col_px[inside]
        self.radius = data.radius_px

    def gain(self, matrices: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.empty(len(matrices))
        overlap_gain(
            self.power,
            self.row,
            self.col,
            self.frequencies,
            np.ascontiguousarray(matrices),
            self.radius,
            FEWEST_PIXELS,
            out,
        )
        return out

    def _loss(self, elements: NDArray[np.float64]) -> float:
        return -float(self.gain(elements.reshape(1, 2, 2))[0])

    def refine(self, matrix: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        size = float(np.sqrt(abs(np.linalg.det(matrix))))
        simplex: NDArray[np.float64] = np.vstack([matrix.ravel(), matrix.ravel() + 0.05 * size * np.eye(4)])
        found = minimize(
            self._loss,
            matrix.ravel(),
            method="Nelder-Mead",
            options={"initial_simplex": simplex, "xatol": 1e-3 * size, "fatol": 1e-2, "maxiter": 300},
        )
        return -float(found.fun), np.asarray(found.x).reshape(2, 2)
