from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from stemcal.convert.paths import ConvertPaths
from stemcal.convert.run import run_convert
from stemcal.convert.settings import ConvertSettings
from stemcal.errors import DataError
from stemcal.formats.container import open_experiment
from stemcal.formats.extras import read_extras
from stemcal.formats.merlin.writer import write_mib
from stemcal.formats.microscope import write_microscope
from stemcal.frames.source import open_source
from stemcal.records.atomic import read_record
from stemcal.records.convert import ConvertRecord, InvalidPixels
from stemcal.records.microscope import Microscope

MakeScan = Callable[..., Path]
SETTINGS = ConvertSettings()


def out(tmp_path: Path, name: str = "scan") -> ConvertPaths:
    return ConvertPaths.of(tmp_path / "out" / f"{name}_data.hdf5")


def test_names_of_the_outputs_follow_the_first() -> None:
    paths = ConvertPaths.of(Path("x/scan_data.hdf5"))
    assert (paths.record, paths.figure) == (Path("x/scan_convert.json"), Path("x/scan_overview.png"))
    assert ConvertPaths.of(Path("x/scan.hdf5")).record == Path("x/scan_convert.json")
    assert ConvertPaths.of(Path("a.hdf5"), record=Path("r.json")).record == Path("r.json")


def test_a_scan_becomes_container_figure_and_record(
    tmp_path: Path, make_scan: MakeScan, scan_counts: NDArray[np.uint16]
) -> None:
    mib, paths = make_scan(), out(tmp_path)
    record = run_convert(mib, paths, settings=SETTINGS)
    assert sorted(path.name for path in paths.data.parent.iterdir()) == [
        "scan_convert.json",
        "scan_data.hdf5",
        "scan_overview.png",
    ]
    assert read_record(paths.record, ConvertRecord) == record
    assert record.quality.verdict == "pass"
    assert record.result is not None
    assert record.result.scan_shape == (5, 6)
    assert record.result.scan.certain
    assert record.result.rows_flipped
    assert record.result.invalid_pixels == InvalidPixels(gap=0, masked=0, dead=65, hot=0, total=65)
    assert record.result.mean_counts_per_frame.value == pytest.approx(scan_counts.sum() / 30)
    assert record.result.virtual_detectors is not None
    # rows are turned: row r of the detector is row 63 - r of the container
    assert record.result.virtual_detectors.centre_row_px.value == pytest.approx(63 - 30.4, abs=0.3)
    assert record.result.virtual_detectors.centre_col_px.value == pytest.approx(34 - 0.75, abs=0.3)
    assert record.result.virtual_detectors.disk_radius_px.value == pytest.approx(7, abs=0.5)
    assert [(item.role, item.path) for item in record.inputs] == [
        ("raw", "../raw/scan_data.mib"),
        ("hdr", "../raw/scan_data.hdr"),
        ("microscope", "../raw/scan.hdf"),
    ]


def test_the_container_holds_the_raw_counts_and_all_that_is_known(
    tmp_path: Path, no_drawing: None, make_scan: MakeScan, scan_counts: NDArray[np.uint16]
) -> None:
    mib, paths = make_scan(), out(tmp_path)
    run_convert(mib, paths, settings=SETTINGS)
    turned = scan_counts[..., ::-1, :]
    with open_source(paths.data) as source:
        np.testing.assert_array_equal(source.read(0, 30).reshape(turned.shape), turned)
        assert np.count_nonzero(~source.valid) == 65
        assert not source.valid[23].any()
        assert not source.valid[35, 36]
        assert source.microscope is not None
        assert source.microscope.voltage_kv == 300.0
        assert source.acquired_at == "2026-01-01T00:00:00.000000000Z"
    file, group = open_experiment(paths.data)
    with file:
        extras = read_extras(paths.data, group)
        axis = dict(group["axis-1"].attrs)
    assert (axis["units"], axis["scale"]) == ("nm", 1.25)
    assert extras.sequence_number is not None
    assert extras.sequence_number.tolist() == list(range(1, 31))
    assert extras.first_header is not None
    assert extras.first_header.startswith("MQ1,000001,00768,04,0064,0064,U16,   2x2,0F,")
    assert extras.hdr is not None
    assert "Frames in Acquisition (Number):\t30" in extras.hdr
    assert json.loads(extras.parameter or "")["stage"] == "convert"
    np.testing.assert_array_equal(extras.sums["sum_pattern"].values, turned.sum(axis=(0, 1)))
    np.testing.assert_array_equal(extras.sums["total_counts"].values, turned.sum(axis=(2, 3)))
    assert set(extras.sums) == {
        "sum_pattern",
        "max_pattern",
        "mean_pattern",
        "variance_pattern",
        "total_counts",
        "centre_of_mass_row",
        "centre_of_mass_col",
        "bright_field",
        "annular_bright_field",
        "annular_dark_field",
        "high_angle_dark_field",
        "max_count",
        "saturated_pixels",
        "saturated_pattern",
        "preview",
    }


def test_a_rerun_gives_the_same_bytes(tmp_path: Path, make_scan: MakeScan) -> None:
    mib, paths = make_scan(), out(tmp_path)
    run_convert(mib, paths, settings=SETTINGS, threads=1)
    first = {path.name: path.read_bytes() for path in paths.data.parent.iterdir()}
    run_convert(mib, paths, settings=SETTINGS, threads=3)
    assert {path.name: path.read_bytes() for path in paths.data.parent.iterdir()} == first


def test_without_a_microscope_the_axes_are_in_pixels(tmp_path: Path, no_drawing: None, make_scan: MakeScan) -> None:
    paths = out(tmp_path)
    record = run_convert(make_scan(microscope=False), paths, settings=SETTINGS)
    assert record.result is not None
    assert record.result.microscope is None
    with h5py.File(paths.data) as file:
        assert file["Experiments/scan/axis-0"].attrs["units"] == "px"


