"""The scale of a measured B, and the uncertainty of S that follows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stemcal.geometry.optics import Optics, Scale, scale_of, scan_with_covariance
from stemcal.optics.scan_affine import ScanAxes, disk_shift_matrix, scan_axes, scan_matrix

AXES = ScanAxes(30.0, 31.0, 0.4, 0.42, flip=True)
RADIUS_PX = 15.0
KNOWN = Optics(80.0, 25.0, 0.41)
B = disk_shift_matrix(scan_matrix(AXES), KNOWN.wavelength_angstrom or 0.0, 25.0 / RADIUS_PX)


@pytest.mark.parametrize(
    ("optics", "source", "fast_step"),
    [
        (KNOWN, "semi_angle", 0.4),
        (Optics(80.0, None, 0.41), "nominal_step", 0.41 / math.sqrt(1.05)),
        (Optics(None, 25.0, 0.41), "nominal_step", 0.41 / math.sqrt(1.05)),
        (Optics(80.0, None, None), None, 1 / math.sqrt(1.05)),
    ],
)
def test_lengths_come_from_the_best_that_is_known(optics: Optics, source: str | None, fast_step: float) -> None:
    scale = scale_of(optics, RADIUS_PX, B)
    assert scale.source == source
    scan, _ = scan_with_covariance(B, np.zeros((4, 4)), scale, 0.0)
    axes = scan_axes(scan)
    assert (axes.flip, axes.theta_fast_deg, axes.theta_slow_deg) == pytest.approx((True, 30.0, 31.0))
    assert axes.step_ratio == pytest.approx(1.05)
    assert axes.step_fast == pytest.approx(fast_step, rel=2e-4)


@pytest.mark.parametrize("optics", [KNOWN, Optics(80.0, None, 0.41)])
def test_the_covariance_is_that_of_many_draws(optics: Optics) -> None:
    rng = np.random.default_rng(2)
    covariance = np.diag([1.0, 2.0, 3.0, 1.0]) * 1e-3

    def scan_of(b: np.ndarray) -> np.ndarray:
        return scan_with_covariance(b, covariance, scale_of(optics, RADIUS_PX, b), 0.0)[0]

    drawn = [scan_of(B + rng.multivariate_normal(np.zeros(4), covariance).reshape(2, 2)).ravel() for _ in range(2000)]
    _, stated = scan_with_covariance(B, covariance, scale_of(optics, RADIUS_PX, B), 0.0)
    np.testing.assert_allclose(np.cov(np.array(drawn).T), stated, atol=0.1 * np.abs(stated).max())


def test_the_radius_makes_the_scale_uncertain_and_no_angle() -> None:
    scan, covariance = scan_with_covariance(B, np.zeros((4, 4)), Scale(1.0, "semi_angle", 1.7), 0.01)
    np.testing.assert_allclose(covariance, 1e-4 * np.outer(scan.ravel(), scan.ravel()))
    _, commanded = scan_with_covariance(B, np.zeros((4, 4)), Scale(1.0, "nominal_step", 1.7), 0.01)
    assert not commanded.any()
