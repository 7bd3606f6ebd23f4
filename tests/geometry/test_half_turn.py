"""Which of B and -B it is, for every lie of the scan and either sign of the defocus."""

from __future__ import annotations

import numpy as np
import pytest
from sideband_truth import SIDE, Scan, hann, scan

from stemcal.geometry.half_turn import HalfTurn, half_turn
from stemcal.geometry.probe import Probe

GEOMETRIES = [("hexagonal", False, 17.3), ("hexagonal", True, -130.0), ("square", False, 100.0), ("square", True, 17.3)]


def amplitudes(one: Scan, sign: int) -> np.ndarray:
    """Both amplitudes at the strongest beams by least squares, with the geometry and the aberrations times ``sign``."""
    side = one.plan.scan_shape[0]
    disk, window = one.bright_field, hann(side)
    row, col = one.aperture.round_offsets(disk.det_row, disk.det_col)
    probe = the_probe(one, sign)
    here = probe.wave(row, col)
    found = []
    for f in one.frequencies:
        wave = np.exp(-2j * np.pi * np.add.outer(f[0] * np.arange(side), f[1] * np.arange(side))) * window
        mean = disk.counts.mean(axis=(1, 2))
        seen = np.tensordot(disk.counts, wave, axes=2) - mean * wave.sum()
        shift = sign * one.plan.disk_shift_matrix @ f
        plus = probe.wave(row - shift[0], col - shift[1]) * here.conj()
        minus = here * probe.wave(row + shift[0], col + shift[1]).conj()
        found.append(np.linalg.lstsq(np.stack([plus, minus], axis=1), seen, rcond=None)[0])
    return np.array(found)


def the_probe(one: Scan, sign: int) -> Probe:
    return Probe(one.plan.disk_radius_px, 0.3, {name: sign * value for name, value in one.aberrations_rad.items()})


def decide(one: Scan, sign: int, *, adf: np.ndarray | None = None, probe: Probe | None = None) -> HalfTurn:
    shift = sign * one.plan.disk_shift_matrix
    probe = probe or the_probe(one, sign)
    image = one.adf if adf is None else adf
    arguments = image, hann(len(image)), one.frequencies, amplitudes(one, sign), shift, probe
    return half_turn(*arguments, min_z=3.5, min_correlation=0.6)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("defocus", [-60.0, 60.0])
def test_sign_is_told_in_every_geometry_and_at_either_defocus(
    geometry: tuple[str, bool, float], defocus: float
) -> None:
    kind, flip, theta = geometry
    one = scan(kind, flip=flip, theta_deg=theta, defocus=defocus, side=40)
    for sign in (1, -1):
        found = decide(one, sign)
        assert found.resolved, found
        assert found.sign == sign
        assert found.skewness_sign in (0, sign)


def test_without_the_transfer_function_a_defocus_inverts_the_vote() -> None:
    """The counter-test: the images themselves correlate with the wrong sign."""
    one = scan("hexagonal", defocus=120.0, lattice_constant_angstrom=6.0)
    right = decide(one, 1)
    wrong = decide(one, 1, probe=Probe(one.plan.disk_radius_px, 0.3, {}))
    assert right.resolved
    assert right.sign == 1
    assert wrong.z is not None
    assert wrong.z < -3.5


def test_a_defocus_that_leaves_no_annular_contrast_is_refused() -> None:
    found = decide(scan("hexagonal", defocus=-100.0), 1)
    assert not found.resolved
    assert "aberrations leave" in found.reason


def test_what_cannot_be_told_is_refused_with_its_reason() -> None:
    one = scan("hexagonal", flip=False, theta_deg=17.3, defocus=60.0)
    generator = np.random.default_rng(3)
    nothing = decide(one, 1, adf=np.zeros((SIDE, SIDE)))
    noise = decide(one, 1, adf=generator.poisson(50.0, (SIDE, SIDE)).astype(float))
    assert not nothing.resolved
    assert "no counts" in nothing.reason
    assert not noise.resolved
    assert noise.sign == 1
    assert "noisy" in noise.reason
    other = 50 + 10 * np.cos(2 * np.pi * np.add.outer(*one.frequencies[0, :, None] * np.arange(SIDE)))
    strange = decide(one, 1, adf=other)
    assert not strange.resolved
    assert "different" in strange.reason
