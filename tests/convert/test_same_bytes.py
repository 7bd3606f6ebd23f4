"""Threads and the size of the blocks do not show in any output; the digest is that of the file.

Ranks have tests of their own.
"""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from acquisition_truth import Mode, write_hard
from numpy.typing import NDArray

from stemcal.convert import run
from stemcal.convert.paths import ConvertPaths
from stemcal.convert.raw_digest import RawDigest
from stemcal.convert.run import run_convert
from stemcal.convert.settings import ConvertSettings
from stemcal.errors import DataError
from stemcal.formats.merlin.reader import MibFile
from stemcal.formats.merlin.series import open_mib
from stemcal.formats.merlin.writer import write_mib, write_series
from stemcal.frames.plan import plan_blocks
from stemcal.records.atomic import read_record
from stemcal.records.checkout import commit
from stemcal.records.convert import ConvertRecord

MODE = Mode("U16", "2x2", None, (24, 32), 3000)
BLOCK_BYTES = 7 * (768 + 24 * 32 * 2)
SETTINGS = '{"chip_gap_px": 3, "bin_detector_px": 2, "bin_scan_positions": 3}'
OUTPUTS = {"a_data.hdf5", "a_binned.hdf5", "a_convert.json", "a_overview.png"}


def small_blocks(monkeypatch: pytest.MonkeyPatch, block_bytes: int = BLOCK_BYTES) -> None:
    monkeypatch.setattr(run, "plan_blocks", partial(plan_blocks, block_bytes=block_bytes))


def convert(raw: Path, folder: Path, threads: int = 1) -> dict[str, bytes]:
    run_convert(
        raw,
        ConvertPaths.of(folder / "a_data.hdf5"),
        settings=ConvertSettings.model_validate_json(SETTINGS),
        threads=threads,
    )
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen blocks of seven frames, the last one not full, and a frame that is cut."""
    path = write_hard(tmp_path_factory.mktemp("raw") / "a.mib", MODE).path
    with path.open("ab") as file:
        file.write(path.read_bytes()[:1000])
    return path


@pytest.fixture(scope="module")
def serial(raw: Path) -> dict[str, bytes]:
    """All outputs of one thread on one rank, beside the raw file for equal paths in the records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_DIR", os.devnull)
        commit.cache_clear()
        small_blocks(patch)
        made = convert(raw, raw.parent / "serial")
    assert set(made) == OUTPUTS
    return made


def test_threads_do_not_show(raw: Path, serial: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch)
    assert convert(raw, raw.parent / "threads", 3) == serial


def test_the_size_of_the_blocks_does_not_show(
    raw: Path, serial: dict[str, bytes], no_drawing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    undrawn = {**serial, "a_overview.png": b""}
    for frames, threads in ((1, 2), (8, 1), (1000, 2)):
        small_blocks(monkeypatch, frames * (768 + 24 * 32 * 2))
        assert convert(raw, raw.parent / f"blocks of {frames}", threads) == undrawn


def test_the_digest_is_that_of_the_file(raw: Path, serial: dict[str, bytes]) -> None:
    record = read_record(raw.parent / "serial" / "a_convert.json", ConvertRecord)
    assert record.result is not None
    (file,) = record.result.raw_files
    assert file.sha256 == hashlib.sha256(raw.read_bytes()).hexdigest()
    assert (file.name, file.size_bytes, file.n_frames) == ("a.mib", raw.stat().st_size, 95)


def frames(n: int) -> NDArray[np.uint16]:
    return np.random.default_rng(n).poisson(0.7, (n, 6, 8)).astype(np.uint16)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_each_file_of_a_series_has_its_digest(
    tmp_path: Path, no_drawing: None, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    small_blocks(monkeypatch, 4 * (768 + 96))
    parts = write_series(tmp_path / "a.hdr", [frames(56)], 17, scan_shape=(7, 8))
    with parts[1].open("ab") as file:
        file.write(b"MQ1,a frame that is cut")
    paths = ConvertPaths.of(tmp_path / "out" / "a_data.hdf5")
    record = run_convert(parts[2], paths, settings=ConvertSettings(), threads=threads)
    assert record.result is not None
    wanted = [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in parts]
    assert [(file.name, file.sha256) for file in record.result.raw_files] == wanted
    assert [file.n_frames for file in record.result.raw_files] == [17, 17, 17, 5]
    assert [item.path for item in record.inputs if item.role == "raw"] == [f"../{path.name}" for path in parts]
    assert [flag.name for flag in record.quality.flags if flag.name != "no_bright_disk"] == ["frame_cut"]


@pytest.mark.parametrize("sizes", [(1,) * 12, (12,), (5, 7), (3, 3, 3, 3)])
def test_a_digest_takes_records_in_any_portions(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    parts = write_series(tmp_path / "a.hdr", [frames(12)], 5)
    with open_mib(tmp_path / "a.hdr") as mib, RawDigest(mib.layouts) as digest:
        place = 0
        for size in sizes:
            digest.add(mib.read_records(place, place + size))
            place += size
        found = digest.finish()
    assert found == tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in parts)


def test_a_digest_of_only_some_frames_is_misuse(tmp_path: Path) -> None:
    layout = write_mib(tmp_path / "a.mib", [frames(5)])
    with MibFile(tmp_path / "a.mib") as mib, RawDigest((layout,)) as digest:
        digest.add(mib.read_records(0, 4))
        with pytest.raises(ValueError, match="give them all"):
            digest.finish()


def test_a_file_that_became_shorter_has_no_digest(tmp_path: Path) -> None:
    layout = write_mib(tmp_path / "a.mib", [frames(5)])
    with (tmp_path / "a.mib").open("r+b") as file:
        file.truncate(1000)
    with RawDigest((layout,)) as digest:
        digest.read_all()
        with pytest.raises(DataError, match="ends at byte 1000, it had"):
            digest.finish()
