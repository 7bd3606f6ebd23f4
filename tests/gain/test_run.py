"""The files of the step, the source that applies them, and what calibration and polar do with them."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from calibration_truth import ACQUIRED, gold_record, write_container
from PIL import Image

from stemcal.calibration.run import run_calibration
from stemcal.calibration.settings import CalibrationSettings
from stemcal.cli import main
from stemcal.errors import DataError
from stemcal.formats.hspy import read_signal
from stemcal.frames.gain import GainCorrected, GainMap, acquisition_parity, read_gain
from stemcal.frames.source import open_source
from stemcal.gain.run import GainPaths, run_gain
from stemcal.gain.settings import GainSettings
from stemcal.phantoms.gain import FlatField, gain_pattern, thinned, tilted_dose
from stemcal.polar.run import run_polar
from stemcal.polar.settings import PolarSettings
from stemcal.records.atomic import read_record, write_record
from stemcal.records.calibration import CalibrationRecord
from stemcal.records.gain import GainRecord
from stemcal.records.microscope import Microscope

SHAPE = (96, 112)
FLAT = (8, 10)
SCAN = (5, 6)
PATTERN = gain_pattern(SHAPE, 0.04, parity_spread=0.03)
OUTSIDE = 200.0


@pytest.fixture(autouse=True)
def figures_where_they_matter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than everything else: only the tests of bytes and of the figure draw."""
    if not {"bytes", "figure"} & set(request.node.name.split("_")):
        for step in ("gain", "polar", "calibration"):
            monkeypatch.setattr(f"stemcal.{step}.run.draw_figure", lambda path, *_: path.write_bytes(b""))


@pytest.fixture(scope="module")
def flat_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    flat = FlatField(PATTERN, tilted_dose(SHAPE, 400.0, (0.1, 0.1)), dead=((7, 9),), hot=((50, 60),), hot_counts=900.0)
    folder = tmp_path_factory.mktemp("flat")
    return write_container(folder / "f_data.hdf5", flat.frames(80, 2), FLAT)


@pytest.fixture
def reference(flat_file: Path, tmp_path: Path) -> Path:
    """A gain reference of the test's own; its record."""
    run_gain(flat_file, GainPaths.of(tmp_path / "f_gain.json"), settings=GainSettings())
    return tmp_path / "f_gain.json"


@pytest.fixture(scope="module")
def electrons() -> np.ndarray:
    """A bright disk on an even ground, (n, det_row, det_col): outside the disk the variance is that of counting."""
    rows, cols = np.indices(SHAPE)
    disk = 1 / (1 + np.exp((np.hypot(rows - 47.5, cols - 55.5) - 5) / 0.4))
    level = OUTSIDE + 3000 * disk
    return np.random.default_rng(5).poisson(level, (SCAN[0] * SCAN[1], *SHAPE)).astype(np.uint16)


@pytest.fixture(scope="module")
def counts(electrons: np.ndarray) -> np.ndarray:
    return thinned(electrons, PATTERN, 0, 8)


def test_record_and_file_agree(reference: Path) -> None:
    record = read_record(reference, GainRecord)
    assert record.quality.verdict == "pass"
    assert (record.voltage_kv, record.acquired_at, record.frame_shape) == (200.0, ACQUIRED, SHAPE)
    result = record.result
    assert result is not None
    assert result.parity == "separate"
    assert (result.pixels.n_dead, result.pixels.n_hot, result.pixels.n_noisy) == (1, 1, 0)
    assert result.gain_spread == pytest.approx(0.04, rel=0.05)
    assert result.gain_noise == pytest.approx(40**-0.5 * 400**-0.5, rel=0.05)
    assert result.gain_noise_runs == pytest.approx(result.gain_noise, rel=0.05)
    with h5py.File(reference.with_suffix(".hdf5")) as file:
        assert file.attrs["axes"] == "parity, det_row, det_col"
        assert json.loads(file.attrs["parameter"])["stage"] == "gain"
        stored = {name: file[name][()] for name in file}
        assert all({"unit", "description"} <= set(file[name].attrs) for name in file)
    assert stored["factor"].shape == stored["sigma"].shape == stored["sigma_runs"].shape == (2, *SHAPE)
    assert stored["factor"].dtype == np.float32
    assert int(stored["valid"].sum()) == result.pixels.n_valid
    assert np.isnan(stored["factor"][:, ~stored["valid"]]).all()
    assert (stored["faults"][7, 9], stored["faults"][50, 60]) == (2, 3)
    np.testing.assert_allclose(stored["dose"], tilted_dose(SHAPE, 400.0, (0.1, 0.1)), rtol=3e-3)


