"""Compiled kernels of filter 32008: counts to bit planes to LZ4 blocks, and back.

**Bit planes.** A block of ``n`` elements becomes its bit planes one behind the other, lowest first: ``n / 8`` bytes
each, bit ``i`` of byte ``k`` from element ``8 k + i`` (https://github.com/kiyo-masui/bitshuffle). Counts are small
numbers, so most planes are empty; these cost next to nothing here.

**LZ4.** The lowest planes of sparse counts are noise, all others runs of zeros. The general encoder spends its time
looking for repeats in the noise; this one codes runs of one byte alone (matches of offset 1), which are found 32 bytes
at a time. The blocks are valid LZ4 (https://github.com/lz4/lz4, ``lz4_Block_format.md``) and any decoder reads them: a
match has at least 4 bytes, the last 5 bytes are literals, no match begins in the last 12. The decoder takes any block
and checks every length, because what it reads may be damaged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.compiled import compiled
from stemcal.formats.lane_kernels import (
    copy_lanes,
    equal_to_previous,
    fill_lanes,
    first_set,
    gather_planes,
    store_plane,
)

Bytes = NDArray[np.uint8]

SLACK = 64
"""Bytes that may be read or written behind what is meant: nothing here checks a bound inside a vector of 32 bytes."""

_MIN_MATCH = 4
_LAST_LITERALS = 5
_LAST_MATCH = 12
_NIBBLE = 15
_WORTHWHILE_RUN = 5
"""A run of four saves one byte and costs a jump that no processor foresees: 1 % of the size, a tenth of the time."""
_STEP = 65 - _WORTHWHILE_RUN
"""Of 64 compared bytes, the places at which such a run may begin."""
_GROUP = 8
_LENGTH_BYTES = 4


def bound(size: int) -> int:
    """Return the largest size of an LZ4 block of ``size`` bytes; LZ4's own bound."""
    return size + size // 255 + 16


@compiled
def split(elements: NDArray[Any], planes: Bytes) -> None:
    """Write the bit planes of ``elements`` to ``planes``.

    Parameters
    ----------
    elements : ndarray of unsigned integers
        (n,) contiguous, n a multiple of 8.
    planes : ndarray of uint8
        At least as many bytes.
    """
    size = elements.size
    plane_bytes = size // 8
    used = elements.dtype.type(0)
    for index in range(size):
        used |= elements[index]
    whole = size // 32
    for bit in range(8 * elements.itemsize):
        begin = bit * plane_bytes
        mask = elements.dtype.type(1 << bit)
        if not used & mask:
            planes[begin : begin + plane_bytes] = 0
            continue
        for word in range(whole):
            store_plane(elements, 32 * word, mask, planes, begin + 4 * word)
        for group in range(4 * whole, plane_bytes):
            byte = 0
            for index in range(8):
                if elements[8 * group + index] & mask:
                    byte |= 1 << index
            planes[begin + group] = byte


