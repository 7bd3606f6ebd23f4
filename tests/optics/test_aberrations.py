import numpy as np
import pytest

from stemcal.errors import UsageError
from stemcal.optics.aberrations import aberration_phase, basis, coefficient, phase_at_edge, terms

WAVELENGTH = 0.0487


def test_overfocus_is_free_space_behind_the_crossover():
    angle = np.linspace(0, 25, 6)
    k = angle * 1e-3 / WAVELENGTH
    chi = aberration_phase({"C10": 120.0}, 0 * angle, angle, WAVELENGTH)
    np.testing.assert_allclose(chi, np.pi * WAVELENGTH * 120.0 * k**2)


@pytest.mark.parametrize("term", terms(5), ids=lambda term: term.name)
def test_term_turns_with_its_symmetry(term):
    row, col = np.array([3.0, -1.0, 7.0]), np.array([2.0, 4.0, -5.0])
    turn = 2 * np.pi / max(term.m, 1)
    turned = (row * np.cos(turn) + col * np.sin(turn), col * np.cos(turn) - row * np.sin(turn))
    np.testing.assert_allclose(basis(term, *turned), basis(term, row, col), rtol=1e-9, atol=1e-6)
    rho, phi = np.hypot(row, col), np.arctan2(row, col)
    wave = np.sin(term.m * phi) if term.sine else np.cos(term.m * phi)
    np.testing.assert_allclose(basis(term, row, col), rho ** (term.n + 1) * wave, rtol=1e-9, atol=1e-6)


def test_phase_at_the_edge_and_back():
    for term in terms(3):
        edge = phase_at_edge(term, 250.0, WAVELENGTH, 25.0)
        name = {term.name: 250.0}
        at_edge = aberration_phase(name, np.array(0.0), np.array(25.0), WAVELENGTH)
        assert coefficient(term, edge, WAVELENGTH, 25.0) == pytest.approx(250.0)
        assert at_edge == pytest.approx(0.0 if term.sine else edge, abs=1e-9)


def test_unknown_names_and_orders_are_refused():
    with pytest.raises(UsageError, match="C11"):
        aberration_phase({"C11": 1.0}, np.zeros(1), np.zeros(1), WAVELENGTH)
    with pytest.raises(UsageError, match="order is 6"):
        terms(6)
