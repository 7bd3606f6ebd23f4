"""The aberration function of the probe-forming lens: names, signs, units.

Krivanek's coefficients C_nm in angstrom, with the aberration phase ::

    chi(alpha, phi) = 2 pi / lambda * sum_nm alpha^(n+1) / (n+1) * (C_nma cos(m phi) + C_nmb sin(m phi))

and the probe P = A exp(-i chi), so that C10 > 0 is overfocus: free space of thickness z multiplies by
exp(-i pi lambda z k^2), which is C10 = z. alpha is in rad, phi = atan2(row, col) in the camera's frame as in
``stemcal.optics.conventions``. Coefficients with m = 0 have no suffix.

Source: Krivanek, Dellby & Lupini, Ultramicroscopy 78 (1999) 1, eq. 1; the sign of C10 is that of abTEM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.errors import UsageError

HIGHEST_ORDER = 5
"""Largest n of a coefficient: terms of the aberration function up to the sixth power of the angle."""


@dataclass(frozen=True)
class Term:
    """One coefficient.

    Attributes
    ----------
    name : str
        ``C10``, ``C12a``, ``C12b``, ...
    n, m : int
        Power of the angle less one, and azimuthal symmetry.
    sine : bool
        Whether it goes with sin(m phi).
    """

    name: str
    n: int
    m: int
    sine: bool


def terms(order: int) -> tuple[Term, ...]:
    """Return the coefficients with 1 <= n <= ``order``, by rising n, then m, cosine first.

    Raises
    ------
    UsageError
        If the order is not in 1 ... `HIGHEST_ORDER`.
    """
    if not 1 <= order <= HIGHEST_ORDER:
        raise UsageError(f"aberration order is {order}, must be 1 to {HIGHEST_ORDER}; 3 holds the spherical aberration")
    found = []
    for n in range(1, order + 1):
        for m in range((n + 1) % 2, n + 2, 2):
            found += [Term(f"C{n}{m}", n, m, sine=False)] if m == 0 else _pair(n, m)
    return tuple(found)


def _pair(n: int, m: int) -> list[Term]:
    return [Term(f"C{n}{m}a", n, m, sine=False), Term(f"C{n}{m}b", n, m, sine=True)]


def basis(term: Term, row: NDArray[np.float64], col: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rho^(n+1) cos(m phi) or rho^(n+1) sin(m phi) at points (row, col), in whatever unit these are."""
    z = col + 1j * row
    power = z**term.m * (row * row + col * col) ** ((term.n + 1 - term.m) // 2)
    return np.asarray(power.imag if term.sine else power.real)


def phase_at_edge(term: Term, coefficient_angstrom: float, wavelength_angstrom: float, semi_angle_mrad: float) -> float:
    """Return the coefficient as the phase in rad that it gives at the edge of the aperture: the factor of `basis`."""
    return coefficient_angstrom * _edge_phase_per_angstrom(term, wavelength_angstrom, semi_angle_mrad)


def coefficient(term: Term, phase_rad: float, wavelength_angstrom: float, semi_angle_mrad: float) -> float:
    """Return the coefficient in angstrom of a phase at the edge of the aperture: the inverse of `phase_at_edge`."""
    return phase_rad / _edge_phase_per_angstrom(term, wavelength_angstrom, semi_angle_mrad)


def _edge_phase_per_angstrom(term: Term, wavelength_angstrom: float, semi_angle_mrad: float) -> float:
    power: float = (semi_angle_mrad * 1e-3) ** (term.n + 1)
    return 2 * np.pi / wavelength_angstrom * power / (term.n + 1)


def aberration_phase(
    coefficients_angstrom: Mapping[str, float],
    row_mrad: NDArray[np.float64],
    col_mrad: NDArray[np.float64],
    wavelength_angstrom: float,
) -> NDArray[np.float64]:
    """Return chi in rad at angles (row, col).

    Parameters
    ----------
    coefficients_angstrom : mapping
        By name; what is absent is 0.
    row_mrad, col_mrad : ndarray
        Angles from the optic axis along the camera's axes, of one shape.
    wavelength_angstrom : float
        Wavelength.

    Raises
    ------
    UsageError
        If a name is not that of a coefficient.
    """
    known = {term.name: term for term in terms(HIGHEST_ORDER)}
    chi = np.zeros(np.broadcast(row_mrad, col_mrad).shape)
    for name, value in coefficients_angstrom.items():
        if name not in known:
            raise UsageError(f"no aberration is called {name!r}; the names are {', '.join(known)}")
        term = known[name]
        chi += phase_at_edge(term, value, wavelength_angstrom, 1.0) * basis(term, row_mrad, col_mrad)
    return chi
