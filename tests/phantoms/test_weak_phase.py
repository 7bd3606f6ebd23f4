import numpy as np
import pytest

from stemcal.optics.aberrations import aberration_phase
from stemcal.optics.scan_affine import ScanAxes
from stemcal.phantoms.scan_faults import descanned, unsteady
from stemcal.phantoms.weak_phase import WeakPhasePlan, amorphous, counted, crystal, expected_frames, gratings, vacuum

AXES = ScanAxes(17.0, 18.5, 0.35, 0.36, True)
SMALL = {"scan_shape": (5, 6), "frame_shape": (32, 32), "disk_radius_px": 8.3, "centre_px": (15.3, 16.1)}


def plan(**changed):
    return WeakPhasePlan(AXES, **({"thin": crystal("square", angle_deg=11.0)} | SMALL | changed))


def by_waves(scan, defocus_angstrom=0.0):
    """Return frames (n, det_row, det_col) as the square of the wave on a fine grid, beam by beam: the definition."""
    part = (np.arange(6) - 2.5) / 6
    axes = [
        ((np.arange(n)[:, None] + part).ravel() - centre) * scan.mrad_per_px
        for n, centre in zip(scan.frame_shape, scan.centre_px, strict=True)
    ]
    row, col = np.meshgrid(*axes, indexing="ij")
    aberrations = dict(scan.aberrations_angstrom)
    aberrations["C10"] = aberrations.get("C10", 0) + defocus_angstrom
    places = [scan.scan_matrix @ np.array(step) for step in np.ndindex(scan.scan_shape)]
    waves = np.zeros((len(places), *row.shape), complex)
    for g, weight in zip(scan.thin.g_per_angstrom, scan.thin.coefficients, strict=True):
        if abs(weight) < 1e-4:
            continue
        r, c = (axis - part for axis, part in zip((row, col), g * scan.wavelength_angstrom * 1e3, strict=True))
        probe = np.exp(-1j * aberration_phase(aberrations, r, c, scan.wavelength_angstrom))
        probe[np.hypot(r, c) > scan.semi_angle_mrad] = 0
        for wave, place in zip(waves, places, strict=True):
            wave += weight * np.exp(2j * np.pi * g @ place) * probe
    rows, cols = scan.frame_shape
    frames = (np.abs(waves) ** 2).reshape(-1, rows, 6, cols, 6).mean(axis=(2, 4))
    return frames / frames.sum(axis=(1, 2)).mean()


def test_frames_are_the_square_of_the_wave():
    scan = plan(aberrations_angstrom={"C10": 60.0, "C21b": 900.0}, scan_shape=(2, 3))
    found = expected_frames(scan).reshape(6, 32, 32)
    truth = by_waves(scan)
    # the edges of the disks are drawn on grids of different fineness; the rest is exact
    assert np.abs(found - truth).sum(axis=(1, 2)).max() < 0.02
    flipped = plan(aberrations_angstrom={"C10": -60.0, "C21b": -900.0}, scan_shape=(2, 3))
    assert np.abs(expected_frames(flipped).reshape(6, 32, 32) - truth).sum(axis=(1, 2)).max() > 0.1


def test_a_focal_spread_is_the_mean_over_defocus():
    scan = plan(scan_shape=(1, 3), focal_spread_angstrom=40.0)
    nodes, weights = np.polynomial.hermite.hermgauss(5)
    focused = [by_waves(scan, 40.0 * np.sqrt(2) * node) for node in nodes]
    truth = np.tensordot(weights / np.sqrt(np.pi), focused, axes=1)
    assert np.abs(expected_frames(scan).reshape(3, 32, 32) - truth).sum(axis=(1, 2)).max() < 0.02


def test_a_broad_source_leaves_the_mean_pattern_alone():
    narrow = expected_frames(plan(scan_shape=(22, 22)))
    broad = expected_frames(plan(scan_shape=(22, 22), source_sigma_angstrom=5.0))
    assert narrow.std(axis=(0, 1)).max() > 100 * broad.std(axis=(0, 1)).max()
    np.testing.assert_allclose(broad.mean(axis=(0, 1)), narrow.mean(axis=(0, 1)), atol=2e-4)


def test_counts_are_poisson_and_the_same_every_time():
    frames = expected_frames(plan())
    counts = counted(frames, 2000.0, seed=3)
    assert np.array_equal(counts, counted(frames, 2000.0, seed=3))
    assert counts.sum(axis=(2, 3)).mean() == pytest.approx(2000.0, rel=0.02)
    deviation = (counts - 2000.0 * frames) / np.sqrt(np.maximum(2000.0 * frames, 1e-9))
    assert deviation[2000.0 * frames > 2].std() == pytest.approx(1, abs=0.02)


def test_objects_without_a_lattice():
    bare = expected_frames(plan(thin=vacuum()))
    assert np.ptp(bare, axis=(0, 1)).max() < 1e-6
    for thin in (gratings(np.array([[0.3, 0.0]]), 0.1), amorphous(0.1)):
        assert np.ptp(expected_frames(plan(thin=thin)), axis=(0, 1)).max() > 0.01 * bare.max()


def test_faults():
    frames = expected_frames(plan())
    moved = descanned(frames, np.array([[0.2, 0.0], [0.0, -0.1]]))
    row = np.arange(32)
    shift = (moved.sum(axis=3) @ row - frames.sum(axis=3) @ row) / frames.sum(axis=(2, 3))
    np.testing.assert_allclose(shift, 0.2 * (np.arange(5) - 2)[:, None] * np.ones(6), atol=0.02)
    dim = unsteady(frames, drop=0.2, ripple=0.0).sum(axis=(2, 3)) / frames.sum(axis=(2, 3))
    np.testing.assert_allclose(dim[:, 0], 1 - 0.2 * np.arange(5) / 5, rtol=1e-5)
