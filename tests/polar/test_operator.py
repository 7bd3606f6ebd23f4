from __future__ import annotations

import math

import numpy as np
import pytest

from stemcal.optics.ellipse import correction_matrix, strain_from_ratio
from stemcal.polar.operator import Geometry, RadialGrid, RingOperator, RingOperators, choose_n_bins, ring_operator

ROUND = np.eye(2)


def geometry(shape: tuple[int, int] = (64, 80), n_bins: int = 60, **changes: object) -> Geometry:
    parts = {"valid": np.ones(shape, bool), "matrix": ROUND, "grid": RadialGrid(1.0, n_bins), "subsamples": 4}
    return Geometry(**{**parts, **changes})  # type: ignore[arg-type]


def weights(operator: RingOperator) -> np.ndarray:
    """Return the whole operator, (n_bins, n_pixels), parts of a pixel's area; without the bins that nobody reads."""
    rows, cols = operator.valid.shape
    top, left = operator.shift
    table = operator.table[top : top + rows, left : left + cols].reshape(rows * cols, -1)
    dense = np.zeros((operator.n_sums, rows * cols))
    for pixel, (first, *points) in enumerate(table.astype(int)):
        dense[first : first + len(points), pixel] += points
    return dense[: operator.points.size] * operator.valid.ravel() / 16


def test_every_pixel_is_shared_out_whole() -> None:
    operator = ring_operator(geometry(n_bins=100), (31.3, 40.8))
    np.testing.assert_array_equal(weights(operator).sum(axis=0), 1.0)


def test_pixels_beyond_the_last_bin_are_left_out() -> None:
    operator = ring_operator(geometry(n_bins=20), (31.3, 40.8))
    total = weights(operator).sum(axis=0).reshape(64, 80)
    row, col = np.indices(total.shape)
    radius = np.hypot(row - 31.3, col - 40.8)
    assert (total[radius > 21] == 0).all()
    np.testing.assert_allclose(total[radius < 19], 1.0)


@pytest.mark.parametrize("angle_deg", [0.0, 48.0, 120.0])
def test_rings_keep_their_area_under_an_ellipse(angle_deg: float) -> None:
    matrix = correction_matrix(*strain_from_ratio(1.08, math.radians(angle_deg)))
    grid = RadialGrid(2.0, 13)
    operator = ring_operator(geometry(matrix=matrix, grid=grid), (31.3, 40.8))
    np.testing.assert_allclose(operator.area, grid.areas_px, rtol=0.02)
    np.testing.assert_allclose(operator.area.sum(), grid.areas_px.sum(), rtol=5e-4)


def test_the_bin_of_a_pixel_is_its_corrected_radius() -> None:
    matrix = correction_matrix(*strain_from_ratio(1.1, math.radians(30)))
    operator = ring_operator(geometry(matrix=matrix), (31.0, 40.0))
    row, col = 20, 70
    radius = np.linalg.norm(matrix @ (row - 31.0, col - 40.0))
    bins = weights(operator)[:, row * 80 + col]
    assert abs(float(bins @ (np.arange(60) + 0.5)) - radius) < 0.25, "bins are one pixel wide"
    # The transposed distortion would put it elsewhere.
    wrong = np.linalg.norm(np.linalg.inv(matrix) @ (row - 31.0, col - 40.0))
    assert abs(wrong - radius) > 0.5


def test_invalid_pixels_have_no_weight() -> None:
    valid = np.ones((64, 80), bool)
    valid[30:33] = False
    operator = ring_operator(geometry(valid=valid), (31.0, 40.0))
    np.testing.assert_allclose(weights(operator).sum(axis=1), operator.area)
    assert operator.area[0] == 0
    assert operator.n_effective[0] == 0


def test_effective_number_of_pixels() -> None:
    operator = ring_operator(geometry(), (31.0, 40.0))
    dense = weights(operator)
    area = dense.sum(axis=1)
    reached = area > 0
    expected = area[reached] ** 2 / (dense[reached] ** 2).sum(axis=1)
    np.testing.assert_allclose(operator.n_effective[reached], expected)
    assert (operator.n_effective[~reached] == 0).all()
    assert (operator.n_effective >= area - 1e-9).all(), "a shared pixel counts for more than its area"


def test_the_last_ring_has_the_coverage_asked_for() -> None:
    valid = np.ones((100, 100), bool)
    centre = (49.5, 49.5)
    whole = choose_n_bins(valid, ROUND, centre, 1.0, 0.999)
    assert whole == 50
    n_bins = choose_n_bins(valid, ROUND, centre, 1.0, 0.1)
    coverage = (
        ring_operator(geometry(valid=valid, grid=RadialGrid(1.0, 80)), centre).area / RadialGrid(1.0, 80).areas_px
    )
    assert coverage[n_bins - 1] >= 0.1 > coverage[n_bins]
    assert choose_n_bins(~valid, ROUND, centre, 1.0, 0.1) == 0
    assert choose_n_bins(valid, ROUND, centre, 0.5, 0.1) == pytest.approx(2 * n_bins, abs=1)


KEYS = np.array([(-9, 130), (127, 160), (128, 161), (250, -40)])


@pytest.mark.parametrize("steps", [1, 4, 10])
def test_a_table_that_is_moved_is_the_operator_of_that_origin(steps: int) -> None:
    valid = np.random.default_rng(1).random((64, 80)) < 0.9
    shape = geometry(valid=valid, matrix=correction_matrix(*strain_from_ratio(1.07, 0.4)))
    operators = RingOperators(shape, KEYS, steps, 2**30)
    for key in KEYS.tolist():
        moved, built = operators.get(tuple(key)), ring_operator(shape, (key[0] / steps, key[1] / steps))
        np.testing.assert_array_equal(moved.points, built.points)
        np.testing.assert_array_equal(moved.n_effective, built.n_effective)
        np.testing.assert_array_equal(weights(moved), weights(built))
    other = ring_operator(shape, ((KEYS[0, 0] + 1) / steps, KEYS[0, 1] / steps))
    assert not np.array_equal(weights(other), weights(operators.get(tuple(KEYS[0].tolist()))))


def test_there_is_one_table_for_each_fraction_of_a_pixel() -> None:
    keys = np.stack(np.meshgrid(np.arange(100, 140), np.arange(120, 150)), axis=-1).reshape(-1, 2)
    operators = RingOperators(geometry(), keys, 4, 2**30)
    for key in keys.tolist():
        operators.get(tuple(key))
    assert len(operators) == 16


def test_tables_used_longest_ago_are_dropped() -> None:
    keys = np.array([(n, 0) for n in range(4)])
    size = RingOperators(geometry(), keys, 4, 2**30).get((0, 0)).table.nbytes
    operators = RingOperators(geometry(), keys, 4, int(2.5 * size))
    for number in (0, 1, 0, 2, 0, 3):
        operators.get((number, 0))
        assert len(operators) <= 2
    one = RingOperators(geometry(), keys, 4, 1)
    assert one.get((3, 0)).area.sum() > 0
    assert len(one) == 1
