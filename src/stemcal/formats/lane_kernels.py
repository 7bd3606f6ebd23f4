"""What the compiler does not find by itself: the machine's vectors, for loops of kernels that stand on them.

Every function here is an intrinsic, written in LLVM's own language with vectors of 16 or 32 elements, which it maps to
whatever the machine has. Nothing checks a bound: a vector that begins in an array may end behind it, so arrays have
slack where that is said.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 32
PIXELS = 16
"""Pixels of one vector."""

_BYTE = ir.IntType(8)
_WORD = ir.IntType(32)
_LONG = ir.IntType(64)


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any, target: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), target.as_pointer())


def _load(builder: Any, address: Any, align: int) -> Any:
    value = builder.load(address)
    value.align = align
    return value


def _splat(builder: Any, scalar: Any, kind: Any) -> Any:
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_WORD, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_WORD, kind.count), [0] * kind.count))


class _Vectors:
    """Loads and stores of vectors of one function's arrays."""

    def __init__(self, context: Any, builder: Any, called: Any, arguments: Any) -> None:
        self._context, self._builder, self._kinds, self._arguments = context, builder, called.args, arguments

    def _pointer(self, array: int, index: Any, vector: Any) -> Any:
        return _address(self._context, self._builder, self._kinds[array], self._arguments[array], index, vector)

    def load(self, array: int, index: Any, vector: Any) -> Any:
        """Return ``vector`` from the place ``index`` of argument ``array``."""
        return _load(self._builder, self._pointer(array, index, vector), self._kinds[array].dtype.bitwidth // 8)

    def store(self, value: Any, array: int, index: Any) -> None:
        """Store ``value`` there."""
        stored = self._builder.store(value, self._pointer(array, index, value.type))
        stored.align = self._kinds[array].dtype.bitwidth // 8


@intrinsic
def store_plane(typing_context: Any, source: Any, index: Any, bit: Any, target: Any, place: Any) -> Any:
    """Store, as 4 bytes at ``target[place]``, which of the 32 elements from ``source[index]`` have the given bit set.

    Bit ``i`` of the little-endian word belongs to element ``i``.
    """
    signature = types.void(source, types.intp, source.dtype, target, types.intp)

    def generate(context: Any, builder: Any, called: Any, arguments: Any) -> Any:
        kind = ir.VectorType(context.get_value_type(source.dtype), LANES)
        address = _address(context, builder, called.args[0], arguments[0], arguments[1], kind)
        values = _load(builder, address, source.dtype.bitwidth // 8)
        picked = builder.and_(values, _splat(builder, arguments[2], kind))
        word = builder.bitcast(builder.icmp_unsigned("!=", picked, ir.Constant(kind, [0] * LANES)), _WORD)
        stored = builder.store(word, _address(context, builder, called.args[3], arguments[3], arguments[4], _WORD))
        stored.align = 1
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def gather_planes(
    typing_context: Any, source: Any, place: Any, plane_bytes: Any, used: Any, target: Any, index: Any
) -> Any:
    """Put the 32 elements from ``target[index]`` together from their bits, the inverse of `store_plane`.

    Bit ``b`` of them is in the 4 bytes at ``source[place + b plane_bytes]``, but only where bit ``b`` of ``used`` is
    set; it is 0 elsewhere.
    """
    signature = types.void(source, types.intp, types.intp, types.uint64, target, types.intp)

    def generate(context: Any, builder: Any, called: Any, arguments: Any) -> Any:
        _, place, plane_bytes, used, _, index = arguments
        element = context.get_value_type(called.args[4].dtype)
        kind = ir.VectorType(element, LANES)
        vectors = _Vectors(context, builder, called, arguments)
        found = cgutils.alloca_once_value(builder, ir.Constant(kind, [0] * LANES))
        left = cgutils.alloca_once_value(builder, used)
        more, body, end = (builder.append_basic_block(name) for name in ("more", "plane", "joined"))
        builder.branch(more)
        builder.position_at_end(more)
        remaining = builder.load(left)
        builder.cbranch(builder.icmp_unsigned("!=", remaining, ir.Constant(_LONG, 0)), body, end)
        builder.position_at_end(body)
        bit = builder.cttz(remaining, ir.Constant(ir.IntType(1), 1))
        word = vectors.load(0, builder.add(place, builder.mul(bit, plane_bytes)), _WORD)
        chosen = builder.sext(builder.bitcast(word, ir.VectorType(ir.IntType(1), LANES)), kind)
        narrow = bit if element.width == _LONG.width else builder.trunc(bit, element)
        mask = _splat(builder, builder.shl(ir.Constant(element, 1), narrow), kind)
        builder.store(builder.or_(builder.load(found), builder.and_(chosen, mask)), found)
        builder.store(builder.and_(remaining, builder.sub(remaining, ir.Constant(_LONG, 1))), left)
        builder.branch(more)
        builder.position_at_end(end)
        vectors.store(builder.load(found), 4, index)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def equal_to_previous(typing_context: Any, source: Any, index: Any) -> Any:
    """Return as bits of a word which of the 32 bytes from ``source[index]`` equal the byte before them; index >= 1."""
    signature = types.uint32(source, types.intp)

    def generate(context: Any, builder: Any, called: Any, arguments: Any) -> Any:
        kind = ir.VectorType(_BYTE, LANES)
        before = builder.sub(arguments[1], ir.Constant(arguments[1].type, 1))
        here, there = (
            _load(builder, _address(context, builder, called.args[0], arguments[0], index, kind), 1)
            for index in (arguments[1], before)
        )
        return builder.bitcast(builder.icmp_unsigned("==", here, there), _WORD)

    return signature, generate


@intrinsic
def copy_lanes(typing_context: Any, target: Any, place: Any, source: Any, index: Any) -> Any:
    """Copy 32 bytes from ``source[index]`` to ``target[place]``."""
    signature = types.void(target, types.intp, source, types.intp)

    def generate(context: Any, builder: Any, called: Any, arguments: Any) -> Any:
        kind = ir.VectorType(_BYTE, LANES)
        value = _load(builder, _address(context, builder, called.args[2], arguments[2], arguments[3], kind), 1)
        stored = builder.store(value, _address(context, builder, called.args[0], arguments[0], arguments[1], kind))
        stored.align = 1
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def fill_lanes(typing_context: Any, target: Any, place: Any, value: Any) -> Any:
    """Store ``value`` to the 32 bytes at ``target[place]``."""
    signature = types.void(target, types.intp, target.dtype)

    def generate(context: Any, builder: Any, called: Any, arguments: Any) -> Any:
        kind = ir.VectorType(_BYTE, LANES)
        _Vectors(context, builder, called, arguments).store(_splat(builder, arguments[2], kind), 0, arguments[1])
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def first_set(typing_context: Any, word: Any) -> Any:
    """Return the place of the lowest set bit of ``word``, which is not 0."""
    signature = types.intp(types.uint64)

    def generate(context: Any, builder: Any, called: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return signature, generate


def _larger(builder: Any, left: Any, right: Any) -> Any:
    return builder.select(builder.icmp_unsigned(">", left, right), left, right)


def _reduced(builder: Any, vector: Any, join: Callable[[Any, Any], Any]) -> Any:
    """Return all lanes joined."""
    count = vector.type.count
    while count > 1:
        count //= 2
        nothing, places = ir.Constant(vector.type, ir.Undefined), ir.VectorType(_WORD, count)
        low, high = (
            builder.shuffle_vector(vector, nothing, ir.Constant(places, list(range(begin, begin + count))))
            for begin in (0, count)
        )
        vector = join(low, high)
    return builder.extract_element(vector, ir.Constant(_WORD, 0))


def _take_and_add(swap: bool) -> Any:
    """Return the intrinsic that takes pixels, with their two bytes swapped or not, and adds them up."""

    def template(
        typing_context: Any,
        source: Any,
        here: Any,
        pixels: Any,
        place: Any,
        part: Any,
        square: Any,
        at: Any,
        maximum: Any,
        there: Any,
        count: Any,
    ) -> Any:
        """Take ``count`` pixels, a multiple of `PIXELS`, from ``source[here]`` to ``pixels[place]`` and add them up.

        They are added to ``part[at]``, their squares to ``square[at]``, and ``maximum[there]`` is raised to them.
        Returns their sum, the sum of each times its number (0 for the first), and the largest of them; the sums of
        up to 5776 pixels of 16 bits are exact.
        """
        place_type = types.uint64
        result = types.UniTuple(types.uint64, 3)
        signature = result(
            source, place_type, pixels, place_type, part, square, place_type, maximum, place_type, place_type
        )

        def generate(context: Any, builder: Any, called: Any, arguments: Any) -> Any:
            _, here, _, place, _, _, at, _, there, count = arguments
            narrow = ir.VectorType(context.get_value_type(called.args[2].dtype), PIXELS)
            wide, long = ir.VectorType(_WORD, PIXELS), ir.VectorType(_LONG, PIXELS)
            vectors = _Vectors(context, builder, called, arguments)
            line, running = (cgutils.alloca_once_value(builder, ir.Constant(wide, [0] * PIXELS)) for _ in range(2))
            peak = cgutils.alloca_once_value(builder, ir.Constant(narrow, [0] * PIXELS))
            step = ir.Constant(_LONG, PIXELS)
            with cgutils.for_range_slice(builder, ir.Constant(_LONG, 0), count, step, inc=True) as (index, _):
                value = vectors.load(0, builder.add(here, index), narrow)
                if swap:
                    byte = ir.Constant(narrow, [8] * PIXELS)
                    value = builder.or_(builder.shl(value, byte), builder.lshr(value, byte))
                vectors.store(value, 2, builder.add(place, index))
                widened, near = builder.zext(value, wide), builder.add(at, index)
                vectors.store(builder.add(vectors.load(4, near, wide), widened), 4, near)
                vectors.store(builder.add(vectors.load(5, near, wide), builder.mul(widened, widened)), 5, near)
                far = builder.add(there, index)
                vectors.store(_larger(builder, value, vectors.load(7, far, narrow)), 7, far)
                builder.store(builder.add(builder.load(line), widened), line)
                # each vector is added as often as there are vectors from it on: its number comes from that
                builder.store(builder.add(builder.load(running), builder.load(line)), running)
                builder.store(_larger(builder, value, builder.load(peak)), peak)
            lines, counted = (builder.zext(builder.load(one), long) for one in (line, running))
            numbers = builder.sub(builder.mul(lines, _splat(builder, builder.udiv(count, step), long)), counted)
            lanes = builder.mul(lines, ir.Constant(long, list(range(PIXELS))))
            moments = builder.add(builder.mul(numbers, ir.Constant(long, [PIXELS] * PIXELS)), lanes)
            largest = _reduced(builder, builder.load(peak), lambda left, right: _larger(builder, left, right))
            sums = [_reduced(builder, lines, builder.add), _reduced(builder, moments, builder.add)]
            return context.make_tuple(builder, signature.return_type, [*sums, builder.zext(largest, _LONG)])

        return signature, generate

    return intrinsic(template)


take_and_add = _take_and_add(swap=False)
swap_and_add = _take_and_add(swap=True)


@intrinsic
def add_segment(typing_context: Any, pixels: Any, start: Any, stop: Any, sums: Any, place: Any) -> Any:
    """Add ``pixels[start:stop]`` to the `PIXELS` lanes of uint32 from ``sums[place]``; pixels have slack behind."""
    signature = types.void(pixels, types.uint64, types.uint64, sums, types.uint64)

    def generate(context: Any, builder: Any, called: Any, arguments: Any) -> Any:
        _, start, stop, _, place = arguments
        narrow = ir.VectorType(context.get_value_type(called.args[0].dtype), PIXELS)
        wide = ir.VectorType(_WORD, PIXELS)
        vectors = _Vectors(context, builder, called, arguments)
        total = cgutils.alloca_once_value(builder, vectors.load(3, place, wide))
        numbers = ir.Constant(wide, list(range(PIXELS)))
        with cgutils.for_range_slice(builder, start, stop, ir.Constant(_LONG, PIXELS), inc=True) as (index, _):
            left = builder.trunc(builder.sub(stop, index), _WORD)
            inside = builder.icmp_unsigned("<", numbers, _splat(builder, left, wide))
            value = builder.zext(vectors.load(0, index, narrow), wide)
            counted = builder.select(inside, value, ir.Constant(wide, [0] * PIXELS))
            builder.store(builder.add(builder.load(total), counted), total)
        vectors.store(builder.load(total), 3, place)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def transpose(typing_context: Any, source: Any, starts: Any, offset: Any, target: Any) -> Any:
    """Put `PIXELS` elements of each of `PIXELS` stretches into the other order.

    Element ``p`` of stretch ``i``, ``source[starts[i] + offset + p]``, goes to ``target[PIXELS p + i]``.
    """
    signature = types.void(source, starts, types.uint64, target)

    def generate(context: Any, builder: Any, called: Any, arguments: Any) -> Any:
        kind = ir.VectorType(context.get_value_type(called.args[0].dtype), PIXELS)
        vectors = _Vectors(context, builder, called, arguments)
        rows = []
        for index in range(PIXELS):
            start = vectors.load(1, ir.Constant(_LONG, index), _LONG)
            rows.append(vectors.load(0, builder.add(start, arguments[2]), kind))
        places = ir.VectorType(_WORD, PIXELS)
        half = PIXELS // 2
        halves = [[place // 2 + begin + PIXELS * (place % 2) for place in range(PIXELS)] for begin in (0, half)]
        for _ in range(PIXELS.bit_length() - 1):
            # an interleaving of the first half with the second, as often as there are bits in a number of a lane
            rows = [
                builder.shuffle_vector(rows[index], rows[index + half], ir.Constant(places, order))
                for index in range(half)
                for order in halves
            ]
        for index, row in enumerate(rows):
            vectors.store(row, 3, ir.Constant(_LONG, PIXELS * index))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def add_weighted(typing_context: Any, values: Any, place: Any, weight: Any, sums: Any, squares: Any, there: Any) -> Any:
    """Add `PIXELS` values from ``values[place]``, times ``weight``, to ``sums[there]``, and their squares to the other.

    All in 32 bits.
    """
    signature = types.void(values, types.uint64, types.uint32, sums, squares, types.uint64)

    def generate(context: Any, builder: Any, called: Any, arguments: Any) -> Any:
        _, place, weight, _, _, there = arguments
        wide = ir.VectorType(_WORD, PIXELS)
        vectors = _Vectors(context, builder, called, arguments)
        narrow = vectors.load(0, place, ir.VectorType(context.get_value_type(called.args[0].dtype), PIXELS))
        value = builder.zext(narrow, wide)
        weighted = builder.mul(value, _splat(builder, weight, wide))
        vectors.store(builder.add(vectors.load(3, there, wide), weighted), 3, there)
        squared = builder.mul(weighted, value)
        vectors.store(builder.add(vectors.load(4, there, wide), squared), 4, there)
        return context.get_dummy_value()

    return signature, generate
