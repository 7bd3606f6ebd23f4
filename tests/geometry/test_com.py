"""Rotation, matrix and images from the centre of mass, and images in the camera's frame."""

from __future__ import annotations

import numpy as np
import pytest
from sideband_truth import correlation, hann, scan

from stemcal.geometry.camera_frame import CameraFrame
from stemcal.geometry.com_curl import ComCurl, NoRotation, com_curl
from stemcal.geometry.half_turn import transfer_function
from stemcal.geometry.integrated_com import integrated, segment_deflection
from stemcal.geometry.j_matrix import JMatrix, NoJMatrix, j_matrix
from stemcal.geometry.probe import Probe
from stemcal.optics.scan_affine import ScanAxes, scan_matrix

SIDE = 96


def deflection(scan_s: np.ndarray, noise: float = 0.0, waves: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """A field without curl on an affine scan, (2, row, col), and the scan frequencies of its waves, (K, 2)."""
    generator = np.random.default_rng(5)
    q = generator.uniform(-0.15, 0.15, (waves, 2))
    steps = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"), axis=-1) @ scan_s.T
    phases = 2 * np.pi * (steps @ q.T + generator.random(waves))
    field = np.moveaxis(-np.sin(phases) @ q, 2, 0)
    return field + generator.normal(0, noise, field.shape), q @ scan_s


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("theta", [-75.0, 12.0, 60.0])
def test_least_curl_gives_rotation_and_flip(flip: bool, theta: float) -> None:
    field, frequencies = deflection(scan_matrix(ScanAxes(theta, theta, 1.0, 1.0, flip)), noise=0.05)
    found = com_curl(field, hann(SIDE), frequencies)
    assert isinstance(found, ComCurl)
    assert found.flip == found.transpose == flip
    assert abs(found.theta_deg - theta) < 4 * found.sigma_deg < 2


def test_sigma_of_the_rotation_covers_its_error() -> None:
    field, frequencies = deflection(scan_matrix(ScanAxes(30.0, 30.0, 1.0, 1.0, flip=False)))
    generator = np.random.default_rng(8)
    pulls = []
    for _ in range(40):
        found = com_curl(field + generator.normal(0, 0.2, field.shape), hann(SIDE), frequencies)
        assert isinstance(found, ComCurl)
        pulls.append((found.theta_deg - 30.0) / found.sigma_deg)
    assert 0.5 < np.std(pulls) < 1.5


def test_lost_positions_do_not_turn_the_rotation() -> None:
    field, frequencies = deflection(scan_matrix(ScanAxes(30.0, 30.0, 1.0, 1.0, flip=False)), noise=0.02)
    window = hann(SIDE)
    field[:, 20:24] = 50.0
    field[:, 40, 7] = np.nan
    window[20:24] = 0
    found = com_curl(field, window, frequencies)
    assert isinstance(found, ComCurl)
    assert found.theta_deg == pytest.approx(30.0, abs=0.5)


def test_noise_and_nothing_give_no_rotation() -> None:
    noise = np.random.default_rng(1).normal(size=(2, SIDE, SIDE))
    frequencies = deflection(np.eye(2))[1]
    assert isinstance(com_curl(noise, hann(SIDE), frequencies), NoRotation)
    assert isinstance(com_curl(np.full_like(noise, np.nan), hann(SIDE), frequencies), NoRotation)
    assert isinstance(com_curl(noise, hann(SIDE), frequencies[:0]), NoRotation)


@pytest.mark.parametrize("flip", [False, True])
def test_j_matrix_sees_shear_and_step_ratio_which_the_curl_does_not(flip: bool) -> None:
    truth = ScanAxes(20.0, 22.5, 1.0, 1.08, flip)
    field, frequencies = deflection(scan_matrix(truth), noise=0.05)
    found = j_matrix(field, hann(SIDE), frequencies)
    assert isinstance(found, JMatrix)
    assert found.axes.flip == flip
    assert found.axes.theta_fast_deg == pytest.approx(truth.theta_fast_deg, abs=0.5)
    assert found.axes.theta_slow_deg == pytest.approx(truth.theta_slow_deg, abs=0.5)
    assert found.axes.step_ratio == pytest.approx(truth.step_ratio, rel=0.01)
    assert abs(found.axes.step_ratio - truth.step_ratio) < 5 * found.sigma_ratio < 0.2
    np.testing.assert_allclose(found.disk_shift, np.linalg.inv(found.scan).T)


def test_j_matrix_refuses_one_direction_and_noise() -> None:
    field, frequencies = deflection(np.eye(2))
    assert isinstance(j_matrix(field, hann(SIDE), frequencies[:2]), NoJMatrix)
    line = np.outer(np.arange(1, 6), [0.03, 0.05])
    assert isinstance(j_matrix(field, hann(SIDE), line), NoJMatrix)
    noise = np.random.default_rng(1).normal(size=field.shape)
    assert isinstance(j_matrix(noise, hann(SIDE), frequencies), NoJMatrix)


def test_integrated_centre_of_mass_is_the_phase_seen_by_the_probe() -> None:
    one = scan(dose=1e5, defocus=0.0)
    shift = one.plan.disk_shift_matrix
    image = integrated(one.com, one.everywhere, shift)
    rows, cols = np.meshgrid(np.fft.fftfreq(len(image)), np.fft.fftfreq(len(image)), indexing="ij")
    shifts = np.stack([rows.ravel(), cols.ravel()], axis=1) @ shift.T
    otf = transfer_function(Probe(one.plan.disk_radius_px, 0.3, {}), shifts).reshape(image.shape)
    seen = np.fft.ifft2(np.fft.fft2(one.phase) * otf).real
    assert correlation(image, seen) > 0.97
    assert np.polyfit(seen.ravel(), image.ravel(), 1)[0] == pytest.approx(1, abs=0.1)
    assert correlation(integrated(one.com, one.everywhere, -shift), seen) < -0.97


def test_segments_see_the_deflection_too() -> None:
    one = scan(dose=1e5, defocus=0.0)
    image = integrated(segment_deflection(one.bright_field, one.aperture), one.everywhere, one.plan.disk_shift_matrix)
    assert correlation(image, one.phase) > 0.7


def test_camera_frame_undoes_the_affine_scan() -> None:
    matrix = scan_matrix(ScanAxes(25.0, 28.0, 0.4, 0.43, flip=True))

    def picture(place: np.ndarray) -> np.ndarray:
        return np.sin(0.9 * place[..., 0]) * np.cos(0.7 * place[..., 1])

    steps = np.stack(np.meshgrid(np.arange(60), np.arange(50), indexing="ij"), axis=-1)
    frame = CameraFrame.around(matrix, (60, 50))
    carried = frame.carried(picture(steps @ matrix.T))
    places = (
        np.stack(np.meshgrid(*map(np.arange, frame.shape), indexing="ij"), axis=-1) * frame.pixel_size + frame.corner
    )
    known = np.isfinite(carried)
    assert carried.shape == frame.shape
    assert known.sum() == pytest.approx(60 * 50, rel=0.06)
    assert np.abs(carried - picture(places))[known].max() < 0.04
    missing = picture(steps @ matrix.T)
    missing[30, 20] = np.nan
    assert np.isnan(frame.carried(missing)).sum() > np.isnan(carried).sum()
