"""Which scans show their geometry, and which of them serve another one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stemcal.records.atomic import write_record
from stemcal.records.failure import FailureRecord, failure_path
from stemcal.records.manifest import Dataset, Manifest
from stemcal.stages import digest, parameter

from .conftest import AddScan, Discover

FINE: dict[str, Any] = {"scan_step_nm": 0.04, "convergence_semi_angle_mrad": 31.74, "scan_rotation_deg": 12.0}


def by_folder(manifest: Manifest) -> dict[str, Dataset]:
    return {one.id.split("/")[1]: one for one in manifest.datasets.values()}


def say(session: Path, text: str) -> None:
    (session / "session.yaml").write_text(text, encoding="utf-8")


def test_a_focused_scan_at_atomic_resolution_is_measured_and_stays_a_sample(
    add_scan: AddScan, discover: Discover
) -> None:
    add_scan("Au_xgrating", minutes_ago=90)
    add_scan("MoS2", **FINE)
    found = by_folder(discover())
    fine = found["MoS2"]
    assert fine.stages == ("convert", "geometry", "calibration", "polar")
    assert fine.geometry_reason == ("geometry is measured: its step of 0.4 angstrom resolves atoms, and it is focused")
    assert fine.geometry_candidates == (fine.id,)
    assert found["Au_xgrating"].stages == ("convert", "gold")
    assert found["Au_xgrating"].geometry_reason is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scan_step_nm": None}, "the step of the scan is unknown"),
        ({"scan_step_nm": 0.11}, "a step of 1.1 angstrom does not resolve atoms (at most 1)"),
        ({"convergence_semi_angle_mrad": None}, "the semi-angle of the probe is unknown"),
        ({"defocus_nm": -300.0}, "a defocus of -300 nm is not in focus (at most 60)"),
    ],
)
def test_others_are_not_and_say_why(
    session: Path, add_scan: AddScan, discover: Discover, changes: dict[str, Any], reason: str
) -> None:
    add_scan("MoS2", **(FINE | changes))
    (scan,) = discover().datasets.values()
    assert (scan.stages, scan.geometry_reason) == (("convert",), f"no geometry: {reason}")
    say(session, "geometry: {'Merlin/MoS2': true}")
    assert next(iter(discover().datasets.values())).stages == ("convert", "geometry")


def test_a_person_may_forbid_it_and_a_folder_may_ask_for_it(
    session: Path, add_scan: AddScan, discover: Discover
) -> None:
    add_scan("MoS2", **FINE)
    add_scan("geometry", minutes_ago=50)
    say(session, "geometry: {'Merlin/MoS2': false}")
    found = by_folder(discover())
    assert found["MoS2"].stages == ("convert",)
    assert found["MoS2"].geometry_reason == "no geometry: session.yaml says so"
    assert (found["geometry"].role, found["geometry"].stages) == ("geometry", ("convert", "geometry"))


def test_scans_of_the_same_settings_are_offered_nearest_in_time_first(add_scan: AddScan, discover: Discover) -> None:
    add_scan("Au_xgrating", minutes_ago=200)
    add_scan("MoS2_a", minutes_ago=90, **FINE)
    add_scan("MoS2_b", minutes_ago=61, **FINE)
    add_scan("other_rotation", minutes_ago=62, **(FINE | {"scan_rotation_deg": 40.0}))
    add_scan("other_length", minutes_ago=63, camera_length_m=0.15, **FINE)
    add_scan("film", minutes_ago=60, scan_step_nm=5.0, scan_rotation_deg=12.0)
    found = by_folder(discover())
    assert found["film"].geometry_candidates == (found["MoS2_b"].id, found["MoS2_a"].id)
    assert found["MoS2_a"].geometry_candidates == (found["MoS2_a"].id, found["MoS2_b"].id)
    assert by_folder(discover(geometry_references=1))["film"].geometry_candidates == (found["MoS2_b"].id,)


def test_a_session_without_any_has_the_parameters_it_had(add_scan: AddScan, discover: Discover) -> None:
    add_scan("Au_xgrating", minutes_ago=200)
    add_scan("film", scan_step_nm=5.0)
    manifest = discover()
    scan = by_folder(manifest)["film"]
    assert scan.source["geometry"] == []
    without = {key: value for key, value in scan.source.items() if key != "geometry"}
    settings = manifest.settings
    assert parameter("calibration", settings, scan.source) == parameter("calibration", settings, without)
    add_scan("MoS2", minutes_ago=70, scan_step_nm=0.04, convergence_semi_angle_mrad=31.74)
    now = by_folder(discover())["film"]
    source = json.loads(parameter("calibration", settings, now.source))["source"]
    assert [one["id"] for one in source["geometry"]] == [by_folder(discover())["MoS2"].id]


def test_one_that_was_refused_is_no_candidate(session: Path, add_scan: AddScan, discover: Discover) -> None:
    add_scan("Au_xgrating", minutes_ago=200)
    add_scan("MoS2", minutes_ago=90, **FINE)
    add_scan("film", scan_step_nm=5.0, scan_rotation_deg=12.0)
    manifest = discover()
    fine = by_folder(manifest)["MoS2"]
    record = session / "processing" / f"{fine.id}_geometry.json"
    record.parent.mkdir(parents=True)
    sha = digest(parameter("geometry", manifest.settings, fine.source))
    write_record(
        failure_path(record),
        FailureRecord(dataset="x", stage="geometry", category="data", message="torn", parameter_sha256=sha),
    )
    found = by_folder(discover())
    assert (found["MoS2"].verdict, found["MoS2"].stages) == ("held", ("convert",))
    assert found["film"].geometry_candidates == ()
