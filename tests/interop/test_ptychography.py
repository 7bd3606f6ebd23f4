"""What py4DSTEM makes of our parameters: rotation, positions and probe, against its own code on simulated frames."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from stemcal.interop.ptychography import polar_parameters, ptyrex_parameters, py4dstem_parameters
from stemcal.optics.scan_affine import ScanAxes, scan_matrix

# py4DSTEM warns on import and draws on its own, so it runs in a process where warnings are not errors.
PROGRAM = """
import json, sys
import numpy as np
from py4DSTEM import DataCube
from py4DSTEM.process.phase import DPC, SingleslicePtychography
from py4DSTEM.process.phase.utils import ComplexProbe
from stemcal.interop.ptychography import py4dstem_parameters
from stemcal.optics.aberrations import aberration_phase
from stemcal.optics.scan_affine import ScanAxes, scan_matrix
from stemcal.optics.wavelength import wavelength_angstrom
from stemcal.phantoms.weak_phase import WeakPhasePlan, crystal, expected_frames

ABERRATIONS = {"C10": -30.0, "C12a": 20.0, "C12b": -15.0, "C21b": 500.0, "C23a": -400.0, "C30": 2e4, "C34b": 3e4}
results = {}
for flip in (False, True):
    axes = ScanAxes(25.0, 25.0, 0.35, 0.35, flip)
    thin = crystal("square", angle_deg=7.0, strength=0.5)
    small = {"scan_shape": (24, 24), "frame_shape": (36, 36), "disk_radius_px": 9.0, "centre_px": (17.7, 17.3)}
    plan = WeakPhasePlan(axes, thin, {}, **small)
    cube = DataCube(expected_frames(plan) * 1e4)
    cube.calibration.set_R_pixel_size(0.35); cube.calibration.set_R_pixel_units("A")
    cube.calibration.set_Q_pixel_size(plan.mrad_per_px); cube.calibration.set_Q_pixel_units("mrad")
    wanted = py4dstem_parameters(plan.scan_matrix, plan.voltage_kv, plan.semi_angle_mrad, ABERRATIONS)
    dpc = DPC(datacube=cube, energy=wanted["energy"], verbose=False)
    dpc.preprocess(plot_center_of_mass=False, plot_rotation=False, rotation_angles_deg=np.arange(-90.0, 90.0, 1.0))
    pty = SingleslicePtychography(datacube=cube, energy=wanted["energy"], semiangle_cutoff=wanted["semiangle_cutoff"],
        polar_parameters=wanted["polar_parameters"], verbose=False, object_padding_px=(8, 8))
    pty.preprocess(plot_center_of_mass=False, plot_rotation=False, plot_probe_overlaps=False,
        force_com_rotation=wanted["force_com_rotation"], force_com_transpose=wanted["force_com_transpose"])
    positions = np.asarray(pty._positions_px_initial) * np.asarray(pty.sampling)
    steps = np.stack(np.meshgrid(np.arange(24), np.arange(24), indexing="ij"), -1).reshape(-1, 2)
    steps = steps @ plan.scan_matrix.T
    off = (positions - positions.mean(0)) - (steps - steps.mean(0))
    results[str(flip)] = {
        "solved": [float(np.degrees(dpc._rotation_best_rad)), bool(dpc._rotation_best_transpose)],
        "wanted": [wanted["force_com_rotation"], wanted["force_com_transpose"]],
        "positions": float(np.abs(off).max()),
    }
angle = np.linspace(-0.02, 0.02, 41)
row, col = np.meshgrid(angle, angle, indexing="ij")
grid = {"gpts": (8, 8), "sampling": (1.0, 1.0)}
probe = ComplexProbe(energy=80e3, semiangle_cutoff=25.0, parameters=wanted["polar_parameters"], **grid)
theirs = np.asarray(probe.evaluate_aberrations(np.hypot(row, col), np.arctan2(col, row)))
chi = aberration_phase(ABERRATIONS, row * 1e3, col * 1e3, wavelength_angstrom(80.0))
results["probe"] = float(np.abs(theirs - np.exp(-1j * chi)).max())
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def theirs() -> dict[str, Any]:
    paths = os.pathsep.join(sys.path)
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"}
    words = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("flip", [False, True])
def test_rotation_and_transpose_are_what_py4dstem_finds_itself(theirs: dict[str, Any], flip: bool) -> None:
    rotation, transpose = theirs[str(flip)]["solved"]
    wanted, wanted_transpose = theirs[str(flip)]["wanted"]
    assert transpose == wanted_transpose == flip
    assert (rotation - wanted + 90) % 180 - 90 == pytest.approx(0, abs=1.0)


@pytest.mark.parametrize("flip", [False, True])
def test_py4dstem_puts_the_probe_where_our_matrix_does(theirs: dict[str, Any], flip: bool) -> None:
    assert theirs[str(flip)]["positions"] < 1e-4


def test_py4dstem_makes_the_same_probe(theirs: dict[str, Any]) -> None:
    assert theirs["probe"] < 1e-4


def test_polar_parameters_name_only_what_there_is() -> None:
    found = polar_parameters({"C10": 12.0, "C12a": 3.0, "C12b": -4.0, "C30": 0.0})
    assert found == {"C10": 12.0, "C12": 5.0, "phi12": pytest.approx(math.pi / 2 - math.atan2(-4, 3) / 2)}


def test_a_shear_goes_into_the_matrix_and_its_mean_into_the_rotation() -> None:
    scan = scan_matrix(ScanAxes(179.0, -179.0, 0.4, 0.42, flip=False))
    found = py4dstem_parameters(scan, 80.0, 25.0, {})
    assert abs(found["force_com_rotation"]) == pytest.approx(180.0)
    np.testing.assert_allclose(found["scan_matrix_angstrom"], scan)


def test_ptyrex_has_its_units_and_keys() -> None:
    scan = scan_matrix(ScanAxes(12.0, 12.0, 0.4, 0.42, flip=False))
    aberrations = {"C10": -80.0}
    found = ptyrex_parameters(scan, (64, 32), (256, 256), 80.0, 8.0, 0.48, (128.0, 127.0), aberrations)
    common = found["process"]["common"]
    assert common["source"]["energy"] == [80e3]
    assert common["probe"]["convergence"] == found["experiment"]["optics"]["lens"]["alpha"] == pytest.approx(0.016)
    assert common["detector"]["distance"] == pytest.approx(0.1146, abs=1e-4)
    assert common["scan"]["N"] == [64, 32]
    np.testing.assert_allclose(common["scan"]["dR"], [4.2e-11, 4.0e-11])
    assert common["scan"]["rotation"] == pytest.approx(12.0)
    assert found["experiment"]["optics"]["lens"]["defocus"] == pytest.approx([-8e-9, -8e-9])
    assert json.loads(json.dumps(found)) == found
