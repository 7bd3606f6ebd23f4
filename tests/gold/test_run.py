"""The step as a whole: files in, record and figure out, the same bytes every time."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from gold_truth import CAMERA, NOMINAL_M, amorphous, gold_source

from stemcal.cli import main
from stemcal.formats.image import write_pattern
from stemcal.gold.measure import Optics
from stemcal.gold.run import run_gold
from stemcal.gold.settings import GoldSettings
from stemcal.optics.ellipse import correction_matrix
from stemcal.records.atomic import read_record
from stemcal.records.gold import GoldRecord

SETTINGS = GoldSettings()


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    source = gold_source(6)
    path = tmp_path_factory.mktemp("gold") / "scan.npy"
    np.save(path, source.frames.reshape(12, 12, *CAMERA.frame_shape))
    return path


@pytest.fixture(scope="module")
def outputs(scan):
    paths = {}
    for threads in (1, 2):
        output = scan.parent / f"threads{threads}" / "scan_gold.json"
        run_gold(scan, output, settings=SETTINGS, optics=Optics(200.0, NOMINAL_M), threads=threads)
        paths[threads] = output
    return paths


def test_record(outputs):
    record = read_record(outputs[1], GoldRecord)
    assert record.quality.verdict == "pass"
    result = record.result
    np.testing.assert_allclose(result.ellipse.matrix, correction_matrix(*CAMERA.strain), atol=3e-4)
    assert result.ellipse.angle_deg.value == pytest.approx(CAMERA.angle_deg, abs=1)
    assert result.pixel_size.area_preserving.value == pytest.approx(CAMERA.pixel_size_per_angstrom, rel=5e-4)
    assert result.effective_camera_length_m.value == pytest.approx(0.14058, rel=6e-4)
    assert result.camera_length_ratio == pytest.approx(0.14058 / NOMINAL_M, rel=6e-4)
    assert result.n_patterns == 144
    assert result.n_resampling_blocks == 16
    assert record.frame_shape == (192, 192)
    assert record.inputs[0].path == "../scan.npy"


def test_epsics_three_keys(outputs):
    record = json.loads(outputs[1].read_text())
    ratio = record["result"]["ellipse"]["ratio"]["value"]
    area = record["result"]["pixel_size"]["area_preserving"]["value"]
    assert record["reciprocal_space_pix(1/A)"] == pytest.approx(area * math.sqrt(ratio))
    assert record["nominal_camera_length(m)"] == NOMINAL_M
    x0, y0, a, b, theta = record["p_ellipse"]
    assert (x0, y0) == pytest.approx((CAMERA.centre_row_px, CAMERA.centre_col_px), abs=0.05)
    assert a / b == pytest.approx(CAMERA.ratio, abs=5e-4)
    assert math.degrees(theta) == pytest.approx(90 - CAMERA.angle_deg, abs=1)
    # in their convention the semi-minor axis times the pixel size is q, of 220 as a flat detector sees it
    assert b * record["reciprocal_space_pix(1/A)"] == pytest.approx(0.693549, rel=3e-4)


def test_threads_change_no_byte(outputs):
    assert outputs[1].read_bytes() == outputs[2].read_bytes()
    assert outputs[1].with_suffix(".png").read_bytes() == outputs[2].with_suffix(".png").read_bytes()


def test_one_pattern_has_no_uncertainties(tmp_path, scan):
    write_pattern(tmp_path / "mean.tif", np.load(scan).mean(axis=(0, 1)).astype(np.float32))
    arguments = ["gold", str(tmp_path / "mean.tif"), "--voltage-kv", "200", "-o", str(tmp_path / "mean_gold.json")]
    assert main([*arguments, "--no-progress"]) == 0
    record = read_record(tmp_path / "mean_gold.json", GoldRecord)
    assert record.quality.verdict == "warn"
    assert [flag.name for flag in record.quality.flags] == ["no_resampling"]
    assert record.result.pixel_size.area_preserving.sigma is None
    assert record.result.pixel_size.area_preserving.value == pytest.approx(CAMERA.pixel_size_per_angstrom, rel=5e-4)
    assert record.inputs[0].sha256 is not None
    assert (tmp_path / "mean_gold.png").is_file()


def test_no_gold_is_a_verdict_and_an_exit_code(tmp_path, capsys):
    source = gold_source(0, phases=(amorphous(),), scan_shape=(4, 4))
    np.save(tmp_path / "carbon.npy", source.frames.reshape(4, 4, *CAMERA.frame_shape))
    output = tmp_path / "carbon_gold.json"
    arguments = ["gold", str(tmp_path / "carbon.npy"), "--voltage-kv", "200", "-o", str(output), "--no-progress"]
    assert main(arguments) == 1
    assert "no gold rings at any camera length" in capsys.readouterr().out
    assert main([*arguments, "--accept-fail"]) == 0
    record = read_record(output, GoldRecord)
    assert record.result is None
    assert record.p_ellipse is None
    assert record.reciprocal_space_pix is None
    assert record.quality.verdict == "fail"
    assert output.with_suffix(".png").is_file()


def test_a_file_that_is_not_there_is_an_error(tmp_path, capsys):
    assert main(["gold", str(tmp_path / "absent.tif"), "-o", str(tmp_path / "o.json"), "--no-progress"]) == 1
    assert "there is no such file; check the path" in capsys.readouterr().err
    assert not (tmp_path / "o.json").exists()
