"""The compiled kernels against plain NumPy, for any shape, gap, type and byte order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stemcal.convert.detectors import circles, virtual_detectors
from stemcal.convert.kernels import absorb, add_part, circle_sums
from stemcal.convert.settings import ConvertSettings
from stemcal.formats.chip_gap import gap_valid, insert_gap
from stemcal.optics.disk import BrightDisk

UNTOUCHED = 77
examples = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def stacks(draw: st.DrawFn) -> tuple[NDArray[np.generic], int]:
    """Draw frames as they lie in a file, native, and a gap; counts are small, large or full."""
    gap = draw(st.sampled_from([0, 0, 1, 2, 3, 5]))
    sizes = st.integers(1, 9).map(lambda size: 2 * size if gap else size)
    shape = (draw(st.integers(1, 9)), draw(sizes), draw(sizes))
    kind = draw(st.sampled_from(["u1", "u2"]))
    full = int(np.iinfo(kind).max)
    least, most = draw(st.sampled_from([(0, 3), (0, full), (full, full), (full - 1, full)]))
    seed = draw(st.integers(0, 2**32 - 1))
    return np.random.default_rng(seed).integers(least, most, shape, np.uint64, endpoint=True).astype(kind), gap


@examples
@given(stacks(), st.booleans(), st.integers(0, 3), st.integers(0, 3), st.booleans())
def test_absorb(
    stack: tuple[NDArray[np.generic], int], swap: bool, begin: int, between: int, full_before: bool
) -> None:
    pictures, gap = stack
    n, rows, cols = pictures.shape
    swap &= pictures.itemsize == 2
    step = rows * cols + between
    source = np.full(begin + n * step, UNTOUCHED, pictures.dtype)
    for frame, picture in enumerate(pictures):
        source[begin + frame * step :][: rows * cols] = (picture.byteswap() if swap else picture).ravel()
    wanted = insert_gap(pictures[:, ::-1], gap)
    height, width = wanted.shape[1:]
    pixel = gap_valid((rows, cols), gap).ravel()
    frames = np.full((n, height * width), UNTOUCHED, pictures.dtype)
    total = np.full(height * width, UNTOUCHED, np.uint32)
    squares = np.arange(height * width, dtype=np.uint64) << np.uint64(33)
    maximum = np.full(height * width, np.iinfo(pictures.dtype).max if full_before else 1, pictures.dtype)
    before = squares.copy(), maximum.copy()
    row_sums, col_sums = np.empty((n, height), np.uint32), np.empty((n, width), np.uint32)
    absorb(source, begin, step, swap, (height, width, gap), frames, total, squares, maximum, row_sums, col_sums)
    exact = wanted.astype(np.uint64)
    flat = exact.reshape(n, -1)
    np.testing.assert_array_equal(frames[:, pixel], wanted.reshape(n, -1)[:, pixel])
    assert (frames[:, ~pixel] == UNTOUCHED).all()
    np.testing.assert_array_equal(total[pixel], flat.sum(axis=0)[pixel])
    assert (total[~pixel] == UNTOUCHED).all()
    np.testing.assert_array_equal(squares, before[0] + (flat**2).sum(axis=0))
    np.testing.assert_array_equal(maximum, np.maximum(before[1], np.where(pixel, flat.max(axis=0), 0)))
    np.testing.assert_array_equal(row_sums, exact.sum(axis=2))
    np.testing.assert_array_equal(col_sums, exact.sum(axis=1))


def test_squares_that_fit_32_bits_only_just_or_not_any_more() -> None:
    """One full pixel fits, two do not; four of 32 768 are one too many, four of 32 767 are not."""
    for values in ([65535], [65535, 65535], [32768] * 4, [32767] * 4, [65535, 1, 1]):
        pictures = np.array(values, np.uint16).reshape(-1, 1, 1)
        n = len(values)
        total, squares = np.zeros(1, np.uint32), np.zeros(1, np.uint64)
        frames, sums = np.zeros((n, 1), np.uint16), (np.zeros((n, 1), np.uint32), np.zeros((n, 1), np.uint32))
        absorb(pictures.ravel(), 0, 1, False, (1, 1, 0), frames, total, squares, np.zeros(1, np.uint16), *sums)
        assert squares.tolist() == [sum(value**2 for value in values)]


@examples
@given(
    st.tuples(st.integers(1, 21), st.integers(1, 21)),
    st.floats(-4, 25),
    st.floats(-4, 25),
    st.floats(0.1, 15),
    st.sampled_from([(np.uint8, 255), (np.uint16, 65535), (np.uint16, 2)]),
)
def test_circle_sums(
    shape: tuple[int, int], row: float, col: float, radius: float, counts: tuple[type[np.unsignedinteger], int]
) -> None:
    kind, peak = counts
    detectors = virtual_detectors(BrightDisk(row, col, radius), None, shape, ConvertSettings())
    found = circles(detectors, shape)
    edges = found.edges.astype(int)
    assert (np.diff(edges, axis=1) >= 0).all()
    assert ((edges >= 0) & (edges <= shape[0] * shape[1])).all()
    pictures = np.random.default_rng(1).integers(0, peak, (3, shape[0] * shape[1]), endpoint=True).astype(kind)
    sums = np.full((3, 4), UNTOUCHED, np.uint64)
    circle_sums(pictures, found.edges, sums)
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
        np.testing.assert_array_equal(sums[:, circle], pictures[:, distance < reach].sum(axis=1, dtype=np.uint64))


@examples
@given(st.integers(1, 19), st.integers(1, 19), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_add_part(rows: int, cols: int, factor: int, peak: int) -> None:
    pattern = np.random.default_rng(2).integers(0, peak, (rows, cols), np.uint64, endpoint=True).astype(np.uint32)
    total = np.arange(rows * cols, dtype=np.uint64) << np.uint64(40)
    binned = np.full((-(-rows // factor), -(-cols // factor)), 2**40, np.uint64)
    before = total.copy()
    add_part(pattern.ravel(), cols, total, factor, binned)
    np.testing.assert_array_equal(total, before + pattern.ravel())
    wide = np.zeros((binned.shape[0] * factor, binned.shape[1] * factor), np.uint64)
    wide[:rows, :cols] = pattern
    wanted = wide.reshape(binned.shape[0], factor, binned.shape[1], factor).sum(axis=(1, 3))
    np.testing.assert_array_equal(binned, wanted + np.uint64(2**40))


@pytest.mark.parametrize("gap", [0, 3])
def test_an_order_of_the_rows_that_is_wrong_would_show(gap: int) -> None:
    picture = np.arange(24, dtype=np.uint8).reshape(1, 4, 6)
    size = (4 + gap) * (6 + gap)
    frames = np.zeros((1, size), np.uint8)
    rest = np.zeros(size, np.uint32), np.zeros(size, np.uint64), np.zeros(size, np.uint8)
    sums = np.zeros((1, 4 + gap), np.uint32), np.zeros((1, 6 + gap), np.uint32)
    absorb(picture.ravel(), 0, 24, False, (4 + gap, 6 + gap, gap), frames, *rest, *sums)
    assert frames[0, :6].tolist() != picture[0, 0].tolist()
    assert frames[0, :3].tolist() == picture[0, 3, :3].tolist()
    assert frames[0, -3:].tolist() == picture[0, 0, 3:].tolist()
