"""The direction of the disks from the achromatic lines in the slices of a thick crystal.

Electrons of slightly different energy have a different focus, which washes out the interference of two beams but on the
line where they have the same phase whatever the focus. The beams k and k - G have it where their lengths are equal, and
so have all pairs that differ by G, on lines that are parallel: |slice|^2 is drawn out perpendicular to the shift of
the disk. Other aberrations do not turn the lines. The long axis of each slice is that of its second moments.

A disk that is shifted far leaves two lenses beside each other, and these are long along the shift; only slices whose
disks are shifted by a small part of their radius are used.

Source: Ning et al., Microsc. Microanal. 28 (2022) 622 (achromatic line fit); the joint fit of all slices is ours.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry.metric import FloatArray, ZoneMetric
from stemcal.geometry.slices import Slices

INSIDE = 0.95
FEWEST_SLICES = 4
SHIFTS = (0.02, 0.6)
"""Shift of the disk of a slice that is used, in radii."""
SMALLEST_SIGNAL = 5.0
"""Energy of a slice in standard deviations of that of the noise."""
SMALLEST_CONCENTRATION = 0.6
SMALLEST_MARGIN = 0.25


@dataclass(frozen=True)
class LineFit:
    """What the lines say of the geometry.

    Attributes
    ----------
    angle_rad : float
        Direction of the disk of the lattice's first vector, modulo pi.
    sigma_rad : float
        Standard uncertainty: slices left out in turn.
    flip : bool
        Handedness.
    concentration, other_concentration : float
        How well the slices agree with each other (1 = all the same direction) with this flip and with the other one.
    n_slices : int
        Slices used.
    """

    angle_rad: float
    sigma_rad: float
    flip: bool
    concentration: float
    other_concentration: float
    n_slices: int


@dataclass(frozen=True)
class NoLine:
    """The lines cannot be measured, and why."""

    reason: str


def fit_lines(slices: Slices, metric: ZoneMetric, unit_radii: float) -> LineFit | NoLine:
    """Return the geometry that makes every line perpendicular to the shift of its disk.

    Parameters
    ----------
    slices : Slices
        Slices at the peaks.
    metric : ZoneMetric
        Symmetry of the lattice that the peaks belong to.
    unit_radii : float
        Shift of a disk per cycle per step that the nominal step gives, in radii of the aperture.
    """
    shift = np.hypot(*(slices.frequencies @ metric.disk_shift(0.0, flip=False, unit_px=unit_radii).T).T)
    moments, frequencies = _moments(slices, (shift > SHIFTS[0]) & (shift < SHIFTS[1]))
    if len(moments) < FEWEST_SLICES:
        return NoLine(
            f"{len(moments)} slices above the noise have disks shifted by {SHIFTS[0]} to {SHIFTS[1]} radii, "
            f"{FEWEST_SLICES} are needed for the achromatic line"
        )
    turned = {flip: -moments * np.exp(-2j * metric.directions(frequencies, flip)) for flip in (False, True)}
    weight = float(np.abs(moments).sum())
    agreement = {flip: abs(complex(turned[flip].sum())) / weight for flip in turned}
    flip = max(agreement, key=lambda choice: agreement[choice])
    total = complex(turned[flip].sum())
    angle = cmath.phase(total) / 2
    if agreement[flip] < SMALLEST_CONCENTRATION or agreement[flip] - agreement[not flip] < SMALLEST_MARGIN:
        return NoLine(
            f"the long axes of {len(moments)} slices agree by {agreement[flip]:.2f} with one handedness and by "
            f"{agreement[not flip]:.2f} with the other; "
            f"{SMALLEST_CONCENTRATION} and a margin of {SMALLEST_MARGIN} are needed"
        )
    without = np.angle((total - turned[flip]) / total) / 2
    n = len(moments)
    sigma = math.sqrt((n - 1) / n * float(np.sum((without - without.mean()) ** 2)))
    return LineFit(angle % math.pi, sigma, flip, agreement[flip], agreement[not flip], n)


def _moments(slices: Slices, near: NDArray[np.bool_]) -> tuple[NDArray[np.complex128], FloatArray]:
    """Return the second moments of those slices that are above the noise, relative to their energy, and frequencies."""
    radius = np.hypot(slices.row_px, slices.col_px) / slices.radius_px
    inside = slices.usable & (radius < INSIDE)
    values = slices.values.sum(axis=0)[:, inside]
    variance = slices.variance.sum(axis=0)[inside]
    energy = np.abs(values) ** 2 - variance
    total = energy.sum(axis=1)
    seen = near & (total > SMALLEST_SIGNAL * math.sqrt(float(np.sum(variance**2))))
    square = (slices.col_px[inside] + 1j * slices.row_px[inside]) ** 2 / slices.radius_px**2
    moments = energy[seen] @ square / total[seen]
    return np.asarray(moments), slices.frequencies[seen]
