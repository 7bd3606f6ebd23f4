"""The step as a whole: files in, record, images and figure out, the same bytes every time, and refusals by name."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from geometry_truth import ABERRATIONS, AXES, expected, plan

from stemcal.cli import main
from stemcal.geometry.run import Conditions, GeometryPaths, run_geometry
from stemcal.geometry.settings import GeometrySettings
from stemcal.phantoms.weak_phase import amorphous, counted, expected_frames, gratings, vacuum
from stemcal.records.atomic import read_record
from stemcal.records.geometry import GeometryRecord

MPIEXEC = Path(sys.executable).with_name("mpiexec")
KNOWN = Conditions(voltage_kv=80.0, semi_angle_mrad=25.0, step_angstrom=0.36)
WORDS = ("--voltage-kv", "80", "--semi-angle-mrad", "25", "--step-angstrom", "0.36", "--no-progress", "--threads", "2")
WAVE = np.array([[0.15, 0.32]])


def files(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("geometry") / "scan.npy"
    np.save(path, counted(expected(), 8000.0, seed=3))
    return path


@pytest.fixture(scope="module")
def output(scan: Path) -> Path:
    folder = scan.parent / "alone"
    # the command, because it alone keeps the linear algebra library to one thread
    assert main(["geometry", str(scan), "-o", str(folder / "scan_geometry.json"), *WORDS, "--threads", "1"]) == 0
    return folder


@pytest.fixture(scope="module")
def record(output: Path) -> GeometryRecord:
    return read_record(output / "scan_geometry.json", GeometryRecord)


def test_the_geometry_is_the_true_one(record: GeometryRecord) -> None:
    assert record.quality.verdict == "pass", record.quality
    result = record.result
    assert result is not None
    axes = result.scan_to_camera
    assert (result.mode, axes.flip, axes.half_turn_resolved) == ("thin", AXES.flip, True)
    assert axes.theta_fast_deg.value == pytest.approx(AXES.theta_fast_deg, abs=0.2)
    assert axes.theta_slow_deg.value == pytest.approx(AXES.theta_slow_deg, abs=0.2)
    assert axes.step_ratio.value == pytest.approx(AXES.step_ratio, rel=3e-3)
    assert axes.step_fast_angstrom is not None
    assert axes.step_fast_angstrom.value == pytest.approx(AXES.step_fast, rel=0.01)
    np.testing.assert_allclose(axes.matrix, plan().scan_matrix, rtol=0.02, atol=0.005)
    for name, value in ABERRATIONS.items():
        sigma = result.aberrations[name].sigma
        assert sigma is not None
        assert result.aberrations[name].value == pytest.approx(value, abs=2 + 4 * sigma)
    assert result.explained_energy is not None
    assert result.explained_energy > 0.95
    assert result.consistency.ratio == pytest.approx(0.36**2 / (AXES.step_fast * AXES.step_slow), rel=0.02)
    assert result.com_curl is not None
    assert result.com_curl.theta_deg.value == pytest.approx(AXES.theta_fast_deg, abs=5)
    assert [vote.method for vote in result.votes if vote.used] == ["thin"]
    assert {vote.method for vote in result.votes} == {"thin", "bulk", "kikuchi", "line"}
    assert (record.scan_shape, record.frame_shape) == ((64, 64), (48, 48))


@pytest.mark.skipif(not MPIEXEC.is_file(), reason="no mpiexec beside this Python")
def test_neither_threads_nor_ranks_change_a_byte(scan: Path, output: Path) -> None:
    folder = scan.parent / "ranks"
    folder.mkdir()
    command = [str(MPIEXEC), "-n", "2", sys.executable, "-c", "from stemcal.cli import main; raise SystemExit(main())"]
    words = ["geometry", str(scan), "-o", str(folder / "scan_geometry.json"), "--ranks", "2", *WORDS]
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert set(files(output)) == {"scan_geometry.json", "scan_geometry.png", "scan_ssb.hdf5"}
    assert files(folder) == files(output)


def test_the_images_are_there(output: Path) -> None:
    with h5py.File(output / "scan_ssb.hdf5") as file:
        assert file["ssb/phase_corrected"].shape == (64, 64)
        assert file["detector/mean_pattern"].shape == (48, 48)
        assert json.loads(file["parameters/py4dstem"][()])["energy"] == 80e3


@pytest.mark.parametrize(
    ("thin", "flag"),
    [(vacuum(), "vacuum"), (gratings(WAVE, 0.3), "too_few_peaks")],
    ids=["vacuum", "one-wave"],
)
def test_what_does_not_tell_is_refused_by_name(thin, flag: str, tmp_path: Path, capsys) -> None:
    facts = {"aberrations_angstrom": {}, "scan_shape": (32, 32)}
    np.save(tmp_path / "a.npy", counted(expected_frames(plan(thin, **facts)), 3000.0, seed=1))
    words = ["geometry", str(tmp_path / "a.npy"), "-o", str(tmp_path / "a_geometry.json"), *WORDS]
    assert main(words) == 1
    assert flag in capsys.readouterr().out
    assert main([*words, "--accept-fail"]) == 0
    record = read_record(tmp_path / "a_geometry.json", GeometryRecord)
    assert record.result is None
    assert record.quality.flags[0].name == flag
    with h5py.File(tmp_path / "a_ssb.hdf5") as file:
        assert file["detector/mean_pattern"].shape == (48, 48)
    assert (tmp_path / "a_geometry.png").is_file()


def test_an_amorphous_sample_is_named(tmp_path: Path) -> None:
    """Its waves interfere as those of a crystal do; what tells it is that they have no lattice."""
    facts = {"aberrations_angstrom": {}, "scan_shape": (32, 32)}
    np.save(tmp_path / "a.npy", counted(expected_frames(plan(amorphous(0.2, seed=4), **facts)), 3000.0, seed=1))
    paths = GeometryPaths.of(tmp_path / "a_geometry.json")
    record = run_geometry(tmp_path / "a.npy", paths, settings=GeometrySettings(), conditions=KNOWN)
    assert "no_scan_lattice" in [flag.name for flag in record.quality.flags]
    if record.result is not None:
        axis = record.result.scan_to_camera.theta_fast_deg
        assert axis.sigma is not None
        assert (axis.value - AXES.theta_fast_deg + 90) % 180 - 90 == pytest.approx(0, abs=5 * axis.sigma)


def test_no_disk_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(1).poisson(2.0, (9, 9, 32, 32)).astype(np.uint16))
    assert main(["geometry", str(tmp_path / "a.npy"), "-o", str(tmp_path / "a_geometry.json"), *WORDS]) == 1
    record = read_record(tmp_path / "a_geometry.json", GeometryRecord)
    assert (record.result, record.quality.flags[0].name) == (None, "no_aperture")
    assert (tmp_path / "a_geometry.png").is_file()
