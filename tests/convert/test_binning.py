"""The optional second file: sums over detector pixels and scan positions."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from acquisition_truth import COLS, ROWS, Acquisition, Mode, with_gap, write_hard
from numpy.typing import NDArray

from stemcal.convert.binning import plan_binning
from stemcal.convert.paths import ConvertPaths
from stemcal.convert.run import run_convert
from stemcal.convert.settings import ConvertSettings
from stemcal.errors import UsageError
from stemcal.formats.microscope import write_microscope
from stemcal.frames.source import open_source
from stemcal.records.convert import Binned, ConvertRecord
from stemcal.records.microscope import Microscope

PLAIN = Mode("U08", "1x1", None, (25, 30), 255)
QUAD = Mode("U16", "2x2", None, (24, 32), 65535)
WIDE = Mode("U32", "1x1", None, (17, 25), 2**32 - 1)


def convert(truth: Acquisition, folder: Path, detector: int, scan: int) -> tuple[ConvertPaths, ConvertRecord]:
    paths = ConvertPaths.of(folder / "out" / "a_data.hdf5")
    settings = ConvertSettings(chip_gap_px=truth.gap_px, bin_detector_px=detector, bin_scan_positions=scan)
    return paths, run_convert(truth.path, paths, settings=settings)


def summed(truth: Acquisition, detector: int, scan: int) -> NDArray[np.generic]:
    """Return the sums in plain NumPy; what is behind the last whole bin is left out."""
    frames = truth.scan.reshape(ROWS, COLS, *truth.scan.shape[1:])
    for axis, factor in enumerate((scan, scan, detector, detector)):
        whole = frames.shape[axis] // factor
        frames = np.moveaxis(frames, axis, 0)[: whole * factor]
        frames = np.moveaxis(frames.reshape(whole, factor, *frames.shape[1:]).sum(axis=1), 0, axis)
    return frames


@pytest.mark.parametrize(
    ("mode", "gap_px", "detector", "scan", "dtype"),
    [
        (PLAIN, 0, 2, 1, "uint16"),
        (PLAIN, 0, 1, 2, "uint16"),
        (PLAIN, 0, 4, 5, "uint32"),
        (QUAD, 3, 2, 3, "uint32"),
        (QUAD, 0, 3, 2, "uint32"),
        (WIDE, 0, 2, 2, "uint64"),
    ],
)
def test_sums_are_those_of_numpy(
    tmp_path: Path, no_drawing: None, mode: Mode, gap_px: int, detector: int, scan: int, dtype: str
) -> None:
    truth = write_hard(tmp_path / "a.mib", mode, gap_px)
    paths, record = convert(truth, tmp_path, detector, scan)
    wanted = summed(truth, detector, scan)
    assert record.result is not None
    assert record.result.binned == Binned(
        path="a_binned.hdf5", detector_px=detector, scan_positions=scan, shape=wanted.shape, dtype=dtype
    )
    with open_source(paths.binned) as source:
        assert (*source.scan_shape, *source.frame_shape) == wanted.shape
        assert source.dtype == dtype
        found = source.read(0, source.n_frames)
        valid = source.valid
    np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)
    with open_source(paths.data) as source:
        rows, cols = (size // detector * detector for size in source.frame_shape)
        whole = source.valid[:rows, :cols].reshape(rows // detector, detector, cols // detector, detector)
    np.testing.assert_array_equal(valid, whole.all(axis=(1, 3)))
    if gap_px and detector > 1:
        touched = with_gap(np.ones((1, *mode.shape), bool), gap_px)[0]
        assert np.count_nonzero(~valid) * detector**2 > np.count_nonzero(~touched)


def test_the_axes_are_those_of_the_middle_of_each_bin(tmp_path: Path, no_drawing: None) -> None:
    truth = write_hard(tmp_path / "a.mib", QUAD)
    write_microscope(tmp_path / "a.hdf", Microscope(scan_step_nm=0.5))
    paths, _ = convert(truth, tmp_path, 2, 3)
    with h5py.File(paths.binned) as file:
        (group,) = file["Experiments"].values()
        axes = [group[f"axis-{axis}"].attrs for axis in range(4)]
        assert [(axis["units"], axis["scale"], axis["offset"]) for axis in axes] == [
            ("nm", 1.5, 0.5),
            ("nm", 1.5, 0.5),
            ("px", 2.0, 0.5),
            ("px", 2.0, 0.5),
        ]


def test_the_second_file_goes_when_it_is_no_longer_asked_for(tmp_path: Path, no_drawing: None) -> None:
    truth = write_hard(tmp_path / "a.mib", PLAIN)
    paths, _ = convert(truth, tmp_path, 2, 1)
    assert paths.binned.is_file()
    _, record = convert(truth, tmp_path, 1, 1)
    assert not paths.binned.exists()
    assert record.result is not None
    assert record.result.binned is None


@pytest.mark.parametrize(
    ("dtype", "detector", "scan", "wanted"),
    [
        ("u1", 2, 1, "u2"),
        ("u1", 4, 4, "u2"),
        ("u1", 17, 1, "u4"),
        ("u2", 2, 1, "u4"),
        ("u2", 16, 16, "u4"),
        ("u2", 16, 17, "u8"),
        ("u4", 1, 2, "u8"),
    ],
)
def test_the_type_holds_the_largest_sum(dtype: str, detector: int, scan: int, wanted: str) -> None:
    settings = ConvertSettings(bin_detector_px=detector, bin_scan_positions=scan)
    plan = plan_binning(settings, (64, 64), (256, 256), np.dtype(dtype))
    assert plan is not None
    assert plan.dtype == wanted
    assert int(np.iinfo(dtype).max) * (detector * scan) ** 2 <= int(np.iinfo(wanted).max)


def test_no_bins_and_bins_that_are_too_large() -> None:
    assert plan_binning(ConvertSettings(), (4, 4), (8, 8), np.dtype("u2")) is None
    for settings in (ConvertSettings(bin_scan_positions=5), ConvertSettings(bin_detector_px=9)):
        with pytest.raises(UsageError, match=r"4 x 4 positions of 8 x 8 pixels cannot be binned by .*smaller bins"):
            plan_binning(settings, (4, 4), (8, 8), np.dtype("u2"))
