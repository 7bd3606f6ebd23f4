"""Where any crystal puts its powder rings: lengths of reciprocal lattice vectors, centring, listed absences."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemcal.errors import UsageError

Hkl = tuple[int, int, int]

_SAME_LENGTH = 1e-6
"""Relative; reflections closer than this share a ring."""


@dataclass(frozen=True)
class Lattice:
    """Edges of the cell in angstrom and its angles in degrees."""

    a: float
    b: float
    c: float
    alpha_deg: float = 90.0
    beta_deg: float = 90.0
    gamma_deg: float = 90.0

    @property
    def reciprocal_metric(self) -> NDArray[np.float64]:
        """(3, 3) symmetric matrix G* with |g|^2 = h G* h, in 1/angstrom^2 (Int. Tables for Crystallography B, 1.1).

        Raises
        ------
        UsageError
            If an edge is not positive or the angles close no cell.
        """
        edges = np.array([self.a, self.b, self.c])
        cosines = np.cos(np.radians([self.alpha_deg, self.beta_deg, self.gamma_deg]))
        metric = np.outer(edges, edges)
        for (row, col), cosine in zip(((1, 2), (0, 2), (0, 1)), cosines, strict=True):
            metric[row, col] = metric[col, row] = metric[row, col] * cosine
        if not (edges > 0).all() or not np.linalg.det(metric) > _SAME_LENGTH * np.prod(edges) ** 2:
            raise UsageError(
                f"a = {self.a}, b = {self.b}, c = {self.c} angstrom with the angles {self.alpha_deg}, {self.beta_deg}, "
                f"{self.gamma_deg} degrees are no cell; give positive edges and angles that close one"
            )
        inverse: NDArray[np.float64] = np.linalg.inv(metric)
        return inverse


class LatticeRing(NamedTuple):
    """One powder ring: indices of one of its reflections, |g| in 1/angstrom, number of reflections on it."""

    hkl: Hkl
    q_per_angstrom: float
    multiplicity: int


_PRESENT: Mapping[str, Callable[[int, int, int], bool]] = MappingProxyType(
    {
        "P": lambda _h, _k, _l: True,
        "A": lambda _h, k, l: (k + l) % 2 == 0,  # noqa: E741
        "B": lambda h, _k, l: (h + l) % 2 == 0,  # noqa: E741
        "C": lambda h, k, _l: (h + k) % 2 == 0,
        "I": lambda h, k, l: (h + k + l) % 2 == 0,  # noqa: E741
        "F": lambda h, k, l: h % 2 == k % 2 == l % 2,  # noqa: E741
        "R": lambda h, k, l: (l - h + k) % 3 == 0,  # noqa: E741
        "diamond": lambda h, k, l: h % 2 == k % 2 == l % 2 and (h % 2 == 1 or (h + k + l) % 4 == 0),  # noqa: E741
    }
)
"""Reflection conditions (Int. Tables for Crystallography A, table 2.2.13.1); R on hexagonal axes, obverse."""

CENTRINGS = tuple(_PRESENT)


def lattice_rings(
    lattice: Lattice, centring: str, q_max_per_angstrom: float, *, absent: Collection[Hkl] = ()
) -> tuple[LatticeRing, ...]:
    """Return the rings of a crystal by rising q up to ``q_max_per_angstrom``.

    Parameters
    ----------
    lattice : Lattice
        The cell that the indices refer to.
    centring : str
        One of `CENTRINGS`; its absences are taken out.
    q_max_per_angstrom : float
        Largest |g|.
    absent : collection of (h, k, l)
        Reflections that the space group or the structure factor forbids on top; their whole ring is taken out.

    Raises
    ------
    UsageError
        If there is no such cell or centring.
    """
    if centring not in _PRESENT:
        raise UsageError(f"centring is {centring!r}, must be one of {', '.join(CENTRINGS)}")
    metric = lattice.reciprocal_metric
    # |h| <= a |g|: the component of g along an edge is no longer than g.
    limits = [math.floor(edge * q_max_per_angstrom) for edge in (lattice.a, lattice.b, lattice.c)]
    ranges = (range(-limit, limit + 1) for limit in limits)
    present = [hkl for hkl in itertools.product(*ranges) if any(hkl) and _PRESENT[centring](*hkl)]
    if not present:
        return ()
    indices = np.array(present, dtype=np.float64)
    lengths = np.sqrt(np.einsum("ij,jk,ik->i", indices, metric, indices))
    forbidden = [math.sqrt(float(np.array(hkl) @ metric @ np.array(hkl))) for hkl in absent]
    rings: list[LatticeRing] = []
    for index in np.argsort(lengths, kind="stable"):
        length = float(lengths[index])
        if length > q_max_per_angstrom or any(math.isclose(length, one, rel_tol=_SAME_LENGTH) for one in forbidden):
            continue
        if rings and math.isclose(length, rings[-1].q_per_angstrom, rel_tol=_SAME_LENGTH):
            rings[-1] = LatticeRing(max(rings[-1].hkl, present[index]), rings[-1].q_per_angstrom, rings[-1][2] + 1)
        else:
            rings.append(LatticeRing(present[index], length, 1))
    return tuple(rings)
