"""The compiled kernels of the one pass: every pixel is looked at while it is in the cache.

`absorb` takes a few frames as they lie in the file and gives them in native byte order, upside down as RosettaSciIO
does and with the gap between the chips put in, together with what is added up over them; `circle_sums` adds up a frame
inside circles. The sums are exact integers. Counts of 8 and 16 bits come this way; wider ones, which are rare, go
through `stemcal.convert.sums`, the same sums in plain NumPy.

Loops run over one line and two or three arrays with unsigned indices: then the compiler finds the machine's vectors.
All of it is one module: the compiler's cache notices a change of the module that holds a function, not of the modules
that it calls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.compiled import compiled

ITEMSIZES = (1, 2)
"""Bytes per pixel that these kernels take."""

U = np.uint64


@compiled
def absorb(
    source: NDArray[Any],
    begin: int,
    step: int,
    swap: bool,
    shape: tuple[int, int, int],
    frames: NDArray[Any],
    total: NDArray[np.uint32],
    squares: NDArray[np.uint64],
    maximum: NDArray[Any],
    row_sums: NDArray[np.uint32],
    col_sums: NDArray[np.uint32],
) -> None:
    """Decode frames and add them up.

    Parameters
    ----------
    source : ndarray of uint8 or uint16
        Flat: pixel (row, col) of frame ``i`` is at ``begin + i step + row cols + col``, rows in file order.
    begin, step : int
        See there.
    swap : bool
        Whether the two bytes of a pixel change places.
    shape : tuple of int
        (det_row, det_col, gap): of a frame with the gap, and the pixels between its halves, 0 for none.
    frames : ndarray
        (n, >= det_row det_col), n <= 65536, so that sums fit 32 bits; the pixels of the frames are overwritten, except
        for the gap.
    total : ndarray of uint32
        (det_row det_col,) sums over these frames; overwritten, except for the gap.
    squares : ndarray of uint64
        (det_row det_col,); the squares are added to it.
    maximum : ndarray
        (det_row det_col,) of the frames' type; brought up to date.
    row_sums, col_sums : ndarray of uint32
        (n, det_row) and (n, det_col) sums of each frame; overwritten.
    """
    height, width, gap = U(shape[0]), U(shape[1]), U(shape[2])
    rows, cols = height - gap, width - gap
    parts = U(2) if gap else U(1)
    count = cols // parts
    n, frame_step = U(frames.shape[0]), U(frames.shape[1])
    pixels, columns = frames.reshape(-1), col_sums.reshape(-1)
    square = np.empty(count, np.uint32)
    row_sums[:] = 0
    col_sums[:] = 0
    for row in range(rows):
        place = rows - U(1) - row
        if place >= rows // parts:
            place += gap
        for part in range(parts):
            shift = part * (count + gap)
            there = place * width + shift
            _clear(total, there, count)
            _clear(square, U(0), count)
            for frame in range(n):
                here = U(begin) + frame * U(step) + row * cols + part * count
                target = frame * frame_step + there
                _take(source, here, pixels, target, count, swap)
                _add(pixels, target, count, total, there, square)
                _raise(pixels, target, count, maximum, there)
                row_sums[frame, place] += _add_columns(pixels, target, count, columns, frame * width + shift)
            _add_squares(pixels, frame_step, n, there, count, maximum, square, squares)


@compiled
def _clear(values: NDArray[Any], start: Any, count: Any) -> None:
    for index in range(count):
        values[start + index] = 0


@compiled
def _take(source: NDArray[Any], here: Any, pixels: NDArray[Any], there: Any, count: Any, swap: bool) -> None:
    if swap:
        for index in range(count):
            value = source[here + index]
            pixels[there + index] = (value << 8) | (value >> 8)
    else:
        for index in range(count):
            pixels[there + index] = source[here + index]


@compiled
def _add(
    pixels: NDArray[Any],
    start: Any,
    count: Any,
    total: NDArray[np.uint32],
    there: Any,
    square: NDArray[np.uint32],
) -> None:
    for index in range(count):
        value = np.uint32(pixels[start + index])
        total[there + index] += value
        square[index] += value * value


@compiled
def _raise(pixels: NDArray[Any], start: Any, count: Any, maximum: NDArray[Any], there: Any) -> None:
    for index in range(count):
        maximum[there + index] = max(maximum[there + index], pixels[start + index])


@compiled
def _add_columns(pixels: NDArray[Any], start: Any, count: Any, columns: NDArray[np.uint32], there: Any) -> Any:
    """Add one line to the sums of columns and return its own sum."""
    line = np.uint32(0)
    for index in range(count):
        value = np.uint32(pixels[start + index])
        columns[there + index] += value
        line += value
    return line


@compiled
def _add_squares(
    pixels: NDArray[Any],
    frame_step: Any,
    n: Any,
    there: Any,
    count: Any,
    maximum: NDArray[Any],
    square: NDArray[np.uint32],
    squares: NDArray[np.uint64],
) -> None:
    """Add the squares of one line of all frames; again and in 64 bits where 32 may not have held them."""
    peak = U(0)
    for index in range(count):
        peak = max(peak, U(maximum[there + index]))
    if peak * peak * n < U(1 << 32):
        for index in range(count):
            squares[there + index] += U(square[index])
        return
    for frame in range(n):
        for index in range(count):
            value = U(pixels[frame * frame_step + there + index])
            squares[there + index] += value * value


@compiled
def circle_sums(frames: NDArray[Any], edges: NDArray[np.uint64], sums: NDArray[np.uint64]) -> None:
    """Add up frames inside concentric circles.

    Parameters
    ----------
    frames : ndarray of unsigned integers
        (n, >= det_row det_col).
    edges : ndarray of uint64
        (rows, 2 k): where in a frame a row enters the circles, outermost first, and where it leaves them, innermost
        first; all the same where it misses them. Ascending along each row.
    sums : ndarray of uint64
        (n, k) overwritten: sum inside each circle, outermost first.
    """
    k = sums.shape[1]
    step = U(frames.shape[1])
    pixels = frames.reshape(-1)
    sums[:] = 0
    for frame in range(frames.shape[0]):
        begin = U(frame) * step
        for row in range(edges.shape[0]):
            inside = _line_sum(pixels, begin + edges[row, k - 1], begin + edges[row, k])
            sums[frame, k - 1] += inside
            for circle in range(k - 2, -1, -1):
                mirrored = 2 * k - 1 - circle
                inside += _line_sum(pixels, begin + edges[row, circle], begin + edges[row, circle + 1])
                inside += _line_sum(pixels, begin + edges[row, mirrored - 1], begin + edges[row, mirrored])
                sums[frame, circle] += inside


@compiled
def _line_sum(pixels: NDArray[Any], start: Any, stop: Any) -> Any:
    total = np.uint32(0)
    for index in range(start, stop):
        total += np.uint32(pixels[index])
    return U(total)


@compiled
def add_part(
    pattern: NDArray[np.uint32], width: int, total: NDArray[np.uint64], factor: int, binned: NDArray[np.uint64]
) -> None:
    """Add the sum over some frames to that of more frames and, binned, to the preview.

    Parameters
    ----------
    pattern : ndarray of uint32
        (det_row det_col,).
    width : int
        det_col.
    total : ndarray of uint64
        (det_row det_col,) added to.
    factor : int
        Pixels per bin along either axis; the last bins may have fewer.
    binned : ndarray of uint64
        (ceil(det_row / factor), ceil(det_col / factor)); added to.
    """
    line = np.empty(width, np.uint64)
    rows, step = U(pattern.size) // U(width), U(factor)
    for top in range(binned.shape[0]):
        _clear(line, U(0), U(width))
        for row in range(U(top) * step, min(U(top + 1) * step, rows)):
            _add_line(pattern, row * U(width), line, total)
        for left in range(binned.shape[1]):
            for col in range(U(left) * step, min(U(left + 1) * step, U(width))):
                binned[top, left] += line[col]


@compiled
def _add_line(pattern: NDArray[np.uint32], start: Any, line: NDArray[np.uint64], total: NDArray[np.uint64]) -> None:
    for index in range(U(line.size)):
        value = U(pattern[start + index])
        line[index] += value
        total[start + index] += value
