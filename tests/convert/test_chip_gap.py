"""Frames of a quad detector with the gap between its chips, against RosettaSciIO and with the field's real mask."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from stemcal.convert.paths import ConvertPaths
from stemcal.convert.run import run_convert
from stemcal.convert.settings import ConvertSettings
from stemcal.errors import DataError
from stemcal.formats.mask import read_mask
from stemcal.formats.merlin.writer import write_mib
from stemcal.frames.source import open_source

NAME = "Quad_9_Frame_CounterDepth_12_Rows_256"
GAP = np.s_[256:259]


@pytest.fixture(scope="module")
def quad(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quad")
    with zipfile.ZipFile(shared_data / "merlin" / "Merlin_Single_Quad.zip") as packed:
        for ending in (".mib", ".hdr"):
            packed.extract(f"{NAME}{ending}", folder)
    return folder / f"{NAME}.mib"


@pytest.mark.shared
def test_the_real_mask_on_real_frames(quad: Path, shared_data: Path, tmp_path: Path, no_drawing: None) -> None:
    rsciio = pytest.importorskip("rsciio.quantumdetector")
    wanted = rsciio.file_reader(str(quad))[0]["data"].reshape(9, 512, 512)
    mask = shared_data / "epsic" / "29042024_12bitmask.h5"
    settings = ConvertSettings(chip_gap_px=3, mask_file=str(mask), detect_dead_pixels=False, detect_hot_pixels=False)
    paths = ConvertPaths.of(tmp_path / "a_data.hdf5")
    record = run_convert(quad, paths, settings=settings, scan_shape=(3, 3))
    bad = read_mask(mask)
    assert bad.shape == (515, 515)
    with open_source(paths.data) as source:
        assert (source.scan_shape, source.frame_shape, source.dtype) == ((3, 3), (515, 515), np.uint16)
        found, valid = source.read(0, 9), source.valid
    for rows, from_rows in ((np.s_[:256], np.s_[:256]), (np.s_[259:], np.s_[256:])):
        for cols, from_cols in ((np.s_[:256], np.s_[:256]), (np.s_[259:], np.s_[256:])):
            np.testing.assert_array_equal(found[:, rows, cols], wanted[:, from_rows, from_cols])
    assert not found[:, GAP].any()
    assert not found[:, :, GAP].any()
    assert not valid[GAP].any()
    assert not valid[:, GAP].any()
    outside = np.ones((515, 515), bool)
    outside[GAP] = outside[:, GAP] = False
    np.testing.assert_array_equal(valid[outside], ~bad[outside])
    assert record.result is not None
    pixels = record.result.invalid_pixels
    assert pixels.gap == 515**2 - 512**2
    assert pixels.masked == np.count_nonzero(bad & outside)
    assert pixels.total == np.count_nonzero(~valid) == pixels.gap + pixels.masked
    assert record.result.chip_gap_px == 3
    totals = (found.astype(np.uint64) * valid).sum(axis=(1, 2))
    assert record.result.mean_counts_per_frame.value == pytest.approx(totals.mean())


@pytest.mark.shared
def test_the_mask_with_the_gap_serves_frames_without(
    quad: Path, shared_data: Path, tmp_path: Path, no_drawing: None
) -> None:
    mask = shared_data / "epsic" / "29042024_12bitmask.h5"
    settings = ConvertSettings(mask_file=str(mask), detect_dead_pixels=False, detect_hot_pixels=False)
    paths = ConvertPaths.of(tmp_path / "a_data.hdf5")
    run_convert(quad, paths, settings=settings, scan_shape=(3, 3))
    bad = np.delete(np.delete(read_mask(mask), GAP, axis=0), GAP, axis=1)
    with open_source(paths.data) as source:
        assert source.frame_shape == (512, 512)
        np.testing.assert_array_equal(source.valid, ~bad)


def test_a_single_chip_has_no_gap(tmp_path: Path, no_drawing: None) -> None:
    write_mib(tmp_path / "a.mib", [np.ones((4, 7, 9), np.uint16)], assembly="1x1", scan_shape=(2, 2), scan_in_hdr=True)
    paths = ConvertPaths.of(tmp_path / "a_data.hdf5")
    record = run_convert(tmp_path / "a.mib", paths, settings=ConvertSettings(chip_gap_px=3))
    assert record.result is not None
    assert (record.result.frame_shape, record.result.chip_gap_px) == ((7, 9), 0)
    assert record.result.invalid_pixels.gap == 0


def test_a_quad_whose_halves_differ_cannot_have_one(tmp_path: Path, no_drawing: None) -> None:
    """A region of interest of an odd number of rows says nothing of where the gap is."""
    write_mib(tmp_path / "a.mib", [np.ones((4, 7, 8), np.uint16)], scan_shape=(2, 2), scan_in_hdr=True)
    paths = ConvertPaths.of(tmp_path / "out" / "a_data.hdf5")
    with pytest.raises(DataError, match="7 x 8"):
        run_convert(tmp_path / "a.mib", paths, settings=ConvertSettings(chip_gap_px=3))
    assert not paths.data.parent.exists()
