"""Rings of any lattice: those of cubic ones are known twice, others from tables."""

from __future__ import annotations

import numpy as np
import pytest

from stemcal.errors import UsageError
from stemcal.optics.lattice_rings import Lattice, lattice_rings
from stemcal.optics.rings import cubic_rings


@pytest.mark.parametrize("centring", ["P", "I", "F"])
def test_cubic_lattices_have_the_rings_of_the_cubic_module(centring: str) -> None:
    known = cubic_rings(4.0, centring, max_index_square=24)
    found = lattice_rings(Lattice(4.0, 4.0, 4.0), centring, np.sqrt(24.5) / 4)
    np.testing.assert_allclose([ring.q_per_angstrom for ring in found], [ring.q_per_angstrom for ring in known])
    assert [ring.multiplicity for ring in found] == [ring.multiplicity for ring in known]


def test_hexagonal_zinc() -> None:
    """d of 00.2, 10.0, 10.1 in angstrom (JCPDS 4-831) and how many reflections there are of each; 00.1 is absent."""
    rings = lattice_rings(Lattice(2.665, 2.665, 4.947, gamma_deg=120), "P", 0.5, absent=[(0, 0, 1)])
    np.testing.assert_allclose([1 / ring.q_per_angstrom for ring in rings], [2.473, 2.308, 2.091], atol=1e-3)
    assert [ring.multiplicity for ring in rings] == [2, 6, 12]


def test_a_triclinic_cell_in_other_axes_has_the_same_rings() -> None:
    """b' = b + a spans the same lattice."""
    edges = np.array([[4.0, 0, 0], [1.0, 5.0, 0], [0.5, 0.8, 6.0]])
    other = edges.copy()
    other[1] += other[0]
    one, two = ([ring.q_per_angstrom for ring in lattice_rings(_lattice(cell), "P", 0.6)] for cell in (edges, other))
    np.testing.assert_allclose(one, two, rtol=1e-9)


def _lattice(cell: np.ndarray) -> Lattice:
    lengths = np.linalg.norm(cell, axis=1)
    cosines = [cell[i] @ cell[j] / lengths[i] / lengths[j] for i, j in ((1, 2), (0, 2), (0, 1))]
    return Lattice(*lengths, *np.degrees(np.arccos(cosines)))


def test_diamond_lacks_200_and_rhombohedral_needs_its_condition() -> None:
    silicon = lattice_rings(Lattice(5.431, 5.431, 5.431), "diamond", 0.7)
    assert [sorted(map(abs, ring.hkl)) for ring in silicon] == [[1, 1, 1], [0, 2, 2], [1, 1, 3], [0, 0, 4], [1, 3, 3]][
        : len(silicon)
    ]
    corundum = lattice_rings(Lattice(4.759, 4.759, 12.991, gamma_deg=120), "R", 0.3)
    assert [round(1 / ring.q_per_angstrom, 2) for ring in corundum][:1] == [4.33]
    assert 3.48 in [round(1 / ring.q_per_angstrom, 2) for ring in corundum]


def test_what_is_no_cell_is_refused() -> None:
    with pytest.raises(UsageError, match="no cell"):
        lattice_rings(Lattice(4, 4, 4, 100, 130, 140), "P", 1.0)
    with pytest.raises(UsageError, match="must be one of"):
        lattice_rings(Lattice(4, 4, 4), "Z", 1.0)
