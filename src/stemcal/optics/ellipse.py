"""Elliptical distortion: strain, matrix, ratio and angle, and py4DSTEM's way of saying it.

The convention is in ``stemcal.optics.conventions``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stemcal.errors import UsageError


def strain_matrix(e1: float, e2: float) -> NDArray[np.float64]:
    """Return the matrix that takes a round (row, col) offset to the distorted one.

    M = expm([[-e1, e2], [e2, e1]]) in closed form: cosh(e) 1 + sinh(e)/e [[-e1, e2], [e2, e1]].

    Parameters
    ----------
    e1, e2 : float
        Symmetric traceless strain (dimensionless).

    Returns
    -------
    numpy.ndarray
        (2, 2), symmetric, determinant 1.
    """
    e = math.hypot(e1, e2)
    # sinh(e)/e loses no digits for any e > 0, but is 0/0 at 0
    slope = math.sinh(e) / e if e > 0 else 1.0
    return math.cosh(e) * np.eye(2) + slope * np.array([[-e1, e2], [e2, e1]])


def correction_matrix(e1: float, e2: float) -> NDArray[np.float64]:
    """Return the matrix that takes a distorted (row, col) offset to the round one: the inverse of the strain matrix."""
    return strain_matrix(-e1, -e2)


def strain_from_ratio(ratio: float, angle_rad: float) -> tuple[float, float]:
    """Return the strain (e1, e2) of an ellipse of axis ``ratio`` >= 1 whose major axis is at ``angle_rad``.

    Raises
    ------
    UsageError
        If the ratio is below 1.
    """
    if not ratio >= 1:
        raise UsageError(
            f"ellipse ratio is {ratio}, must be at least 1; give major / minor and turn the angle by 90 deg"
        )
    e = 0.5 * math.log(ratio)
    return e * math.cos(2 * angle_rad), e * math.sin(2 * angle_rad)


def ratio_and_angle(e1: float, e2: float) -> tuple[float, float]:
    """Return (ratio >= 1, angle of the major axis in rad, in [0, pi)) of a strain."""
    ratio = math.exp(2 * math.hypot(e1, e2))
    angle = 0.5 * math.atan2(e2, e1) % math.pi
    # the modulo of a tiny negative number rounds to pi itself
    return ratio, angle if angle < math.pi else 0.0


def strain_from_correction(matrix: ArrayLike) -> tuple[float, float]:
    """Return the strain (e1, e2) whose correction matrix is ``matrix``: the inverse of :func:`correction_matrix`.

    Parameters
    ----------
    matrix : array_like
        (2, 2) symmetric matrix of determinant 1, distorted to round, as files hold it.

    Raises
    ------
    UsageError
        If the matrix is not symmetric, or its determinant is not 1 within 1e-6.
    """
    m = np.asarray(matrix, dtype=np.float64)
    determinant = float(np.linalg.det(m))
    if abs(m[0, 1] - m[1, 0]) > 1e-6 or abs(determinant - 1) > 1e-6:
        raise UsageError(
            f"ellipse matrix {m.tolist()} has determinant {determinant:.6f}, must be symmetric with determinant 1 "
            "within 1e-6; take it from a gold record"
        )
    cosh = 0.5 * float(m[0, 0] + m[1, 1])
    e = math.acosh(max(1.0, cosh))
    slope = math.sinh(e) / e if e > 0 else 1.0
    return float(m[0, 0] - m[1, 1]) / (2 * slope), -float(m[0, 1]) / slope


def to_py4dstem(
    centre: tuple[float, float], e1: float, e2: float, radius_px: float
) -> tuple[float, float, float, float, float]:
    """Return py4DSTEM's ``p_ellipse`` (x0, y0, a, b, theta) of a ring of round radius ``radius_px``.

    Parameters
    ----------
    centre : tuple of float
        (row, col) in px; py4DSTEM's x is the row.
    e1, e2 : float
        Strain.
    radius_px : float
        Area-preserving radius of the ring, sqrt(a b).

    Returns
    -------
    tuple of float
        x0, y0, semi-major a and semi-minor b in px, theta in rad from +row toward +col, in [0, pi).
    """
    ratio, angle = ratio_and_angle(e1, e2)
    root = math.sqrt(ratio)
    return centre[0], centre[1], radius_px * root, radius_px / root, (math.pi / 2 - angle) % math.pi
