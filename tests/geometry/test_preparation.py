"""Every fault hurts where it is left alone, and does not where it is treated."""

import numpy as np
import pytest
from geometry_truth import expected, off_lattice_bins, plain, plan, read, source

from stemcal.formats.extras import FrameStatus
from stemcal.geometry.aperture import Aperture
from stemcal.geometry.bright_field import read_bright_field
from stemcal.geometry.dose import measure_dose
from stemcal.geometry.lattice import ScanLattice
from stemcal.geometry.preparation import fit_descan_plane, prepare
from stemcal.geometry.slices import cut_slices
from stemcal.geometry.spectrum import measure_spectrum
from stemcal.phantoms.scan_faults import blanked, descanned, faulty_pixels, unsteady
from stemcal.phantoms.weak_phase import counted, expected_frames, vacuum

ELECTRONS = 2e5
"""So many that shot noise hides no fault."""
SCAN = (64, 64)


def prepared(reading, status=None):
    status = np.zeros(SCAN[0] * SCAN[1], np.uint8) if status is None else status
    return prepare(reading.sums, status, reading.aperture)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return read(counted(expected(), ELECTRONS), tmp_path_factory.mktemp("clean"))


@pytest.fixture(scope="module")
def peaks(clean):
    """The frequencies of a scan without faults."""
    return measure_spectrum(clean.bright_field, plain(SCAN), clean.aperture).lattice.frequencies


def amiss(reading, preparation, clean, peaks):
    """Return the relative difference of the slices from those without the fault; shot noise alone is 0.035."""
    here = cut_slices(reading.bright_field, preparation, reading.aperture, peaks)
    there = cut_slices(clean.bright_field, plain(SCAN), clean.aperture, peaks)
    place = {spot: number for number, spot in enumerate(zip(there.row_px.round(), there.col_px.round(), strict=True))}
    pairs = [
        (number, place[spot])
        for number, spot in enumerate(zip(here.row_px.round(), here.col_px.round(), strict=True))
        if spot in place and here.usable[number] and there.usable[place[spot]]
    ]
    mine, theirs = np.array(pairs).T
    one = here.values.sum(axis=0)[:, mine] / here.sum_window / here.mean[mine].mean()
    two = there.values.sum(axis=0)[:, theirs] / there.sum_window / there.mean[theirs].mean()
    return float(np.linalg.norm(one - two) / np.linalg.norm(two))


def names(preparation):
    return [finding.flag.name for finding in preparation.findings]


def test_a_good_scan_is_left_alone(clean):
    found = prepared(clean)
    np.testing.assert_array_equal(found.weights, np.ones(SCAN))
    assert (found.normalised, found.bad_lines, found.beam_rms, found.findings) == (False, (), 0.0, ())
    np.testing.assert_array_equal(found.descan_px_per_step, np.zeros((2, 2)))


def test_blank_lines_are_left_out(clean, peaks, tmp_path):
    lines = (7, 25, 26, 50)
    faulty = read(counted(blanked(expected(), lines), ELECTRONS), tmp_path)
    found = prepared(faulty)
    assert found.bad_lines == lines
    assert (found.weights[list(lines)] == 0).all()
    assert [f.severity for f in found.findings] == ["warn"]
    assert amiss(faulty, plain(SCAN), clean, peaks) > 0.3
    assert amiss(faulty, found, clean, peaks) < 0.12
    lattice = measure_spectrum(faulty.bright_field, found, faulty.aperture).lattice
    assert isinstance(lattice, ScanLattice)
    assert np.abs(off_lattice_bins(lattice.frequencies, plan())).max() < 0.02


def test_repeated_and_shuffled_lines_are_found(tmp_path):
    counts = counted(expected(), ELECTRONS)
    counts[20] = counts[19]
    counts[40] = counts[40, np.random.default_rng(0).permutation(SCAN[1])]
    assert prepared(read(counts, tmp_path)).bad_lines == (20, 40)


def test_frames_of_another_status_are_left_out(clean):
    status = np.zeros(SCAN, np.uint8)
    status[:, :3], status[5, 9] = FrameStatus.FLY_BACK, FrameStatus.SPIKE
    found = prepared(clean, status.ravel())
    np.testing.assert_array_equal(found.weights == 0, status != FrameStatus.OK)
    assert names(found) == ["unusable_positions"]


def test_beam_that_falls_and_jumps_is_taken_out(clean, peaks, tmp_path):
    faulty = read(counted(unsteady(expected(), drop=0.2, ripple=0.05), ELECTRONS), tmp_path)
    found = prepared(faulty)
    assert found.normalised
    assert found.beam_rms == pytest.approx(0.073, abs=0.01)
    assert names(found) == ["beam_varies"]
    untreated, treated = (amiss(faulty, p, clean, peaks) for p in (plain(SCAN), found))
    assert treated < 0.05
    assert untreated > 1.2 * treated
    before, after = (
        np.abs(off_lattice_bins(measure_spectrum(faulty.bright_field, p, faulty.aperture).slices.frequencies, plan()))
        for p in (plain(SCAN), found)
    )
    assert after.max() < 0.01 < before.max()


