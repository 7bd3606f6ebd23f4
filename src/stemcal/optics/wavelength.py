"""Electron wavelength, and where a flat detector draws a diffracted beam."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import constants

from stemcal.errors import UsageError


def wavelength_angstrom(voltage_kv: float) -> float:
    """Return the relativistic de Broglie wavelength of the beam electrons.

    lambda = h / sqrt(2 m e V (1 + e V / (2 m c^2))), constants of CODATA 2018 or later.

    Parameters
    ----------
    voltage_kv : float
        Accelerating voltage in kV.

    Returns
    -------
    float
        Wavelength in angstrom.

    Raises
    ------
    UsageError
        If the voltage is not positive.
    """
    if not voltage_kv > 0:
        raise UsageError(f"voltage_kv is {voltage_kv}, must be above 0; give the accelerating voltage in kV")
    energy = constants.e * voltage_kv * 1e3
    mass = constants.m_e
    momentum = np.sqrt(2 * mass * energy * (1 + energy / (2 * mass * constants.c**2)))
    return float(constants.h / momentum * 1e10)


def projected_q(q_per_angstrom: ArrayLike, wavelength: float | None) -> NDArray[np.float64]:
    """Return the apparent q at which a flat detector draws a ring.

    Bragg's angle is 2 asin(q lambda / 2), and a flat detector sees its tangent: q' = tan(2 asin(q lambda / 2)) /
    lambda, about q (1 + 3/8 (q lambda)^2). That is 2e-4 of q at 300 kV and q = 1.2 1/angstrom, and 1e-3 at 80 kV.

    Parameters
    ----------
    q_per_angstrom : array_like
        Length of the reciprocal vector, 1/angstrom.
    wavelength : float or None
        Wavelength in angstrom; ``None`` (voltage unknown) leaves q as it is.

    Returns
    -------
    numpy.ndarray
        Apparent q, 1/angstrom, of the same shape.
    """
    q = np.asarray(q_per_angstrom, dtype=np.float64)
    if wavelength is None:
        return q.copy()
    return np.asarray(np.tan(2 * np.arcsin(q * wavelength / 2)) / wavelength)
