from __future__ import annotations

import numpy as np
import pytest

from stemcal.calibration.origin import fit_origin, tile_numbers
from stemcal.calibration.settings import CalibrationSettings
from stemcal.optics.descan import evaluate, fit_descan

SETTINGS = CalibrationSettings()
SCAN = (40, 48)
TRUTH = {
    0: ([60.0], [50.0]),
    1: ([60.0, 0.8, -0.3], [50.0, 0.1, 0.5]),
    2: ([60.0, 0.8, -0.3, 0.2, 0.0, -0.3], [50.0, 0.1, 0.5, 0.0, 0.3, 0.1]),
}


def truth(degree: int) -> np.ndarray:
    return evaluate(*TRUTH[degree], degree, SCAN)


def blotches(seed: int, amplitude: float) -> np.ndarray:
    """Residuals that neighbouring positions share, as grains make them."""
    coarse = np.random.default_rng(seed).normal(0, amplitude, (10, 12, 2))
    return np.kron(coarse, np.ones((4, 4, 1))).reshape(-1, 2)


@pytest.mark.parametrize("degree", [0, 1, 2])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_degree_is_the_one_that_was_put_in(degree: int, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.03, (truth(0).shape[0], 2))
    origin = fit_origin(truth(degree) + noise, SCAN, SETTINGS)
    assert origin is not None
    assert origin.fit.degree == degree
    assert np.abs(origin.fit.fitted_px - truth(degree)).max() < 0.01
    assert origin.fraction_used > 0.99


@pytest.mark.parametrize("seed", range(6))
def test_grains_do_not_raise_the_degree(seed: int) -> None:
    origin = fit_origin(truth(1) + blotches(seed, 0.05), SCAN, SETTINGS)
    assert origin is not None
    assert origin.fit.degree == 1


def test_counting_frames_as_independent_would_raise_it() -> None:
    raised = 0
    for seed in range(6):
        positions = truth(1) + blotches(seed, 0.05)
        n = positions.size
        fits = [fit_descan(positions, SCAN, degree) for degree in (1, 2)]
        squares = [((positions - fit.fitted_px) ** 2).mean() for fit in fits if fit]
        lower, higher = (n * np.log(square) + 2 * k * np.log(n) for square, k in zip(squares, (3, 6), strict=True))
        raised += higher < lower
    assert raised >= 4


def test_the_uncertainty_of_the_centre_is_what_repetitions_show() -> None:
    origins = [fit_origin(truth(1) + blotches(seed, 0.05), SCAN, SETTINGS) for seed in range(40)]
    centres = np.array([(o.fit.coefficients_row_px[0], o.fit.coefficients_col_px[0]) for o in origins if o])
    sigmas = np.array([o.sigma_px for o in origins if o])
    spread = centres.std(axis=0)
    assert np.sqrt((sigmas**2).mean(axis=0)) == pytest.approx(spread, rel=0.4)
    # Counting every frame as independent would claim four times less.
    assert (0.05 / np.sqrt(len(truth(1))) < 0.4 * spread).all()


def test_wrong_positions_do_not_count() -> None:
    positions = truth(1) + np.random.default_rng(4).normal(0, 0.02, truth(1).shape)
    positions[::7] += (25.0, -12.0)
    positions[3::50] = np.nan
    origin = fit_origin(positions, SCAN, SETTINGS)
    assert origin is not None
    assert np.abs(origin.fit.fitted_px - truth(1)).max() < 0.01
    assert origin.fraction_used == pytest.approx(1 - 1 / 7 - 1 / 50, abs=0.02)
    plain = np.linalg.lstsq(np.ones((len(positions), 1)), np.nan_to_num(positions, nan=60.0), rcond=None)[0]
    assert abs(plain[0, 0] - 60) > 1


def test_a_line_and_a_single_position() -> None:
    line = np.stack([np.full(32, 10.0), 20 + np.linspace(-1, 1, 32)], axis=1)
    origin = fit_origin(line, (1, 32), SETTINGS)
    assert origin is not None
    assert origin.fit.degree == 1
    np.testing.assert_allclose(origin.fit.fitted_px, line, atol=1e-9)
    assert origin.sigma_px is not None
    single = fit_origin(np.array([[10.0, 20.0]]), (1, 1), SETTINGS)
    assert single is not None
    assert single.fit.degree == 0
    assert single.sigma_px is None
    assert single.descan_range_px == 0


def test_nothing_measured() -> None:
    assert fit_origin(np.full((12, 2), np.nan), (3, 4), SETTINGS) is None


def test_tiles_cover_the_scan() -> None:
    tiles = tile_numbers((5, 7), 3)
    assert tiles.shape == (35,)
    assert sorted(set(tiles.tolist())) == list(range(9))
    assert np.bincount(tiles).max() <= 2 * 3
    assert sorted(set(tile_numbers((1, 2), 3).tolist())) == [0, 1]
