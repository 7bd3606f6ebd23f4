"""The symmetry of the lattice as further knowledge: a square or a hexagonal one fixes two of B's four numbers.

B takes the scan lattice to the camera's. Where that is known to be square or hexagonal, B is a rotation and a scale
times a fixed matrix, which is linear in its two numbers, so that the best such B follows from the free one and its
covariance. The chi-square of the two conditions tells whether the lattice is one: others are not forced.

Source: generalised least squares (Aitken 1935); its use here is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry.resampling import Resampled, group_covariance

Fold = Literal[4, 6]
FOLDS: tuple[Fold, ...] = (4, 6)
CONDITIONS = 2


@dataclass(frozen=True)
class SymmetryFit:
    """The geometry under the assumption that the lattice is symmetric.

    Attributes
    ----------
    fold : int
        4 (square) or 6 (hexagonal).
    b : ndarray of float64
        (2, 2) B in px per cycle per step.
    covariance_b : ndarray of float64
        (4, 4) of B in row-major order.
    chi_square : float
        Of the two conditions, per condition.
    """

    fold: Fold
    b: NDArray[np.float64]
    covariance_b: NDArray[np.float64]
    chi_square: float


def symmetric_geometry(
    b: NDArray[np.float64],
    covariance: NDArray[np.float64],
    lattice: NDArray[np.float64],
    resampled: Resampled,
    tile_lattices: NDArray[np.float64],
    systematic: NDArray[np.float64],
    max_chi_square: float,
) -> SymmetryFit | None:
    """Return the symmetric geometry that agrees best with the free one, or None where none does.

    Its uncertainty, unlike that of the free one, is also that of the scan lattice, and comes from leaving out tiles.

    Parameters
    ----------
    b : ndarray
        (2, 2) free fit, px per cycle per step.
    covariance : ndarray
        (4, 4) of it.
    lattice : ndarray
        (2, 2) rows are the reduced basis of the scan lattice in cycles per step.
    resampled : Resampled
        The free fit without each tile, B first.
    tile_lattices : ndarray
        (n, 2, 2) the lattice without each of these tiles.
    systematic : ndarray
        (4, 4) part of the covariance that all tiles share.
    max_chi_square : float
        Largest chi-square per condition that is an agreement.
    """
    best = min((project(b, covariance, lattice, fold) for fold in FOLDS), key=lambda fit: fit.chi_square)
    if best.chi_square > max_chi_square:
        return None
    moved = [
        project(b + shift[:4].reshape(2, 2), covariance, tile, best.fold).b.ravel() - best.b.ravel()
        for shift, tile in zip(resampled.shifts, tile_lattices, strict=True)
    ]
    onto = _projector(best.b, covariance, lattice, best.fold)
    shared = onto @ systematic @ onto.T
    return replace(best, covariance_b=group_covariance(np.array(moved), resampled.parts) + shared)


def project(
    b: NDArray[np.float64], covariance: NDArray[np.float64], lattice: NDArray[np.float64], fold: Fold
) -> SymmetryFit:
    """Return the nearest B, by the covariance, that makes the lattice square (4) or hexagonal (6)."""
    onto = _projector(b, covariance, lattice, fold)
    symmetric = onto @ b.ravel()
    left = b.ravel() - symmetric
    return SymmetryFit(
        fold=fold,
        b=symmetric.reshape(2, 2),
        covariance_b=onto @ covariance @ onto.T,
        chi_square=float(left @ np.linalg.solve(covariance, left)) / CONDITIONS,
    )


def _projector(
    b: NDArray[np.float64], covariance: NDArray[np.float64], lattice: NDArray[np.float64], fold: Fold
) -> NDArray[np.float64]:
    """Return the matrix (4, 4) that takes a B to the nearest symmetric one, of the handedness of this one."""
    shape = _reference(b @ lattice.T, fold) @ np.linalg.inv(lattice.T)
    turned = np.array([[0.0, 1.0], [-1.0, 0.0]]) @ shape
    design = np.stack([shape.ravel(), turned.ravel()], axis=1)
    weighted = design.T @ np.linalg.inv(covariance)
    return np.asarray(design @ np.linalg.solve(weighted @ design, weighted))


def _reference(on_camera: NDArray[np.float64], fold: Fold) -> NDArray[np.float64]:
    """Return the ideal lattice (2, 2), columns its basis, of the handedness and the obtuseness of the measured one."""
    handed = np.sign(np.linalg.det(on_camera))
    if fold == 4:
        return np.diag([1.0, float(handed)])
    cosine = 0.5 * float(np.sign(on_camera[:, 0] @ on_camera[:, 1]))
    return np.array([[1.0, cosine], [0.0, float(handed) * np.sqrt(0.75)]])
