"""The compiled loops over one strip of one frame: what `stemcal.convert.kernels` does while it is in the cache.

Loops run over few arrays with unsigned indices: then the compiler finds the machine's vectors.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemcal.compiled import compiled
from stemcal.formats.lane_kernels import PIXELS, add_segment, swap_and_add, take_and_add

U = np.uint64


class Source(NamedTuple):
    """Frames as they lie in a file.

    Attributes
    ----------
    flat : ndarray of uint8 or uint16
        Pixel (row, col) of frame ``i`` is at ``begin + i step + row cols + col``, rows in file order.
    begin, step : int
        See there.
    swap : bool
        Whether the two bytes of a pixel change places.
    """

    flat: NDArray[Any]
    begin: int
    step: int
    swap: bool


class Detector(NamedTuple):
    """The frames as they are stored: upside down and with the gap between the chips.

    Attributes
    ----------
    height, width, gap : int
        (det_row, det_col) with the gap, and the pixels between the halves, 0 for none.
    pixels_per_bin : int
        Of the preview.
    masked : ndarray of uint64
        Flat places, ascending, of pixels that count in the patterns but not in the images.
    edges : ndarray of uint64
        (det_row, 2 k) where in a frame a row enters concentric circles, outermost first, and where it leaves them,
        innermost first; all the same where it misses them.
    """

    height: int
    width: int
    gap: int
    pixels_per_bin: int
    masked: NDArray[np.uint64]
    edges: NDArray[np.uint64]


@compiled
def take_strip(
    source: Source,
    detector: Detector,
    frame: Any,
    top: Any,
    bottom: Any,
    pixels: NDArray[Any],
    carried: Any,
    part: NDArray[np.uint32],
    square: NDArray[np.uint32],
    maximum: NDArray[Any],
    there: Any,
) -> Any:
    """Put the lines of a strip to ``pixels[carried:]`` and add them up; the file has them in the other order.

    Returns their sum, their moments along rows and columns, and the largest pixel. The arrays are taken out of their
    tuples first: to do so costs as much as some pixels.
    """
    flat, swap = source.flat, source.swap
    width, gap = U(detector.width), U(detector.gap)
    rows, cols = U(detector.height) - gap, width - gap
    parts = U(2) if gap else U(1)
    middle, count = rows // parts, cols // parts
    whole = count - count % U(PIXELS)
    total, moment_row, moment_col, peak = U(0), U(0), U(0), U(0)
    for above in range(bottom - top):
        # in the order of the file: the machine fetches ahead in one direction
        row = bottom - U(1) - above
        start = (row - top) * width
        if gap and middle <= row < middle + gap:
            clear(pixels, carried + start, width)
            continue
        here = _line_begin(source, detector, frame, row)
        for half in range(parts):
            shift = half * (count + gap)
            at = start + shift
            if half:
                clear(pixels, carried + at - gap, gap)
            place = carried + at
            if swap:
                found = swap_and_add(flat, here, pixels, place, part, square, at, maximum, there + at, whole)
            else:
                found = take_and_add(flat, here, pixels, place, part, square, at, maximum, there + at, whole)
            line_sum, moment, highest = found
            for index in range(whole, count):
                pixel = _native(flat[here + index], swap)
                pixels[place + index] = pixel
                part[at + index] += np.uint32(pixel)
                square[at + index] += np.uint32(pixel * pixel)
                maximum[there + at + index] = max(U(maximum[there + at + index]), pixel)
                line_sum += pixel
                moment += index * pixel
                highest = max(highest, pixel)
            total += line_sum
            moment_row += row * line_sum
            moment_col += moment + shift * line_sum
            peak = max(peak, highest)
            here += count
    return total, moment_row, moment_col, peak


@compiled
def add_squares(
    source: Source, detector: Detector, frame: Any, top: Any, bottom: Any, squares: NDArray[np.uint64]
) -> None:
    """Add the squares of a strip of one frame in 64 bits."""
    flat, swap = source.flat, source.swap
    width, gap = U(detector.width), U(detector.gap)
    rows, cols = U(detector.height) - gap, width - gap
    middle, half = rows // U(2), cols // U(2)
    for row in range(top, bottom):
        if gap and middle <= row < middle + gap:
            continue
        here = _line_begin(source, detector, frame, row)
        for col in range(cols):
            pixel = _native(flat[here + col], swap)
            squares[row * width + (col if col < half else col + gap)] += pixel * pixel


@compiled
def _line_begin(source: Source, detector: Detector, frame: Any, row: Any) -> Any:
    """Return where line ``row`` of the stored frame, not one of the gap, begins: the file has the last line first."""
    gap = U(detector.gap)
    rows, cols = U(detector.height) - gap, U(detector.width) - gap
    line = rows - U(1) - (row - gap if gap and row >= rows // U(2) else row)
    return U(source.begin) + frame * U(source.step) + line * cols


@compiled
def _native(pixel: Any, swap: Any) -> Any:
    """Return a pixel as the number that it is."""
    value = U(pixel)
    return ((value << U(8)) | (value >> U(8))) & U(0xFFFF) if swap else value


@compiled
def add_rings(
    edges: NDArray[np.uint64],
    top: Any,
    bottom: Any,
    pixels: NDArray[Any],
    shift: Any,
    rings: NDArray[np.uint32],
    inside: NDArray[np.uint64],
) -> None:
    """Add what lies between the circles, and from that what lies inside each of them."""
    k = U(inside.size)
    if not k:
        return
    last, inner = U(2) * k - U(1), k - U(1)
    rings[:] = 0
    for row in range(top, bottom):
        if edges[row, 0] == edges[row, last]:
            continue
        for ring in range(inner):
            lanes, right = ring * U(PIXELS), last - ring
            add_segment(pixels, shift + edges[row, ring], shift + edges[row, ring + U(1)], rings, lanes)
            add_segment(pixels, shift + edges[row, right - U(1)], shift + edges[row, right], rings, lanes)
        add_segment(pixels, shift + edges[row, inner], shift + edges[row, k], rings, inner * U(PIXELS))
    within = U(0)
    for outward in range(k):
        circle = inner - outward
        for lane in range(U(PIXELS)):
            within += U(rings[circle * U(PIXELS) + lane])
        inside[circle] += within


@compiled
def add_to_bins(
    part: NDArray[np.uint32],
    total: NDArray[np.uint32],
    top: Any,
    bottom: Any,
    detector: Detector,
    bins: NDArray[np.uint64],
) -> None:
    """Add the sum over the frames of one slot to the preview and to the sum over all; then begin anew."""
    width, per_bin = U(detector.width), U(detector.pixels_per_bin)
    for row in range(top, bottom):
        here, bin_row = (row - top) * width, row // per_bin
        for left in range(U(bins.shape[1])):
            inside = np.uint32(0)
            for col in range(left * per_bin, min((left + U(1)) * per_bin, width)):
                inside += part[here + col]
            bins[bin_row, left] += U(inside)
    for index in range((bottom - top) * width):
        total[index] += part[index]
    clear(part, U(0), (bottom - top) * width)


@compiled
def largest(pixels: NDArray[Any], start: Any, count: Any) -> Any:
    """Return the largest of ``pixels[start : start + count]``."""
    found = pixels[start]
    for index in range(count):
        found = max(found, pixels[start + index])
    return U(found)


@compiled
def clear(values: NDArray[Any], start: Any, count: Any) -> None:
    """Set ``values[start : start + count]`` to 0."""
    for index in range(count):
        values[start + index] = 0
