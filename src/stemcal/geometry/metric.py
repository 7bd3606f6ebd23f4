"""The symmetry of a zone axis in the scan's lattice: what is left of the disk shift matrix is one angle and the flip.

If the crystal has a four- or six-fold axis along the beam, B takes the lattice of scan frequencies, however sheared by
the scan, to a square or hexagonal one. That leaves the direction of one lattice vector, the handedness and the scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

LARGEST_STRETCH = 0.12
"""Difference of the lengths of the lattice vectors, relative to their mean, that a scan can make."""
LARGEST_SHEAR_DEG = 6.0


@dataclass(frozen=True)
class ZoneMetric:
    """A lattice of the scan spectrum that belongs to a four- or six-fold axis.

    Attributes
    ----------
    fold : int
        4 or 6.
    basis : ndarray of float64
        (2, 2) rows are vectors in cycles per step (row, col); the crystal's are 360 deg / fold apart and equally long,
        and the angle from the first to the second, from +col toward +row, is positive in the scan too.
    """

    fold: int
    basis: FloatArray

    def disk_shift(self, angle_rad: float, flip: bool, unit_px: float) -> FloatArray:
        """Return B, (2, 2) in px per cycle per step, with the disk of the first vector in the direction ``angle_rad``.

        Its scale is that of |det B| = ``unit_px``^2.
        """
        step = (-1 if flip else 1) * 2 * math.pi / self.fold
        directions = np.array([[math.sin(angle), math.cos(angle)] for angle in (angle_rad, angle_rad + step)]).T
        matrix = directions @ np.linalg.inv(self.basis.T)
        return np.asarray(matrix * (unit_px / math.sqrt(abs(float(np.linalg.det(matrix))))))

    def directions(self, frequencies: FloatArray, flip: bool) -> FloatArray:
        """Return the directions in rad of the disks at ``frequencies`` (K, 2) when that of the first vector is 0."""
        shift = frequencies @ self.disk_shift(0.0, flip, 1.0).T
        return np.asarray(np.arctan2(shift[:, 0], shift[:, 1]))


@dataclass(frozen=True)
class NoMetric:
    """The lattice is neither square nor hexagonal, and why."""

    reason: str


def zone_metric(vectors: FloatArray) -> ZoneMetric | NoMetric:
    """Return which symmetry a lattice of scan frequencies can have.

    Parameters
    ----------
    vectors : ndarray
        (2, 2) reduced basis in cycles per step, one vector in a row.
    """
    first, second = np.asarray(vectors, dtype=np.float64)
    if np.linalg.det(np.stack([first, second])) > 0:
        second = -second
    angle = _angle_deg(first, second)
    if angle > 105:
        second = first + second
        angle = _angle_deg(first, second)
    lengths = np.hypot(*first), np.hypot(*second)
    stretch = 2 * abs(lengths[0] - lengths[1]) / sum(lengths)
    if stretch <= LARGEST_STRETCH and abs(angle - 90) <= LARGEST_SHEAR_DEG:
        return ZoneMetric(4, np.stack([first, second]))
    if stretch <= LARGEST_STRETCH and abs(angle - 60) <= LARGEST_SHEAR_DEG:
        return ZoneMetric(6, np.stack([first, second]))
    return NoMetric(
        f"the scan's lattice vectors are {angle:.1f} deg apart and {max(lengths) / min(lengths):.3f} times as long: "
        "no four- or six-fold axis, so a thick crystal's symmetry does not give the geometry; pooled geometry can serve"
    )


def _angle_deg(first: FloatArray, second: FloatArray) -> float:
    cosine = float(first @ second) / float(np.hypot(*first) * np.hypot(*second))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
