"""Electron scattering factors of the atoms in the simulated crystals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stemcal.errors import UsageError

_COEFFICIENTS = {
    "O": (
        (29.94740452, -77.61012663, 99.88177646, -51.21270055, 0.008196189544),
        (1.302839879, 1.157941053, 1.009885493, 0.9433279714, 0.04331976113),
    ),
    "S": (
        (2.679714156, -0.4742528222, 0.514835949, -0.0958360025, 0.002488719638),
        (3.068891212, 0.3782167022, 0.1887218119, 0.092337059, 0.01119208772),
    ),
    "Ti": (
        (8.575957752, -210.3315635, 206.0971726, 0.0477773949, 0.0005057164845),
        (6.007806689, 2.602858567, 2.553523451, 0.0711429484, 0.004856284394),
    ),
    "Sr": (
        (3.389753516, 2.143483487, 0.3543226035, 0.003740093401, 3.003425023e-07),
        (20.57448144, 1.910799452, 0.1974105894, 0.008134594653, 0.0002926857911),
    ),
    "Mo": (
        (2.831059684, 2.348581375, 0.2451058884, 0.002352821082, 2.312708383e-07),
        (10.43571958, 1.604828687, 0.1316969348, 0.005549779014, 0.0002227474638),
    ),
}
"""Five amplitudes in angstrom and five widths in angstrom^2 of the neutral atom: Lobato & Van Dyck, Acta Cryst. A70
(2014) 636, table 1."""


def scattering_factor(element: str, k_squared: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the electron scattering factor of an atom in the first Born approximation, in angstrom.

    f(k) = sum_i a_i (2 + b_i k^2) / (1 + b_i k^2)^2, k = 2 sin(theta / 2) / wavelength (Lobato & Van Dyck 2014).

    Parameters
    ----------
    element : str
        One of O, S, Ti, Sr, Mo.
    k_squared : ndarray
        Square of the spatial frequency, 1/angstrom^2.

    Raises
    ------
    UsageError
        If the table has no such element.
    """
    if element not in _COEFFICIENTS:
        raise UsageError(f"no scattering factor of {element!r}; the table has {', '.join(_COEFFICIENTS)}")
    factor = np.zeros(k_squared.shape)
    for amplitude, width in zip(*_COEFFICIENTS[element], strict=True):
        factor += amplitude * (2 + width * k_squared) / (1 + width * k_squared) ** 2
    return factor
