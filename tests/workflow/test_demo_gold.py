"""The accuracy that is promised on the gold of the demo session."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stemcal.phantoms.plan import SessionPlan
from stemcal.phantoms.session import write_scan
from stemcal.phantoms.truth import session_truth
from stemcal.records.atomic import read_record
from stemcal.records.base import Quantity
from stemcal.records.gold import GoldRecord

from .conftest import stemcal

pytestmark = pytest.mark.session


def test_demo_gold(tmp_path: Path) -> None:
    plan = SessionPlan.demo(seed=7)
    scan = next(one for one in plan.scans if one.role == "gold")
    write_scan(tmp_path, plan, scan)
    settings = json.dumps({"chip_gap_px": plan.detector.gap_px})
    stemcal("convert", tmp_path / scan.name, "-o", tmp_path / "au_data.hdf5", "--settings", settings)
    stemcal("gold", tmp_path / "au_data.hdf5", "-o", tmp_path / "au_gold.json")
    record = read_record(tmp_path / "au_gold.json", GoldRecord)
    truth = session_truth(plan).datasets[scan.name]
    assert record.quality.verdict == "pass"
    assert record.result is not None
    ellipse, size = record.result.ellipse, record.result.pixel_size.area_preserving
    true_size = truth.pixel_size_per_angstrom
    assert_within(ellipse.ratio, truth.ellipse_ratio, 0.0005)
    assert_within(ellipse.angle_deg, truth.ellipse_angle_flipped_deg, 1.0)
    assert_within(size, true_size, 0.0005 * true_size)


def assert_within(measured: Quantity, true: float, tolerance: float) -> None:
    """The promise, and the promise about the promise: inside three of its own sigmas."""
    assert measured.sigma is not None
    assert abs(measured.value - true) <= min(tolerance, 3 * measured.sigma)
