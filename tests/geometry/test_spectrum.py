import numpy as np
import pytest
from geometry_truth import expected, off_lattice_bins, plain, plan, read

from stemcal.geometry.lattice import NoLattice, ScanLattice, fit_lattice
from stemcal.geometry.slices import cut_slices
from stemcal.geometry.spectrum import Measured, NoPeaks, measure_spectrum
from stemcal.phantoms.weak_phase import amorphous, counted, expected_frames, gratings, vacuum


def measured(reading):
    return measure_spectrum(reading.bright_field, plain(reading.bright_field.scan_shape), reading.aperture)


def rms(off):
    return float(np.sqrt((off**2).sum(axis=1).mean()))


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return read(counted(expected(), 1e4), tmp_path_factory.mktemp("clean"))


@pytest.fixture(scope="module")
def found(clean):
    return measured(clean)


def test_joint_frequencies_are_those_of_the_crystal_to_a_hundredth_of_a_bin(found):
    assert isinstance(found, Measured)
    assert isinstance(found.lattice, ScanLattice)
    assert found.findings == ()
    joint = off_lattice_bins(found.lattice.frequencies, plan())
    alone = off_lattice_bins(found.peaks.frequencies, plan())
    assert len(joint) >= 6
    assert rms(joint) < 0.012
    assert rms(joint) < 0.5 * rms(alone)
    assert found.lattice.n_indexed == len(joint)
    # the uncertainty by tiles is of the size of the error
    truth = np.linalg.lstsq(found.lattice.indices, found.lattice.frequencies - joint / 64, rcond=None)[0]
    pull = (found.lattice.vectors - truth) / found.lattice.sigma
    assert np.sqrt((pull**2).mean()) < 3


def test_rounded_frequencies_would_be_off_by_a_third_of_a_bin(found):
    rounded = np.rint(found.lattice.frequencies * 64) / 64
    assert rms(off_lattice_bins(rounded, plan())) > 0.15


def test_slices_are_the_transform_of_the_counts_and_tiles_add_up(clean):
    field = clean.bright_field
    frequency = np.array([[0.123, 0.217], [-0.31, 0.05]])
    weights = np.ones(field.scan_shape)
    weights[10:12] = 0
    weights[:, 30:] = 1.1
    slices = cut_slices(field, plain(field.scan_shape, weights=weights), clean.aperture, frequency)
    row, col = np.indices(field.scan_shape)
    from_edge = np.minimum(row[:, 0] + 0.5, 63.5 - row[:, 0]) / 64
    taper = np.where(from_edge < 0.15, 0.5 - 0.5 * np.cos(2 * np.pi * from_edge / 0.3), 1.0)
    window = np.outer(taper, taper) * (weights > 0)
    wave = np.exp(-2j * np.pi * (frequency[:, :1, None] * row + frequency[:, 1:, None] * col))
    flat = (field.counts * (window * weights)).sum(axis=(1, 2)) / window.sum()
    direct = np.einsum("kij,pij->kp", wave * window, field.counts * weights - flat[:, None, None])
    np.testing.assert_allclose(slices.values.sum(axis=0), direct, atol=1e-3 * np.abs(direct).max())
    spread = (field.counts * (window * weights) ** 2).sum(axis=(1, 2))
    np.testing.assert_allclose(slices.variance.sum(axis=0), spread, rtol=1e-5)
    np.testing.assert_allclose(slices.mean, flat, rtol=1e-9)
    assert slices.sum_window == pytest.approx(window.sum())
    assert slices.values.shape == (16, 2, len(field.counts))


def test_result_is_the_same_again(clean, found):
    again = measured(clean)
    np.testing.assert_array_equal(again.slices.values, found.slices.values)
    np.testing.assert_array_equal(again.slices.tile_frequencies, found.slices.tile_frequencies)


def test_vacuum_and_a_film_without_a_lattice_have_no_peaks(tmp_path):
    empty = read(counted(expected_frames(plan(vacuum(), scan_shape=(40, 40))), 1e3), tmp_path)
    refused = measured(empty)
    assert isinstance(refused, NoPeaks)
    assert (refused.finding.flag.name, refused.finding.severity) == ("too_few_peaks", "fail")
    glass = plan(amorphous(0.15, n_waves=150), scan_shape=(40, 40))
    film = measured(read(counted(expected_frames(glass), 1e3), tmp_path))
    assert isinstance(film, NoPeaks) or isinstance(film.lattice, NoLattice)


def test_too_few_peaks_and_peaks_in_one_direction_are_named(tmp_path):
    waves = np.array([[0.1, 0.28], [0.2, 0.56]])
    found = measured(read(counted(expected_frames(plan(gratings(waves, 0.3))), 1e4), tmp_path))
    assert {f.flag.name for f in found.findings} == {"no_scan_lattice", "too_few_peaks", "peaks_in_one_direction"}


def test_two_lattices_keep_the_frequencies_of_each_peak(tmp_path):
    first = 0.30 * np.array([[np.sin(a), np.cos(a)] for a in np.deg2rad([5, 65, 125])])
    second = 0.52 * np.array([[np.sin(a), np.cos(a)] for a in np.deg2rad([23, 83, 143])])
    double = gratings(np.concatenate([first, second]), 0.15)
    found = measured(read(counted(expected_frames(plan(double)), 1e4), tmp_path))
    assert isinstance(found.lattice, NoLattice)
    assert [f.flag.name for f in found.findings] == ["no_scan_lattice"]
    assert rms(off_lattice_bins(found.slices.frequencies[:6], plan(double))) < 0.02
    assert found.slices.tile_frequencies.shape == (16, len(found.slices.frequencies), 2)


def test_strong_defocus_does_not_hide_the_peaks(tmp_path):
    defocused = plan(aberrations_angstrom={"C10": 600.0})
    found = measured(read(counted(expected_frames(defocused), 1e4), tmp_path))
    assert len(found.lattice.frequencies) >= 6
    assert rms(off_lattice_bins(found.lattice.frequencies, defocused)) < 0.03


def _lattice():
    basis = np.array([[0.11, 0.02], [-0.04, 0.12]])
    index = np.array([[1, 0], [0, 1], [1, 1], [2, 1], [1, -1], [2, 0]])
    return basis, index @ basis


def test_lattice_is_the_coarsest_that_indexes_the_peaks_and_says_how_well():
    basis, frequencies = _lattice()
    noise = np.random.default_rng(0).normal(0, 1e-4, frequencies.shape)
    lattice = fit_lattice(frequencies + noise, np.full(frequencies.shape, 1e-4), np.full(6, 100.0), (128, 128))
    assert abs(np.linalg.det(lattice.vectors)) == pytest.approx(abs(np.linalg.det(basis)), rel=0.01)
    assert lattice.n_indexed == 6
    assert rms((lattice.frequencies - frequencies) * 128) < rms(noise * 128)
    assert 2e-5 < lattice.sigma.mean() < 1e-4


def test_one_stray_peak_does_not_spoil_a_lattice_and_keeps_its_frequency():
    _, frequencies = _lattice()
    stray = np.array([[0.093, 0.211]])
    peaks = np.concatenate([frequencies, stray])
    power = np.array([100.0] * 6 + [9.0])
    lattice = fit_lattice(peaks, np.full(peaks.shape, 1e-4), power, (128, 128))
    assert lattice.n_indexed == 6
    assert lattice.indices[-1].tolist() == [0, 0]
    np.testing.assert_array_equal(lattice.frequencies[-1], stray[0])
