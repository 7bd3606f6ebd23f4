"""The compiled kernels against plain NumPy, for any shape, gap, type and byte order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stemcal.convert.detectors import circles, virtual_detectors
from stemcal.convert.kernels import Chunks, Images, Patterns, convert_frames
from stemcal.convert.settings import ConvertSettings
from stemcal.convert.strip_kernels import Detector, Source
from stemcal.formats import bitshuffle, bitshuffle_kernels
from stemcal.formats.chip_gap import insert_gap
from stemcal.optics.disk import BrightDisk

Stack = NDArray[Any]
UNTOUCHED = 77
BEGIN = 12
examples = settings(max_examples=80, deadline=None, derandomize=True)


@dataclass(frozen=True)
class Done:
    """What the kernel left."""

    patterns: Patterns
    images: Images
    chunks: list[bytes]


def in_file(pictures: Stack, swap: bool, begin: int, between: int) -> Source:
    n, rows, cols = pictures.shape
    step = rows * cols + between
    flat = np.full(begin + n * step, UNTOUCHED, pictures.dtype)
    for frame, picture in enumerate(pictures):
        flat[begin + frame * step :][: rows * cols] = (picture.byteswap() if swap else picture).ravel()
    return Source(flat, begin, step, swap)


def no_circles(height: int) -> NDArray[np.uint64]:
    return np.empty((height, 0), np.uint64)


def convert(
    pictures: Stack,
    *,
    gap: int = 0,
    swap: bool = False,
    begin: int = 0,
    between: int = 0,
    slots: Any = None,
    masked: Any = (),
    edges: NDArray[np.uint64] | None = None,
    block_bytes: int = 8192,
    pixels_per_bin: int = 3,
    before: int = 0,
    compress: bool = True,
) -> Done:
    n, height, width = len(pictures), pictures.shape[1] + gap, pictures.shape[2] + gap
    pixels, kind = height * width, pictures.dtype
    slots = np.zeros(n, np.int64) if slots is None else np.asarray(slots, np.int64)
    edges = no_circles(height) if edges is None else edges
    bins = (max(int(slots.max(initial=0)), 0) + 1, -(-height // pixels_per_bin), -(-width // pixels_per_bin))
    patterns = Patterns(
        np.arange(pixels, dtype=np.uint64) << np.uint64(40),
        np.arange(pixels, dtype=np.uint64) << np.uint64(33),
        np.full(pixels, before, kind),
        np.full(bins, 2**40, np.uint64),
    )
    flat = (np.full(n, UNTOUCHED, np.uint64) for _ in range(4))
    images = Images(*flat, np.full((n, edges.shape[1] // 2), UNTOUCHED, np.uint64))
    n_blocks = -(-pixels * kind.itemsize // block_bytes)
    room = BEGIN + n_blocks * (bitshuffle_kernels.bound(block_bytes) + 4) + bitshuffle_kernels.SLACK
    data = np.full((n, room) if compress else (0, 0), 0xEE, np.uint8)
    chunks = Chunks(data, BEGIN, block_bytes // kind.itemsize, np.zeros(n, np.int64))
    detector = Detector(height, width, gap, pixels_per_bin, np.asarray(masked, np.uint64), edges)
    convert_frames(in_file(pictures, swap, begin, between), detector, slots, patterns, images, chunks)
    return Done(patterns, images, [row[:end].tobytes() for row, end in zip(data, chunks.ends, strict=False)])


@st.composite
def stacks(draw: st.DrawFn) -> tuple[Stack, int]:
    """Draw frames as they lie in a file, native, and a gap; counts are small, large or full."""
    gap = draw(st.sampled_from([0, 0, 1, 2, 3, 5]))
    half, whole = st.integers(1, 20).map(lambda size: 2 * size), st.integers(1, 40)
    sizes = st.one_of(half if gap else whole, st.sampled_from([32, 64]))
    shape = (draw(st.integers(1, 6)), draw(sizes), draw(sizes))
    kind = draw(st.sampled_from(["u1", "u2"]))
    full = int(np.iinfo(kind).max)
    least, most = draw(st.sampled_from([(0, 1), (0, 3), (0, full), (full, full), (full - 1, full)]))
    seed = draw(st.integers(0, 2**32 - 1))
    return np.random.default_rng(seed).integers(least, most, shape, np.uint64, endpoint=True).astype(kind), gap


@examples
@given(stacks(), st.data())
def test_patterns_images_and_chunks(stack: tuple[Stack, int], data: st.DataObject) -> None:
    pictures, gap = stack
    n, itemsize = len(pictures), pictures.itemsize
    slots = np.array(data.draw(st.lists(st.integers(-1, 2), min_size=n, max_size=n)))
    stored = insert_gap(pictures[:, ::-1], gap)
    height, width = stored.shape[1:]
    masked = sorted(data.draw(st.sets(st.integers(0, height * width - 1), max_size=9)))
    before = data.draw(st.sampled_from([0, 1, int(np.iinfo(pictures.dtype).max)]))
    per_bin = data.draw(st.integers(1, 8))
    swap, begin, between = itemsize == 2 and data.draw(st.booleans()), data.draw(st.integers(0, 3)), n % 4
    block_bytes = data.draw(st.sampled_from([128, 256, 8192]))
    done = convert(
        pictures,
        gap=gap,
        swap=swap,
        begin=begin,
        between=between,
        slots=slots,
        masked=masked,
        block_bytes=block_bytes,
        pixels_per_bin=per_bin,
        before=before,
    )
    exact = stored.astype(np.uint64)
    counted = exact[slots >= 0].reshape(-1, height * width)
    index = np.arange(height * width, dtype=np.uint64)
    np.testing.assert_array_equal(done.patterns.total, (index << np.uint64(40)) + counted.sum(axis=0))
    np.testing.assert_array_equal(done.patterns.squares, (index << np.uint64(33)) + (counted**2).sum(axis=0))
    np.testing.assert_array_equal(done.patterns.maximum, np.maximum(before, counted.max(axis=0, initial=0)))
    for slot, preview in enumerate(done.patterns.previews):
        wide = np.zeros((preview.shape[0] * per_bin, preview.shape[1] * per_bin), np.uint64)
        wide[:height, :width] = exact[slots == slot].sum(axis=0)
        binned = wide.reshape(preview.shape[0], per_bin, preview.shape[1], per_bin).sum(axis=(1, 3))
        np.testing.assert_array_equal(preview, binned + np.uint64(2**40))
    left = exact.copy()
    left.reshape(n, -1)[:, masked] = 0
    np.testing.assert_array_equal(done.images.total, left.sum(axis=(1, 2)))
    np.testing.assert_array_equal(done.images.moment_row, left.sum(axis=2) @ np.arange(height, dtype=np.uint64))
    np.testing.assert_array_equal(done.images.moment_col, left.sum(axis=1) @ np.arange(width, dtype=np.uint64))
    np.testing.assert_array_equal(done.images.maximum, left.max(axis=(1, 2)))
    for frame, chunk in zip(stored, done.chunks, strict=True):
        prefix = frame.nbytes.to_bytes(8, "big") + block_bytes.to_bytes(4, "big")
        out = np.empty_like(frame)
        bitshuffle.decompress(prefix + chunk[BEGIN:], out)
        np.testing.assert_array_equal(out, frame)


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize(("shape", "gap"), [((256, 256), 0), ((64, 80), 3), ((128, 130), 0), ((33, 257), 0)])
def test_chunks_are_those_of_the_frame_by_itself(shape: tuple[int, int], gap: int, kind: str) -> None:
    pictures = np.random.default_rng(3).poisson(0.3, (5, *shape)).astype(kind)
    done = convert(pictures, gap=gap, swap=kind == "u2")
    wanted = [bitshuffle.compress(frame)[BEGIN:] for frame in insert_gap(pictures[:, ::-1].copy(), gap)]
    assert [chunk[BEGIN:] for chunk in done.chunks] == wanted
    other = pictures.copy()
    other[2, 7, 9] += 1
    assert [chunk[BEGIN:] for chunk in convert(other, gap=gap).chunks] != wanted
    none = convert(pictures, gap=gap, compress=False)
    assert none.chunks == []
    np.testing.assert_array_equal(none.images.total, done.images.total)


def test_squares_that_fit_32_bits_only_just_or_not_any_more() -> None:
    """One full pixel fits, two do not; four of 32 768 are one too many, four of 32 767 are not."""
    for values in ([65535], [65535, 65535], [32768] * 4, [32767] * 4, [65535, 1, 1]):
        done = convert(np.array(values, np.uint16).reshape(-1, 1, 1))
        assert done.patterns.squares.tolist() == [sum(value**2 for value in values)]


def test_moments_of_the_widest_line() -> None:
    pictures = np.full((2, 3, 5776), 65535, np.uint16)
    done = convert(pictures)
    assert done.images.total.tolist() == [3 * 5776 * 65535] * 2
    assert done.images.moment_col.tolist() == [3 * 65535 * 5776 * 5775 // 2] * 2
    assert done.images.moment_row.tolist() == [3 * 5776 * 65535] * 2


@examples
@given(
    st.tuples(st.integers(1, 45), st.integers(1, 45)),
    st.floats(-4, 49),
    st.floats(-4, 49),
    st.floats(0.1, 30),
    st.sampled_from([(np.uint8, 255), (np.uint16, 65535), (np.uint16, 2)]),
)
def test_circles(
    shape: tuple[int, int], row: float, col: float, radius: float, counts: tuple[type[np.unsignedinteger], int]
) -> None:
    kind, peak = counts
    detectors = virtual_detectors(BrightDisk(row, col, radius), None, shape, ConvertSettings())
    found = circles(detectors, shape)
    edges = found.edges.astype(int)
    assert edges.shape == (shape[0], 8)
    assert (np.diff(edges, axis=1) >= 0).all()
    assert ((edges >= 0) & (edges <= shape[0] * shape[1])).all()
    pictures = np.random.default_rng(1).integers(0, peak, (3, *shape), endpoint=True).astype(kind)
    masked = [0, shape[0] * shape[1] - 1]
    done = convert(pictures, edges=found.edges, masked=sorted(set(masked)))
    stored = pictures[:, ::-1].reshape(3, -1).copy()
    stored[:, masked] = 0
    rows, cols = np.indices(shape)
    distance = np.hypot(rows - row, cols - col).ravel()
    for circle, reach in enumerate(
        (
            detectors.high_angle_dark_field_px[0],
            detectors.annular_dark_field_px[0],
            detectors.bright_field_px[1],
            detectors.annular_bright_field_px[0],
        )
    ):
        wanted = stored[:, distance < reach].sum(axis=1, dtype=np.uint64)
        np.testing.assert_array_equal(done.images.inside[:, circle], wanted)
