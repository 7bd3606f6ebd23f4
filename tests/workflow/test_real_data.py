"""Real Merlin files, laid out as a session: they are converted, and say that nothing calibrates them."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 (registers the filters)
import numpy as np
import pytest
from rsciio.quantumdetector import file_reader

from stemcal.records.atomic import read_record
from stemcal.records.convert import ConvertRecord
from stemcal.records.frozen import read_latest

from .conftest import stemcal

pytestmark = [pytest.mark.session, pytest.mark.shared]

LONG_AGO = 1_600_000_000


@pytest.fixture(scope="module")
def session(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real") / "session"
    for archive in sorted((shared_data / "merlin").glob("*.zip")):
        with zipfile.ZipFile(archive) as content:
            content.extractall(folder / "Merlin" / archive.stem)
    for file in folder.rglob("*.*"):
        os.utime(file, (LONG_AGO, LONG_AGO))
    return folder


def test_a_real_session_ends_in_converted_files_and_a_page(session: Path) -> None:
    done = stemcal("process", session, expect=1)
    processing = session / "processing"
    manifest = read_latest(processing)
    assert manifest is not None
    raw_mode = {one.mib for one in manifest.datasets.values() if "RAW" in one.mib.upper()}
    converted = 0
    for one in manifest.datasets.values():
        if one.mib in raw_mode:
            assert one.verdict == "held", one
            assert "R64" in one.reason
            continue
        assert one.verdict == "ready", one
        assert one.binding_reason == "no calibration: high tension or camera length of this scan is unknown"
        record = read_record(processing / f"{one.id}_convert.json", ConvertRecord)
        assert record.result is not None
        expected = file_reader(str(session / one.mib))[0]["data"]
        with h5py.File(processing / f"{one.id}_data.hdf5") as file:
            (experiment,) = file["Experiments"].values()
            frames = experiment["data"][...]
        flat = frames.reshape(-1, *frames.shape[-2:])
        np.testing.assert_array_equal(flat, np.asarray(expected).reshape(-1, *frames.shape[-2:]), err_msg=one.mib)
        converted += 1
    assert converted >= 10
    assert len(raw_mode) >= 2
    page = (processing / "session.html").read_text("utf-8")
    assert page.count("no calibration: high tension or camera length of this scan is unknown") >= converted
    assert f"{len(raw_mode)} held" in done
