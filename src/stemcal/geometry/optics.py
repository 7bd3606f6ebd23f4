"""What is known of the lens and the scan before anything is measured, and what follows for a disk of some radius."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.optics.wavelength import wavelength_angstrom
from stemcal.records.geometry import ScaleSource

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Optics:
    """High tension, convergence semi-angle and commanded step; None where nobody says them."""

    voltage_kv: float | None
    semi_angle_mrad: float | None
    step_angstrom: float | None

    @property
    def wavelength_angstrom(self) -> float | None:
        """Wavelength of the beam."""
        return None if self.voltage_kv is None else wavelength_angstrom(self.voltage_kv)

    def mrad_per_px(self, radius_px: float) -> float | None:
        """Return the angle of a pixel of a camera that draws the aperture with this radius."""
        return None if self.semi_angle_mrad is None else self.semi_angle_mrad / radius_px

    def unit_px(self, radius_px: float) -> float | None:
        """Return by how many pixels a frequency of one cycle per step moves its disks, by all that is commanded."""
        mrad_per_px, wavelength = self.mrad_per_px(radius_px), self.wavelength_angstrom
        if mrad_per_px is None or wavelength is None or self.step_angstrom is None:
            return None
        return wavelength / (mrad_per_px * 1e-3) / self.step_angstrom


@dataclass(frozen=True)
class Scale:
    """What makes lengths of pixels.

    Attributes
    ----------
    factor : float
        S = factor * B^-T.
    source : str or None
        What it was taken from; None where the steps are relative to their geometric mean.
    mrad_per_px : float or None
        Angle of a pixel; None where it is unknown.
    """

    factor: float
    source: ScaleSource | None
    mrad_per_px: float | None


def scale_of(optics: Optics, radius_px: float, disk_shift_px: Array, *, measured: bool = True) -> Scale:
    """Return the scale of B: by the semi-angle where its size was measured, else by the commanded step, else none."""
    size = math.sqrt(abs(float(np.linalg.det(disk_shift_px))))
    wavelength, mrad_per_px = optics.wavelength_angstrom, optics.mrad_per_px(radius_px)
    if measured and wavelength is not None and mrad_per_px is not None:
        return Scale(wavelength / (mrad_per_px * 1e-3), "semi_angle", mrad_per_px)
    if optics.step_angstrom is not None:
        by_step = wavelength / (1e-3 * optics.step_angstrom * size) if measured and wavelength is not None else None
        return Scale(optics.step_angstrom * size, "nominal_step", mrad_per_px or by_step)
    return Scale(size, None, mrad_per_px)


def scan_with_covariance(
    disk_shift_px: Array, covariance: Array, scale: Scale, relative_radius_sigma: float
) -> tuple[Array, Array]:
    """Return S and the (4, 4) covariance of its numbers in row-major order.

    Parameters
    ----------
    disk_shift_px, covariance : ndarray
        B, (2, 2), and the (4, 4) covariance of its numbers in row-major order.
    scale : Scale
        Its scale.
    relative_radius_sigma : float
        Relative standard uncertainty of the aperture's radius, which is that of an angle of a pixel.
    """
    inverse = np.linalg.inv(disk_shift_px)
    scan = scale.factor * inverse.T
    # dS = -S dB^T B^-T, and so dS_ij = -sum_kl S_ik B^-1_jl dB_lk
    jacobian = -np.einsum("ik,jl->ijlk", scan, inverse).reshape(4, 4)
    spread = jacobian @ covariance @ jacobian.T
    if scale.source == "semi_angle":
        spread += relative_radius_sigma**2 * np.outer(scan.ravel(), scan.ravel())
    else:
        spread = _without_scale(spread, scan)
    return scan, np.asarray(spread)


def _without_scale(covariance: Array, scan: Array) -> Array:
    """Return the covariance of S for a given determinant: what a commanded scale leaves uncertain."""
    flat = scan.ravel()
    gradient = 0.5 * np.linalg.inv(scan).T.ravel()
    project = np.eye(4) - np.outer(flat, gradient)
    return np.asarray(project @ covariance @ project.T)