def test_equal_bytes_whatever_the_threads_and_the_place(flat_file: Path, tmp_path: Path) -> None:
    made = []
    for folder, threads in (("a", 1), ("b", 3)):
        paths = GainPaths.of(tmp_path / folder / "f_gain.json")
        run_gain(flat_file, paths, settings=GainSettings(), threads=threads)
        made.append((paths.data.read_bytes(), paths.record.read_bytes(), paths.figure.read_bytes()))
    assert made[0] == made[1]


def test_a_figure_of_a_success_and_of_each_failure(flat_file: Path, tmp_path: Path) -> None:
    run_gain(flat_file, GainPaths.of(tmp_path / "f_gain.json"), settings=GainSettings())
    np.save(tmp_path / "few.npy", FlatField(PATTERN, tilted_dose(SHAPE, 2.0)).frames(20, 1))
    np.save(tmp_path / "one.npy", FlatField(PATTERN, tilted_dose(SHAPE, 2.0)).frames(1, 1))
    for name in ("few", "one"):
        run_gain(tmp_path / f"{name}.npy", GainPaths.of(tmp_path / f"{name}_gain.json"), settings=GainSettings())
    for name in ("f", "few", "one"):
        with Image.open(tmp_path / f"{name}_gain.png") as image:
            assert image.width > 1000


def test_a_failure_leaves_no_factors(tmp_path: Path) -> None:
    np.save(tmp_path / "few.npy", FlatField(PATTERN, tilted_dose(SHAPE, 2.0)).frames(20, 1))
    output = tmp_path / "few_gain.json"
    words = ["gain", str(tmp_path / "few.npy"), "-o", str(output), "--voltage-kv", "200", "--no-progress"]
    assert main(words) == 1
    assert main([*words, "--accept-fail"]) == 0
    record = read_record(output, GainRecord)
    assert record.result is None
    assert [flag.name for flag in record.quality.flags] == ["too_few_counts"]
    with pytest.raises(DataError, match="holds no gain factors: the measurement failed"):
        read_gain(tmp_path / "few_gain.hdf5")
    assert main(["gain", str(tmp_path / "few.npy"), "-o", str(output), "--factors", str(tmp_path / "few.npy")]) == 2


def test_the_source_multiplies_by_the_factor_of_its_parity(tmp_path: Path, counts: np.ndarray) -> None:
    data = write_container(tmp_path / "a_data.hdf5", counts, SCAN)
    valid = np.ones(SHAPE, bool)
    valid[3, 4] = False
    factor = np.where(valid, np.float32([[[2.0]], [[3.0]]]), np.nan).astype(np.float32)
    with open_source(data) as source, GainCorrected(source, GainMap(factor, valid), "abc") as frames:
        assert frames.dtype == np.float32
        assert not frames.valid[3, 4]
        assert frames.identity == {**source.identity, "gain_sha256": "abc"}
        for start, stop in ((0, 30), (3, 8), (7, 8), (8, 9)):
            expected = counts[start:stop].astype(np.float32)
            expected *= np.where(valid, (2.0 + np.arange(start, stop) % 2)[:, None, None], 1.0).astype(np.float32)
            np.testing.assert_array_equal(frames.read(start, stop), expected)
    with open_source(data) as source, pytest.raises(DataError, match="gain factors are for"):
        GainCorrected(source, GainMap(np.ones((8, 8), np.float32), np.ones((8, 8), bool)))


