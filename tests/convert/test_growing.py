"""A file that is converted while it grows becomes what it would have become in one go, and nothing is done twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stemcal.cli import main
from stemcal.convert import blocks
from stemcal.convert.checksum import Checksum
from stemcal.convert.grow import grow, journal_folder
from stemcal.convert.journal import Journal
from stemcal.convert.paths import ConvertPaths
from stemcal.convert.run import run_convert
from stemcal.convert.settings import ConvertSettings
from stemcal.errors import DataError, UsageError
from stemcal.formats.merlin import write_mib
from stemcal.formats.merlin.reader import MibFile

SHAPE = (12, 10)
OUTPUTS = ("x_data.hdf5", "x_convert.json", "x_overview.png")


def scan(path: Path, *, assembly: str = "2x2", seed: int = 3) -> bytes:
    frames = np.random.default_rng(seed).poisson(0.4, (SHAPE[0] * SHAPE[1], 32, 64)).astype("u2")
    write_mib(path, [frames], assembly=assembly, scan_shape=SHAPE, scan_in_hdr=True)
    return path.read_bytes()


def tick(raw: Path, content: bytes, folder: Path, settings: ConvertSettings | None = None) -> int:
    """Let the file have ``content`` and convert what is there; the number of frames that are done."""
    raw.write_bytes(content)
    return grow(raw, folder / "x_data.hdf5", settings=settings or ConvertSettings()).n_frames


def convert(raw: Path, folder: Path, settings: ConvertSettings | None = None, threads: int = 1) -> dict[str, bytes]:
    paths = ConvertPaths.of(folder / "x_data.hdf5")
    run_convert(raw, paths, settings=settings or ConvertSettings(), scan_shape=SHAPE, threads=threads)
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    pair = (tmp_path / "grown", tmp_path / "whole")
    for folder in pair:
        folder.mkdir()
    return pair


@pytest.mark.parametrize("gap_px", [0, 3])
@pytest.mark.parametrize("assembly", ["1x1", "2x2"])
def test_ticks_and_one_pass_give_the_same_bytes(
    tmp_path: Path, folders: tuple[Path, Path], assembly: str, gap_px: int
) -> None:
    raw = tmp_path / "x.mib"
    content = scan(raw, assembly=assembly)
    settings = ConvertSettings(chip_gap_px=gap_px)
    frame = len(content) // (SHAPE[0] * SHAPE[1])
    grown, whole = folders
    assert [tick(raw, content[: n * frame + 5], grown, settings) for n in (1, 1, 37, 119)] == [1, 1, 37, 119]
    raw.write_bytes(content)
    assert convert(raw, grown, settings) == convert(raw, whole, settings)
    assert sorted(path.name for path in grown.iterdir()) == sorted(OUTPUTS)


def test_no_frame_is_read_or_compressed_twice(
    tmp_path: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "x.mib"
    content = scan(raw)
    frame = len(content) // (SHAPE[0] * SHAPE[1])
    read: list[int] = []
    original = MibFile.read_records

    def counted(self: MibFile, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        if out is None or stop - start < 100:
            read.extend(range(start, stop))
        return original(self, start, stop, out)

    monkeypatch.setattr(MibFile, "read_records", counted)
    monkeypatch.setattr(MibFile, "_header_bytes", MibFile._header_bytes)
    monkeypatch.setattr(blocks, "locate", lambda *_: blocks.NoDisk("not asked for"))
    tick(raw, content[: 50 * frame], folders[0])
    tick(raw, content[: 110 * frame], folders[0])
    grown = list(read)
    assert [index for index in grown if index < 110] == list(range(110))


def test_a_tick_that_was_killed_before_its_end_counts_for_nothing(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    raw = tmp_path / "x.mib"
    content = scan(raw)
    frame = len(content) // (SHAPE[0] * SHAPE[1])
    grown, whole = folders
    tick(raw, content[: 40 * frame], grown)
    with (journal_folder(grown / "x_data.hdf5") / "chunks").open("ab") as file:
        file.write(b"half a tick that nobody committed")
    tick(raw, content[: 80 * frame], grown)
    raw.write_bytes(content)
    assert convert(raw, grown) == convert(raw, whole)


@pytest.mark.parametrize("damage", ["state", "chunks", "other file", "other gap", "no state"])
def test_a_journal_that_does_not_fit_is_begun_anew(tmp_path: Path, folders: tuple[Path, Path], damage: str) -> None:
    raw = tmp_path / "x.mib"
    content = scan(raw)
    grown, whole = folders
    tick(raw, content[: len(content) // 2], grown)
    folder = journal_folder(grown / "x_data.hdf5")
    settings = ConvertSettings(chip_gap_px=3 if damage == "other gap" else 0)
    if damage == "state":
        (folder / "state.npz").write_bytes(b"PK\x03\x04 not a state")
    elif damage == "chunks":
        (folder / "chunks").write_bytes(b"short")
    elif damage == "other file":
        content = scan(raw, seed=4).replace(b"MQ1,000001", b"MQ1,000009", 1)
        raw.write_bytes(content)
    elif damage == "no state":
        (folder / "state.npz").unlink()
    raw.write_bytes(content)
    assert convert(raw, grown, settings) == convert(raw, whole, settings)


def test_a_damaged_frame_of_the_journal_is_named(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    raw = tmp_path / "x.mib"
    content = scan(raw)
    tick(raw, content[: len(content) // 2], folders[0])
    chunks = journal_folder(folders[0] / "x_data.hdf5") / "chunks"
    chunks.write_bytes(b"\xff" * chunks.stat().st_size)
    raw.write_bytes(content)
    with pytest.raises(
        DataError, match=r"chunks: holds a damaged frame .* remove that folder and convert the file again"
    ):
        convert(raw, folders[0])
    assert not (folders[0] / "x_data.hdf5").exists()


@pytest.mark.parametrize("from_then_on", [0, 1])
def test_a_state_that_this_python_cannot_take_up_is_made_again(
    tmp_path: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, from_then_on: int
) -> None:
    raw = tmp_path / "x.mib"
    content = scan(raw)
    grown, whole = folders
    for part, cannot in ((3, False), (2, from_then_on == 0)):
        if cannot:
            monkeypatch.setattr("stemcal.convert.checksum._functions", lambda: None)
        tick(raw, content[: len(content) // part], grown)
    monkeypatch.setattr("stemcal.convert.checksum._functions", lambda: None)
    raw.write_bytes(content)
    assert convert(raw, grown) == convert(raw, whole)


def test_without_openssl_the_digest_begins_again(
    tmp_path: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "x.mib"
    content = scan(raw)
    grown, whole = folders
    monkeypatch.setattr("stemcal.convert.checksum._functions", lambda: None)
    for part in (3, 2):
        tick(raw, content[: len(content) // part], grown)
    raw.write_bytes(content)
    assert convert(raw, grown) == convert(raw, whole)


def test_a_checksum_goes_on_from_its_state() -> None:
    data = np.random.default_rng(1).integers(0, 256, 100_000, np.uint8)
    whole, first = Checksum(), Checksum()
    whole.update(data)
    first.update(data[:777])
    state = first.state()
    assert state is not None
    second = Checksum(state)
    second.update(data[777:])
    assert second.hexdigest() == whole.hexdigest() != first.hexdigest()
    with pytest.raises(ValueError, match="begin again"):
        Checksum(b"too short")


def test_what_cannot_grow_is_refused(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    raw = tmp_path / "x.mib"
    content = scan(raw)
    with pytest.raises(DataError, match="holds no whole frame"):
        tick(raw, content[:900], folders[0])
    (tmp_path / "y.hdr").write_bytes((tmp_path / "x.hdr").read_bytes())
    for number in (1, 2):
        (tmp_path / f"y_{number}.mib").write_bytes(content)
    with pytest.raises(UsageError, match="several files"):
        grow(tmp_path / "y_1.mib", folders[0] / "y_data.hdf5", settings=ConvertSettings())


def test_the_command_says_how_far_it_came(
    tmp_path: Path, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "x.mib"
    content = scan(raw)
    raw.write_bytes(content[: len(content) // 2])
    command = ["convert", str(raw), "-o", str(folders[0] / "x_data.hdf5"), "--growing", "--no-progress"]
    assert main(command) == 0
    assert capsys.readouterr().out == "convert: growing: 60 of 120 frames are done\n"
    said = json.loads((folders[0] / "x_growing.json").read_text())
    assert (said["n_frames"], said["n_frames_expected"]) == (60, 120)
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == said


def test_an_empty_journal_has_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert Journal(tmp_path, "key", np.empty(0, np.int64)).begun() is None
