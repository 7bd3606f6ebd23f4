from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from calibration_truth import CAMERA, PHASE, RING_Q, SCAN, frames, gold_record, write_container, write_gold
from PIL import Image

from stemcal.calibration.run import Conditions, run_calibration
from stemcal.calibration.settings import CalibrationSettings
from stemcal.cli import main
from stemcal.errors import DataError
from stemcal.formats.hspy import read_signal
from stemcal.formats.merlin import write_mib
from stemcal.optics.rings import blurred_ring
from stemcal.polar.operator import RadialGrid
from stemcal.polar.run import run_polar
from stemcal.polar.settings import PolarSettings
from stemcal.records.atomic import read_record, write_record
from stemcal.records.base import Flag, Quality
from stemcal.records.calibration import CalibrationRecord
from stemcal.records.polar import PolarRecord

SETTINGS = PolarSettings()
NAMES = ("azimuthal_mean.hspy", "azimuthal_var.hspy", "polar.hdf5", "polar.json", "polar.png")


@pytest.fixture(autouse=True)
def figures_where_they_matter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than everything else: only the tests of bytes draw."""
    if "bytes" not in request.node.name:
        monkeypatch.setattr("stemcal.polar.run.draw_figure", lambda path, *_: path.write_bytes(b""))
        monkeypatch.setattr("stemcal.calibration.run.draw_figure", lambda path, *_: path.write_bytes(b""))


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    return frames()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, stack: np.ndarray) -> Path:
    """A data set and its calibration."""
    folder = tmp_path_factory.mktemp("polar")
    write_container(folder / "a_data.hdf5", stack)
    gold = write_gold(folder / "g_gold.json")
    run_calibration(folder / "a_data.hdf5", [gold], folder / "a_calibration.json", settings=CalibrationSettings())
    return folder


@pytest.fixture(scope="module")
def done(home: Path) -> tuple[Path, PolarRecord]:
    record = run_polar(home / "a_data.hdf5", home / "a_calibration.json", home / "a", settings=SETTINGS)
    return home, record


def arrays(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: dataset[...] for name, dataset in file.items()}


def changed(home: Path, path: Path, **changes: Any) -> Path:
    record = read_record(home / "a_calibration.json", CalibrationRecord)
    write_record(path, record.model_copy(update=changes))
    return path


def outputs(prefix: Path, names: tuple[str, ...] = NAMES) -> dict[str, bytes]:
    return {name: prefix.with_name(f"{prefix.name}_{name}").read_bytes() for name in names}


def test_record_and_files_agree(done: tuple[Path, PolarRecord]) -> None:
    home, record = done
    assert record == read_record(home / "a_polar.json", PolarRecord)
    assert record.quality.verdict == "pass"
    result = record.result
    assert result is not None
    stored = arrays(home / "a_polar.hdf5")
    assert result.scan_shape == SCAN
    for name in ("mean", "variance", "excess_variance", "standard_error", "n_effective", "valid_area"):
        assert stored[name].shape == (*SCAN, result.n_radial_bins)
        assert stored[name].dtype == np.float32
    assert result.n_missing_means == int(np.isnan(stored["mean"]).sum())
    assert result.n_missing_variances == int(np.isnan(stored["variance"]).sum())
    assert (np.isnan(stored["mean"]) == (stored["valid_area"] == 0)).all()
    assert result.coverage_at_q_max >= 0.1
    assert result.calibration == "a_calibration.json"
    assert [entry.path for entry in record.inputs] == ["a_data.hdf5", "a_calibration.json"]
    step = CAMERA.pixel_size_per_angstrom
    np.testing.assert_allclose(stored["q"], (np.arange(result.n_radial_bins) + 0.5) * step)
    assert result.q_max_per_angstrom == pytest.approx(result.n_radial_bins * step)


def test_derived_arrays_follow_from_mean_and_variance(done: tuple[Path, PolarRecord]) -> None:
    stored = arrays(done[0] / "a_polar.hdf5")
    np.testing.assert_allclose(stored["excess_variance"], stored["variance"] - stored["mean"], atol=1e-4, rtol=1e-4)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.sqrt(stored["variance"] / stored["n_effective"])
    np.testing.assert_allclose(stored["standard_error"], expected, rtol=1e-5)


def test_hyperspy_files_hold_the_same_with_axes(done: tuple[Path, PolarRecord]) -> None:
    home, record = done
    stored = arrays(home / "a_polar.hdf5")
    for name, key in (("azimuthal_mean", "mean"), ("azimuthal_var", "variance")):
        signal = read_signal(home / f"a_{name}.hspy")
        np.testing.assert_array_equal(signal.data, stored[key])
        assert [(axis.name, axis.units, axis.scale) for axis in signal.axes[:2]] == [
            ("scan_row", "nm", 2.0),
            ("scan_col", "nm", 2.0),
        ]
        np.testing.assert_allclose(signal.axes[2].values(stored["q"].size), stored["q"])
        assert signal.axes[2].units == "1/Å"
        parameter = json.loads(signal.metadata["stemcal"]["parameter"])
        assert parameter["stage"] == "polar"
        assert parameter["settings"] == record.provenance.settings


def test_the_ring_is_where_it_was_put(done: tuple[Path, PolarRecord]) -> None:
    stored = arrays(done[0] / "a_polar.hdf5")
    mean = np.nanmean(stored["mean"], axis=(0, 1))
    radius = RING_Q / CAMERA.pixel_size_per_angstrom
    near = slice(round(radius) - 6, round(radius) + 6)
    centres = RadialGrid(1.0, mean.size).centres_px[near]
    design = np.stack([blurred_ring(centres, radius, PHASE.ring_width_px), np.ones(12), centres - radius], axis=1)
    residual = mean[near] - design @ np.linalg.lstsq(design, mean[near], rcond=None)[0]
    assert np.abs(residual).max() < 0.05 * np.ptp(mean[near])
    shifted = np.stack([blurred_ring(centres, radius + 1, PHASE.ring_width_px), np.ones(12), centres - radius], axis=1)
    worse = mean[near] - shifted @ np.linalg.lstsq(shifted, mean[near], rcond=None)[0]
    assert np.abs(worse).max() > 2 * np.abs(residual).max()


def test_grains_show_in_the_variance_and_the_diffuse_background_does_not(done: tuple[Path, PolarRecord]) -> None:
    stored = arrays(done[0] / "a_polar.hdf5")
    normalised = np.nanmean(stored["excess_variance"], axis=(0, 1)) / np.nanmean(stored["mean"], axis=(0, 1)) ** 2
    ring = round(RING_Q / CAMERA.pixel_size_per_angstrom)
    assert normalised[ring] > 1
    assert abs(normalised[14:22].mean()) < 0.1


def test_threads_and_reruns_give_the_same_bytes(home: Path) -> None:
    for prefix, threads in (("one", 1), ("three", 3), ("again", 1)):
        run_polar(home / "a_data.hdf5", home / "a_calibration.json", home / prefix, settings=SETTINGS, threads=threads)
    assert outputs(home / "three") == outputs(home / "one")
    assert outputs(home / "again") == outputs(home / "one")
    with Image.open(home / "one_polar.png") as image:
        assert min(image.size) > 400


def test_symmetry_orders_are_written_where_they_are_asked_for(home: Path, done: tuple[Path, PolarRecord]) -> None:
    settings = PolarSettings(symmetry_orders=(2, 4))
    for prefix, threads in (("s", 1), ("s2", 2)):
        run_polar(home / "a_data.hdf5", home / "a_calibration.json", home / prefix, settings=settings, threads=threads)
    assert (home / "s_polar.hdf5").read_bytes() == (home / "s2_polar.hdf5").read_bytes()
    plain, stored = arrays(home / "a_polar.hdf5"), arrays(home / "s_polar.hdf5")
    assert set(stored) - set(plain) == {"symmetry_orders", "symmetry_amplitude", "symmetry_power", "symmetry_angle"}
    np.testing.assert_array_equal(stored["variance"], plain["variance"])
    assert stored["symmetry_orders"].tolist() == [2, 4]
    assert stored["symmetry_power"].shape == (*SCAN, 2, stored["q"].size)
    # Six grains at random on a ring of some 90 px: every order alike, and nothing in the diffuse background.
    ring = round(RING_Q / CAMERA.pixel_size_per_angstrom)
    power = np.nanmean(stored["symmetry_power"][..., 14:36], axis=(0, 1))
    assert (power[:, ring - 14] > 0.05).all()
    assert np.abs(power[:, : 22 - 14]).max() < 0.02


def test_the_cache_has_no_effect(done: tuple[Path, PolarRecord]) -> None:
    home, _ = done
    small = PolarSettings(operator_cache_mb=1)
    run_polar(home / "a_data.hdf5", home / "a_calibration.json", home / "small", settings=small)
    np.testing.assert_array_equal(
        arrays(home / "a_polar.hdf5")["variance"], arrays(home / "small_polar.hdf5")["variance"]
    )


def test_ranks_give_the_same_bytes(home: Path, checkout: Path) -> None:
    settings = PolarSettings(symmetry_orders=(2, 4), corrected_frames=True)
    run_polar(home / "a_data.hdf5", home / "a_calibration.json", home / "alone", settings=settings)
    launcher = Path(sys.executable).with_name("mpiexec")
    if not launcher.exists():
        pytest.skip("no mpiexec beside this Python")
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    stemcal = [sys.executable, "-c", "import sys; from stemcal.cli import main; sys.exit(main())"]
    calibrate = ["calibration", "a_data.hdf5", "--gold", "g_gold.json", "-o", "ranks_calibration.json"]
    measure = ["polar", "a_data.hdf5", "--calibration", "a_calibration.json", "-o", "ranks"]
    measure += ["--settings", json.dumps({"symmetry_orders": [2, 4], "corrected_frames": True})]
    for words in (calibrate, measure):
        command = [str(launcher), "-n", "2", *stemcal, *words, "--ranks", "2", "--threads", "1", "--no-progress"]
        finished = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stderr
    names = (*NAMES[:3], "corrected.hspy", NAMES[4])
    assert outputs(home / "ranks", names) == outputs(home / "alone", names)
    one, two = ((home / f"{name}_polar.json").read_text().replace(name, "") for name in ("ranks", "alone"))
    assert one == two
    one, two = ((home / f"{name}_calibration.json").read_bytes() for name in ("a", "ranks"))
    assert one == two


def test_plain_arrays_and_merlin_files_give_the_same_numbers(done: tuple[Path, PolarRecord], stack: np.ndarray) -> None:
    home, _ = done
    expected = arrays(home / "a_polar.hdf5")["mean"]
    np.save(home / "n.npy", stack.reshape(*SCAN, *CAMERA.frame_shape))
    write_mib(home / "m.mib", [stack[:, ::-1]], pixel_type="U16", assembly="1x1", scan_shape=SCAN, scan_in_hdr=True)
    for name in ("n.npy", "m.mib"):
        run_polar(home / name, home / "a_calibration.json", home / name[0], settings=SETTINGS)
        np.testing.assert_array_equal(arrays(home / f"{name[0]}_polar.hdf5")["mean"], expected)
    assert read_signal(home / "n_azimuthal_mean.hspy").axes[0].units == "px"


def test_positions_that_are_not_ok_are_missing(home: Path, stack: np.ndarray) -> None:
    status = np.zeros(SCAN, np.uint8)
    status[:, -1] = 1
    status[4, 3:6] = 3
    write_container(home / "f_data.hdf5", stack, frame_status=status)
    record = run_polar(home / "f_data.hdf5", home / "a_calibration.json", home / "f", settings=SETTINGS)
    mean = arrays(home / "f_polar.hdf5")["mean"]
    assert np.isnan(mean[status != 0]).all()
    assert np.isfinite(mean[status == 0]).any(axis=-1).all()
    assert record.result is not None
    assert record.result.n_positions_without_data == 12
    assert [flag.name for flag in record.quality.flags] == ["positions_without_data"]
    assert record.quality.verdict == "warn"


def test_nothing_ok_fails(home: Path, stack: np.ndarray) -> None:
    write_container(home / "z_data.hdf5", stack, frame_status=np.full(SCAN, 3, np.uint8))
    record = run_polar(home / "z_data.hdf5", home / "a_calibration.json", home / "z", settings=SETTINGS)
    assert record.quality.verdict == "fail"
    assert np.isnan(arrays(home / "z_polar.hdf5")["mean"]).all()
    assert (home / "z_polar.png").is_file()


def test_a_dead_cross_makes_no_peak(home: Path) -> None:
    valid = np.ones(CAMERA.frame_shape, bool)
    valid[70:73] = valid[:, 80:83] = False
    flat = np.random.default_rng(3).poisson(9.0, (99, *CAMERA.frame_shape)).astype(np.uint16) * valid
    write_container(home / "x_data.hdf5", flat.astype(np.uint16), valid=valid)
    run_polar(home / "x_data.hdf5", home / "a_calibration.json", home / "x", settings=SETTINGS)
    stored = arrays(home / "x_polar.hdf5")
    dispersion = np.nanmean(stored["variance"][..., 3:], axis=(0, 1)) / 9
    assert np.abs(dispersion - 1).max() < 0.12
    assert abs(dispersion.mean() - 1) < 0.01


def test_settings_decide_the_axis(home: Path) -> None:
    settings = PolarSettings(bin_width_px=2.0, q_max_per_angstrom=0.8)
    record = run_polar(home / "a_data.hdf5", home / "a_calibration.json", home / "w", settings=settings)
    assert record.result is not None
    assert record.result.n_radial_bins == 20
    assert record.result.q_max_per_angstrom == pytest.approx(0.8)


def test_a_failed_calibration_is_refused(home: Path, tmp_path: Path) -> None:
    flag = Flag(name="no_reference", message="none of 2 references fits: wrong voltage")
    failed = changed(home, tmp_path / "c.json", quality=Quality(verdict="fail", flags=(flag,)))
    with pytest.raises(DataError, match="the calibration failed: none of 2 references fits: wrong voltage"):
        run_polar(home / "a_data.hdf5", failed, tmp_path / "a", settings=SETTINGS)
    assert not list(tmp_path.glob("a_*"))


def test_a_calibration_without_an_ellipse_or_for_another_camera_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the calibration has no ellipse"):
        run_polar(
            home / "a_data.hdf5", changed(home, tmp_path / "c.json", ellipse=None), tmp_path / "a", settings=SETTINGS
        )
    instrument = read_record(home / "a_calibration.json", CalibrationRecord).instrument
    assert instrument is not None
    other = changed(home, tmp_path / "d.json", instrument=instrument.model_copy(update={"frame_shape": (256, 256)}))
    with pytest.raises(DataError, match=r"frames of \(256, 256\), the data have \(96, 112\)"):
        run_polar(home / "a_data.hdf5", other, tmp_path / "a", settings=SETTINGS)


def test_an_origin_far_off_the_detector_is_refused(home: Path, tmp_path: Path) -> None:
    origin = read_record(home / "a_calibration.json", CalibrationRecord).origin
    assert origin is not None
    away = origin.model_copy(update={"centre_row_px": origin.centre_row_px.model_copy(update={"value": -5000.0})})
    with pytest.raises(DataError, match=r"no ring about the origin -5000\.0"):
        run_polar(
            home / "a_data.hdf5", changed(home, tmp_path / "c.json", origin=away), tmp_path / "a", settings=SETTINGS
        )


def test_a_warned_calibration_warns(home: Path, tmp_path: Path) -> None:
    flag = Flag(name="reference_age", message="the reference is 30 h away in time")
    warned = changed(home, tmp_path / "c.json", quality=Quality(verdict="warn", flags=(flag,)))
    record = run_polar(home / "a_data.hdf5", warned, tmp_path / "a", settings=SETTINGS)
    assert record.quality.verdict == "warn"
    assert "30 h away" in record.quality.flags[0].message


def test_equal_calibrations_share_a_group_and_others_do_not(done: tuple[Path, PolarRecord], tmp_path: Path) -> None:
    home, record = done
    result = gold_record().result
    assert result is not None
    size = result.pixel_size
    larger = size.model_copy(update={"area_preserving": size.area_preserving.model_copy(update={"value": 0.021})})
    other = write_gold(tmp_path / "o_gold.json", result=result.model_copy(update={"pixel_size": larger}))
    run_calibration(home / "a_data.hdf5", [other], tmp_path / "o.json", settings=CalibrationSettings())
    there = run_polar(home / "a_data.hdf5", tmp_path / "o.json", tmp_path / "o", settings=SETTINGS)
    assert record.result is not None
    assert there.result is not None
    assert there.result.calibration_group != record.result.calibration_group


def test_command_line(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["polar", str(home / "a_data.hdf5"), "-o", str(tmp_path / "a"), "--no-progress", "--calibration"]
    assert main([*words, str(home / "a_calibration.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "stemcal/polar/1"
    failed = changed(home, tmp_path / "c.json", quality=Quality(verdict="fail", flags=()))
    assert main([*words, str(failed)]) == 1
    assert "the calibration failed: no reason is given" in capsys.readouterr().err
    assert main([*words, str(home / "a_calibration.json"), "--settings", '{"bin_width_px": 0.1}']) == 2


def test_a_line_scan(tmp_path: Path, stack: np.ndarray) -> None:
    np.save(tmp_path / "l.npy", stack)
    gold = write_gold(tmp_path / "g_gold.json")
    told = Conditions(200.0, 0.2)
    run_calibration(tmp_path / "l.npy", [gold], tmp_path / "l.json", settings=CalibrationSettings(), conditions=told)
    record = run_polar(tmp_path / "l.npy", tmp_path / "l.json", tmp_path / "l", settings=SETTINGS)
    assert record.result is not None
    assert record.result.scan_shape == (1, 99)


def test_the_scan_shape_can_be_given(home: Path, tmp_path: Path, stack: np.ndarray) -> None:
    np.save(tmp_path / "l.npy", stack)
    shape = ["--scan-shape", f"{SCAN[0]},{SCAN[1]}", "--no-progress"]
    told = ["--voltage-kv", "200", "--nominal-camera-length-m", "0.2", "--gold", str(home / "g_gold.json")]
    data, calibration = str(tmp_path / "l.npy"), str(tmp_path / "l.json")
    assert main(["calibration", data, "-o", calibration, *told, *shape]) == 0
    assert main(["polar", data, "--calibration", calibration, "-o", str(tmp_path / "l"), *shape]) == 0
    assert read_signal(tmp_path / "l_azimuthal_mean.hspy").data.shape[:2] == SCAN
