"""Where no layout of the scan is certain the frames are kept as one line, and no later step takes it for a scan."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from calibration_truth import write_gold
from numpy.typing import NDArray
from scipy import ndimage

from stemcal.cli import main
from stemcal.convert.paths import ConvertPaths
from stemcal.convert.run import run_convert
from stemcal.convert.settings import ConvertSettings
from stemcal.errors import DataError
from stemcal.formats.merlin.writer import write_mib
from stemcal.frames.source import open_source

SENTENCE = "holds 64 frames whose scan shape is not certain; see the candidates in the record of convert"
REMEDY = "state the shape with --scan-shape ROWS,COLS or in session.yaml"


@pytest.fixture
def counts() -> NDArray[np.uint16]:
    """A disk in 64 frames, which may be 8 x 8 or just 64."""
    rows, cols = np.mgrid[:24, :24]
    disk = np.hypot(rows - 11, cols - 12) < 4
    return np.random.default_rng(8).poisson(np.where(disk, 9, 0.3), (64, 24, 24)).astype(np.uint16)


@pytest.fixture
def line(tmp_path: Path, no_drawing: None, counts: NDArray[np.uint16]) -> ConvertPaths:
    write_mib(tmp_path / "a.mib", [counts])
    paths = ConvertPaths.of(tmp_path / "out" / "a_data.hdf5")
    run_convert(tmp_path / "a.mib", paths, settings=ConvertSettings())
    return paths


def test_the_record_names_the_candidates(line: ConvertPaths) -> None:
    record = json.loads(line.record.read_text())
    assert record["quality"]["verdict"] == "fail"
    (flag,) = record["quality"]["flags"]
    assert flag["name"] == "scan_shape_uncertain"
    assert "8 x 8 from frame 0" in flag["message"]
    assert flag["message"].endswith("state it with --scan-shape ROWS,COLS or in session.yaml")
    result = record["result"]
    assert result["scan_shape"] == [1, 64]
    assert result["scan"]["certain"] is False
    first = result["scan"]["candidates"][0]
    assert (first["scan_shape"], first["first_slot"], first["sources"]) == ([8, 8], 0, ["frame_count"])
    assert 0 < first["probability"] < 0.99
    assert {item["source"] for item in result["scan"]["evidence"]} >= {"exposures", "timestamps", "frame_count"}
    assert result["frames"]["positions"] == result["frames"]["ok"] == result["frames"]["in_file"] == 64


def test_nothing_is_lost_and_a_stated_shape_opens_it(line: ConvertPaths, counts: NDArray[np.uint16]) -> None:
    with pytest.raises(DataError, match=SENTENCE) as caught:
        open_source(line.data)
    assert REMEDY in caught.value.remedy
    with open_source(line.data, scan_shape=(4, 16)) as source:
        assert source.scan_shape == (4, 16)
        np.testing.assert_array_equal(source.read(0, 64), counts[:, ::-1])


def test_later_steps_refuse_it(
    line: ConvertPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in ("calibration", "polar"):
        monkeypatch.setattr(f"stemcal.{step}.run.draw_figure", lambda path, *_: path.touch())
    data, out = str(line.data), tmp_path / "later"
    gold, calibration = write_gold(tmp_path / "g_gold.json", frame_shape=(24, 24)), tmp_path / "a_calibration.json"
    optics = ["--voltage-kv", "200", "--nominal-camera-length-m", "0.2"]
    shape = ["--scan-shape", "8,8"]
    assert main(["calibration", data, "-o", str(calibration), "--gold", str(gold), *optics, *shape]) == 0
    capsys.readouterr()
    for verb, words in (
        ("gold", ["-o", str(out / "a_gold.json"), *optics]),
        ("calibration", ["-o", str(out / "a_calibration.json"), "--gold", str(gold), *optics]),
        ("polar", ["-o", str(out / "a"), "--calibration", str(calibration)]),
    ):
        assert main([verb, data, *words, "--threads", "1"]) == 1, verb
        said = capsys.readouterr().err
        assert SENTENCE in said, verb
        assert REMEDY in said, verb
    assert not out.exists() or not any(out.glob("*.hspy"))
    assert main(["polar", data, "-o", str(out / "a"), "--calibration", str(calibration), *shape]) == 0


def test_the_command_says_so_and_a_stated_shape_mends_it(
    tmp_path: Path, no_drawing: None, counts: NDArray[np.uint16], capsys: pytest.CaptureFixture[str]
) -> None:
    write_mib(tmp_path / "a.mib", [counts])
    words = ["convert", str(tmp_path / "a.mib"), "-o", str(tmp_path / "a_data.hdf5"), "--threads", "1"]
    assert main(words) == 1
    said = capsys.readouterr()
    assert "the scan shape is not certain" in said.out + said.err
    assert "--scan-shape ROWS,COLS" in said.out + said.err
    assert main([*words, "--scan-shape", "8,8"]) == 0
    record = json.loads((tmp_path / "a_convert.json").read_text())
    assert record["quality"] == {"verdict": "pass", "flags": []}
    assert record["result"]["scan"]["certain"] is True
    assert record["result"]["scan"]["evidence"][0]["source"] == "user"
    with open_source(tmp_path / "a_data.hdf5") as source:
        assert source.scan_shape == (8, 8)


def test_bins_wait_for_a_certain_scan(tmp_path: Path, no_drawing: None, counts: NDArray[np.uint16]) -> None:
    write_mib(tmp_path / "a.mib", [counts])
    paths = ConvertPaths.of(tmp_path / "a_data.hdf5")
    settings = ConvertSettings(bin_scan_positions=2)
    record = run_convert(tmp_path / "a.mib", paths, settings=settings)
    assert record.quality.verdict == "fail"
    assert record.result is not None
    assert record.result.binned is None
    assert not paths.binned.exists()
    record = run_convert(tmp_path / "a.mib", paths, settings=settings, scan_shape=(8, 8))
    assert record.result is not None
    assert record.result.binned is not None
    assert record.result.binned.shape == (4, 4, 24, 24)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_image_itself_decides_where_the_headers_cannot(tmp_path: Path, no_drawing: None, threads: int) -> None:
    """Neighbouring lines of a picture are alike: a second pass over the data hears that."""
    rng = np.random.default_rng(4)
    picture = ndimage.gaussian_filter(rng.standard_normal((64, 64)), 2.5)
    level = 30 + 8 * picture / picture.std()
    counts = rng.poisson(np.maximum(level, 1).reshape(-1, 1, 1), (4096, 4, 5)).astype(np.uint16)
    write_mib(tmp_path / "a.mib", [counts])
    record = run_convert(
        tmp_path / "a.mib", ConvertPaths.of(tmp_path / "a_data.hdf5"), settings=ConvertSettings(), threads=threads
    )
    assert record.result is not None
    assert (record.result.scan.certain, record.result.scan_shape) == (True, (64, 64))
    heard = {item.source: item.weight for item in record.result.scan.evidence}
    assert heard["intensity"] > 3
    assert [flag.name for flag in record.quality.flags] == ["no_bright_disk"]
    np.random.default_rng(5).shuffle(counts)
    write_mib(tmp_path / "a.mib", [counts])
    record = run_convert(tmp_path / "a.mib", ConvertPaths.of(tmp_path / "a_data.hdf5"), settings=ConvertSettings())
    assert record.result is not None
    assert (record.result.scan.certain, record.result.scan_shape) == (False, (1, 4096))
