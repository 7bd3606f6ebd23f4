import numpy as np
import pytest

from stemcal.errors import UsageError
from stemcal.optics.scan_affine import (
    ScanAxes,
    disk_shift_matrix,
    frequency_step_px,
    scan_axes,
    scan_matrix,
    scan_of_disk_shift,
)
from stemcal.optics.wavelength import wavelength_angstrom


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("fast", [-170.0, -17.3, 0.0, 91.0])
def test_angles_and_steps_come_back(flip, fast):
    axes = ScanAxes(fast, fast + 1.4, 0.35, 0.33, flip)
    found = scan_axes(scan_matrix(axes))
    assert (found.theta_fast_deg, found.theta_slow_deg) == pytest.approx((fast, fast + 1.4))
    assert (found.step_fast, found.step_slow, found.flip) == (pytest.approx(0.35), pytest.approx(0.33), flip)
    assert found.step_ratio == pytest.approx(0.33 / 0.35)


def test_an_upright_scan_has_the_camera_axes():
    np.testing.assert_allclose(scan_matrix(ScanAxes(0, 0, 2.0, 3.0, False)), [[3, 0], [0, 2]])


def test_a_disk_moves_by_the_angle_of_its_spatial_frequency():
    scan = scan_matrix(ScanAxes(20.0, 21.0, 0.35, 0.36, True))
    frequency = np.array([0.11, -0.07])
    spatial = np.linalg.inv(scan).T @ frequency
    shift = disk_shift_matrix(scan, 0.04, 1.6) @ frequency
    np.testing.assert_allclose(shift * 1.6e-3, 0.04 * spatial)
    np.testing.assert_allclose(scan_of_disk_shift(disk_shift_matrix(scan, 0.04, 1.6), 0.04, 1.6), scan)


def test_bin_of_the_published_example():
    # Ning's manual: 60 kV, a field of view of 108 angstrom and 1.51894 mrad per pixel give 0.2966283678558262
    assert frequency_step_px(wavelength_angstrom(60.0), 108.0, 1.51894) == pytest.approx(0.2966283678558262, rel=2e-6)


def test_parallel_steps_are_refused():
    with pytest.raises(UsageError, match="singular"):
        scan_axes([[1.0, 2.0], [0.5, 1.0]])
