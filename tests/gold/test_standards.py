"""Standards other than gold: what is measured with them, what is refused, and which tables are no standards."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from gold_truth import gold_source

from stemcal.cli import main
from stemcal.config import resolve
from stemcal.errors import UsageError
from stemcal.formats.image import write_pattern
from stemcal.gold.checks import judge
from stemcal.gold.measure import Optics, measure
from stemcal.gold.pattern import single_pattern
from stemcal.gold.settings import GOLD, GoldSettings
from stemcal.gold.simulated import GOLD_RINGS, expected_intensities
from stemcal.gold.standard import CubicStandard, TabulatedStandard, powder_standard
from stemcal.optics.rings import cubic_rings
from stemcal.phantoms.powder import Camera, PowderPhase
from stemcal.records.atomic import read_record
from stemcal.records.gold import GoldRecord

CAMERA = Camera((176, 176), 92.3, 84.4, 0.0121, 1.03, 35.0, 200.0)
BLIND = Optics(200.0, None)
SILICON = CubicStandard(kind="cubic", name="silicon", lattice_constant_angstrom=5.431, centring="diamond")
TUNGSTEN = CubicStandard(kind="cubic", name="tungsten", lattice_constant_angstrom=3.165, centring="I")


def thallium_chloride():
    """CsCl structure: every ring of a primitive lattice, those of odd h + k + l weaker."""
    return [
        {"hkl": hkl, "d_angstrom": 1 / q, "intensity": n * (0.4 if sum(hkl) % 2 else 1.0) * math.exp(-1.2 * q * q)}
        for hkl, q, n in cubic_rings(3.834, "P", max_index_square=14)
    ]


FIVE = ["111", "200", "220", "311", "222"]
TLCL = TabulatedStandard(kind="tabulated", name="TlCl", rings=thallium_chloride())


def pattern_of(standard):
    """One bright, smooth pattern."""
    rings = tuple((ring.q_per_angstrom, ring.intensity) for ring in standard.powder_rings() if ring.intensity > 0)
    phase = PowderPhase(standard.name, rings, 1.3)
    return gold_source(5, CAMERA, scan_shape=(1, 1), phases=(phase,), counts=3e6).frames[0].astype(float)


@pytest.fixture(scope="module")
def patterns():
    return {standard.name: pattern_of(standard) for standard in (GOLD, SILICON, TUNGSTEN, TLCL)}


def quality_and_attempt(pattern, settings):
    powder = single_pattern(pattern)
    attempt = measure(powder, BLIND, settings)
    return judge(powder, BLIND, settings, attempt), attempt


@pytest.mark.parametrize("standard", [SILICON, TUNGSTEN, TLCL], ids=lambda standard: standard.name)
def test_measured(patterns, standard):
    quality, attempt = quality_and_attempt(patterns[standard.name], GoldSettings(standard=standard))
    assert [flag.name for flag in quality.flags] == ["no_resampling"]
    found = attempt.calibration
    assert found.pixel_size.value == pytest.approx(CAMERA.pixel_size_per_angstrom, rel=2e-4)
    assert found.ellipse.ratio.value == pytest.approx(CAMERA.ratio, abs=3e-4)
    assert found.ellipse.angle_deg.value == pytest.approx(CAMERA.angle_deg, abs=0.5)
    assert (found.centre[0].value, found.centre[1].value) == pytest.approx((92.3, 84.4), abs=0.03)


def test_gold_is_not_silicon(patterns):
    """Silicon's rings are all in gold's pattern: what tells them apart is what silicon lacks."""
    quality, _ = quality_and_attempt(patterns["gold"], GoldSettings(standard=SILICON))
    assert quality.verdict == "fail"
    quality, _ = quality_and_attempt(patterns["gold"], GoldSettings(standard=SILICON, min_score=0.3))
    assert quality.flags[0].message == (
        "the pattern has silicon's rings, but also 200, 222, 420, which silicon lacks: it is another material"
    )


@pytest.mark.parametrize(("sample", "standard"), [("gold", TUNGSTEN), ("gold", TLCL), ("TlCl", SILICON)])
def test_other_combs_are_refused(patterns, sample, standard):
    quality, attempt = quality_and_attempt(patterns[sample], GoldSettings(standard=standard))
    assert attempt.calibration is None
    assert f"no {standard.name} rings at any camera length" in quality.flags[0].message


def test_record_of_a_table(patterns, tmp_path):
    """Rings without indices are known by their labels, and the notebooks' ellipse is that of the most visible one."""
    write_pattern(tmp_path / "a.tif", patterns["TlCl"].astype(np.float32))
    table = [
        {"label": f"ring {n}", "q_per_angstrom": 1 / ring["d_angstrom"], "intensity": ring["intensity"]}
        for n, ring in enumerate(thallium_chloride())
    ]
    settings = json.dumps({"standard": {"kind": "tabulated", "name": "thallium chloride", "rings": table}})
    words = ["gold", str(tmp_path / "a.tif"), "--voltage-kv", "200", "--settings", settings]
    assert main([*words, "-o", str(tmp_path / "a_gold.json"), "--no-progress"]) == 0
    record = read_record(tmp_path / "a_gold.json", GoldRecord)
    assert record.standard == "thallium chloride"
    assert [ring.label for ring in record.result.rings][:3] == ["ring 0", "ring 1", "ring 2"]
    assert {ring.hkl for ring in record.result.rings} == {None}
    axes = math.sqrt(record.p_ellipse[2] * record.p_ellipse[3])
    assert axes == pytest.approx(next(ring.radius_px for ring in record.result.rings if ring.label == "ring 1"))


