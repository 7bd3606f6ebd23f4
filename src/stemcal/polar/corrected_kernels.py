"""The compiled kernels of the corrected frames: each count is shared out among the pixels of the round frame.

The shares are the areas in which the corrected pixel and those of the round frame overlap, in whole parts of `PARTS`
that add up to it exactly. So sums of counts are exact integers, and no count is lost or made.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.compiled import compiled

U = np.uint64
PARTS = 1 << 14
"""Into how many parts a pixel is shared out."""
_CORNERS = 10
"""Most corners that a parallelogram cut by a square can have, with room for one more."""


@compiled
def share_out(
    matrix: NDArray[np.float64],
    centre_row_px: float,
    centre_col_px: float,
    span: int,
    table: NDArray[np.int16],
) -> None:
    """Write where each pixel goes and in which parts.

    Parameters
    ----------
    matrix : ndarray
        (2, 2) takes a distorted (row, col) offset to the round one.
    centre_row_px, centre_col_px : float
        Origin.
    span : int
        Most pixels of the round frame that a pixel reaches along an axis.
    table : ndarray of int16
        (row, col, 2 + span^2): first (row, col) of the round frame, from the pixel with the origin in its middle, then
        the parts of `PARTS` in it and its neighbours, row by row; overwritten.
    """
    corners = np.empty((4, 2))
    for row in range(table.shape[0]):
        for col in range(table.shape[1]):
            for corner in range(4):
                down = row - centre_row_px + (0.5 if corner in (1, 2) else -0.5)
                right = col - centre_col_px + (0.5 if corner >= 2 else -0.5)
                corners[corner, 0] = matrix[0, 0] * down + matrix[0, 1] * right
                corners[corner, 1] = matrix[1, 0] * down + matrix[1, 1] * right
            first_row = int(np.floor(corners[:, 0].min() + 0.5))
            first_col = int(np.floor(corners[:, 1].min() + 0.5))
            table[row, col, 0], table[row, col, 1] = first_row, first_col
            left, largest = PARTS, 2
            for cell in range(span * span):
                area = _overlap(corners, first_row + cell // span - 0.5, first_col + cell % span - 0.5)
                part = int(np.rint(area * PARTS))
                table[row, col, 2 + cell] = part
                left -= part
                if part > table[row, col, largest]:
                    largest = 2 + cell
            table[row, col, largest] += left


@compiled
def _overlap(corners: NDArray[np.float64], top: float, left: float) -> Any:
    """Return the area that a convex polygon (4, 2) has in common with a unit square, cut off side by side.

    Sutherland and Hodgman, Commun. ACM 17 (1974) 32; the area by Gauss's formula.
    """
    shape, cut = np.empty((_CORNERS, 2)), np.empty((_CORNERS, 2))
    shape[:4] = corners
    count = 4
    for side in range(4):
        axis, sign = side // 2, 1.0 - 2.0 * (side % 2)
        edge = (top if axis == 0 else left) + (side % 2)
        kept = 0
        for index in range(count):
            here, before = shape[index], shape[index - 1 if index else count - 1]
            inside, was = sign * (here[axis] - edge), sign * (before[axis] - edge)
            if inside * was < 0:
                weight = was / (was - inside)
                cut[kept] = before + weight * (here - before)
                kept += 1
            if inside >= 0:
                cut[kept] = here
                kept += 1
        shape, cut, count = cut, shape, kept
    double = 0.0
    for index in range(count):
        before = index - 1 if index else count - 1
        double += shape[before, 0] * shape[index, 1] - shape[index, 0] * shape[before, 1]
    return abs(double) / 2


@compiled
def spread(
    frame: NDArray[Any],
    valid: NDArray[np.bool_],
    table: NDArray[np.int16],
    shift: tuple[int, int],
    origin: tuple[int, int],
    sums: NDArray[Any],
) -> None:
    """Share out the counts of a frame.

    Parameters
    ----------
    frame : ndarray
        (det_row, det_col) counts; invalid pixels may hold anything.
    valid : ndarray of bool
        (det_row, det_col).
    table : ndarray
        From `share_out`.
    shift : tuple of int
        Where in it pixel (0, 0) of the detector is.
    origin : tuple of int
        Pixel of the round frame in whose middle the origin is.
    sums : ndarray of uint64 or float64
        (row, col) of the round frame, in counts times `PARTS`; overwritten.
    """
    sums[:] = 0
    kind = sums.dtype.type
    cells = table.shape[2] - 2
    span = int(np.rint(np.sqrt(cells)))
    for row in range(frame.shape[0]):
        for col in range(frame.shape[1]):
            if valid[row, col] and frame[row, col] != 0:
                down, right, count = row + shift[0], col + shift[1], kind(frame[row, col])
                to_row, to_col = origin[0] + table[down, right, 0], origin[1] + table[down, right, 1]
                for cell in range(cells):
                    part = table[down, right, 2 + cell]
                    if part != 0:
                        sums[to_row + cell // span, to_col + cell % span] += kind(part) * count
