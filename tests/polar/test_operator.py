from __future__ import annotations

import math

import numpy as np
import pytest

from stemcal.optics.ellipse import correction_matrix, strain_from_ratio
from stemcal.polar.operator import Geometry, OperatorCache, RadialGrid, RingOperator, choose_n_bins, ring_operator

ROUND = np.eye(2)


def geometry(shape: tuple[int, int] = (64, 80), n_bins: int = 60, **changes: object) -> Geometry:
    parts = {"valid": np.ones(shape, bool), "matrix": ROUND, "grid": RadialGrid(1.0, n_bins), "subsamples": 4}
    return Geometry(**{**parts, **changes})  # type: ignore[arg-type]


def test_every_pixel_is_shared_out_whole() -> None:
    operator = ring_operator(geometry(n_bins=100), (31.3, 40.8))
    np.testing.assert_allclose(np.asarray(operator.weights.sum(axis=0)).ravel(), 1.0, atol=1e-12)


def test_pixels_beyond_the_last_bin_are_left_out() -> None:
    operator = ring_operator(geometry(n_bins=20), (31.3, 40.8))
    total = np.asarray(operator.weights.sum(axis=0)).reshape(64, 80)
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
    bins = operator.weights[:, row * 80 + col].toarray().ravel()
    assert abs(float(bins @ (np.arange(60) + 0.5)) - radius) < 0.25, "bins are one pixel wide"
    # The transposed distortion would put it elsewhere.
    wrong = np.linalg.norm(np.linalg.inv(matrix) @ (row - 31.0, col - 40.0))
    assert abs(wrong - radius) > 0.5


def test_invalid_pixels_have_no_weight() -> None:
    valid = np.ones((64, 80), bool)
    valid[30:33] = False
    operator = ring_operator(geometry(valid=valid), (31.0, 40.0))
    assert operator.weights[:, np.flatnonzero(~valid.ravel())].nnz == 0
    assert operator.area[0] == 0
    assert operator.n_effective[0] == 0


def test_effective_number_of_pixels() -> None:
    operator = ring_operator(geometry(), (31.0, 40.0))
    weights = operator.weights.toarray()
    area = weights.sum(axis=1)
    reached = area > 0
    expected = area[reached] ** 2 / (weights[reached] ** 2).sum(axis=1)
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


def test_cache_keeps_the_operators_used_last() -> None:
    built: list[tuple[int, int]] = []

    def build(key: tuple[int, int]) -> RingOperator:
        built.append(key)
        return ring_operator(geometry((8, 8), 4), (key[0], key[1]))

    size = build((3, 3)).nbytes
    built.clear()
    cache = OperatorCache(build, max_bytes=int(2.5 * size))
    for key in ((3, 3), (3, 4), (3, 3), (4, 4), (3, 3)):
        cache.get(key)
    assert built == [(3, 3), (3, 4), (4, 4)]
    assert len(cache) == 2
    cache.get((3, 4))
    assert built[-1] == (3, 4), "the one used longest ago had gone"


def test_cache_holds_one_operator_however_large() -> None:
    cache = OperatorCache(lambda key: ring_operator(geometry((8, 8), 4), (key[0], key[1])), max_bytes=1)
    assert cache.get((3, 3)).area.sum() > 0
    assert len(cache) == 1
