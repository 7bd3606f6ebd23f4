"""The scan at atomic resolution of the demo session goes all the way, and finds the geometry it was made with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stemcal.phantoms.plan import SessionPlan
from stemcal.phantoms.session import write_session
from stemcal.phantoms.truth import session_truth
from stemcal.records.atomic import read_record
from stemcal.records.base import Quantity
from stemcal.records.frozen import read_latest
from stemcal.records.geometry import GeometryRecord

from .conftest import stemcal

pytestmark = pytest.mark.session


def test_demo_geometry(tmp_path: Path) -> None:
    whole = SessionPlan.demo(seed=3)
    (scan,) = (one for one in whole.scans if one.thin is not None)
    plan = whole.model_copy(update={"scans": (scan,)})
    write_session(tmp_path, plan)
    stemcal("process", tmp_path)
    processing = tmp_path / "processing"
    manifest = read_latest(processing)
    assert manifest is not None
    (one,) = manifest.datasets.values()
    assert one.stages == ("convert", "geometry")
    record = read_record(processing / f"{one.id}_geometry.json", GeometryRecord)
    truth = session_truth(plan).datasets[scan.name].geometry
    assert record.quality.verdict == "pass", record.quality
    assert record.result is not None
    assert truth is not None
    axes = record.result.scan_to_camera
    assert (axes.flip, axes.half_turn_resolved) == (truth.flip, True)
    assert_within(axes.theta_fast_deg, truth.theta_fast_deg, 0.2)
    assert_within(axes.theta_slow_deg, truth.theta_slow_deg, 0.2)
    assert_within(axes.step_ratio, truth.step_ratio, 0.003)
    assert axes.step_fast_angstrom is not None
    assert axes.step_fast_angstrom.value == pytest.approx(truth.step_fast_angstrom, rel=0.01)
    for name, value in truth.aberrations_angstrom.items():
        assert_within(record.result.aberrations[name], value, 4.0)
    page = json.loads((processing / "session.json").read_text())["result"]
    assert [found["verdict"] for found in page["geometries"]] == ["pass"]
    assert "Scan and camera" in (processing / "session.html").read_text(encoding="utf-8")


def assert_within(measured: Quantity, true: float, tolerance: float) -> None:
    """The promise, and the promise about the promise: inside four of its own sigmas."""
    assert measured.sigma is not None
    assert abs(measured.value - true) <= min(tolerance, 4 * measured.sigma)
