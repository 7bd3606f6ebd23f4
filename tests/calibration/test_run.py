from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from calibration_truth import CAMERA, SCAN, descan, frames, write_container, write_gold

from stemcal.calibration.figure import drawn_ring, nice_q
from stemcal.calibration.run import Conditions, run_calibration
from stemcal.calibration.settings import CalibrationSettings
from stemcal.cli import main
from stemcal.errors import DataError
from stemcal.optics.ellipse import correction_matrix
from stemcal.records.atomic import read_record
from stemcal.records.calibration import CalibrationRecord

SETTINGS = CalibrationSettings()


@pytest.fixture(autouse=True)
def figures_where_they_matter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than everything else: only the tests of bytes and of the figure draw."""
    if not {"bytes", "figure", "disk"} & set(request.node.name.split("_")):
        monkeypatch.setattr("stemcal.calibration.run.draw_figure", lambda path, *_: path.write_bytes(b""))


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    return frames()


@pytest.fixture
def data(tmp_path: Path, stack: np.ndarray) -> Path:
    return write_container(tmp_path / "a_data.hdf5", stack)


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    return write_gold(tmp_path / "g_gold.json")


def flags(record: CalibrationRecord) -> list[str]:
    return [flag.name for flag in record.quality.flags]


def test_binds_and_measures(data: Path, gold: Path, tmp_path: Path) -> None:
    other = write_gold(tmp_path / "h_gold.json", voltage_kv=80.0)
    record = run_calibration(data, [other, gold], tmp_path / "a_calibration.json", settings=SETTINGS)
    assert record == read_record(tmp_path / "a_calibration.json", CalibrationRecord)
    assert record.quality.verdict == "pass"
    assert record.q_pixel_size is not None
    assert record.q_pixel_size.area_preserving.value == CAMERA.pixel_size_per_angstrom
    assert record.q_pixel_size.source == "g_gold.json"
    assert record.q_pixel_size.why == "the only passing reference at 200 kV and 0.2 m: 12 min earlier"
    assert record.ellipse is not None
    np.testing.assert_allclose(record.ellipse.ellipse.matrix, correction_matrix(*CAMERA.strain))
    assert [(candidate.dataset, candidate.chosen) for candidate in record.candidates] == [("h", False), ("g", True)]
    assert [entry.path for entry in record.inputs] == ["a_data.hdf5", "h_gold.json", "g_gold.json"]
    assert record.instrument is not None
    assert record.instrument.frame_shape == CAMERA.frame_shape


def test_the_origin_is_the_true_one(data: Path, gold: Path, tmp_path: Path) -> None:
    origin = run_calibration(data, [gold], tmp_path / "a.json", settings=SETTINGS).origin
    assert origin is not None
    assert origin.degree == 1
    assert origin.centre_row_px.value == pytest.approx(CAMERA.centre_row_px, abs=0.02)
    assert origin.centre_col_px.value == pytest.approx(CAMERA.centre_col_px, abs=0.02)
    assert origin.coefficients_row_px[1:] == pytest.approx((0.9, -0.6), abs=0.03)
    assert origin.coefficients_col_px[1:] == pytest.approx((0.4, 1.2), abs=0.03)
    assert origin.descan_range_px == pytest.approx(float(np.hypot(*np.ptp(descan(), axis=0))), abs=0.05)
    assert origin.residual_rms_px < 0.15
    assert origin.fraction_used > 0.95
    sigma = origin.centre_row_px.sigma
    assert sigma is not None
    assert 0.001 < sigma < 0.03


def test_the_origin_is_measured_without_any_reference(data: Path, tmp_path: Path) -> None:
    record = run_calibration(data, [], tmp_path / "a.json", settings=SETTINGS)
    assert record.quality.verdict == "fail"
    assert record.q_pixel_size is None
    assert record.ellipse is None
    assert record.quality.flags[0].message == "no reference was offered"
    assert record.origin is not None
    assert record.origin.centre_row_px.value == pytest.approx(CAMERA.centre_row_px, abs=0.02)


def test_no_bright_disk(tmp_path: Path, gold: Path) -> None:
    flat = np.random.default_rng(3).poisson(3.0, (99, *CAMERA.frame_shape)).astype(np.uint16)
    record = run_calibration(write_container(tmp_path / "a.hdf5", flat), [gold], tmp_path / "a.json", settings=SETTINGS)
    assert record.quality.verdict == "fail"
    assert record.origin is None
    assert flags(record) == ["no_bright_disk"]
    assert (tmp_path / "a.png").is_file()


def test_frames_that_are_not_ok_and_dark_ones_do_not_count(tmp_path: Path, gold: Path, stack: np.ndarray) -> None:
    status = np.zeros(99, np.uint8)
    broken = stack.copy()
    status[::9] = 1
    broken[::9] = np.roll(broken[::9], 15, axis=1)
    broken[5::9] = 0
    source = write_container(tmp_path / "a.hdf5", broken, frame_status=status.reshape(SCAN))
    origin = run_calibration(source, [gold], tmp_path / "a.json", settings=SETTINGS).origin
    assert origin is not None
    assert origin.centre_row_px.value == pytest.approx(CAMERA.centre_row_px, abs=0.03)
    assert origin.fraction_used == pytest.approx(7 / 9, abs=0.05)


def test_a_dead_cross_through_the_disk_does_not_move_the_origin(tmp_path: Path, gold: Path, stack: np.ndarray) -> None:
    valid = np.ones(CAMERA.frame_shape, bool)
    valid[52:54] = False
    source = write_container(tmp_path / "a.hdf5", stack * valid, valid=valid)
    origin = run_calibration(source, [gold], tmp_path / "a.json", settings=SETTINGS).origin
    assert origin is not None
    assert origin.centre_row_px.value == pytest.approx(CAMERA.centre_row_px, abs=0.1)


def test_a_beam_that_jumps_is_refused(tmp_path: Path, gold: Path, stack: np.ndarray) -> None:
    shifts = np.random.default_rng(6).integers(-6, 7, (99, 2))
    jumping = np.stack([np.roll(frame, shift, axis=(0, 1)) for frame, shift in zip(stack, shifts, strict=True)])
    record = run_calibration(
        write_container(tmp_path / "a.hdf5", jumping), [gold], tmp_path / "a.json", settings=SETTINGS
    )
    assert record.quality.verdict == "fail"
    assert "origin_residual" in flags(record)
    assert record.origin is None
    assert record.q_pixel_size is not None


def test_a_small_scan_says_that_it_has_no_uncertainty(tmp_path: Path, gold: Path, stack: np.ndarray) -> None:
    source = write_container(tmp_path / "a.hdf5", stack[:2], (1, 2))
    record = run_calibration(source, [gold], tmp_path / "a.json", settings=SETTINGS)
    assert record.quality.verdict == "warn"
    assert flags(record) == ["no_uncertainty"]
    assert record.origin is not None
    assert record.origin.centre_row_px.sigma is None


def test_a_plain_array_is_told_its_conditions(tmp_path: Path, gold: Path, stack: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", stack.reshape(*SCAN, *CAMERA.frame_shape))
    told = Conditions(voltage_kv=200.0, nominal_camera_length_m=0.2)
    assert (
        run_calibration(
            tmp_path / "a.npy", [gold], tmp_path / "a.json", settings=SETTINGS, conditions=told
        ).quality.verdict
        == "pass"
    )
    untold = run_calibration(tmp_path / "a.npy", [gold], tmp_path / "b.json", settings=SETTINGS)
    assert untold.candidates[0].reason == "the data set does not say its voltage"
    assert untold.instrument is None


def test_a_missing_reference_is_a_reason_and_missing_data_an_error(data: Path, gold: Path, tmp_path: Path) -> None:
    record = run_calibration(data, [tmp_path / "no_gold.json", gold], tmp_path / "a.json", settings=SETTINGS)
    assert record.quality.verdict == "pass"
    assert record.candidates[0].reason.startswith("unreadable: cannot be read")
    with pytest.raises(DataError, match="there is no such file"):
        run_calibration(tmp_path / "no.hdf5", [gold], tmp_path / "b.json", settings=SETTINGS)
    assert not (tmp_path / "b.json").exists()


def test_threads_and_reruns_give_the_same_bytes(data: Path, gold: Path, tmp_path: Path) -> None:
    for threads in (1, 3, 1):
        run_calibration(data, [gold], tmp_path / f"t{threads}.json", settings=SETTINGS, threads=threads)
    assert (tmp_path / "t1.png").stat().st_size > 10_000
    for suffix in ("json", "png"):
        assert (tmp_path / f"t1.{suffix}").read_bytes() == (tmp_path / f"t3.{suffix}").read_bytes()


def test_command_line(data: Path, gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "a_calibration.json"
    words = ["calibration", str(data), "-o", str(output), "--no-progress"]
    assert main([*words, "--gold", str(gold), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["quality"]["verdict"] == "pass"
    assert main([*words, "--gold"]) == 1
    assert "no_reference" in capsys.readouterr().out
    assert main([*words, "--accept-fail"]) == 0
    assert main([*words, "--settings", '{"max_descan_degree": 9}']) == 2
    assert "max_descan_degree" in capsys.readouterr().err


def test_the_ring_that_the_figure_draws() -> None:
    matrix = correction_matrix(*CAMERA.strain)
    rows, cols = drawn_ring((10.0, 20.0), matrix, 30.0)
    np.testing.assert_allclose(np.hypot(*(matrix @ np.stack([rows - 10, cols - 20]))), 30.0)
    assert np.hypot(rows - 10, cols - 20).max() == pytest.approx(30 * np.sqrt(CAMERA.ratio), rel=1e-3)
    assert nice_q(0.02, (96, 112)) == 0.5
    assert nice_q(1e-5, (96, 112)) == pytest.approx(0.4 * 96 * 1e-5)
