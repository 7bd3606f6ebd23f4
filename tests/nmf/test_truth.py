"""Components, maps and their number on scans of known phases, with vacuum and the texture of grains."""

from __future__ import annotations

import numpy as np
import pytest

from stemcal.nmf.corners import purest
from stemcal.nmf.estimate import Sample, estimate, express
from stemcal.nmf.factorise import factorise, matched_cosines
from stemcal.nmf.number import choose_number, gain, try_numbers
from stemcal.nmf.poisson import deviance, likely_loadings, maximise_likelihood
from stemcal.nmf.resample import regions, resampled_cosines
from stemcal.nmf.settings import NmfSettings
from stemcal.phantoms.phase_scans import PhaseScan, phase_scan

SETTINGS = NmfSettings()


def sample_of(scan: PhaseScan) -> Sample:
    mean = scan.mean.reshape(-1, len(scan.pixels))
    pooled = mean.mean(axis=0)
    exposure = np.broadcast_to(scan.pixels, mean.shape)
    return Sample(mean, exposure, np.sqrt(scan.pixels / pooled), regions(scan.maps.shape[1:], 8))


def correlations(loadings: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Correlation of each true map with the found one that resembles it most."""
    truth = maps.reshape(len(maps), -1)
    return np.corrcoef(truth, loadings.T)[: len(truth), len(truth) :].max(axis=1)


@pytest.mark.parametrize("n_phases", [2, 3, 4])
def test_components_and_maps_are_those_of_the_phases_at_50_counts_per_ring(n_phases: int) -> None:
    scan = phase_scan(n_phases, 50, seed=n_phases)
    sample = sample_of(scan)
    fit = estimate(sample, n_phases, SETTINGS)
    assert matched_cosines(scan.profiles, fit.components).min() > 0.99
    assert matched_cosines(scan.profiles * sample.weight, fit.components * sample.weight).min() > 0.99
    assert correlations(express(sample, fit.components, SETTINGS), scan.maps).min() > 0.95


def test_without_the_purest_corners_components_take_from_one_another() -> None:
    scan = phase_scan(3, 50, seed=3)
    sample = sample_of(scan)
    fit = factorise(sample.weighted, 3, SETTINGS)
    assert matched_cosines(scan.profiles, fit.components / sample.weight).min() < 0.98
    assert matched_cosines(scan.profiles, purest(fit) / sample.weight).min() > 0.99


def test_likelihood_is_ahead_of_least_squares_where_counts_are_few() -> None:
    scan = phase_scan(4, 5, seed=1)
    sample = sample_of(scan)
    worst = {}
    for loss in ("kullback_leibler", "frobenius"):
        settings = NmfSettings(loss=loss)
        fit = estimate(sample, 4, settings)
        worst[loss] = correlations(express(sample, fit.components, settings), scan.maps).min()
    assert worst["kullback_leibler"] > 0.95
    assert worst["kullback_leibler"] > worst["frobenius"] + 0.01


@pytest.mark.parametrize(("n_phases", "counts"), [(2, 500), (3, 50), (4, 5)])
def test_the_number_of_phases_is_found(n_phases: int, counts: float) -> None:
    trials = try_numbers(sample_of(phase_scan(n_phases, counts, seed=2)), n_phases + 2, SETTINGS)
    assert choose_number(trials, SETTINGS) == n_phases


@pytest.mark.parametrize("counts", [5, 500])
def test_noise_is_no_phase(counts: float) -> None:
    trials = try_numbers(sample_of(phase_scan(1, counts)), 4, SETTINGS)
    assert choose_number(trials, SETTINGS) == 1
    assert gain(*trials[:2])[0] < 0


def test_a_component_that_only_noise_makes_is_not_stable() -> None:
    settings = NmfSettings(n_resamplings=6)
    film, both = (sample_of(phase_scan(n, 50, seed=4)) for n in (1, 2))
    right, wrong = (estimate(sample, 2, settings).components for sample in (both, film))
    assert resampled_cosines(both, right, settings).min() > 0.95
    assert resampled_cosines(film, wrong, settings).min() < 0.9


def test_an_update_never_lowers_the_likelihood() -> None:
    generator = np.random.default_rng(0)
    truth = generator.uniform(size=(60, 3)) @ generator.uniform(size=(3, 30))
    exposure = generator.uniform(1, 20, truth.shape)
    values = generator.poisson(truth * exposure) / exposure
    start, loadings = generator.uniform(0.1, 1, (3, 30)), generator.uniform(0.1, 1, (60, 3))
    losses = [
        maximise_likelihood(values, exposure, start, loadings, NmfSettings(tolerance=1e-12, max_iterations=n)).loss
        for n in (10, 20, 40, 160)
    ]
    assert losses == sorted(losses, reverse=True)
    # What is fitted follows the truth to within the noise: a deviance of about one per value.
    assert losses[-1] < truth.size
    assert deviance(values * exposure, truth * exposure) > losses[-1]


def test_loadings_of_counts_are_unbiased_where_exposure_differs() -> None:
    """Half of the bins see a tenth of the pixels; least squares with common weights would not know."""
    generator = np.random.default_rng(1)
    components = generator.uniform(0.2, 1, (2, 40))
    exposure = np.where(np.arange(40) % 2, 200.0, 20.0) * np.ones((300, 1))
    values = generator.poisson(exposure * (np.array([1.0, 2.0]) @ components)) / exposure
    found = likely_loadings(values, exposure, components, np.ones((300, 2)))
    np.testing.assert_allclose(found.mean(axis=0), [1.0, 2.0], rtol=0.02)


def test_regions_are_squares_that_shrink_with_the_scan() -> None:
    numbers = regions((16, 40), 8).reshape(16, 40)
    assert len(np.unique(numbers)) == 2 * 5
    assert (numbers[:8, :8] == numbers[0, 0]).all()
    assert len(np.unique(regions((1, 4), 8))) == 4


def test_loadings_are_those_of_the_greatest_likelihood() -> None:
    """The conditions of Karush, Kuhn and Tucker: no slope where a loading is above zero, upward where it is zero."""
    scan = phase_scan(3, 20, seed=5, shape=(16, 16))
    sample = sample_of(scan)
    components = scan.profiles
    found = express(sample, components, SETTINGS)
    counts = sample.values * sample.exposure
    slope = (sample.exposure - counts / np.maximum(found @ components, 1e-12)) @ components.T
    size = sample.exposure @ components.T
    inside = found > 1e-3 * found.max()
    assert np.abs(slope / size)[inside].max() < 1e-3
    assert (slope / size)[found == 0].min() > -1e-3