@pytest.mark.parametrize(
    ("numbers", "parity"),
    [
        ([1, 2, 3, 4, 5, 6], [0, 1, 0, 1, 0, 1]),
        ([4, 5, 6, 7, 8, 9], [1, 0, 1, 0, 1, 0]),
        ([1, 2, 5, 6, -1, 9], [0, 1, 0, 1, 0, 0]),
        ([-1, 5, 6, 7, 1, 2], [1, 0, 1, 0, 0, 1]),
        ([-1, -1, -1, -1, -1, -1], [0, 1, 0, 1, 0, 1]),
    ],
)
def test_parity_is_that_of_the_acquisition(tmp_path: Path, numbers: list[int], parity: list[int]) -> None:
    stack = np.ones((6, *SHAPE), np.uint16)
    data = write_container(tmp_path / "a.hdf5", stack, (2, 3), sequence_number=np.array(numbers).reshape(2, 3))
    with open_source(data) as source:
        assert acquisition_parity(source).tolist() == parity


def calibrated(folder: Path, counts: np.ndarray, gains: list[Path], scan: tuple[int, int] = SCAN) -> CalibrationRecord:
    """Calibrate ``counts`` with a round gold reference and write everything to ``folder``."""
    folder.mkdir(exist_ok=True)
    result = gold_record().result
    assert result is not None
    ellipse = result.ellipse.model_copy(update={"matrix": ((1.0, 0.0), (0.0, 1.0))})
    gold = gold_record(result=result.model_copy(update={"ellipse": ellipse}), frame_shape=SHAPE)
    write_record(folder / "g_gold.json", gold)
    write_container(folder / "a_data.hdf5", counts, scan)
    output = folder / "a_calibration.json"
    golds = [folder / "g_gold.json"]
    return run_calibration(folder / "a_data.hdf5", golds, output, settings=CalibrationSettings(), gains=gains)


