"""The multislice phantom: against abTEM's patterns, and against its own sums."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stemcal.errors import UsageError
from stemcal.optics.scan_affine import ScanAxes, scan_matrix
from stemcal.phantoms.lobato import scattering_factor
from stemcal.phantoms.multislice import Beam, coherent_tables, diffuse_tables, strontium_titanate
from stemcal.phantoms.thick_scan import ThickScene, diffuse_pattern, harmonics, mean_pattern, scan_counts

CRYSTAL = strontium_titanate()
BEAM = Beam(300.0)
PER_CELL = 24


@pytest.fixture(scope="module")
def scene() -> ThickScene:
    (coherent,) = coherent_tables(CRYSTAL, BEAM, (3,), 27.0)
    (diffuse,) = diffuse_tables(CRYSTAL, BEAM, (3,), 27.0, n_configurations=1)
    return ThickScene(
        coherent, diffuse, CRYSTAL.side_angstrom, BEAM.wavelength_angstrom, (36, 36), (17.6, 17.2), 2.4,
        rotation_deg=21.0, aberrations_angstrom={"C10": 40.0, "C12a": 15.0}, focal_spread_angstrom=20.0,
    )  # fmt: skip


@pytest.mark.shared
def test_agrees_with_abtem(shared_data: Path):
    path = shared_data / "abtem" / "sto_200kV_20mrad_infocus.npz"
    truth = json.loads(path.with_suffix(".json").read_text())
    with np.load(path) as stored:
        theirs = stored["data"]
    beam = Beam(truth["kV"])
    (table,) = coherent_tables(CRYSTAL, beam, (2,), 22.0, motion=False)
    scene = ThickScene(
        table, None, CRYSTAL.side_angstrom, beam.wavelength_angstrom, (64, 64), (32, 32), truth["mrad_per_px"],
        truth["semiangle_mrad"],
    )  # fmt: skip
    ours = scan_counts(scene, np.eye(2) * truth["step_A"][0], (16, 16), None)
    radius = np.hypot(*scene.angles_mrad()).reshape(64, 64)
    inside, outside = radius < 17, (radius > 23) & (radius < 33)
    contrast = [np.ravel((data - data.mean(axis=(0, 1)))[..., inside]) for data in (ours, theirs)]
    assert np.corrcoef(*contrast)[0, 1] > 0.99
    error = (ours - theirs)[..., inside]
    assert np.sqrt(np.mean(error**2)) < 0.016 * theirs[..., inside].mean()
    assert np.corrcoef(ours[..., outside].ravel(), theirs[..., outside].ravel())[0, 1] > 0.99
    mirrored = ours[..., outside][::-1]
    assert np.corrcoef(mirrored.ravel(), theirs[..., outside].ravel())[0, 1] < 0.97


def test_atoms_at_rest_absorb_nothing():
    moving, still = (coherent_tables(CRYSTAL, BEAM, (3,), 8.0, motion=motion)[0] for motion in (True, False))
    kept = [np.sum(np.abs(table.amplitudes) ** 2, axis=(1, 2)) for table in (moving, still)]
    # what is missing was scattered beyond the band of the waves
    assert np.all(kept[1] > 0.997)
    assert np.all(kept[1] - kept[0] > 0.0015)


def test_diffuse_intensity_is_what_the_coherent_beams_have_lost(scene: ThickScene):
    wide = replace(scene, shape=(46, 46), centre_px=(22.5, 22.5))
    at_rest = coherent_tables(CRYSTAL, BEAM, (3,), 27.0, motion=False)[0]
    whole, still = mean_pattern(wide).sum(), mean_pattern(replace(wide, coherent=at_rest, diffuse=None)).sum()
    diffuse = diffuse_pattern(wide).sum()
    assert 0.001 < diffuse < 0.01
    assert whole == pytest.approx(still, abs=0.8 * diffuse)
    assert whole - diffuse < still - 0.5 * diffuse


def test_a_scan_of_one_cell_adds_up_to_pattern_and_harmonics(scene: ThickScene):
    step = CRYSTAL.side_angstrom / PER_CELL
    matrix = scan_matrix(ScanAxes(scene.rotation_deg, scene.rotation_deg, step, step, flip=False))
    scan = scan_counts(scene, matrix, (PER_CELL, PER_CELL), None).reshape(PER_CELL, PER_CELL, -1).astype(np.float64)
    np.testing.assert_allclose(scan.mean(axis=(0, 1)), mean_pattern(scene).ravel(), rtol=1e-4, atol=1e-8)
    spectrum = np.fft.fft2(scan, axes=(0, 1)) / PER_CELL**2
    indices = np.array([(1, 1), (2, 0), (1, -2)])
    # the yield of the diffuse intensity has harmonics too, a small part of the whole
    limit = 0.04 * np.abs(spectrum[1, 1]).max()
    for found, (row, col) in zip(harmonics(scene, indices), indices, strict=True):
        np.testing.assert_allclose(found, spectrum[row, col], atol=limit)
    np.testing.assert_allclose(scene.scan_lattice(matrix), np.eye(2) / PER_CELL, atol=1e-12)


def test_a_crystal_turned_by_a_quarter_looks_the_same_and_by_an_eighth_does_not(scene: ThickScene):
    same, other = (mean_pattern(replace(scene, rotation_deg=scene.rotation_deg + turn)) for turn in (90.0, 45.0))
    pattern = mean_pattern(scene)
    np.testing.assert_allclose(same, pattern, rtol=1e-6)
    assert np.abs(other - pattern).max() > 2e-3 * pattern.max()


def test_counts_are_those_of_the_dose(scene: ThickScene):
    matrix = np.eye(2) * 0.3
    counts = scan_counts(scene, matrix, (4, 5), 500.0, seed=3)
    assert counts.dtype == np.uint16
    assert counts.sum() == pytest.approx(20 * 500 * mean_pattern(scene).sum(), rel=0.05)
    np.testing.assert_array_equal(counts, scan_counts(scene, matrix, (4, 5), 500.0, seed=3))


def test_scattering_factors_are_those_of_the_table():
    # f(0) = 2 sum a_i, and the Mott-Bethe limit at large k: f = 2 Z / (a0 8 pi^2 ... k^2) = 0.023934 * 4 Z / k^2
    for element, number in (("O", 8), ("S", 16), ("Ti", 22), ("Sr", 38), ("Mo", 42)):
        large = scattering_factor(element, np.array([400.0]))[0]
        assert large * 400.0 / (4 * 0.0239337 * number) == pytest.approx(1, abs=0.1), element
    with pytest.raises(UsageError, match="no scattering factor of 'Xx'; the table has O, S"):
        scattering_factor("Xx", np.zeros(1))