def test_what_discovery_passed_on_is_used(tmp_path: Path, no_drawing: None, make_scan: MakeScan) -> None:
    raw = {"identity": None, "scan_shape": [3, 10], "microscope": {"voltage_kv": 80.0, "scan_step_nm": 2.0}}
    record = run_convert(make_scan(), out(tmp_path), settings=SETTINGS, source={"raw": raw})
    assert record.result is not None
    assert record.result.scan_shape == (3, 10)
    assert record.result.scan.evidence[0].source == "user"
    assert record.result.microscope == Microscope(voltage_kv=80.0, scan_step_nm=2.0)
    assert record.provenance.source == {"raw": raw}


def test_frames_without_a_scan_are_kept_as_a_line_that_is_no_scan(tmp_path: Path, make_scan: MakeScan) -> None:
    paths = out(tmp_path)
    record = run_convert(make_scan(scan_shape=None, scan_in_hdr=False), paths, settings=SETTINGS)
    assert record.result is not None
    assert record.result.scan_shape == (1, 30)
    assert not record.result.scan.certain
    assert record.quality.verdict == "fail"
    assert [flag.name for flag in record.quality.flags] == ["scan_shape_uncertain"]
    assert paths.figure.stat().st_size > 10_000


def test_dark_frames_convert_with_a_warning(tmp_path: Path, no_drawing: None) -> None:
    write_mib(tmp_path / "a.mib", [np.zeros((4, 16, 16), np.uint16)], scan_shape=(2, 2), scan_in_hdr=True)
    record = run_convert(tmp_path / "a.mib", out(tmp_path), settings=SETTINGS)
    assert record.result is not None
    assert record.result.virtual_detectors is None
    assert {flag.name for flag in record.quality.flags} == {"no_bright_disk", "no_counts"}


def test_a_hole_in_the_frame_numbers_is_told(tmp_path: Path, no_drawing: None, make_scan: MakeScan) -> None:
    numbers = np.delete(np.arange(1, 31), 20)
    mib = make_scan(sequence=numbers, frames=slice(0, 29))
    record = run_convert(mib, out(tmp_path), settings=SETTINGS, scan_shape=(5, 6))
    assert record.quality.verdict == "warn"
    assert [flag.name for flag in record.quality.flags] == ["frames_missing"]
    assert "1 of 30 positions have no frame" in record.quality.flags[0].message
    assert record.result is not None
    assert (record.result.frames.in_file, record.result.frames.missing) == (29, 1)


@pytest.mark.parametrize("true_is_bad", [True, False])
def test_a_mask_file_is_used(
    tmp_path: Path, no_drawing: None, make_scan: MakeScan, scan_counts: NDArray[np.uint16], true_is_bad: bool
) -> None:
    bad = np.zeros((64, 64), bool)
    bad[10:20, :] = True
    np.save(tmp_path / "mask.npy", bad if true_is_bad else ~bad)
    settings = ConvertSettings(
        mask_file=str(tmp_path / "mask.npy"), mask_true_is_bad=true_is_bad, detect_dead_pixels=False
    )
    paths = out(tmp_path)
    record = run_convert(make_scan(), paths, settings=settings)
    with open_source(paths.data) as source:
        np.testing.assert_array_equal(source.valid, ~bad)
    assert record.result is not None
    assert record.result.invalid_pixels == InvalidPixels(gap=0, masked=640, dead=0, hot=0, total=640)
    wanted = scan_counts[..., ::-1, :][..., ~bad].sum() / 30
    assert record.result.mean_counts_per_frame.value == pytest.approx(wanted)
    assert "mask" in [item.role for item in record.inputs]


@pytest.mark.shared
def test_the_mask_of_another_detector_is_refused(
    tmp_path: Path, no_drawing: None, make_scan: MakeScan, shared_data: Path
) -> None:
    settings = ConvertSettings(mask_file=str(shared_data / "epsic" / "29042024_12bitmask.h5"))
    with pytest.raises(DataError, match="mask of 515 x 515 pixels, but the frames have 64 x 64"):
        run_convert(make_scan(), out(tmp_path), settings=settings)
    assert not (tmp_path / "out").exists()


def test_witnesses_that_disagree_leave_a_line_that_is_no_scan(
    tmp_path: Path, no_drawing: None, make_scan: MakeScan
) -> None:
    mib, paths = make_scan(), out(tmp_path)
    write_microscope(mib.with_name("scan.hdf"), Microscope(scan_size_px=256))
    record = run_convert(mib, paths, settings=SETTINGS)
    assert record.quality.verdict == "fail"
    assert [flag.name for flag in record.quality.flags] == ["scan_shape_uncertain"]
    assert "contradicted by microscope" in record.quality.flags[0].message
    with pytest.raises(DataError, match=r"scan shape is not certain.*--scan-shape ROWS,COLS"):
        open_source(paths.data)
    record = run_convert(mib, paths, settings=SETTINGS, scan_shape=(5, 6))
    assert record.quality.verdict == "pass"


def test_a_stale_record_does_not_outlive_its_data(
    tmp_path: Path, no_drawing: None, make_scan: MakeScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    mib, paths = make_scan(), out(tmp_path)
    run_convert(mib, paths, settings=SETTINGS)

    def no_figure(*_: object) -> None:
        raise OSError(28, "No space left on device", str(paths.figure))

    monkeypatch.setattr("stemcal.convert.writing.draw_overview", no_figure)
    with pytest.raises(OSError, match="No space left"):
        run_convert(mib, paths, settings=SETTINGS)
    assert not paths.record.exists()