def test_shot_noise_alone_is_no_change_of_the_beam(tmp_path):
    faint = read(counted(expected(), 100), tmp_path)
    assert measure_dose(faint.sums, np.ones(SCAN, bool)).beam_rms == 0


@pytest.mark.parametrize("electrons", [300, 1e4])
def test_dose_follows_a_ripple_within_lines_without_adding_noise(electrons, tmp_path):
    beam = 1 + 0.05 * np.sin(2 * np.pi * np.arange(SCAN[0] * SCAN[1]) / 17.3).reshape(SCAN)
    faulty = read(counted(expected() * beam[..., None, None].astype(np.float32), electrons), tmp_path)
    dose = measure_dose(faulty.sums, np.ones(SCAN, bool))
    assert dose.caught
    error = dose.relative / beam
    assert (error / error.mean()).std() < min(0.01, 0.4 / np.sqrt(electrons))


def test_contrast_of_the_specimen_in_the_total_is_not_taken_for_the_beam(clean, tmp_path):
    valid = np.ones((48, 48), bool)
    valid[:, 30:] = False
    lost = read(counted(expected(), ELECTRONS), tmp_path, valid=valid)
    found = prepared(lost)
    assert lost.sums.total.std() / lost.sums.total.mean() > 0.01
    assert not found.normalised
    assert names(found) == ["dose_not_caught"]
    assert lost.aperture.radius_px == pytest.approx(clean.aperture.radius_px, abs=0.05)


def test_descan_is_measured_through_the_contrast_and_its_shift_taken_back(tmp_path):
    slope = np.array([[0.3, 1.0], [-0.8, 0.4]]) / SCAN[0]
    faulty = read(counted(descanned(expected(), slope), ELECTRONS), tmp_path)
    found = prepared(faulty)
    np.testing.assert_allclose(found.descan_px_per_step, slope, atol=0.04 / SCAN[0])
    assert names(found) == ["descan"]
    before, after = (
        np.abs(off_lattice_bins(measure_spectrum(faulty.bright_field, p, faulty.aperture).slices.frequencies, plan()))
        for p in (plain(SCAN), found)
    )
    assert before.max() > 0.1
    assert after.max() < 0.02


def test_descan_of_several_pixels_is_followed(tmp_path):
    slope = np.array([[0.0, 3.0], [-2.0, 0.0]]) / SCAN[0]
    faulty = read(counted(descanned(expected(), slope), ELECTRONS), tmp_path)
    assert np.ptp(faulty.bright_field.shift_px[0]) == 2
    found = prepare(faulty.sums, np.zeros(SCAN[0] * SCAN[1], np.uint8), faulty.aperture, window_moved=True)
    np.testing.assert_allclose(found.descan_px_per_step, slope, atol=0.15 / SCAN[0])
    joint = measure_spectrum(faulty.bright_field, found, faulty.aperture).lattice.frequencies
    assert np.abs(off_lattice_bins(joint, plan())).max() < 0.05


def test_half_a_scan_of_vacuum_is_no_descan(clean, tmp_path):
    empty = expected_frames(plan(vacuum(), scan_shape=(1, 1)))[0, 0]
    half = expected().copy()
    half[:, 32:] = empty
    plane = fit_descan_plane(read(counted(half, ELECTRONS), tmp_path).sums, np.ones(SCAN, bool), clean.aperture)
    assert plane.range_px < 0.05


def test_hot_and_dead_pixels_spoil_the_sums_unless_they_are_left_out(clean, peaks, tmp_path):
    hot, dead = [(20, 22), (28, 30), (14, 24), (25, 13)], [(23, 23), (30, 20), (18, 27), (22, 33)]
    counts = counted(faulty_pixels(expected(), hot, dead), ELECTRONS)
    faulty = read(counts, tmp_path)
    assert faulty.n_stray == 8
    assert isinstance(faulty.aperture, Aperture)
    assert faulty.aperture.centre_row_px == pytest.approx(clean.aperture.centre_row_px, abs=0.01)
    assert amiss(faulty, prepared(faulty), clean, peaks) < 0.05
    everything = np.ones((48, 48), bool)
    believed, _ = read_bright_field(source(counts, tmp_path), clean.aperture, everything)
    untreated = cut_slices(believed, plain(SCAN), clean.aperture, peaks)
    there = cut_slices(clean.bright_field, plain(SCAN), clean.aperture, peaks)
    assert untreated.variance.sum() > 1.1 * there.variance.sum()
