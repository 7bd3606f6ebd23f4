"""The compiled kernels of the one pass: a strip of a frame is decoded, added up and compressed while in the cache.

`convert_frames` takes frames as they lie in the file and leaves them compressed, together with everything that is added
up over them. It goes through them strip by strip, a strip of all frames before the next strip: then the sums over the
frames stay in the cache too, and no frame is ever written uncompressed. The sums are exact integers. Counts of 8 and 16
bits come this way; wider ones, which are rare, go through `stemcal.convert.sums`, the same sums in plain NumPy.

Loops run over few arrays with unsigned indices: then the compiler finds the machine's vectors.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemcal.compiled import compiled
from stemcal.formats import bitshuffle_kernels
from stemcal.formats.lane_kernels import PIXELS, add_segment, swap_and_add, take_and_add

ITEMSIZES = (1, 2)
"""Bytes per pixel that these kernels take."""

MAX_FRAMES = 65536
"""Frames of one call, so that sums over them fit 32 bits."""

U = np.uint64
_BLOCKS_PER_STRIP = 4
"""Where lines and blocks of the filter do not end together, what is left over is a small part of a strip."""


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


class Patterns(NamedTuple):
    """Sums over frames; added to.

    Attributes
    ----------
    total, squares : ndarray of uint64
        (det_row det_col,).
    maximum : ndarray
        (det_row det_col,) of the frames' type.
    previews : ndarray of uint64
        (slot, bin_row, bin_col) binned sums.
    """

    total: NDArray[np.uint64]
    squares: NDArray[np.uint64]
    maximum: NDArray[Any]
    previews: NDArray[np.uint64]


class Images(NamedTuple):
    """One value per frame; overwritten.

    Attributes
    ----------
    total, moment_row, moment_col, maximum : ndarray of uint64
        (n,) counts, counts times row and times column, largest count.
    inside : ndarray of uint64
        (n, k) counts inside each circle, outermost first.
    """

    total: NDArray[np.uint64]
    moment_row: NDArray[np.uint64]
    moment_col: NDArray[np.uint64]
    maximum: NDArray[np.uint64]
    inside: NDArray[np.uint64]


class Chunks(NamedTuple):
    """Compressed frames; overwritten.

    Attributes
    ----------
    data : ndarray of uint8
        (n, room) with `stemcal.formats.bitshuffle_kernels.SLACK` behind the worst case; (0, 0) if nobody wants them.
    begin : int
        Where the body begins.
    block : int
        Pixels of one block of the filter.
    ends : ndarray of int64
        (n,) where each body ends.
    """

    data: NDArray[np.uint8]
    begin: int
    block: int
    ends: NDArray[np.int64]


@compiled
def convert_frames(
    source: Source, detector: Detector, slots: NDArray[np.int64], patterns: Patterns, images: Images, chunks: Chunks
) -> None:
    """Decode frames, add them up and compress them.

    Parameters
    ----------
    source : Source
        The frames.
    detector : Detector
        Its geometry.
    slots : ndarray of int64
        (n,) slot of the preview of each frame, n <= `MAX_FRAMES`; -1 for frames that are in no pattern.
    patterns : Patterns
        Sums over the frames.
    images : Images
        Values of each frame.
    chunks : Chunks
        The compressed frames.
    """
    n, width, height = U(slots.size), U(detector.width), U(detector.height)
    block = U(chunks.block)
    lines = max(U(1), (block if block % width == 0 else U(_BLOCKS_PER_STRIP) * block) // width)
    most_left_over = block if block % width else height * width % block
    strip = _new_strip(n, block, most_left_over, lines * width, images.inside.shape[1], patterns.maximum)
    pixels, part, square, aside = strip.pixels, strip.part, strip.square, strip.aside
    _clear_images(images)
    chunks.ends[:] = chunks.begin
    carried, first_masked = U(0), U(0)
    for top in range(U(0), height, lines):
        bottom = min(top + lines, height)
        count = (bottom - top) * width
        end_masked = _masked_before(detector, first_masked, bottom * width)
        _clear(part, U(0), count)
        _clear(square, U(0), count)
        _clear(strip.total, U(0), count)
        for frame in range(n):
            _copy(strip.left_over, frame, pixels, carried)
            if slots[frame] >= 0:
                found = _take_strip(
                    source, detector, frame, top, bottom, pixels, carried, part, square, patterns.maximum, top * width
                )
            else:
                found = _take_strip(
                    source, detector, frame, top, bottom, pixels, carried, aside, aside, strip.aside_maximum, U(0)
                )
            images.total[frame] += found[0]
            images.moment_row[frame] += found[1]
            images.moment_col[frame] += found[2]
            strip.peak[frame] = found[3]
            if slots[frame] >= 0 and (frame + U(1) == n or slots[frame + U(1)] != slots[frame]):
                _add_to_bins(part, strip.total, top, bottom, detector, patterns.previews[slots[frame]])
            if chunks.data.size:
                _write_blocks(strip, frame, carried + count, chunks)
            _leave_out(detector, first_masked, end_masked, frame, top, carried, count, strip, images)
            _add_rings(detector.edges, top, bottom, pixels, carried - top * width, strip.rings, images.inside[frame])
        _add_strip(source, detector, slots, top, bottom, strip, patterns)
        first_masked = end_masked
        if chunks.data.size:
            carried = (carried + count) % block
    if chunks.data.size:
        for frame in range(n):
            place = bitshuffle_kernels.write_last(
                strip.left_over[frame, :carried], strip.planes, chunks.data[frame], chunks.ends[frame]
            )
            chunks.ends[frame] = place


class Strip(NamedTuple):
    """What one strip of lines is worked on with.

    Attributes
    ----------
    pixels : ndarray
        What is left over from the strip before, then this one; with slack.
    left_over : ndarray
        Of each frame, from the last strip, what did not fill a block of the filter.
    part, total, square : ndarray of uint32
        Sums over the frames since the last change of the slot, and before it; squares of all.
    peak : ndarray of uint64
        (n,) largest pixel of each frame in this strip.
    rings : ndarray of uint32
        (k PIXELS,) lanes of the sums between circles.
    planes : ndarray of uint8
        Scratch of the filter.
    aside, aside_maximum : ndarray
        Where sums go that nobody wants.
    """

    pixels: NDArray[Any]
    left_over: NDArray[Any]
    part: NDArray[np.uint32]
    total: NDArray[np.uint32]
    square: NDArray[np.uint32]
    peak: NDArray[np.uint64]
    rings: NDArray[np.uint32]
    planes: NDArray[np.uint8]
    aside: NDArray[np.uint32]
    aside_maximum: NDArray[Any]


@compiled
def _new_strip(n: Any, block: Any, most_left_over: Any, count: Any, k: Any, like: NDArray[Any]) -> Any:
    return Strip(
        np.zeros(block + count + U(PIXELS), like.dtype),
        np.empty((n, most_left_over), like.dtype),
        np.empty(count, np.uint32),
        np.empty(count, np.uint32),
        np.empty(count, np.uint32),
        np.zeros(n, np.uint64),
        np.zeros(k * PIXELS, np.uint32),
        np.empty(block * U(like.itemsize) + U(bitshuffle_kernels.SLACK), np.uint8),
        np.zeros(count, np.uint32),
        np.zeros(count, like.dtype),
    )


@compiled
def _clear_images(images: Images) -> None:
    images.total[:] = 0
    images.moment_row[:] = 0
    images.moment_col[:] = 0
    images.maximum[:] = 0
    images.inside[:] = 0


@compiled
def _masked_before(detector: Detector, first: Any, end: Any) -> Any:
    """Return the number of the first masked pixel from ``first`` on that is at ``end`` or behind it."""
    while first < U(detector.masked.size) and detector.masked[first] < end:
        first += U(1)
    return first


@compiled
def _clear(values: NDArray[Any], start: Any, count: Any) -> None:
    for index in range(count):
        values[start + index] = 0


@compiled
def _copy(values: NDArray[Any], frame: Any, target: NDArray[Any], count: Any) -> None:
    for index in range(count):
        target[index] = values[frame, index]


@compiled
def _take_strip(
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
            _clear(pixels, carried + start, width)
            continue
        line = rows - U(1) - (row if row < middle else row - gap)
        here = U(source.begin) + frame * U(source.step) + line * cols
        for half in range(parts):
            shift = half * (count + gap)
            at = start + shift
            if half:
                _clear(pixels, carried + at - gap, gap)
            place = carried + at
            if swap:
                found = swap_and_add(flat, here, pixels, place, part, square, at, maximum, there + at, whole)
            else:
                found = take_and_add(flat, here, pixels, place, part, square, at, maximum, there + at, whole)
            line_sum, moment, largest = found
            for index in range(whole, count):
                value = flat[here + index]
                if swap:
                    value = (value << 8) | (value >> 8)
                pixels[place + index] = value
                pixel = U(pixels[place + index])
                part[at + index] += np.uint32(pixel)
                square[at + index] += np.uint32(pixel * pixel)
                maximum[there + at + index] = max(U(maximum[there + at + index]), pixel)
                line_sum += pixel
                moment += index * pixel
                largest = max(largest, pixel)
            total += line_sum
            moment_row += row * line_sum
            moment_col += moment + shift * line_sum
            peak = max(peak, largest)
            here += count
    return total, moment_row, moment_col, peak


@compiled
def _write_blocks(strip: Strip, frame: Any, count: Any, chunks: Chunks) -> None:
    """Compress the whole blocks of ``count`` pixels and keep what is left over."""
    block, here = U(chunks.block), U(0)
    place = chunks.ends[frame]
    while count - here >= block:
        elements = strip.pixels[here : here + block]
        place = bitshuffle_kernels.write_block(elements, strip.planes, chunks.data[frame], place)
        here += block
    chunks.ends[frame] = place
    for index in range(count - here):
        strip.left_over[frame, index] = strip.pixels[here + index]


@compiled
def _leave_out(
    detector: Detector,
    first: Any,
    end: Any,
    frame: Any,
    top: Any,
    carried: Any,
    count: Any,
    strip: Strip,
    images: Images,
) -> None:
    """Take masked pixels out of the images; add the largest of the others to them."""
    width, found = U(detector.width), False
    for index in range(first, end):
        place = carried + detector.masked[index] - top * width
        value = U(strip.pixels[place])
        if value:
            row, col = detector.masked[index] // width, detector.masked[index] % width
            images.total[frame] -= value
            images.moment_row[frame] -= row * value
            images.moment_col[frame] -= col * value
            strip.pixels[place] = 0
            found |= value == strip.peak[frame]
    if found:
        strip.peak[frame] = _largest(strip.pixels, carried, count)
    images.maximum[frame] = max(images.maximum[frame], strip.peak[frame])


@compiled
def _largest(pixels: NDArray[Any], start: Any, count: Any) -> Any:
    largest = pixels[start]
    for index in range(count):
        largest = max(largest, pixels[start + index])
    return U(largest)


@compiled
def _add_rings(
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
def _add_to_bins(
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
    _clear(part, U(0), (bottom - top) * width)


@compiled
def _add_strip(
    source: Source,
    detector: Detector,
    slots: NDArray[np.int64],
    top: Any,
    bottom: Any,
    strip: Strip,
    patterns: Patterns,
) -> None:
    """Add one strip of all frames to the patterns; its squares again and in 64 bits where 32 may not hold them."""
    width, n = U(detector.width), U(slots.size)
    begin, count = top * width, (bottom - top) * width
    for index in range(count):
        patterns.total[begin + index] += U(strip.total[index])
    peak = _largest(patterns.maximum, begin, count)
    if peak * peak * n < U(1 << 32):
        for index in range(count):
            patterns.squares[begin + index] += U(strip.square[index])
        return
    for frame in range(n):
        if slots[frame] >= 0:
            for row in range(top, bottom):
                _add_squares_of_line(source, detector, frame, row, patterns.squares)


@compiled
def _add_squares_of_line(source: Source, detector: Detector, frame: Any, row: Any, squares: NDArray[np.uint64]) -> None:
    width, gap = U(detector.width), U(detector.gap)
    rows, cols = U(detector.height) - gap, width - gap
    middle, half = rows // U(2), cols // U(2)
    if gap and middle <= row < middle + gap:
        return
    line = rows - U(1) - (row if not gap or row < middle else row - gap)
    here = U(source.begin) + frame * U(source.step) + line * cols
    for col in range(cols):
        pixel = source.flat[here + col]
        if source.swap:
            pixel = (pixel << 8) | (pixel >> 8)
        value = U(squares.dtype.type(pixel) & U(0xFFFF))
        squares[row * width + (col if col < half else col + gap)] += value * value
