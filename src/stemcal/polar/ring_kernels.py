"""The compiled kernels of the rings: raw counts go straight into their bins.

The part of a pixel that lies in a bin is a whole number of sample points, so the sums are exact integers and do not
depend on the order of anything. Frames of one origin go together, one in each lane of the machine's vectors, so that
the bins of a pixel are looked up once for all of them; their sums have 32 bits. A frame with larger counts goes alone,
in 64 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.compiled import compiled
from stemcal.formats.lane_kernels import PIXELS, add_weighted, transpose

U = np.uint64


@compiled
def add_counts(
    frames: NDArray[Any],
    members: NDArray[np.int64],
    table: NDArray[np.uint16],
    valid: NDArray[np.bool_],
    shift: tuple[int, int],
    most_points: int,
    sums: NDArray[np.uint64],
    squares: NDArray[np.uint64],
) -> None:
    """Add counts and their squares to their bins.

    Parameters
    ----------
    frames : ndarray of unsigned integers
        (n, det_row, det_col), counts below 2^16.
    members : ndarray of int64
        (m,) the frames.
    table : ndarray of uint16
        (row, col, 1 + span): the first bin of a pixel, then its sample points in that bin and those behind it.
    valid : ndarray of bool
        (det_row, det_col).
    shift : tuple of int
        Where in ``table`` pixel (0, 0) is.
    most_points : int
        Most sample points that any bin has.
    sums, squares : ndarray of uint64
        (m, bins): points times counts, points times counts squared; overwritten. There is room for ``span`` bins behind
        the last one that is wanted.
    """
    for first in range(0, members.size, PIXELS):
        together: Any = members[first : first + PIXELS]
        last: Any = first + together.size
        largest: Any = U(0)
        for index in range(first, last):
            largest = max(largest, _largest(frames[members[index]].reshape(-1), valid.reshape(-1)))
        if largest * largest * U(most_points) < U(1 << 32):
            _add_together(frames, together, table, valid, shift, sums[first:last], squares[first:last])
        else:
            for index in range(first, last):
                _add_alone(frames[members[index]], table, valid, shift, sums[index], squares[index])


@compiled
def _add_together(
    frames: NDArray[Any],
    members: NDArray[np.int64],
    table: NDArray[np.uint16],
    valid: NDArray[np.bool_],
    shift: tuple[int, int],
    sums: NDArray[np.uint64],
    squares: NDArray[np.uint64],
) -> None:
    """Add up to `PIXELS` frames, one in each lane."""
    lanes = U(PIXELS)
    rows, cols, bins = U(frames.shape[1]), U(frames.shape[2]), U(sums.shape[1])
    wide, entry = U(table.shape[1]), U(table.shape[2])
    pixels, places, usable = frames.reshape(-1), table.reshape(-1), valid.reshape(-1)
    plain, square = np.zeros(bins * lanes, np.uint32), np.zeros(bins * lanes, np.uint32)
    # lanes without a frame of their own hold the last one again
    starts = np.empty(lanes, np.uint64)
    for lane in range(PIXELS):
        starts[lane] = U(members[min(lane, members.size - 1)]) * rows * cols
    tile = np.empty(lanes * lanes, frames.dtype)
    for row in range(rows):
        line = ((row + U(shift[0])) * wide + U(shift[1])) * entry
        for first in range(U(0), cols, lanes):
            count = min(lanes, cols - first)
            at = row * cols + first
            if count == lanes:
                transpose(pixels, starts, at, tile)
            else:
                for lane in range(lanes):
                    for col in range(count):
                        tile[col * lanes + lane] = pixels[starts[lane] + at + col]
            for col in range(count):
                if usable[at + col]:
                    place = line + (first + col) * entry
                    ring: Any = U(places[place])
                    for step in range(U(1), entry):
                        points = np.uint32(places[place + step])
                        if points:
                            there = (ring + step - U(1)) * lanes
                            add_weighted(tile, col * lanes, points, plain, square, there)
    for lane in range(U(members.size)):
        for bin_ in range(bins):
            sums[lane, bin_] = U(plain[bin_ * lanes + lane])
            squares[lane, bin_] = U(square[bin_ * lanes + lane])


@compiled
def add_reals(
    frames: NDArray[np.floating[Any]],
    members: NDArray[np.int64],
    table: NDArray[np.uint16],
    valid: NDArray[np.bool_],
    shift: tuple[int, int],
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> None:
    """Do what `add_counts` does for real numbers, in float64 and in raster order; parameters as there."""
    for index in range(members.size):
        _add_alone(frames[members[index]], table, valid, shift, sums[index], squares[index])


@compiled
def _add_alone(
    frame: NDArray[Any],
    table: NDArray[np.uint16],
    valid: NDArray[np.bool_],
    shift: tuple[int, int],
    sums: NDArray[Any],
    squares: NDArray[Any],
) -> None:
    """Add one frame, in the type of its sums."""
    kind = sums.dtype.type
    sums[:] = 0
    squares[:] = 0
    for row in range(U(frame.shape[0])):
        for col in range(U(frame.shape[1])):
            if valid[row, col]:
                down, right, count = row + U(shift[0]), col + U(shift[1]), kind(frame[row, col])
                ring: Any = U(table[down, right, 0])
                for step in range(U(1), U(table.shape[2])):
                    weighted = kind(table[down, right, step]) * count
                    sums[ring] += weighted
                    squares[ring] += weighted * count
                    ring += U(1)


@compiled
def add_points(
    table: NDArray[np.uint16],
    valid: NDArray[np.bool_],
    shift: tuple[int, int],
    sums: NDArray[np.uint64],
    squares: NDArray[np.uint64],
) -> None:
    """Add the sample points of valid pixels, and their squares, to their bins (bins,); parameters as `add_counts`."""
    sums[:] = 0
    squares[:] = 0
    for row in range(U(valid.shape[0])):
        for col in range(U(valid.shape[1])):
            if valid[row, col]:
                down, right = row + U(shift[0]), col + U(shift[1])
                ring: Any = U(table[down, right, 0])
                for step in range(U(1), U(table.shape[2])):
                    points = U(table[down, right, step])
                    sums[ring] += points
                    squares[ring] += points * points
                    ring += U(1)


@compiled
def _largest(pixels: NDArray[Any], usable: NDArray[np.bool_]) -> Any:
    largest = U(0)
    for index in range(U(usable.size)):
        largest = max(largest, U(pixels[index]) * U(usable[index]))
    return largest
