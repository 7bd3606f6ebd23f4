"""Real Merlin files, laid out as a session: all are converted, and say what is not known of them."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 (registers the filters)
import numpy as np
import pytest
from rsciio.quantumdetector import file_reader

from stemcal.formats.chip_gap import insert_gap
from stemcal.records.atomic import read_record
from stemcal.records.convert import ConvertRecord
from stemcal.records.frozen import read_latest

from .conftest import stemcal

pytestmark = [pytest.mark.session, pytest.mark.shared]

LONG_AGO = 1_600_000_000
CHOSEN = (
    "Quad_1_Frame_CounterDepth_6_",
    "Quad_9_Frame_CounterDepth_1_Rows_256RAW",
    "Quad_9_Frame_CounterDepth_12_",
    "Single_1_Frame_CounterDepth_1_Rows_256RAW",
    "Single_9_Frame_CounterDepth_24_",
    "001_4x2_6bit",
    "002_4x2_6bit_roi128",
)
"""One of each kind; every file is converted by the tests of `convert`."""


@pytest.fixture(scope="module")
def session(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real") / "session"
    for archive in sorted((shared_data / "merlin").glob("*.zip")):
        with zipfile.ZipFile(archive) as content:
            chosen = [name for name in content.namelist() if Path(name).stem.startswith(CHOSEN)]
            content.extractall(folder / "Merlin" / archive.stem, chosen)
    for file in folder.rglob("*.*"):
        os.utime(file, (LONG_AGO, LONG_AGO))
    return folder


def test_a_real_session_ends_in_converted_files_and_a_page(session: Path) -> None:
    done = stemcal("process", session, expect=1)
    processing = session / "processing"
    manifest = read_latest(processing)
    assert manifest is not None
    records = {}
    for one in manifest.datasets.values():
        assert one.verdict == "ready", one
        assert one.binding_reason == "no calibration: high tension or camera length of this scan is unknown"
        record = read_record(processing / f"{one.id}_convert.json", ConvertRecord)
        assert record.result is not None
        assert record.result.chip_gap_px == (3 if record.result.assembly == "2x2" else 0)
        records[one.mib] = record
        if "RAW" in one.mib.upper():
            continue  # which RosettaSciIO does not read
        (expected,) = file_reader(str(session / one.mib))
        frames = np.asarray(expected["data"]).reshape(-1, *expected["data"].shape[-2:])
        with h5py.File(processing / f"{one.id}_data.hdf5") as file:
            (experiment,) = file["Experiments"].values()
            found = experiment["data"][...].reshape(len(frames), *record.result.frame_shape)
        np.testing.assert_array_equal(found, insert_gap(frames, record.result.chip_gap_px), err_msg=one.mib)
    assert len(records) == len(CHOSEN)
    assert sum("RAW" in mib.upper() for mib in records) == 2
    # nine frames are no scan that anybody has stated: they are kept as one line and wait for a word
    uncertain = [mib for mib, record in records.items() if record.quality.verdict == "fail"]
    assert len(uncertain) >= 2
    assert all(records[mib].result.scan_shape[0] == 1 for mib in uncertain)
    assert all(Path(mib).stem in done for mib in uncertain)
    page = (processing / "session.html").read_text("utf-8")
    assert page.count("no calibration: high tension or camera length of this scan is unknown") >= len(records)
    assert "state it with --scan-shape ROWS,COLS or in session.yaml" in page
    assert "nothing to do" in stemcal("process", session)
