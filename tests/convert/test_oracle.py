"""Everything that the conversion adds up, against plain NumPy on the frames: equal to the bit in every mode."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from acquisition_truth import COLS, LEAD, ROWS, Acquisition, Mode, products, with_gap, write_hard

from stemcal.convert.paths import ConvertPaths
from stemcal.convert.run import run_convert
from stemcal.convert.settings import ConvertSettings
from stemcal.formats.chip_gap import remove_gap
from stemcal.formats.container import open_experiment
from stemcal.formats.extras import FrameStatus, read_extras
from stemcal.formats.merlin.writer import write_mib
from stemcal.frames.source import open_source
from stemcal.records.convert import ConvertRecord

MODES = {
    "U08": Mode("U08", "1x1", None, (24, 30), 255),
    "U08-quad": Mode("U08", "2x2", None, (24, 32), 63),
    "U16": Mode("U16", "1x1", None, (21, 70), 65535),
    "U16-quad": Mode("U16", "2x2", None, (24, 32), 65535),
    "U16-full": Mode("U16", "2x2", None, (70, 66), 4095),
    "U32": Mode("U32", "1x1", None, (17, 25), 2**32 - 1),
    "U32-quad": Mode("U32", "2x2", None, (24, 32), 2**24 - 1),
    "R64-1": Mode("R64", "1x1", 1, (19, 64), 1),
    "R64-1-quad": Mode("R64", "2x2", 1, (24, 128), 1),
    "R64-6": Mode("R64", "1x1", 6, (21, 32), 63),
    "R64-6-quad": Mode("R64", "2x2", 6, (24, 32), 63),
    "R64-12": Mode("R64", "1x1", 12, (21, 32), 4095),
    "R64-12-quad": Mode("R64", "2x2", 12, (24, 32), 4095),
    "R64-24": Mode("R64", "1x1", 24, (21, 32), 2**24 - 1),
    "R64-24-quad": Mode("R64", "2x2", 24, (24, 32), 2**24 - 1),
}
QUADS = [name for name, mode in MODES.items() if mode.assembly == "2x2"]


def convert(truth: Acquisition, folder: Path, **settings: object) -> tuple[Path, ConvertRecord]:
    paths = ConvertPaths.of(folder / "out" / "a_data.hdf5")
    chosen = ConvertSettings(chip_gap_px=truth.gap_px, **settings)  # type: ignore[arg-type]
    return paths.data, run_convert(truth.path, paths, settings=chosen)


def check(truth: Acquisition, data: Path, record: ConvertRecord, valid: np.ndarray) -> None:
    result = record.result
    assert result is not None
    file, group = open_experiment(data)
    with file:
        extras = read_extras(data, group)
        np.testing.assert_array_equal(group["stemcal/outside_scan"][...], truth.outside)
        assert group["data"].id.get_num_chunks() == ROWS * COLS - 1
        np.testing.assert_array_equal(group["data"][...].reshape(truth.scan.shape), truth.scan)
    for found, wanted in (
        (extras.frame_status, truth.status),
        (extras.sequence_number, truth.sequence),
        (extras.exposure_ns, truth.exposure_ns),
    ):
        np.testing.assert_array_equal(found, wanted)
    assert result.virtual_detectors is not None
    wanted = products(truth, valid, result.virtual_detectors)
    assert set(extras.sums) == set(wanted)
    for name, values in wanted.items():
        np.testing.assert_array_equal(extras.sums[name].values, values.astype(extras.sums[name].values.dtype), name)
    frames = result.frames
    assert (frames.in_file, frames.positions, frames.outside_scan) == (truth.n_in_file, ROWS * COLS, len(truth.outside))
    assert frames.positions - frames.missing + frames.outside_scan == frames.in_file
    assert (frames.ok, frames.missing, frames.fly_back, frames.spikes) == (ROWS * COLS - ROWS - 2, 1, ROWS, 1)
    assert (frames.duplicates, frames.unreadable, frames.restarts) == (1, 0, ())
    assert (result.scan.first_slot, result.scan.fly_back_cols) == (LEAD, (COLS - 1,))
    assert result.max_count == max(wanted["max_pattern"].ravel())
    mean = products_mean(truth, wanted)
    assert result.mean_counts_per_frame.value == pytest.approx(mean, rel=1e-12)
    if truth.mode.ceiling is not None:
        assert result.saturation is not None
        assert result.saturation.n_pixels == np.count_nonzero(wanted["saturated_pattern"])


def products_mean(truth: Acquisition, wanted: dict[str, np.ndarray]) -> float:
    return float(wanted["total_counts"].ravel()[truth.status == FrameStatus.OK].astype(float).mean())


@pytest.mark.parametrize("name", MODES)
def test_every_product_in_every_mode(tmp_path: Path, no_drawing: None, name: str) -> None:
    truth = write_hard(tmp_path / "a.mib", MODES[name])
    data, record = convert(truth, tmp_path)
    flags = {flag.name for flag in record.quality.flags}
    assert flags - {"saturated"} == {"frames_missing", "frames_twice", "exposure_spikes"}
    assert record.quality.verdict == "warn"
    check(truth, data, record, np.ones(MODES[name].shape, bool))


@pytest.mark.parametrize("name", QUADS)
def test_every_product_with_a_gap_between_the_chips(tmp_path: Path, no_drawing: None, name: str) -> None:
    truth = write_hard(tmp_path / "a.mib", MODES[name], gap_px=3)
    data, record = convert(truth, tmp_path, detect_dead_pixels=False, detect_hot_pixels=False)
    gap = with_gap(np.ones((1, *MODES[name].shape), bool), 3)[0]
    assert record.result is not None
    assert record.result.frame_shape == gap.shape
    check(truth, data, record, gap)
    with open_source(data) as source:
        np.testing.assert_array_equal(source.valid, gap)


@pytest.mark.parametrize(("name", "gap_px"), [("U16", 0), ("U16-quad", 3), ("R64-24", 0), ("R64-6-quad", 3)])
def test_every_product_with_a_mask_file(tmp_path: Path, no_drawing: None, name: str, gap_px: int) -> None:
    """Across the disk and its edge, and so that a mask with the rows turned would show."""
    mask = np.ones(MODES[name].shape, bool)
    mask[9:11, 4:18] = mask[2] = mask[:, -1] = False
    np.save(tmp_path / "mask.npy", mask)
    truth = write_hard(tmp_path / "a.mib", MODES[name], gap_px=gap_px)
    masked = {"mask_file": str(tmp_path / "mask.npy"), "mask_true_is_bad": False}
    data, record = convert(truth, tmp_path, detect_dead_pixels=False, detect_hot_pixels=False, **masked)
    valid = with_gap(mask[None], gap_px)[0]
    check(truth, data, record, valid)
    with pytest.raises(AssertionError, match="total_counts"):
        check(truth, data, record, valid[::-1])
    with open_source(data) as source:
        np.testing.assert_array_equal(source.valid, valid)


@pytest.mark.filterwarnings("ignore:The 'reader' parameter is deprecated")
def test_the_container_with_holes_opens_everywhere(tmp_path: Path, no_drawing: None) -> None:
    hs = pytest.importorskip("hyperspy.api")
    truth = write_hard(tmp_path / "a.mib", MODES["U16-quad"], gap_px=3)
    data, _ = convert(truth, tmp_path)
    wanted = truth.scan.reshape(ROWS, COLS, *truth.scan.shape[1:])
    signal = hs.load(str(data), reader="hspy")
    assert signal.data.dtype == np.uint16
    np.testing.assert_array_equal(signal.data, wanted)
    lazy = hs.load(str(data), reader="hspy", lazy=True)
    np.testing.assert_array_equal(lazy.inav[4, 3].data.compute(), wanted[3, 4])
    lazy.close_file()
    with open_source(data) as source, ThreadPoolExecutor(4) as pool:
        frames = np.concatenate(list(pool.map(lambda start: source.read(start, start + 9), range(0, 90, 9))))
    np.testing.assert_array_equal(frames, truth.scan)
    with open_source(truth.path) as raw:
        np.testing.assert_array_equal(raw.read(0, 90), remove_gap(truth.scan, 3))


def test_a_lost_frame_shifts_nothing(tmp_path: Path, no_drawing: None) -> None:
    frames = np.random.default_rng(3).poisson(2.0, (56, 12, 16)).astype(np.uint16)
    write_mib(tmp_path / "whole.mib", [frames], scan_shape=(7, 8), scan_in_hdr=True)
    kept = np.delete(np.arange(56), 19)
    write_mib(tmp_path / "lost.mib", [frames[kept]], sequence=kept + 1, scan_shape=(7, 8), scan_in_hdr=True)
    read = {}
    for name in ("whole", "lost"):
        paths = ConvertPaths.of(tmp_path / f"{name}_data.hdf5")
        record = run_convert(tmp_path / f"{name}.mib", paths, settings=ConvertSettings())
        assert record.result is not None
        assert record.result.scan_shape == (7, 8)
        with open_source(paths.data) as source:
            read[name] = source.read(0, 56)
            status = source.frame_status
    assert np.flatnonzero(status == FrameStatus.MISSING).tolist() == [19]
    np.testing.assert_array_equal(read["lost"][kept], read["whole"][kept])
    assert read["whole"][19].any()
    assert not read["lost"][19].any()
    in_file_order = np.concatenate([read["whole"][kept], np.zeros((1, 12, 16), np.uint16)])
    assert not np.array_equal(in_file_order[20:], read["lost"][20:])
