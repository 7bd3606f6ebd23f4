"""Scans from an independent multislice code: molybdenum disulfide and strontium titanate, turned off the pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from abtem_scans import AbtemScan, abtem_scan

from stemcal.geometry.run import Conditions, GeometryPaths, run_geometry
from stemcal.geometry.settings import GeometrySettings
from stemcal.optics.scan_affine import ScanAxes
from stemcal.records.geometry import GeometryResult

pytestmark = pytest.mark.shared

MOS2 = ("mos2_60kV_25mrad_periodic_def60_ast20", ScanAxes(-140.0, -138.9, 0.30, 0.31, flip=True), 22.5)
STO = ("sto_200kV_20mrad_infocus", ScanAxes(31.0, 32.1, 0.30, 0.31, flip=False), 7.3)


@pytest.fixture(scope="module", params=[MOS2, STO], ids=["MoS2", "SrTiO3"])
def measured(
    request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[AbtemScan, GeometryResult]:
    name, axes, turn = request.param
    scan = abtem_scan(shared_data / "abtem" / f"{name}.npz", axes, (96, 96), turn_deg=turn)
    folder = tmp_path_factory.mktemp("abtem")
    np.save(folder / "scan.npy", np.random.default_rng(0).poisson(1e4 * scan.frames).astype(np.uint16))
    known = Conditions(voltage_kv=scan.voltage_kv, semi_angle_mrad=scan.semi_angle_mrad, step_angstrom=0.3)
    paths = GeometryPaths.of(folder / "scan_geometry.json")
    record = run_geometry(folder / "scan.npy", paths, settings=GeometrySettings(), conditions=known)
    assert record.quality.verdict == "pass", record.quality
    assert record.result is not None
    return scan, record.result


def test_directions_ratio_and_half_turn(measured: tuple[AbtemScan, GeometryResult]) -> None:
    scan, result = measured
    found = result.scan_to_camera
    assert (result.mode, found.flip, found.half_turn_resolved) == ("thin", scan.axes.flip, True)
    assert found.theta_fast_deg.value == pytest.approx(scan.axes.theta_fast_deg, abs=0.1)
    assert found.theta_slow_deg.value == pytest.approx(scan.axes.theta_slow_deg, abs=0.1)
    assert found.step_ratio.value == pytest.approx(scan.axes.step_ratio, rel=3e-4)
    assert result.explained_energy is not None
    assert result.explained_energy > 0.98


def test_the_step_is_as_uncertain_as_the_rim_of_the_disk(measured: tuple[AbtemScan, GeometryResult]) -> None:
    scan, result = measured
    step = result.scan_to_camera.step_fast_angstrom
    assert step is not None
    assert step.sigma is not None
    assert abs(step.value - scan.axes.step_fast) < 3 * step.sigma
    assert step.sigma < 0.015 * step.value


def test_astigmatism_has_the_sign_and_the_axes_of_the_other_code(measured: tuple[AbtemScan, GeometryResult]) -> None:
    scan, result = measured
    for name in ("C12a", "C12b"):
        assert result.aberrations[name].value == pytest.approx(scan.aberrations_angstrom.get(name, 0.0), abs=1.0)
    # the plane that is in focus lies within the crystal, a few angstrom from where the file counts from
    assert result.aberrations["C10"].value == pytest.approx(scan.aberrations_angstrom.get("C10", 0.0), abs=8.0)
