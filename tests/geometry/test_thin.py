"""The thin fit: the geometry it was simulated with, uncertainties, and no answer where there is none."""

import dataclasses
import functools

import numpy as np
import pytest
from slice_truth import error_of, slices_of

from stemcal.geometry.coherent import CoherentModel, freedom, start, whiten
from stemcal.geometry.settings import GeometrySettings
from stemcal.geometry.thin import NoFit, ThinFit, ThinStart, fit_thin
from stemcal.optics.aberrations import coefficient, terms
from stemcal.optics.scan_affine import ScanAxes
from stemcal.phantoms.weak_phase import WeakPhasePlan, crystal

SMALL = {"scan_shape": (64, 64), "frame_shape": (40, 40), "disk_radius_px": 12.3, "centre_px": (19.8, 18.9)}
ABERRATIONS = {"C10": 80.0, "C12a": -20.0, "C12b": 10.0, "C21a": 500.0, "C23b": 300.0, "C30": 15000.0}


def plan(kind: str, axes: ScanAxes, **changes: object) -> WeakPhasePlan:
    return WeakPhasePlan(axes, crystal(kind, angle_deg=11.0), ABERRATIONS, **{**SMALL, **changes})


SQUARE = plan("square", ScanAxes(31.0, 30.2, 0.36, 0.37, flip=False))
HEXAGONAL = plan("hexagonal", ScanAxes(-112.0, -111.1, 0.36, 0.35, flip=True))
SETTINGS = GeometrySettings()


def nominal_px(of: WeakPhasePlan) -> float:
    return of.wavelength_angstrom / of.mrad_per_px * 1e3 / 0.35


def fit(of: WeakPhasePlan, counts: float, **changes: object) -> ThinFit | NoFit:
    slices, lattice = slices_of(of, counts, **changes)

    return fit_thin(slices, ThinStart(unit_px=nominal_px(of), lattice=lattice), SETTINGS)


@functools.cache
def bright(square: bool) -> ThinFit | NoFit:
    return fit(SQUARE if square else HEXAGONAL, 1e6)


@functools.cache
def ordinary() -> ThinFit | NoFit:
    return fit(SQUARE, 1e4)


@pytest.mark.parametrize("square", [True, False], ids=["square", "hexagonal"])
def test_bright_scan_gives_geometry_and_aberrations_that_it_was_made_with(square: bool) -> None:
    of = SQUARE if square else HEXAGONAL
    found = bright(square)
    assert isinstance(found, ThinFit)
    error = error_of(found.b, of)
    assert error.angle_deg < 0.02
    assert error.ratio < 4e-4
    assert error.scale < 1e-3
    for term in terms(3):
        phase = error.sign * found.aberrations_rad[term.name]
        value = coefficient(term, phase, of.wavelength_angstrom, of.semi_angle_mrad)
        tolerance = {1: 1.0, 2: 20.0, 3: 6000.0}[term.n]
        assert value == pytest.approx(ABERRATIONS.get(term.name, 0.0), abs=tolerance), term.name
    assert found.explained > 0.98
    assert found.margin > 100


def test_ordinary_dose_is_covered_by_sigma_and_the_lattice_makes_it_better() -> None:
    found = ordinary()
    assert isinstance(found, ThinFit)
    error = error_of(found.b, SQUARE)
    assert error.angle_deg < 0.2
    assert found.order == 3
    assert error.ratio < 4e-3
    sigma = np.sqrt(np.diag(found.covariance_b)) / np.sqrt(abs(np.linalg.det(found.b)))
    assert 1e-4 < sigma.max() < 4e-3
    assert np.abs(error.sign * found.b - SQUARE.disk_shift_matrix).max() < 4 * np.sqrt(found.covariance_b.max())
    assert found.symmetry is not None
    assert found.symmetry.fold == 4
    assert error_of(found.symmetry.b, SQUARE).ratio < 2e-4
    assert error_of(found.symmetry.b, SQUARE).angle_deg < 0.1


def test_frequencies_rounded_to_bins_are_ten_times_worse() -> None:
    rounded = fit(SQUARE, 1e6, whole_bins=True)
    exact = bright(True)
    assert isinstance(rounded, ThinFit)
    assert isinstance(exact, ThinFit)
    assert error_of(rounded.b, SQUARE).ratio > 10 * error_of(exact.b, SQUARE).ratio


