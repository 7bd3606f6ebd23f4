"""Rotation of the scan from the centre of mass: a deflection by a potential has no curl.

For an angle theta and both flips the curl of the deflection in the frame of the scan is sin(theta) D + cos(theta) C,
with D and C from the derivatives of its components along the scan; the sum of its squares has a closed minimum. The
derivatives are taken at the frequencies of the peaks, where they are exact: differences between positions would be too
small for short waves, and turn the result by a degree. It is a rotation: what the step ratio or a shear do to the scan,
this cannot see, and it moves with them.

Source: Savitzky et al., Microsc. Microanal. 27 (2021) 712, search the same minimum on a grid of angles; the closed
form at the peaks is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry.jackknife import jackknife_sigma, tile_waves

_LARGEST_RATIO = 0.9
"""Curl over divergence above which no angle is better than another."""
_LARGEST_SIGMA_DEG = 15.0


@dataclass(frozen=True)
class ComCurl:
    """Rotation at which the centre of mass has the least curl.

    Attributes
    ----------
    theta_deg : float
        Direction of the fast scan axis in the camera as in ``stemcal.optics.scan_affine``, in (-90, 90]: the half turn
        is open.
    sigma_deg : float
        Standard uncertainty by leaving out tiles of the scan.
    flip : bool
        Whether the scan is flipped.
    ratio : float
        Mean square curl over mean square divergence at this angle.
    """

    theta_deg: float
    sigma_deg: float
    flip: bool
    ratio: float

    @property
    def rotation_deg(self) -> float:
        """The angle in py4DSTEM's convention, in (-90, 90]."""
        return _half_turn_free(90 - self.theta_deg if self.flip else self.theta_deg)

    @property
    def transpose(self) -> bool:
        """Whether py4DSTEM exchanges the components before it rotates them: its way to say flip."""
        return self.flip


@dataclass(frozen=True)
class NoRotation:
    """The centre of mass tells no rotation, and why."""

    reason: str


def com_curl(
    com_px: NDArray[np.float64],
    window: NDArray[np.float64],
    frequencies: NDArray[np.float64],
    tiles_per_side: int = 4,
) -> ComCurl | NoRotation:
    """Find rotation and flip of least curl.

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
    if not len(frequencies):
        return NoRotation("no peaks in the spectrum of the scan")
    waves = tile_waves(com_px, window, frequencies, tiles_per_side)
    whole = waves.sum(axis=0)
    found = [_minimum(_moments(whole, frequencies, sign)) for sign in (1, -1)]
    flip = found[1][1] < found[0][1]
    angle, least, most = found[int(flip)]
    if not most > 0 or least > _LARGEST_RATIO * most:
        return NoRotation("no rotation makes the centre of mass freer of curl than another")
    left_out = [_minimum(_moments(whole - wave, frequencies, -1 if flip else 1))[0] for wave in waves]
    changes = (np.array(left_out) - angle + math.pi / 2) % math.pi - math.pi / 2
    sigma = math.degrees(float(jackknife_sigma(changes)))
    if sigma > _LARGEST_SIGMA_DEG:
        return NoRotation(f"parts of the scan disagree on the rotation of least curl by {sigma:.0f} deg")
    return ComCurl(_half_turn_free(math.degrees(angle)), sigma, flip, least / most)


def _moments(waves: NDArray[np.complex128], frequencies: NDArray[np.float64], sign: int) -> tuple[float, float, float]:
    """Return sums of |D|^2, Re D C* and |C|^2 over the frequencies; ``sign`` is -1 with a flip."""
    (row, col), (slow, fast) = waves, frequencies.T
    D, C = slow * row + sign * fast * col, slow * col - sign * fast * row
    return float((np.abs(D) ** 2).sum()), float((D * C.conj()).real.sum()), float((np.abs(C) ** 2).sum())


def _minimum(moments: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return angle in rad, least and largest of sin^2 DD + 2 sin cos DC + cos^2 CC."""
    dd, dc, cc = moments
    swing = math.hypot((cc - dd) / 2, dc)
    return 0.5 * math.atan2(-dc, (dd - cc) / 2), (dd + cc) / 2 - swing, (dd + cc) / 2 + swing


def _half_turn_free(angle_deg: float) -> float:
    """Return the angle in (-90, 90]."""
    return 90 - (90 - angle_deg) % 180
