"""The affine relation between scan and camera.

The probe is at R = S n, where n = (scan_row, scan_col) counts steps and R is in angstrom along the camera's (row, col);
the columns of S are the steps of the two scan axes. A scan frequency f (cycles per step, row and col) is the spatial
frequency Q = S^-T f, and its diffracted disks are displaced on the camera by ::

    d = B f     [detector px],     B = (wavelength / mrad_per_px) * 1000 * S^-T

Interference between the direct and the diffracted beams determines B, all but its sign: with (B, chi, phase) fits
(-B, -chi, -phase) as well, which is the half turn.

In terms of angles, the fast axis (scan_col) points along ``theta_fast`` in the camera. Without a flip the slow axis
(scan_row) would, on a perfect scan, be at ``theta_fast`` + 90 deg; ``theta_slow`` is its direction less these 90 deg.
With a flip (det S < 0) the slow axis is inverted before that. ``step_ratio`` is slow over fast.

Source: Ning et al., Microsc. Microanal. 28 (2022) 622 for the relation; the matrix form is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stemcal.errors import UsageError


@dataclass(frozen=True)
class ScanAxes:
    """The steps of a scan as seen by the camera.

    Attributes
    ----------
    theta_fast_deg, theta_slow_deg : float
        Directions as in this module, in (-180, 180].
    step_fast, step_slow : float
        Lengths of the steps, in the unit of the matrix they came from (angstrom).
    flip : bool
        Whether the camera's row axis is inverted relative to the scan's.
    """

    theta_fast_deg: float
    theta_slow_deg: float
    step_fast: float
    step_slow: float
    flip: bool

    @property
    def step_ratio(self) -> float:
        """Slow step over fast step."""
        return self.step_slow / self.step_fast


def scan_matrix(axes: ScanAxes) -> NDArray[np.float64]:
    """Return S, (2, 2): its columns are the slow (scan_row) and the fast (scan_col) step, each (row, col)."""
    fast, slow = math.radians(axes.theta_fast_deg), math.radians(axes.theta_slow_deg)
    sign = -1.0 if axes.flip else 1.0
    slow_step = sign * axes.step_slow * np.array([math.cos(slow), -math.sin(slow)])
    fast_step = axes.step_fast * np.array([math.sin(fast), math.cos(fast)])
    return np.stack([slow_step, fast_step], axis=1)


def scan_axes(matrix: ArrayLike) -> ScanAxes:
    """Return angles, steps and flip of S: the inverse of `scan_matrix`.

    Raises
    ------
    UsageError
        If the matrix is singular: both axes then point the same way.
    """
    s = np.asarray(matrix, dtype=np.float64)
    determinant = float(np.linalg.det(s))
    if not np.isfinite(determinant) or determinant == 0:
        raise UsageError(f"scan matrix {s.tolist()} is singular; its columns must be two independent steps")
    flip = determinant < 0
    slow, fast = (-s[:, 0] if flip else s[:, 0]), s[:, 1]
    return ScanAxes(
        theta_fast_deg=math.degrees(math.atan2(fast[0], fast[1])),
        theta_slow_deg=math.degrees(math.atan2(-slow[1], slow[0])),
        step_fast=float(np.hypot(*fast)),
        step_slow=float(np.hypot(*slow)),
        flip=flip,
    )


def disk_shift_matrix(scan: ArrayLike, wavelength_angstrom: float, mrad_per_px: float) -> NDArray[np.float64]:
    """Return B, (2, 2), detector px per cycle per step, of the scan matrix S in angstrom per step."""
    inverse = np.linalg.inv(np.asarray(scan, dtype=np.float64))
    return np.asarray(wavelength_angstrom / (mrad_per_px * 1e-3) * inverse.T)


def scan_of_disk_shift(disk_shift: ArrayLike, wavelength_angstrom: float, mrad_per_px: float) -> NDArray[np.float64]:
    """Return S in angstrom per step of the disk shift matrix B; it is the same map as its inverse."""
    return disk_shift_matrix(disk_shift, wavelength_angstrom, mrad_per_px)


def frequency_step_px(wavelength_angstrom: float, field_of_view_angstrom: float, mrad_per_px: float) -> float:
    """Return by how many pixels a disk moves per frequency bin: wavelength / field of view / angle of a pixel."""
    return wavelength_angstrom / field_of_view_angstrom / (mrad_per_px * 1e-3)
