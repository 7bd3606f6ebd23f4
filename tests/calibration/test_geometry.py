"""The geometry that a scan is read with: its own, the pooled one, or none, each with its reason."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calibration_truth import CAMERA, frames, write_container, write_gold
from geometry_record_truth import AXES, NOMINAL_STEP, SIGMA_DEG, geometry_record, scan_to_camera, write_geometry

from stemcal.calibration.geometry import GeometryChoice, GeometryOffer, ScanSettings, choose_geometry
from stemcal.calibration.pooling import Pool, matrix_of, member_of, pool
from stemcal.calibration.run import run_calibration
from stemcal.calibration.settings import CalibrationSettings
from stemcal.optics.scan_affine import ScanAxes, scan_axes, scan_matrix
from stemcal.records.agreement import Scan
from stemcal.records.base import InputFile
from stemcal.records.microscope import Microscope

SCAN = ScanSettings(
    scan=Scan(200.0, 0.2, CAMERA.frame_shape, None),
    scan_rotation_deg=15.0,
    magnification=2e7,
    nominal_step_angstrom=NOMINAL_STEP,
    identity={"size": 7},
)
OWN = (InputFile(role="data", path="own_data.hdf5", identity={"size": 7}),)


def offer(
    name: str, verdict: str = "pass", *, axes: ScanAxes = AXES, resolved: bool = True, **more: Any
) -> GeometryOffer:
    measured = scan_to_camera(axes, resolved=resolved)
    return GeometryOffer(name, f"{name}_geometry.json", geometry_record(verdict, measured=measured, **more))


def choose(*offers: GeometryOffer, scan: ScanSettings = SCAN) -> GeometryChoice:
    return choose_geometry(scan, offers, CalibrationSettings())


def rotated(by_deg: float, axes: ScanAxes = AXES) -> ScanAxes:
    return replace(axes, theta_fast_deg=axes.theta_fast_deg + by_deg, theta_slow_deg=axes.theta_slow_deg + by_deg)


def flags(choice: GeometryChoice) -> list[tuple[str, str]]:
    return [(one.flag.name, one.severity) for one in choice.findings]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("angle", [0.0, 88.0, 179.9999, -179.9999, -91.0])
def test_numbers_and_matrix_are_each_others_inverse(flip: bool, angle: float) -> None:
    s = scan_matrix(ScanAxes(angle, angle - 0.7, 0.41, 0.42, flip))
    spread = np.diag([1e-6, 2e-6, 3e-6, 4e-6])
    member = member_of("a", s, spread, half_turn_resolved=True, commanded_step=0.4)
    matrix, covariance = matrix_of(member.values, member.covariance, flip=flip, step=0.4)
    np.testing.assert_allclose(matrix, s, atol=1e-12)
    np.testing.assert_allclose(covariance, spread, atol=2e-9)


def test_the_mean_of_many_draws_is_the_truth_within_its_uncertainty() -> None:
    rng = np.random.default_rng(4)
    spread = np.array(scan_to_camera().covariance)
    pulls = []
    for _ in range(60):
        drawn = rng.multivariate_normal(scan_matrix(AXES).ravel(), spread, 5)
        members = [
            member_of(str(i), s.reshape(2, 2), spread, half_turn_resolved=True, commanded_step=0.4)
            for i, s in enumerate(drawn)
        ]
        pooled = pool(members)
        assert isinstance(pooled, Pool)
        truth = (AXES.theta_fast_deg, AXES.theta_slow_deg, math.log(AXES.step_ratio))
        pulls.append((pooled.values - truth) / np.sqrt(np.diag(pooled.covariance)))
    assert 0.75 < np.std(pulls) < 1.1


def test_consistent_geometries_are_pooled_for_a_scan_that_has_none() -> None:
    choice = choose(offer("a"), offer("b", axes=rotated(0.04)), offer("own", "fail", inputs=OWN))
    bound = choice.scan_to_camera
    assert bound is not None
    assert (bound.geometry_source, bound.sources) == ("pooled", ("a_geometry.json", "b_geometry.json"))
    assert bound.theta_fast_deg.value == pytest.approx(AXES.theta_fast_deg + 0.02, abs=0.002)
    assert bound.theta_fast_deg.sigma == pytest.approx(SIGMA_DEG / math.sqrt(2), rel=0.5)
    assert bound.step_fast_angstrom is not None
    assert bound.step_fast_angstrom.value == pytest.approx(AXES.step_fast, rel=1e-4)
    assert scan_axes(bound.matrix).flip is bound.flip is AXES.flip
    assert bound.chi_square is not None
    assert bound.chi_square < 1
    assert choice.aberrations is None
    assert choice.findings == ()
    assert [one.chosen for one in choice.candidates] == [True, True, False]
    assert choice.candidates[2].reason.startswith("the geometry was not measured: 2 peaks")


def test_its_own_is_used_where_it_has_one() -> None:
    choice = choose(offer("a"), offer("own", axes=rotated(0.05), inputs=OWN))
    bound = choice.scan_to_camera
    assert bound is not None
    assert (bound.geometry_source, bound.sources) == ("own", ("own_geometry.json",))
    assert bound.theta_fast_deg.value == pytest.approx(AXES.theta_fast_deg + 0.05)
    assert choice.aberrations is not None
    assert choice.aberrations.coefficients["C10"].value == 120.0
    assert choice.candidates[0].reason == "agrees with this data set's own, which is used"


def test_one_outlier_is_left_out_by_name() -> None:
    good = [offer(name, axes=rotated(by)) for name, by in (("a", 0.0), ("b", 0.03), ("c", -0.04))]
    choice = choose(*good, offer("odd", axes=rotated(2.0)))
    bound = choice.scan_to_camera
    assert bound is not None
    assert "odd_geometry.json" not in bound.sources
    assert bound.theta_fast_deg.value == pytest.approx(AXES.theta_fast_deg, abs=0.05)
    assert choice.candidates[3].reason.startswith("disagrees with the others by +2 deg (fast axis)")
    own = choose(*good, offer("odd", axes=rotated(2.0), inputs=OWN))
    assert own.scan_to_camera is not None
    assert own.scan_to_camera.geometry_source == "own"
    assert flags(own) == [("geometry_contradicts", "warn")]


def test_where_all_scatter_alike_none_is_left_out_and_the_uncertainty_is_wider() -> None:
    choice = choose(*(offer(str(by), axes=rotated(by)) for by in (-0.6, -0.2, 0.25, 0.55)))
    bound = choice.scan_to_camera
    assert bound is not None
    assert len(bound.sources) == 4
    assert bound.theta_fast_deg.sigma is not None
    assert bound.theta_fast_deg.sigma > 3 * SIGMA_DEG / 2
    assert flags(choice) == [("geometry_scatter", "warn")]


def test_an_unknown_half_turn_is_taken_from_the_others_with_the_signs_of_the_aberrations() -> None:
    choice = choose(offer("own", resolved=False, inputs=OWN), offer("a"), offer("b"))
    bound = choice.scan_to_camera
    assert bound is not None
    assert bound.half_turn_resolved
    np.testing.assert_allclose(bound.matrix, scan_matrix(AXES), atol=1e-12)
    assert "taken from a, b" in bound.why
    assert choice.aberrations is not None
    assert choice.aberrations.coefficients["C10"].value == -120.0
    alone = choose(offer("own", resolved=False, inputs=OWN))
    assert alone.scan_to_camera is not None
    np.testing.assert_allclose(alone.scan_to_camera.matrix, -scan_matrix(AXES), atol=1e-12)
    assert flags(alone) == [("half_turn", "note")]


def test_pooled_with_opposite_half_turns_is_the_side_of_those_that_know() -> None:
    choice = choose(offer("a", resolved=False), offer("b", resolved=False), offer("c"))
    assert choice.scan_to_camera is not None
    np.testing.assert_allclose(choice.scan_to_camera.matrix, scan_matrix(AXES), atol=1e-9)
    assert choice.scan_to_camera.half_turn_resolved


def test_flips_that_contradict_each_other() -> None:
    other = replace(AXES, flip=True)
    outvoted = choose(offer("a"), offer("b"), offer("c", axes=other))
    assert outvoted.scan_to_camera is not None
    assert not outvoted.scan_to_camera.flip
    assert outvoted.candidates[2].reason == "contradicts the 2 others: the camera is flipped in it"
    tied = choose(offer("a"), offer("c", axes=other))
    assert tied.scan_to_camera is None
    assert flags(tied) == [("no_geometry", "note")]


def test_all_failed_leaves_none_with_the_reason() -> None:
    choice = choose(offer("a", "fail"), GeometryOffer("b", "b_geometry.json", None, "is not JSON"))
    assert choice.scan_to_camera is None
    assert choice.aberrations is None
    (finding,) = choice.findings
    why = "a: the geometry was not measured: 2 peaks, at least 4 are needed; b: unreadable: is not JSON"
    assert finding.flag.message == f"no geometry is known: {why}"
    assert choose() == GeometryChoice()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"voltage_kv": 80.0}, "wrong voltage"),
        ({"nominal_camera_length_m": 0.15}, "wrong nominal camera length"),
        ({"scan_rotation_deg": 16.0}, "wrong scan rotation: 16 deg, the data have 15 deg"),
        ({"scan_rotation_deg": None}, "the reference does not say its scan rotation"),
        ({"frame_shape": (256, 256)}, "wrong frame shape"),
    ],
)
def test_another_key_is_never_mixed_in(changes: dict[str, Any], reason: str) -> None:
    other = offer("other", axes=rotated(40.0), **changes)
    choice = choose(offer("a"), other)
    assert choice.scan_to_camera is not None
    assert choice.scan_to_camera.sources == ("a_geometry.json",)
    assert choice.candidates[1].reason.startswith(reason)
    assert choose(other).scan_to_camera is None


def test_the_step_is_pooled_per_magnification() -> None:
    coarse = replace(SCAN, magnification=1e6, nominal_step_angstrom=8.0)
    bound = choose(offer("a"), offer("b"), scan=coarse).scan_to_camera
    assert bound is not None
    assert bound.scale_source == "nominal_step"
    assert bound.step_fast_angstrom is not None
    assert bound.step_fast_angstrom.sigma is None
    axes = scan_axes(bound.matrix)
    assert math.sqrt(axes.step_fast * axes.step_slow) == pytest.approx(8.0)
    assert axes.step_ratio == pytest.approx(AXES.step_ratio)
    zoomed = replace(SCAN, nominal_step_angstrom=0.2)
    finer = choose(offer("a"), scan=zoomed).scan_to_camera
    assert finer is not None
    assert finer.scale_source == "measured"
    assert finer.step_fast_angstrom is not None
    assert finer.step_fast_angstrom.value == pytest.approx(AXES.step_fast / 2)


def test_the_calibration_record_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stemcal.calibration.run.draw_figure", lambda *_: None)
    known = Microscope(
        voltage_kv=200.0, nominal_camera_length_m=0.2, scan_step_nm=0.04, scan_rotation_deg=15.0, magnification=2e7
    )
    data = write_container(tmp_path / "a_data.hdf5", frames(), microscope=known)
    gold = write_gold(tmp_path / "g_gold.json")
    geometry = write_geometry(tmp_path / "x_geometry.json")
    output = tmp_path / "a_calibration.json"
    record = run_calibration(data, [gold], output, settings=CalibrationSettings(), geometries=[geometry])
    assert record.scan_to_camera is not None
    assert record.scan_to_camera.geometry_source == "pooled"
    assert record.quality.verdict == "pass"
    assert [entry.role for entry in record.inputs] == ["data", "gold", "geometry"]
    without = run_calibration(data, [gold], output, settings=CalibrationSettings())
    assert without.scan_to_camera is None
    assert without.geometry_candidates == ()
