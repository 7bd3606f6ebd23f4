"""An acquisition in several files is one data set all the way through."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 (registers the filters)
import numpy as np
import pytest

from stemcal.formats.merlin import write_series
from stemcal.records.frozen import read_latest

from .conftest import planned_jobs, stemcal

pytestmark = pytest.mark.session

STEM = "Merlin/scan/20200101_120000/20200101_120000"
LONG_AGO_S = 1_600_000_000
FRAMES = np.random.default_rng(2).poisson(0.5, (256, 32, 32))


@pytest.fixture
def session(tmp_path: Path) -> Path:
    folder = tmp_path / "session"
    hdr = folder / f"{STEM}_data.hdr"
    hdr.parent.mkdir(parents=True)
    write_series(hdr, [FRAMES], 100, assembly="1x1", scan_shape=(16, 16))
    for file in hdr.parent.iterdir():
        os.utime(file, (LONG_AGO_S, LONG_AGO_S))
    return folder


def test_it_is_listed_and_converted_once(session: Path) -> None:
    assert planned_jobs(session) == {"convert": 1, "report": 1}
    stemcal("process", session)
    processing = session / "processing"
    manifest = read_latest(processing)
    assert manifest is not None
    assert list(manifest.datasets) == [STEM]
    with h5py.File(processing / f"{STEM}_data.hdf5") as file:
        (experiment,) = file["Experiments"].values()
        np.testing.assert_array_equal(experiment["data"][...].reshape(FRAMES.shape), FRAMES[:, ::-1])
    # a touch of a file in the middle runs nothing, another content of it runs the branch
    part = session / manifest.datasets[STEM].parts[1]
    later_s = LONG_AGO_S + 3600
    os.utime(part, (later_s, later_s))
    assert planned_jobs(session) in ({}, {"report": 1})
    part.write_bytes(part.read_bytes().replace(b"2026-01-01", b"2026-01-02", 1))
    os.utime(part, (later_s + 1, later_s + 1))
    assert planned_jobs(session) == {"convert": 1, "report": 1}