@compiled
def join(planes: Bytes, elements: NDArray[Any]) -> None:
    """Put ``elements`` together from their bit planes; the inverse of `split`."""
    size = elements.size
    plane_bytes = size // 8
    whole = size // 32
    used = np.uint64(0)
    for bit in range(8 * elements.itemsize):
        if _any(planes[bit * plane_bytes : (bit + 1) * plane_bytes]):
            used |= np.uint64(1) << np.uint64(bit)
    for word in range(whole):
        gather_planes(planes, 4 * word, plane_bytes, used, elements, 32 * word)
    for index in range(32 * whole, size):
        element = np.uint64(0)
        for bit in range(8 * elements.itemsize):
            value = (planes[bit * plane_bytes + index // 8] >> (index % 8)) & 1
            element |= np.uint64(value) << np.uint64(bit)
        elements[index] = element


@compiled
def _any(values: Bytes) -> Any:
    found = np.uint8(0)
    for index in range(values.size):
        found |= values[index]
    return found != 0


@compiled
def pack(elements: NDArray[Any], block: int, planes: Bytes, target: Bytes, begin: int) -> Any:
    """Write the body of a chunk of filter 32008 with LZ4 to ``target[begin:]`` and return where it ends.

    Parameters
    ----------
    elements : ndarray of unsigned integers
        (n,) the frame.
    block : int
        Elements of a block, a multiple of 8.
    planes : ndarray of uint8
        Scratch for the planes of one block, with slack.
    target : ndarray of uint8
        Room for the worst case, with slack.
    begin : int
        Where the body begins.
    """
    here, place = 0, begin
    while elements.size - here >= block:
        place = write_block(elements[here : here + block], planes, target, place)
        here += block
    return write_last(elements[here:], planes, target, place)


@compiled
def write_block(elements: NDArray[Any], planes: Bytes, target: Bytes, place: Any) -> Any:
    """Write one block, a multiple of 8 elements, to ``target[place:]`` and return where it ends; see `pack`."""
    split(elements, planes)
    begin = np.int64(place) + _LENGTH_BYTES
    end = encode(planes, elements.size * elements.itemsize, target, begin)
    length = end - begin
    for index in range(_LENGTH_BYTES):
        target[begin - 1 - index] = (length >> (8 * index)) & 0xFF
    return end


@compiled
def write_last(elements: NDArray[Any], planes: Bytes, target: Bytes, place: Any) -> Any:
    """Write what is left behind the whole blocks, less than one, to ``target[place:]`` and return where it ends."""
    whole = elements.size - elements.size % _GROUP
    end = np.int64(place)
    if whole:
        end = write_block(elements[:whole], planes, target, end)
    rest = elements[whole:].view(np.uint8)
    target[end : end + rest.size] = rest
    return end + rest.size


@compiled
def unpack(source: Bytes, begin: int, end: int, block: int, planes: Bytes, elements: NDArray[Any]) -> Any:
    """Decode the body ``source[begin:end]`` of a chunk into ``elements``; return where it ends, or -1 for damage.

    Parameters
    ----------
    source : ndarray of uint8
        The chunk, with slack behind ``end``.
    begin, end : int
        Where the body begins and ends.
    block : int
        Elements of a block, a multiple of 8.
    planes : ndarray of uint8
        Scratch for the planes of one block, with slack.
    elements : ndarray of unsigned integers
        (n,) overwritten.
    """
    size = elements.size
    whole = size - size % _GROUP
    here, place = 0, begin
    while here < whole:
        count = min(block, whole - here)
        if end - place < _LENGTH_BYTES:
            return -1
        length: Any = np.int64(0)
        for index in range(_LENGTH_BYTES):
            length = (length << 8) | np.int64(source[place + index])
        place += _LENGTH_BYTES
        if length > end - place or not decode(source, place, place + length, planes, count * elements.itemsize):
            return -1
        join(planes, elements[here : here + count])
        place += length
        here += count
    rest = elements[whole:].view(np.uint8)
    if end - place < rest.size:
        return -1
    rest[:] = source[place : place + rest.size]
    return place + rest.size


@compiled
def encode(source: Bytes, size: int, target: Bytes, begin: Any) -> Any:
    """Write ``source[:size]`` as one LZ4 block to ``target[begin:]`` and return where it ends.

    Parameters
    ----------
    source : ndarray of uint8
        At least ``size`` bytes and `SLACK` bytes behind them.
    size : int
        Bytes to write, >= 1.
    target : ndarray of uint8
        Room for ``bound(size)`` bytes from ``begin`` on, and the slack.
    begin : int
        Where the block begins.
    """
    place, anchor, here = begin, 0, 1
    while here <= size - _LAST_MATCH:
        equal = np.uint64(equal_to_previous(source, here))
        equal |= np.uint64(equal_to_previous(source, here + 32)) << np.uint64(32)
        runs = equal & (equal >> np.uint64(1))
        runs &= runs >> np.uint64(2)
        runs &= (runs >> np.uint64(1)) & np.uint64((1 << _STEP) - 1)
        if runs == np.uint64(0):
            here += _STEP
            continue
        here += first_set(runs)
        if here > size - _LAST_MATCH:
            break
        end = _run_end(source, min(here + _WORTHWHILE_RUN, size - _LAST_LITERALS), size - _LAST_LITERALS)
        place = _write_sequence(source, anchor, here - anchor, end - here, target, place)
        anchor = end
        here = end + 1
    return _write_sequence(source, anchor, size - anchor, 0, target, place)


@compiled
def _run_end(source: Bytes, here: int, limit: int) -> Any:
    """Return where the run that ``source[here - 1]`` belongs to ends, at most ``limit``."""
    while here < limit:
        different = np.uint64(~equal_to_previous(source, here) & np.uint32(0xFFFFFFFF))
        if different != np.uint64(0):
            return min(here + first_set(different), limit)
        here += 32
    return limit


@compiled
def _write_sequence(source: Bytes, anchor: int, literals: int, match: int, target: Bytes, place: int) -> Any:
    """Write literals and, unless ``match`` is 0, a match of offset 1; return where it ends."""
    token = min(literals, _NIBBLE) << 4
    if match:
        token |= min(match - _MIN_MATCH, _NIBBLE)
    target[place] = token
    place = _write_length(target, place + 1, literals)
    copied = 0
    while copied < literals:
        copy_lanes(target, place + copied, source, anchor + copied)
        copied += 32
    place += literals
    if match:
        target[place] = 1
        target[place + 1] = 0
        place = _write_length(target, place + 2, match - _MIN_MATCH)
    return place


@compiled
def _write_length(target: Bytes, place: int, length: int) -> Any:
    """Write what of ``length`` did not fit into its half of the token."""
    if length < _NIBBLE:
        return place
    rest = length - _NIBBLE
    while rest >= 255:
        target[place] = 255
        place += 1
        rest -= 255
    target[place] = rest
    return place + 1


@compiled
def decode(source: Bytes, begin: int, end: int, target: Bytes, size: int) -> Any:
    """Decode the LZ4 block ``source[begin:end]`` to ``target[:size]``; return False if it is damaged.

    Parameters
    ----------
    source : ndarray of uint8
        The block, and the slack behind ``end``.
    begin, end : int
        Where it begins and ends.
    target : ndarray of uint8
        ``size`` bytes and the slack behind them.
    size : int
        What the block must decode to, exactly.
    """
    here, place = begin, 0
    while here < end:
        token = np.int64(source[here])
        here, literals = _read_length(source, here + 1, end, token >> 4)
        if literals > end - here or literals > size - place:
            return False
        copied = 0
        while copied < literals:
            copy_lanes(target, place + copied, source, here + copied)
            copied += 32
        here += literals
        place += literals
        if here == end:
            return place == size
        if end - here < 2:
            return False
        offset = np.int64(source[here]) | (np.int64(source[here + 1]) << 8)
        here, match = _read_length(source, here + 2, end, token & _NIBBLE)
        match += _MIN_MATCH
        if offset == 0 or offset > place or match > size - place:
            return False
        _copy_match(target, place, offset, match)
        place += match
    return False


@compiled
def _read_length(source: Bytes, here: int, end: int, length: Any) -> Any:
    """Return where reading goes on and the length; a length that has no end is larger than any block."""
    if length < _NIBBLE:
        return here, length
    while here < end:
        more = np.int64(source[here])
        here += 1
        length += more
        if more < 255:
            return here, length
    return end, 1 << 40


@compiled
def _copy_match(target: Bytes, place: int, offset: Any, match: Any) -> None:
    if offset == 1:
        value, filled = target[place - 1], 0
        while filled < match:
            fill_lanes(target, place + filled, value)
            filled += 32
    elif offset >= 32:
        copied = 0
        while copied < match:
            copy_lanes(target, place + copied, target, place - offset + copied)
            copied += 32
    else:
        for index in range(place, place + match):
            target[index] = target[index - offset]
