"""Phases are named by their rings; what is amorphous, unknown or ambiguous is not."""

from __future__ import annotations

import numpy as np
import pytest
from tests.nmf.test_truth import sample_of

from stemcal.nmf.estimate import estimate
from stemcal.nmf.phases import identify, tabulated
from stemcal.nmf.settings import NmfSettings, PhaseTable
from stemcal.phantoms.mixtures import N_BINS, radial_axis
from stemcal.phantoms.phase_scans import RING_WIDTH_PER_ANGSTROM, in_range, phase_scan


def cubic(name: str, edge: float, centring: str) -> PhaseTable:
    return PhaseTable(name=name, cell=(edge, edge, edge, 90, 90, 90), centring=centring)


GOLD, SILVER = cubic("Au", 4.0782, "F"), cubic("Ag", 4.0853, "F")
TABLES = (GOLD, cubic("Pd", 3.8907, "F"), cubic("Si", 5.431, "diamond"), cubic("Fe", 2.866, "I"))
SETTINGS = NmfSettings(phases=TABLES)
Q = radial_axis().values(N_BINS)[in_range()]
FLAT = np.sqrt(Q)


def profile(table: PhaseTable, scale: float = 1.0, spread: float = 0.0, background: float = 1.0) -> np.ndarray:
    """Rings of ``table`` on a background, their strengths off by factors."""
    rings = tabulated(table, 1.1)
    factors = np.exp(np.random.default_rng(3).normal(0, spread, len(rings)))
    lines = np.exp(-0.5 * ((Q - scale * rings[:, :1]) / RING_WIDTH_PER_ANGSTROM) ** 2)
    shape = (rings[:, 1] * factors) @ lines
    return shape / shape.max() + background * (np.exp(-3 * Q) + 0.5 * np.exp(-0.5 * ((Q - 0.45) / 0.08) ** 2))


def test_components_of_a_noisy_scan_are_named_and_the_film_is_not() -> None:
    scan = phase_scan(4, 50, seed=4)
    sample = sample_of(scan)
    components = estimate(sample, 4, SETTINGS).components
    found = [identify(Q, one, sample.weight, SETTINGS) for one in components]
    assert sorted(str(one.phase) for one in found) == ["Au", "Fe", "None", "Si"]
    film = next(one for one in found if one.phase is None)
    assert "no table fits" in film.reason
    assert all(one.best.score > one.runner_up.score + 0.1 for one in found if one.phase)


@pytest.mark.parametrize("table", TABLES, ids=lambda one: one.name)
@pytest.mark.parametrize("background", [0.2, 5.0])
def test_background_scale_and_strengths_do_not_matter(table: PhaseTable, background: float) -> None:
    found = identify(Q, profile(table, 1.006, 0.5, background), FLAT, SETTINGS)
    assert found.phase == table.name
    assert found.best.scale == pytest.approx(1.006, abs=0.0021)


def test_gold_and_palladium_are_told_apart_but_gold_and_silver_are_ambiguous() -> None:
    gold = profile(GOLD)
    assert identify(Q, gold, FLAT, SETTINGS).phase == "Au"
    found = identify(Q, gold, FLAT, NmfSettings(phases=(*TABLES, SILVER)))
    assert found.phase is None
    assert found.reason.startswith("ambiguous: A")
    assert {found.best.name, found.runner_up.name} == {"Au", "Ag"}


def test_a_phase_that_is_in_no_table_is_not_named() -> None:
    iron = profile(TABLES[3])
    for others in (TABLES[:3], (*TABLES[:3], PhaseTable(name="dense", cell=(9, 10, 11, 90, 95, 90)))):
        found = identify(Q, iron, FLAT, NmfSettings(phases=others))
        assert found.phase is None
        assert "no table fits" in found.reason


@pytest.mark.parametrize("halos", [((0.42, 0.06),), ((0.35, 0.05), (0.6, 0.07), (0.9, 0.1))])
def test_what_is_amorphous_is_not_named(halos: tuple[tuple[float, float], ...]) -> None:
    amorphous = np.exp(-3 * Q) + sum(np.exp(-0.5 * ((Q - centre) / width) ** 2) for centre, width in halos)
    assert identify(Q, amorphous, FLAT, SETTINGS).phase is None


def test_a_table_of_rings_serves_as_well_as_a_cell() -> None:
    rings = tuple((float(q), float(strength)) for q, strength in tabulated(GOLD, 1.2))
    settings = NmfSettings(phases=(PhaseTable(name="gold", rings=rings), TABLES[1]))
    assert identify(Q, profile(GOLD), FLAT, settings).phase == "gold"
    assert identify(Q, profile(GOLD), FLAT, NmfSettings()).reason == "no phases are configured"


def test_settings_refuse_what_is_no_table() -> None:
    with pytest.raises(ValueError, match="either cell or rings"):
        PhaseTable(name="x")
    with pytest.raises(ValueError, match="no cell"):
        PhaseTable(name="x", cell=(4, 4, 4, 100, 130, 140))
    with pytest.raises(ValueError, match="above 0"):
        PhaseTable(name="x", rings=((0.4, -1),))
