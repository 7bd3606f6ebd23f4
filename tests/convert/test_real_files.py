"""Every real Merlin file that we have, against RosettaSciIO."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest

from stemcal.convert.paths import ConvertPaths
from stemcal.convert.run import run_convert
from stemcal.convert.settings import ConvertSettings
from stemcal.frames.source import open_source
from stemcal.records.convert import ConvertRecord

pytestmark = pytest.mark.shared

NAMES = [
    f"{assembly}_{frames}_Frame_CounterDepth_{depth}_Rows_256"
    for assembly in ("Single", "Quad")
    for frames in (1, 9)
    for depth in (1, 6, 12, 24)
]
ROI = ["001_4x2_6bit", "002_4x2_6bit_roi128"]


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    for archive in sorted((shared_data / "merlin").glob("*.zip")):
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
    return folder


def convert(mib: Path, folder: Path, scan_shape: tuple[int, int] | None = None) -> tuple[Path, ConvertRecord]:
    paths = ConvertPaths.of(folder / f"{mib.stem}_data.hdf5")
    return paths.data, run_convert(mib, paths, settings=ConvertSettings(), scan_shape=scan_shape)


def test_the_list_is_complete(real: Path) -> None:
    assert {path.stem for path in real.glob("*.mib") if "RAW" not in path.stem} == {*NAMES, *ROI}


@pytest.mark.filterwarnings("ignore:The 'reader' parameter is deprecated")
@pytest.mark.parametrize("name", [*NAMES, *ROI])
def test_counts_and_row_order_are_those_of_rosettasciio(
    real: Path, tmp_path: Path, no_drawing: None, name: str
) -> None:
    rsciio = pytest.importorskip("rsciio.quantumdetector")
    hs = pytest.importorskip("hyperspy.api")
    wanted = rsciio.file_reader(str(real / f"{name}.mib"))[0]["data"]
    wanted = wanted.reshape(-1, *wanted.shape[-2:])
    data, record = convert(real / f"{name}.mib", tmp_path)
    signal = hs.load(str(data), reader="hspy")
    found = signal.data.reshape(wanted.shape)
    assert found.dtype == wanted.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, wanted)
    with open_source(data, scan_shape=(1, len(wanted))) as source:
        np.testing.assert_array_equal(source.read(0, source.n_frames), wanted)
    assert record.result is not None
    assert record.result.max_count == wanted.max()
    assert record.result.raw_files[0].sha256 == hashlib.sha256((real / f"{name}.mib").read_bytes()).hexdigest()
    assert record.result.frames.missing == record.result.frames.outside_scan == 0
    said = {"no_bright_disk", "no_counts", "saturated", "scan_shape_uncertain"}
    assert {flag.name for flag in record.quality.flags} <= said
    assert (record.quality.verdict == "fail") == (len(wanted) > 1)


def test_a_scan_of_known_shape(real: Path, tmp_path: Path, no_drawing: None) -> None:
    rsciio = pytest.importorskip("rsciio.quantumdetector")
    wanted = rsciio.file_reader(str(real / f"{ROI[0]}.mib"))[0]["data"]
    data, record = convert(real / f"{ROI[0]}.mib", tmp_path, (2, 4))
    assert record.result is not None
    assert record.result.scan_shape == wanted.shape[:2] == (2, 4)
    with open_source(data) as source:
        np.testing.assert_array_equal(source.read(0, 8).reshape(wanted.shape), wanted)


@pytest.mark.parametrize("name", ["Single_9", "Quad_9"])
def test_the_chips_own_bit_order_shows_the_same_noise_as_the_processed_frames(
    real: Path, tmp_path: Path, no_drawing: None, name: str
) -> None:
    means = []
    for suffix in ("", "RAW"):
        data, record = convert(real / f"{name}_Frame_CounterDepth_1_Rows_256{suffix}.mib", tmp_path)
        assert record.result is not None
        assert record.result.max_count == 1
        with open_source(data, scan_shape=(1, 9)) as source:
            means.append(source.read(0, 9).mean(axis=0))
    assert np.corrcoef(means[0].ravel(), means[1].ravel())[0, 1] > 0.99


@pytest.mark.parametrize("name", [ROI[0], NAMES[-1]])
def test_a_line_and_a_pattern_without_a_disk_can_be_drawn(real: Path, tmp_path: Path, name: str) -> None:
    convert(real / f"{name}.mib", tmp_path)
    assert (tmp_path / f"{name}_overview.png").stat().st_size > 20_000
