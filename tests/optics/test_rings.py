from __future__ import annotations

import numpy as np
import pytest

from stemcal.errors import UsageError
from stemcal.optics.rings import GOLD_LATTICE_CONSTANT_ANGSTROM, blurred_ring, cubic_rings


def test_gold():
    rings = cubic_rings(GOLD_LATTICE_CONSTANT_ANGSTROM, "F", max_index_square=27)
    assert ["".join(map(str, ring.hkl)) for ring in rings] == [
        "111",
        "200",
        "220",
        "311",
        "222",
        "400",
        "331",
        "420",
        "422",
        "511",
    ]
    q = [0.42471, 0.49041, 0.69355, 0.81326, 0.84942, 0.98082, 1.06883, 1.09660]
    np.testing.assert_allclose([ring.q_per_angstrom for ring in rings[:8]], q, atol=6e-6)
    # 511 (24) and 333 (8) are one ring
    assert [ring.multiplicity for ring in rings] == [8, 6, 12, 24, 8, 6, 24, 24, 24, 32]


@pytest.mark.parametrize(("centring", "names"), [("P", "100 110 111 200 210"), ("I", "110 200 211"), ("F", "111 200")])
def test_centrings(centring, names):
    rings = cubic_rings(3.0, centring, max_index_square=6 if centring == "I" else 5)
    assert ["".join(map(str, ring.hkl)) for ring in rings] == names.split()


def test_every_reflection_is_counted_once():
    n = np.arange(-4, 5)
    h, k, l = np.meshgrid(n, n, n)  # noqa: E741
    square = (h * h + k * k + l * l).ravel()
    for ring in cubic_rings(1.0, "P", max_index_square=16):
        assert ring.multiplicity == np.count_nonzero(square == round(ring.q_per_angstrom**2))


def test_misuse_names_value_and_remedy():
    with pytest.raises(UsageError, match=r"lattice_constant_angstrom is 0\.0, must be above 0; gold is 4\.0782"):
        cubic_rings(0.0, "F")
    with pytest.raises(UsageError, match="centring is 'C', must be one of P, I, F"):
        cubic_rings(4.0, "C")


def test_blurred_ring_is_the_density_of_a_blurred_circle():
    generator = np.random.default_rng(5)
    turn = generator.uniform(0, 2 * np.pi, 400_000)
    points = 20 * np.stack([np.sin(turn), np.cos(turn)]) + generator.normal(0, 2.0, (2, turn.size))
    edges = np.linspace(12, 28, 33)
    counts, _ = np.histogram(np.hypot(*points), edges)
    radius = np.linspace(12, 28, 32 * 50 + 1)
    density = blurred_ring(radius, 20.0, 2.0) * 2 * np.pi * radius
    middle = (density[1:] + density[:-1]) / 2 * np.diff(radius)
    expected = middle.reshape(32, 50).sum(axis=1) * turn.size
    pull = (counts - expected) / np.sqrt(expected)
    assert np.sqrt((pull**2).mean()) == pytest.approx(1, abs=0.35)
    # a radial Gaussian is another profile: it peaks further out by s^2 / 2 R = 0.1
    assert radius[blurred_ring(radius, 20.0, 2.0).argmax()] == pytest.approx(19.9, abs=0.011)
