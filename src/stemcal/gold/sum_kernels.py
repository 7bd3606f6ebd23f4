"""The compiled loop that adds frames up where the beam stands still."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.compiled import compiled


@compiled
def add_frames(
    frames: NDArray[Any],
    slot: NDArray[np.int64],
    shift: NDArray[np.int64],
    offset_px: NDArray[np.float64],
    valid: NDArray[np.bool_],
    counts: NDArray[np.float64],
    moment_px: NDArray[np.float64],
) -> None:
    """Add the counts of frames, moved by whole pixels, and their moments about the middles of the pixels.

    Parameters
    ----------
    frames : ndarray
        (n, det_row, det_col) counts.
    slot : ndarray of int64
        (n,) which sums a frame is added to; negative leaves it out.
    shift : ndarray of int64
        (n, 2) pixel (r, c) of a frame goes to (r, c) - shift; what leaves the sums is lost.
    offset_px : ndarray of float64
        (n, 2) (row, col) what is left to move after that.
    valid : ndarray of bool
        (det_row, det_col).
    counts : ndarray of float64
        (slots, det_row, det_col), added to.
    moment_px : ndarray of float64
        (slots, 2, det_row, det_col) counts times offset, added to.
    """
    n_row, n_col = valid.shape
    for index in range(slot.size):
        to = slot[index]
        if to < 0:
            continue
        down, right = shift[index]
        off_row, off_col = offset_px[index]
        for row in range(max(0, down), min(n_row, n_row + down)):
            for col in range(max(0, right), min(n_col, n_col + right)):
                value = frames[index, row, col]
                if value == 0 or not valid[row, col]:
                    continue
                counts[to, row - down, col - right] += value
                moment_px[to, 0, row - down, col - right] += value * off_row
                moment_px[to, 1, row - down, col - right] += value * off_col
