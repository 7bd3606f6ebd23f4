"""The compiled kernels of the one pass: a strip of a frame is decoded, added up and compressed while in the cache.

`convert_frames` takes frames as they lie in the file and leaves them compressed, together with everything that is added
up over them. It goes through them strip by strip, a strip of all frames before the next strip: then the sums over the
frames stay in the cache too, and no frame is ever written uncompressed. The sums are exact integers. Counts of 8 and 16
bits come this way; wider ones, which are rare, go through `stemcal.convert.sums`, the same sums in plain NumPy.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemcal.compiled import compiled
from stemcal.convert.strip_kernels import (
    Detector,
    Source,
    add_rings,
    add_squares,
    add_to_bins,
    clear,
    largest,
    take_strip,
)
from stemcal.formats import bitshuffle_kernels
from stemcal.formats.lane_kernels import PIXELS

ITEMSIZES = (1, 2)
"""Bytes per pixel that these kernels take."""

U = np.uint64
_BLOCKS_PER_STRIP = 4
"""Where lines and blocks of the filter do not end together, what is left over is a small part of a strip."""


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
        (n,) slot of the preview of each frame, -1 for frames that are in no pattern; n <= 65536, so that sums over them
        fit 32 bits.
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
        clear(part, U(0), count)
        clear(square, U(0), count)
        clear(strip.total, U(0), count)
        for frame in range(n):
            _copy(strip.left_over, frame, pixels, carried)
            if slots[frame] >= 0:
                found = take_strip(
                    source, detector, frame, top, bottom, pixels, carried, part, square, patterns.maximum, top * width
                )
            else:
                found = take_strip(
                    source, detector, frame, top, bottom, pixels, carried, aside, aside, strip.aside_maximum, U(0)
                )
            images.total[frame] += found[0]
            images.moment_row[frame] += found[1]
            images.moment_col[frame] += found[2]
            strip.peak[frame] = found[3]
            if slots[frame] >= 0 and (frame + U(1) == n or slots[frame + U(1)] != slots[frame]):
                add_to_bins(part, strip.total, top, bottom, detector, patterns.previews[slots[frame]])
            if chunks.data.size:
                _write_blocks(strip, frame, carried + count, chunks)
            _leave_out(detector, first_masked, end_masked, frame, top, carried, count, strip, images)
            add_rings(detector.edges, top, bottom, pixels, carried - top * width, strip.rings, images.inside[frame])
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
def _copy(values: NDArray[Any], frame: Any, target: NDArray[Any], count: Any) -> None:
    for index in range(count):
        target[index] = values[frame, index]


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
        strip.peak[frame] = largest(strip.pixels, carried, count)
    images.maximum[frame] = max(images.maximum[frame], strip.peak[frame])


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
    peak = largest(patterns.maximum, begin, count)
    if peak * peak * n < U(1 << 32):
        for index in range(count):
            patterns.squares[begin + index] += U(strip.square[index])
        return
    for frame in range(n):
        if slots[frame] >= 0:
            add_squares(source, detector, frame, top, bottom, patterns.squares)