def test_what_the_standards_are():
    gold = powder_standard(GOLD)
    assert [ring.label for ring in gold.fitted] == [*FIVE, "400", "331", "420", "422", "511"]
    assert gold.must_be_seen == {"111", "200", "220", "311"}
    assert len(gold.comb) == 16
    silicon = powder_standard(SILICON)
    assert silicon.must_be_absent == {"200", "222", "420"}
    assert silicon.notebook_ring == gold.notebook_ring == "220"
    # a primitive lattice has a ring close outside 511: the fit ends where a gap follows
    primitive = CubicStandard(kind="cubic", name="P", lattice_constant_angstrom=4.0, centring="P")
    assert powder_standard(primitive).fitted[-1].label == "321"


def test_where_the_expected_rings_of_the_figure_come_from():
    assert expected_intensities(GOLD).source == "py4DSTEM, kinematic"
    assert expected_intensities(GOLD).intensities["220"] == GOLD_RINGS[8]
    table = expected_intensities(TLCL)
    assert (table.source, table.intensities["110"]) == ("table", thallium_chloride()[1]["intensity"])
    silicon = expected_intensities(SILICON)
    assert (silicon.source, silicon.intensities["200"]) == ("estimate", 0)


@pytest.mark.parametrize(
    ("standard", "message"),
    [
        ({"kind": "cubic", "name": "Si", "centring": "F"}, "lattice_constant_angstrom: Field required"),
        (GOLD.model_dump() | {"colour": "red"}, "gold.standard.cubic.colour: Extra inputs are not permitted"),
        (GOLD.model_dump() | {"centring": "C"}, "centring: Input should be 'P', 'I', 'F' or 'diamond'"),
        (GOLD.model_dump() | {"must_be_seen": ["111", "100"]}, "must_be_seen names 100, which is no ring of gold"),
        ({"kind": "powder"}, "does not match any of the expected tags"),
        ({"kind": "tabulated", "name": "x", "rings": []}, "x has 0 rings with an intensity, 3 are needed"),
        (
            {"kind": "tabulated", "name": "x", "rings": [{"q_per_angstrom": 1, "intensity": 1}]},
            "a ring needs a label or hkl",
        ),
        (
            {"kind": "tabulated", "name": "x", "rings": [{"label": "a", "intensity": 1}]},
            "ring a: give either q_per_angstrom or d_angstrom",
        ),
        (
            {
                "kind": "tabulated",
                "name": "x",
                "rings": [
                    {"label": name, "d_angstrom": d, "intensity": 1} for name, d in (("a", 2), ("b", 1), ("c", 0.999))
                ],
            },
            "x: rings b and c are closer than 0.5% and cannot be told apart",
        ),
        (
            {
                "kind": "tabulated",
                "name": "x",
                "rings": [
                    {"label": name, "d_angstrom": d, "intensity": 1} for name, d in (("a", 3), ("a", 2), ("b", 1))
                ],
            },
            "x has more than one ring a",
        ),
    ],
)
def test_no_standard(tmp_path, standard, message):
    with pytest.raises(UsageError, match=f"(?s){message}"):
        resolve(session={"gold": {"standard": standard}})


def test_a_standard_is_replaced_as_a_whole():
    config, _ = resolve(session={"gold": {"standard": TLCL.model_dump(mode="json"), "min_rings": 4}})
    assert config.gold.standard == TLCL
    assert config.gold.detector_pixel_um == 55.0
