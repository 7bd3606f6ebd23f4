"""The scan's matrix up to scale from the centre of mass alone.

The deflection F is the gradient of a potential in the camera's frame, so that its derivative along the scan is
J = dF/dn = H S with a symmetric H. J S^-1 is then symmetric everywhere: a homogeneous linear least-squares problem for
the four numbers of S^-1. At a frequency f it says that F(f) points along B f, and the frequencies of the peaks have all
the signal and little of the noise.

Source: reference 000 names the method (Ning et al., Microsc. Microanal. 28 (2022) 622); this derivation is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry.jackknife import jackknife_sigma, tile_waves
from stemcal.optics.scan_affine import ScanAxes, scan_axes

_LARGEST_RATIO = 0.5
"""Residual over the next singular value above which the solution is one of several."""


@dataclass(frozen=True)
class JMatrix:
    """B and S up to scale, from the centre of mass.

    Attributes
    ----------
    disk_shift : ndarray of float64
        (2, 2) B / sqrt(abs(det B)); its sign is open and chosen so that the fast axis points along +col.
    scan : ndarray of float64
        (2, 2) S of the determinant +-1.
    axes : ScanAxes
        The same as angles and ratio.
    sigma_fast_deg, sigma_slow_deg, sigma_ratio : float
        Standard uncertainties by leaving out tiles of the scan.
    residual : float
        Smallest singular value over the next, 0 for a field without noise and curl.
    """

    disk_shift: NDArray[np.float64]
    scan: NDArray[np.float64]
    axes: ScanAxes
    sigma_fast_deg: float
    sigma_slow_deg: float
    sigma_ratio: float
    residual: float


@dataclass(frozen=True)
class NoJMatrix:
    """The centre of mass does not determine the matrix, and why."""

    reason: str


def j_matrix(
    com_px: NDArray[np.float64],
    window: NDArray[np.float64],
    frequencies: NDArray[np.float64],
    tiles_per_side: int = 4,
) -> JMatrix | NoJMatrix:
    """Solve for B up to scale and sign.

    Parameters
    ----------
    com_px : ndarray of float64
        (2, scan_row, scan_col) centre of mass (row, col) on the detector; NaN where there are no counts.
    window : ndarray of float64
        (scan_row, scan_col) window of the spectrum; 0 = not usable.
    frequencies : ndarray of float64
        (K, 2) frequencies of the peaks, cycles per step.
    tiles_per_side : int
        The scan is cut into the square of this many tiles.
    """
    if len(frequencies) < 3:
        return NoJMatrix(f"{len(frequencies)} peaks of the spectrum; three are the least that determine a matrix")
    waves = tile_waves(com_px, window, frequencies, tiles_per_side)
    whole = _solve(waves.sum(axis=0), frequencies)
    if whole is None:
        return NoJMatrix("the peaks lie along one direction, or the centre of mass shows nothing at them")
    scan, residual = whole
    if residual > _LARGEST_RATIO:
        return NoJMatrix(f"the centre of mass fits no matrix: residual {residual:.2f} of the next solution's")
    axes = scan_axes(scan)
    changes = []
    for wave in waves:
        part = _solve(waves.sum(axis=0) - wave, frequencies)
        if part is None:
            return NoJMatrix("the centre of mass of a part of the scan determines no matrix")
        changes.append(_change(axes, scan_axes(part[0])))
    sigma = jackknife_sigma(np.array(changes))
    return JMatrix(np.linalg.inv(scan).T, scan, axes, float(sigma[0]), float(sigma[1]), float(sigma[2]), residual)


def _solve(waves: NDArray[np.complex128], frequencies: NDArray[np.float64]) -> tuple[NDArray[np.float64], float] | None:
    """Return S of determinant +-1 and the residual, or None where it is singular."""
    row, col = waves
    direction = frequencies / np.hypot(*frequencies.T)[:, None]
    equations = np.concatenate([-col[:, None] * direction, row[:, None] * direction], axis=1)
    _, sizes, solutions = np.linalg.svd(np.concatenate([equations.real, equations.imag]), full_matrices=False)
    disk_shift = solutions[-1].reshape(2, 2)
    determinant = float(np.linalg.det(disk_shift))
    # two of four equal singular values are 0 where all peaks lie on one line
    if not sizes[2] > 1e-6 * sizes[0] or abs(determinant) < 1e-4:
        return None
    disk_shift = disk_shift / math.sqrt(abs(determinant))
    scan = np.linalg.inv(disk_shift).T
    if scan[1, 1] < 0:
        scan = -scan
    return scan, float(sizes[3] / sizes[2])


def _change(axes: ScanAxes, other: ScanAxes) -> tuple[float, float, float]:
    """Return by how much angles (deg, up to the half turn) and step ratio differ."""
    fast = (other.theta_fast_deg - axes.theta_fast_deg + 90) % 180 - 90
    slow = (other.theta_slow_deg - axes.theta_slow_deg + 90) % 180 - 90
    return fast, slow, other.step_ratio - axes.step_ratio
