from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.linalg import expm

from stemcal.errors import UsageError
from stemcal.optics.ellipse import (
    correction_matrix,
    ratio_and_angle,
    strain_from_correction,
    strain_from_ratio,
    strain_matrix,
    to_py4dstem,
)

RATIOS_AND_ANGLES = [(1.025, 0.0), (1.07, 30.0), (1.1, 45.0), (1.3, 90.0), (1.05, 135.0), (1.02, 179.9)]


def test_is_the_matrix_exponential_that_the_convention_states():
    e1, e2 = 0.031, -0.022
    np.testing.assert_allclose(strain_matrix(e1, e2), expm(np.array([[-e1, e2], [e2, e1]])), atol=1e-15)
    np.testing.assert_array_equal(strain_matrix(0.0, 0.0), np.eye(2))


@pytest.mark.parametrize(("ratio", "angle_deg"), RATIOS_AND_ANGLES)
def test_major_axis_is_drawn_where_the_angle_says(ratio, angle_deg):
    matrix = strain_matrix(*strain_from_ratio(ratio, math.radians(angle_deg)))
    assert np.linalg.det(matrix) == pytest.approx(1)
    turn = np.linspace(0, np.pi, 36001)
    drawn = matrix @ np.stack([np.sin(turn), np.cos(turn)])
    length = np.hypot(*drawn)
    far = drawn[:, length.argmax()]
    # (row, col) = (sin, cos): from +col toward +row
    found = math.degrees(math.atan2(far[0], far[1])) % 180
    assert (found - angle_deg + 90) % 180 - 90 == pytest.approx(0, abs=0.02)
    assert length.max() / length.min() == pytest.approx(ratio, rel=1e-6)
    assert length.max() * length.min() == pytest.approx(1)


def test_the_other_axis_order_would_be_another_ellipse():
    matrix = strain_matrix(*strain_from_ratio(1.1, math.radians(30)))
    swapped = matrix[::-1, ::-1]
    assert not np.allclose(matrix, swapped, atol=0.01)


@pytest.mark.parametrize(("ratio", "angle_deg"), RATIOS_AND_ANGLES)
def test_round_trips(ratio, angle_deg):
    e1, e2 = strain_from_ratio(ratio, math.radians(angle_deg))
    found_ratio, found_angle = ratio_and_angle(e1, e2)
    assert found_ratio == pytest.approx(ratio)
    assert math.degrees(found_angle) == pytest.approx(angle_deg)
    assert strain_from_correction(correction_matrix(e1, e2)) == pytest.approx((e1, e2), abs=1e-12)
    np.testing.assert_allclose(correction_matrix(e1, e2) @ strain_matrix(e1, e2), np.eye(2), atol=1e-12)


def test_round_camera_has_no_singularity():
    assert ratio_and_angle(0.0, 0.0) == (1.0, 0.0)
    assert strain_from_correction(np.eye(2)) == (0.0, 0.0)
    assert ratio_and_angle(0.01, -1e-30)[1] < math.pi


def test_misuse_names_value_and_remedy():
    with pytest.raises(UsageError, match=r"ratio is 0\.9, must be at least 1"):
        strain_from_ratio(0.9, 0.0)
    with pytest.raises(UsageError, match=r"determinant 1\.0400"):
        strain_from_correction([[1.04, 0.0], [0.0, 1.0]])


def test_py4dstem_reads_the_same_ellipse():
    """With py4DSTEM's own formula (polar_datacube.py): x = row, radius of every point on the ring is b."""
    e1, e2 = strain_from_ratio(1.08, math.radians(25))
    x0, y0, a, b, theta = to_py4dstem((120.0, 130.0), e1, e2, 60.0)
    turn = np.linspace(0, 2 * np.pi, 50)
    x, y = strain_matrix(e1, e2) @ (60.0 * np.stack([np.sin(turn), np.cos(turn)]))
    along = x * np.cos(theta) + y * np.sin(theta)
    across = (y * np.cos(theta) - x * np.sin(theta)) * (a / b)
    np.testing.assert_allclose(b / a * np.hypot(along, across), b)
    assert (x0, y0) == (120.0, 130.0)
    assert math.sqrt(a * b) == pytest.approx(60.0)
    assert 0 <= theta < math.pi
