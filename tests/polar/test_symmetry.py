"""Symmetry orders of patterns that have known ones, under masks, on distorted cameras and in counting noise."""

from __future__ import annotations

import numpy as np
import pytest

from stemcal.optics.ellipse import correction_matrix, strain_from_ratio
from stemcal.polar.operator import Geometry, RadialGrid, RingOperators
from stemcal.polar.settings import PolarSettings
from stemcal.polar.statistics import block_statistics
from stemcal.polar.symmetry import Symmetries, SymmetryOperators, symmetries, symmetry_operator

SHAPE = (72, 80)
CENTRE = (35.25, 41.75)
MATRIX = correction_matrix(*strain_from_ratio(1.06, 0.7))
ORDERS = (2, 4, 6)
N_BINS = 30
KNOWN = {2: (0.3, 0.2), 4: (0.2, 0.5), 6: (0.1, 0.1)}
"""Amplitude of the modulation, and the direction in which it is highest, rad."""
CROSSED = np.ones(SHAPE, bool)
CROSSED[43:48] = CROSSED[:, 47:52] = False


def pattern(modulation: dict[int, tuple[float, float]], points: int = 5) -> np.ndarray:
    """Return the expected counts per pixel, averaged over points of each, of a profile that falls outward."""
    row, col = np.indices(SHAPE)
    offsets = (np.arange(points) + 0.5) / points - 0.5
    total = np.zeros(SHAPE)
    for d_row in offsets:
        for d_col in offsets:
            place = np.stack([row + d_row - CENTRE[0], col + d_col - CENTRE[1]])
            place = np.tensordot(MATRIX, place, axes=1)
            angle = np.arctan2(place[0], place[1])
            around = 1 + sum(size * np.cos(order * (angle - at)) for order, (size, at) in modulation.items())
            total += around * (1 + 2 * np.exp(-np.hypot(*place) / 12))
    return total / points**2


def measured(frames: np.ndarray, valid: np.ndarray, counts_per_electron: float = 1.0) -> Symmetries:
    operator = symmetry_operator(Geometry(valid, MATRIX, RadialGrid(1.0, N_BINS), 4), ORDERS, CENTRE)
    return symmetries(frames, operator, ORDERS, counts_per_electron, np.arange(len(frames)))


@pytest.mark.parametrize("valid", [np.ones(SHAPE, bool), CROSSED], ids=["whole", "crossed"])
def test_known_orders_are_found_ring_by_ring(valid: np.ndarray) -> None:
    found = measured(pattern(KNOWN)[None], valid)
    for index, (size, at) in enumerate(KNOWN.values()):
        np.testing.assert_allclose(2 * found.amplitude[0, index, 8:], size, atol=3e-3)
        np.testing.assert_allclose(np.radians(found.angle_deg[0, index, 8:]), at, atol=0.01)


def test_the_pixels_of_small_rings_are_wide_and_that_is_allowed_for() -> None:
    found = measured(pattern({4: (0.5, 0.3)})[None], np.ones(SHAPE, bool))
    np.testing.assert_allclose(2 * found.amplitude[0, 1, 2:8], 0.5, atol=5e-3)


@pytest.mark.parametrize("valid", [np.ones(SHAPE, bool), CROSSED], ids=["whole", "crossed"])
@pytest.mark.parametrize("modulation", [{}, KNOWN], ids=["uniform", "modulated"])
def test_the_power_is_right_on_average_however_few_the_counts(
    valid: np.ndarray, modulation: dict[int, tuple[float, float]]
) -> None:
    n, gain = 1000, 3
    frames = gain * np.random.default_rng(1).poisson(0.7 * pattern(modulation), (n, *SHAPE)).astype(np.uint16)
    power = 4 * measured(frames, valid, gain).power[..., 8:]
    truth = np.array([modulation.get(order, (0.0, 0.0))[0] ** 2 for order in ORDERS])[:, None]
    mean, error = power.mean(axis=0), power.std(axis=0) / np.sqrt(n)
    assert (np.abs(mean - truth) < 4.5 * error + 0.02 * truth).all()
    assert np.sqrt((((mean - truth) / error) ** 2).mean()) < 1.4
    # Counting noise left in would be seen in every ring.
    as_it_is = 4 * (measured(frames, valid, gain).amplitude[..., 8:] ** 2).mean(axis=0)
    assert (np.abs(as_it_is - truth) > 7 * error).all()


def test_a_dead_cross_makes_no_fourfold_order() -> None:
    frame = 100 * pattern({}) * CROSSED
    found = measured(frame[None], CROSSED)
    assert found.amplitude[0, :, 8:].max() < 2e-3
    # The plain sum over what is there, as for a whole ring, takes the gaps for dark directions.
    row, col = np.indices(SHAPE)
    place = np.tensordot(MATRIX, np.stack([row - CENTRE[0], col - CENTRE[1]]), axes=1)
    ring = (np.abs(np.hypot(*place) - 15) < 0.5) & CROSSED
    plain = np.abs((frame * np.exp(-4j * np.arctan2(*place)))[ring].sum()) / frame[ring].sum()
    assert plain > 0.1


def test_a_ring_that_leaves_an_order_open_is_missing() -> None:
    arc = np.zeros(SHAPE, bool)
    arc[:, 60:] = True
    found = measured(pattern(KNOWN)[None], arc)
    assert np.isnan(found.power).all()
    whole = measured(pattern(KNOWN)[None], np.ones(SHAPE, bool))
    assert np.isnan(whole.power[..., 0]).all(), "four pixels do not determine seven coefficients"
    assert np.isfinite(whole.power[..., 3:]).all()
    assert np.isnan(measured(np.zeros((1, *SHAPE)), np.ones(SHAPE, bool)).power).all(), "no counts, no ratio"


def test_a_fit_for_a_moved_origin_is_that_of_its_own_and_neighbours_change_nothing() -> None:
    keys = np.array([(141, 167), (143, 160), (141, 167)])
    geometry = Geometry(CROSSED, MATRIX, RadialGrid(1.0, N_BINS), 4)
    rings = RingOperators(geometry, keys, 4, 2**30)
    operators = SymmetryOperators(rings, ORDERS, 1.0, keys, 4, 1)
    frames = np.random.default_rng(2).poisson(pattern(KNOWN), (3, *SHAPE)).astype(np.uint16)
    usable = np.array([True, True, False])
    block = block_statistics(frames, usable, keys, rings, N_BINS, 2.0, operators)
    for index in (0, 1):
        centre = keys[index] / 4
        alone = symmetries(frames, symmetry_operator(geometry, ORDERS, tuple(centre)), ORDERS, 1.0, np.array([index]))
        np.testing.assert_allclose(block.symmetry_power[index], alone.power[0], rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(block.symmetry_amplitude[index], alone.amplitude[0], rtol=1e-5)
    assert np.isnan(block.symmetry_power[2]).all()


@pytest.mark.parametrize("orders", [(0, 2), (4, 2), (2, 2), (13,)])
def test_orders_that_make_no_sense_are_refused(orders: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="are not rising orders from 1 to 12"):
        PolarSettings(symmetry_orders=orders)