def profiles(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance over the scan in the rings outside the disk."""
    run_polar(folder / "a_data.hdf5", folder / "a_calibration.json", folder / "a", settings=PolarSettings())
    mean, variance = (read_signal(folder / f"a_azimuthal_{kind}.hspy").data for kind in ("mean", "var"))
    return mean[..., 12:40].mean(axis=(0, 1)), variance[..., 12:40].mean(axis=(0, 1))


def test_polar_with_gain_equals_polar_of_the_truth(
    tmp_path: Path, reference: Path, electrons: np.ndarray, counts: np.ndarray
) -> None:
    record = calibrated(tmp_path / "with", counts, [reference])
    assert record.gain is not None
    assert (record.gain.source, record.gain.file) == ("../f_gain.json", "../f_gain.hdf5")
    assert record.gain.parity == "separate"
    assert record.gain.why == "the only passing gain reference at 200 kV: at the same time"
    assert [(one.dataset, one.chosen) for one in record.gain_candidates] == [("f", True)]
    assert [entry.role for entry in record.inputs] == ["data", "gold", "gain"]
    true = calibrated(tmp_path / "truth", electrons, [])
    calibrated(tmp_path / "without", counts, [])
    assert record.origin is not None
    assert true.origin is not None
    assert record.origin.centre_row_px.value == pytest.approx(true.origin.centre_row_px.value, abs=2e-3)

    mean, variance = profiles(tmp_path / "with")
    true_mean, true_variance = profiles(tmp_path / "truth")
    raw_mean, raw_variance = profiles(tmp_path / "without")
    # a ring of 75 to 250 pixels in 30 frames, and the error of a factor (0.8 percent) once for all frames
    pixels = 2 * np.pi * (np.arange(12, 40) + 0.5)
    error = np.sqrt(2 / (OUTSIDE * 30 * pixels) + 0.008**2 / 2 / pixels)
    score = (mean / np.median(mean) / (true_mean / np.median(true_mean)) - 1) / error
    assert float((score**2).mean()) < 1.8
    # counting alone: variance over mean is 1, here and there; without the correction the gain is on top
    assert float((true_variance / true_mean).mean()) == pytest.approx(1.0, abs=0.01)
    assert float((variance / mean).mean()) == pytest.approx(1.0, abs=0.03)
    assert float((raw_variance / raw_mean).mean()) > 1.25
    polar = json.loads((tmp_path / "with" / "a_polar.json").read_text())
    assert [(entry["role"], entry["path"]) for entry in polar["inputs"]][-1] == ("gain", "../f_gain.hdf5")


def test_without_any_gain_reference_nothing_is_said(tmp_path: Path, counts: np.ndarray) -> None:
    record = calibrated(tmp_path / "a", counts, [])
    assert (record.gain, record.gain_candidates, record.quality.verdict) == (None, (), "pass")


def test_a_gain_file_that_changed_or_went_is_refused(tmp_path: Path, reference: Path, counts: np.ndarray) -> None:
    calibrated(tmp_path / "a", counts, [reference])
    with h5py.File(reference.with_suffix(".hdf5"), "r+") as file:
        file.attrs["n_frames"] = 3
    with pytest.raises(DataError, match="it was made again since"):
        profiles(tmp_path / "a")
    reference.with_suffix(".hdf5").unlink()
    with pytest.raises(DataError, match="cannot be read as a gain file"):
        profiles(tmp_path / "a")


def changed(reference: Path, path: Path, **changes: object) -> Path:
    write_record(path, read_record(reference, GainRecord).model_copy(update=changes))
    return path


def test_the_first_that_fits_and_passed_is_chosen(tmp_path: Path, reference: Path, counts: np.ndarray) -> None:
    few = counts[:4]
    other = changed(reference, tmp_path / "x_gain.json", voltage_kv=80.0)
    silent = changed(reference, tmp_path / "y_gain.json", voltage_kv=None)
    warned = read_record(reference, GainRecord).quality.model_copy(update={"verdict": "warn"})
    doubtful = changed(reference, tmp_path / "w_gain.json", quality=warned)
    gone = tmp_path / "gone_gain.json"
    record = calibrated(tmp_path / "a", few, [gone, other, silent, doubtful, reference], (2, 2))
    reasons = {one.dataset: one.reason for one in record.gain_candidates}
    assert [one.dataset for one in record.gain_candidates if one.chosen] == ["f"]
    assert reasons["gone"].startswith("unreadable: cannot be read")
    assert reasons["x"].startswith("wrong voltage: 80 kV, the data have 200 kV")
    assert reasons["y"] == "the reference does not say its voltage"
    assert reasons["w"] == "fits, but another one comes first"
    second = calibrated(tmp_path / "b", few, [doubtful], (2, 2))
    assert second.gain is not None
    assert "gain_warns" in [flag.name for flag in second.quality.flags]


def test_offers_of_which_none_fits_are_a_warning_and_counts_stay(
    tmp_path: Path, reference: Path, counts: np.ndarray
) -> None:
    other = changed(reference, tmp_path / "x_gain.json", voltage_kv=80.0)
    record = calibrated(tmp_path / "a", counts, [other])
    assert record.gain is None
    assert record.quality.verdict == "warn"
    assert record.quality.flags[0].message.startswith("counts are used without gain correction: x: wrong voltage")
    smaller = write_container(
        tmp_path / "s.hdf5", counts[:4, :64, :64].copy(), (2, 2), microscope=Microscope(voltage_kv=200.0)
    )
    run_calibration(smaller, [], tmp_path / "s.json", settings=CalibrationSettings(), gains=[reference])
    reasons = [one.reason for one in read_record(tmp_path / "s.json", CalibrationRecord).gain_candidates]
    assert reasons == ["wrong frame shape: 96 x 112, the data have 64 x 64"]


def test_command_line(flat_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["gain", str(flat_file), "-o", str(tmp_path / "f_gain.json"), "--no-progress"]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "stemcal/gain/1"
    assert main([*words, "--settings", '{"dose_degree": 9}']) == 2
    data = write_container(tmp_path / "a_data.hdf5", FlatField(PATTERN, tilted_dose(SHAPE, 3.0)).frames(4, 1), (2, 2))
    words = ["calibration", str(data), "--gain", str(tmp_path / "f_gain.json"), "-o", str(tmp_path / "a.json")]
    assert main([*words, "--accept-fail", "--no-progress"]) == 0
    assert read_record(tmp_path / "a.json", CalibrationRecord).gain is not None