def test_interference_of_diffracted_beams_has_to_be_subtracted() -> None:
    slices, _ = slices_of(HEXAGONAL, 1e6)
    model = CoherentModel(whiten(slices), 3, 3)
    begin = start(HEXAGONAL.disk_shift_matrix, 3, np.zeros(12))
    first_order = model.fit(begin, freedom(3, geometry=True, centre=True, spread=False))
    both = bright(False)
    assert isinstance(both, ThinFit)
    without, corrected = error_of(first_order.b, HEXAGONAL), error_of(both.b, HEXAGONAL)
    assert without.ratio + without.scale > 4 * (corrected.ratio + corrected.scale)


def test_slopes_of_the_model_are_those_of_its_residual() -> None:
    slices, _ = slices_of(SQUARE, 1e4)
    model = CoherentModel(whiten(slices), 2, 2)
    at = start(1.01 * SQUARE.disk_shift_matrix, 2, np.linspace(-0.5, 0.5, 7))
    at[4:7] = 0.1, -0.2, 0.05
    free = freedom(2, geometry=True, centre=True, spread=True)
    _, gradient, _, _ = model.normal_equations(at, free)
    for i in range(at.size):
        step = np.zeros(at.size)
        step[i] = 1e-5
        slope = (model.residual(at + step) - model.residual(at - step)) / 2e-5
        assert -2 * gradient[i] == pytest.approx(slope, rel=1e-3, abs=1e-3 * np.abs(gradient).max())


def test_lattice_that_is_not_square_is_not_forced() -> None:
    slices, lattice = slices_of(SQUARE, 1e4)
    stretched = dataclasses.replace(lattice, vectors=lattice.vectors * np.array([[1.0], [1.03]]))
    found = fit_thin(slices, ThinStart(lattice=stretched), SETTINGS)
    assert isinstance(found, ThinFit)
    assert found.symmetry is None


def some_peaks(keep: np.ndarray) -> ThinFit | NoFit:
    slices, _ = slices_of(SQUARE, 1e4)
    fewer = dataclasses.replace(
        slices,
        values=slices.values[:, keep],
        frequencies=slices.frequencies[keep],
        tile_frequencies=slices.tile_frequencies[:, keep],
    )
    return fit_thin(fewer, ThinStart(), SETTINGS)


def test_three_peaks_or_one_direction_are_refused() -> None:
    _, lattice = slices_of(SQUARE, 1e4)
    assert some_peaks(np.arange(3)) == NoFit("3 peaks, 4 are needed")
    row = np.flatnonzero(lattice.indices[:, 1] == 0)
    assert some_peaks(np.resize(row, 4)) == NoFit("all peaks lie along one direction")


def test_noise_is_refused() -> None:
    slices, _ = slices_of(SQUARE, 1e4)
    random = np.random.default_rng(3)
    noise = random.normal(size=(2, *slices.values.shape)) * np.sqrt(slices.variance[:, None, :] / 2)
    found = fit_thin(
        dataclasses.replace(slices, values=(noise[0] + 1j * noise[1]).astype(np.complex64)), ThinStart(), SETTINGS
    )
    assert found == NoFit("no interference above the noise")


def test_same_slices_give_the_same_bytes() -> None:
    one, two = ordinary(), fit(SQUARE, 1e4)
    assert isinstance(one, ThinFit)
    assert isinstance(two, ThinFit)
    assert one.covariance.tobytes() == two.covariance.tobytes()
    assert one.amplitudes.tobytes() == two.amplitudes.tobytes()


def test_a_misfit_that_all_tiles_share_is_in_the_uncertainty() -> None:
    slices, lattice = slices_of(SQUARE, 1e6)
    start_from = ThinStart(unit_px=nominal_px(SQUARE), lattice=lattice)
    clean = fit_thin(slices, start_from, SETTINGS)
    assert isinstance(clean, ThinFit)
    random = np.random.default_rng(4)
    pulls = []
    for _ in range(4):
        waves = random.normal(size=(len(lattice.indices), 2)) @ np.stack([slices.row_px, slices.col_px])
        gain = 1 + 0.1 * np.sin(2 * waves / slices.radius_px + random.uniform(0, 6, (len(waves), 1)))
        found = fit_thin(dataclasses.replace(slices, values=slices.values * gain), start_from, SETTINGS)
        assert isinstance(found, ThinFit)
        sign = error_of(found.b, SQUARE).sign
        off = (sign * found.b - SQUARE.disk_shift_matrix).ravel()
        pulls.append([off @ np.linalg.solve(c, off) / 4 for c in (found.covariance_b, clean.covariance_b)])
    with_misfit, shot_noise_alone = np.mean(pulls, axis=0)
    assert with_misfit < 3
    assert shot_noise_alone > 6
