"""Where crystals put their powder rings and how strong they are, and the exact profile of a blurred one."""

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


class PowderRing(NamedTuple):
    """One ring of a powder standard.

    ``hkl`` is None where a table does not say it. ``intensity`` is the relative number of electrons in the whole
    ring; 0 is a ring that the standard does not have where a similar crystal has one.
    """

    label: str
    hkl: tuple[int, int, int] | None
    q_per_angstrom: float
    intensity: float

    @property
    def visibility(self) -> float:
        """Relative height over the background that the ring is expected to have in the logarithm of a pattern.

        The root tames the one strong ring of a texture, and 1/q is the length that the electrons are spread over.
        """
        return math.sqrt(self.intensity) / self.q_per_angstrom


_FADE_PER_ANGSTROM = 1.3
"""Stands for the fall of the scattering factors and for what the background takes of the contrast."""
_DIAMOND = "diamond"

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


def cubic_powder_rings(
    lattice_constant_angstrom: float, centring: str, *, max_index_square: int
) -> tuple[PowderRing, ...]:
    """Return the rings of a cubic standard of one kind of atom with the intensities to be expected.

    Multiplicity times the structure factor's square times exp(-2 (q / 1.3)^2). "diamond" is face-centred with a second
    atom at a quarter of the diagonal: |F|^2 is halved for odd indices, and nothing is left where h + k + l = 4 n + 2;
    those rings are listed with intensity 0, because gold has them.

    Parameters
    ----------
    lattice_constant_angstrom, max_index_square
        See :func:`cubic_rings`.
    centring : {"P", "I", "F", "diamond"}
        Lattice.
    """
    lattice = "F" if centring == _DIAMOND else centring
    return tuple(
        PowderRing(
            ring_label(hkl),
            hkl,
            q,
            multiplicity * _structure(hkl, centring) * math.exp(-2 * (q / _FADE_PER_ANGSTROM) ** 2),
        )
        for hkl, q, multiplicity in cubic_rings(lattice_constant_angstrom, lattice, max_index_square=max_index_square)
    )


def ring_label(hkl: tuple[int, int, int]) -> str:
    """Return Miller indices in a word, with spaces where they would run into each other."""
    return ("" if all(0 <= index < 10 for index in hkl) else " ").join(map(str, hkl))


def _structure(hkl: tuple[int, int, int], centring: str) -> float:
    """Return |F|^2 of an allowed reflection over that of the lattice."""
    if centring != _DIAMOND:
        return 1.0
    if hkl[0] % 2 == 1:
        return 0.5
    return 1.0 if sum(hkl) % 4 == 0 else 0.0


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
