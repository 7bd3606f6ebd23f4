from __future__ import annotations

import numpy as np
import pytest

from stemcal.errors import UsageError
from stemcal.optics.wavelength import projected_q, wavelength_angstrom


@pytest.mark.parametrize(
    ("voltage_kv", "angstrom"),
    [(60, 0.0486606), (80, 0.0417572), (100, 0.0370144), (200, 0.0250793), (300, 0.0196875)],
)
def test_codata_values(voltage_kv, angstrom):
    assert wavelength_angstrom(voltage_kv) == pytest.approx(angstrom, abs=6e-8)


@pytest.mark.parametrize("voltage_kv", [0.0, -200.0, float("nan")])
def test_voltage_out_of_bounds_names_value_and_bound(voltage_kv):
    with pytest.raises(UsageError, match=rf"voltage_kv is {voltage_kv}, must be above 0"):
        wavelength_angstrom(voltage_kv)


def test_flat_detector_is_the_tangent_of_twice_braggs_angle():
    wavelength = wavelength_angstrom(80)
    q = np.array([0.1, 0.5, 1.2])
    theta = np.arcsin(q * wavelength / 2)
    np.testing.assert_allclose(projected_q(q, wavelength), np.tan(2 * theta) / wavelength)
    np.testing.assert_allclose(projected_q(q, wavelength) / q - 1, 3 / 8 * (q * wavelength) ** 2, rtol=3e-3)
    np.testing.assert_array_equal(projected_q(q, None), q)
