"""Where cubic crystals put their powder rings, and the exact profile of a blurred one."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ive

from stemcal.errors import UsageError

GOLD_LATTICE_CONSTANT_ANGSTROM = 4.0782
"""Au at 293 K (JCPDS 4-784: 4.0786; Wyckoff: 4.0782). The 4.08 often typed is 4.4e-4 too large."""


class CubicRing(NamedTuple):
    """One powder ring: Miller indices h >= k >= l, |g| in 1/angstrom, number of reflections on it."""

    hkl: tuple[int, int, int]
    q_per_angstrom: float
    multiplicity: int


_ALLOWED: Mapping[str, Callable[[int, int, int], bool]] = MappingProxyType(
    {
        "P": lambda _h, _k, _l: True,
        "I": lambda h, k, l: (h + k + l) % 2 == 0,  # noqa: E741
        "F": lambda h, k, l: h % 2 == k % 2 == l % 2,  # noqa: E741
    }
)


def cubic_rings(
    lattice_constant_angstrom: float, centring: str, *, max_index_square: int = 32
) -> tuple[CubicRing, ...]:
    """Return the rings of a cubic lattice by rising q, |g| = sqrt(h^2 + k^2 + l^2) / a.

    Reflections of equal length (333 and 511) share one ring, named by the family with more members.

    Parameters
    ----------
    lattice_constant_angstrom : float
        Edge of the cubic cell in angstrom.
    centring : {"P", "I", "F"}
        Primitive, body-centred or face-centred (gold).
    max_index_square : int
        Largest h^2 + k^2 + l^2.

    Raises
    ------
    UsageError
        If the lattice constant is not positive or the centring is not one of the three.
    """
    if not lattice_constant_angstrom > 0:
        raise UsageError(f"lattice_constant_angstrom is {lattice_constant_angstrom}, must be above 0; gold is 4.0782")
    if centring not in _ALLOWED:
        raise UsageError(f"centring is {centring!r}, must be one of {', '.join(_ALLOWED)}; gold is F")
    families: dict[int, dict[tuple[int, int, int], int]] = defaultdict(dict)
    limit = math.isqrt(max_index_square)
    for h, k, l in itertools.product(range(limit + 1), repeat=3):  # noqa: E741
        square = h * h + k * k + l * l
        if h >= k >= l and 0 < square <= max_index_square and _ALLOWED[centring](h, k, l):
            families[square][h, k, l] = _family_size(h, k, l)
    return tuple(
        CubicRing(
            max(family, key=family.__getitem__), math.sqrt(square) / lattice_constant_angstrom, sum(family.values())
        )
        for square, family in sorted(families.items())
    )


def _family_size(h: int, k: int, l: int) -> int:  # noqa: E741
    signs: int = 2 ** sum(index != 0 for index in (h, k, l))
    return signs * len(set(itertools.permutations((h, k, l))))


def blurred_ring(radius: ArrayLike, ring_radius: ArrayLike, sigma: ArrayLike) -> NDArray[np.float64]:
    """Return the density at ``radius`` of an ideal circle blurred by an isotropic 2-D Gaussian (Rice).

    Convolving delta(r - R) / (2 pi R) with a Gaussian of standard deviation s in the plane gives
    exp(-(r - R)^2 / (2 s^2)) ive(0, r R / s^2) / (2 pi s^2), with ive the exponentially scaled Bessel function I0. A
    radial Gaussian in its place peaks s^2 / (2 R) too far out, which moves the pixel size by some 1e-4.

    Parameters
    ----------
    radius, ring_radius, sigma : array_like
        Radius of evaluation, radius of the circle and standard deviation, all in the same unit; they broadcast.

    Returns
    -------
    numpy.ndarray
        Density per unit area; its integral over the plane is 1.
    """
    r, ring, s = (np.asarray(value, dtype=np.float64) for value in (radius, ring_radius, sigma))
    return np.asarray(np.exp(-0.5 * ((r - ring) / s) ** 2) * ive(0, r * ring / s**2) / (2 * np.pi * s**2))
