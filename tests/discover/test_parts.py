"""Acquisitions in several files: grouped by their names, complete together, one data set."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stemcal.discover.snapshot import group_acquisitions, take_snapshot
from stemcal.errors import DataError
from stemcal.formats.merlin import open_mib, write_mib, write_series
from stemcal.formats.merlin.hdr import read_hdr, write_hdr
from stemcal.formats.microscope import write_microscope
from stemcal.records.manifest import Dataset
from stemcal.records.microscope import Microscope

from .conftest import NOW, AddScan, Discover
from .test_discover import cut, the_only, touch_now

FRAMES = np.random.default_rng(5).integers(0, 4096, (10, 8, 8))
STAMP = "20260301_110000"
NAMES = [f"{STAMP}_data_{number:06d}.mib" for number in (1, 2, 3, 4)]
LONG_AGO_S = NOW.timestamp() - 2 * 86400

Series = Callable[..., tuple[Path, ...]]


@pytest.fixture
def add_series(session: Path) -> Series:
    """Write 10 frames to files of 3, two days old, with their .hdr and microscope file."""

    def add(folder: str = "scan") -> tuple[Path, ...]:
        place = session / "Merlin" / folder / STAMP
        place.mkdir(parents=True)
        raws = write_series(place / f"{STAMP}_data.hdr", [FRAMES], 3, assembly="1x1", scan_shape=(2, 5))
        write_microscope(place / f"{STAMP}.hdf", Microscope(voltage_kv=200.0, nominal_camera_length_m=0.2))
        make_old(place)
        return raws

    return add


def make_old(folder: Path) -> None:
    for file in folder.iterdir():
        os.utime(file, (LONG_AGO_S, LONG_AGO_S))


def verdict(dataset: Dataset) -> tuple[str, str]:
    return dataset.verdict, dataset.reason


def test_it_is_one_data_set_called_by_its_hdr(session: Path, add_series: Series, discover: Discover) -> None:
    raws = add_series()
    dataset = the_only(discover())
    assert verdict(dataset) == ("ready", "10 whole frames in 4 files")
    assert dataset.id == f"Merlin/scan/{STAMP}/{STAMP}"
    assert dataset.label == f"scan/{STAMP}"
    assert dataset.mib == dataset.hdr == f"Merlin/scan/{STAMP}/{STAMP}_data.hdr"
    assert dataset.parts == tuple(path.relative_to(session).as_posix() for path in raws)
    assert [Path(path).name for path in dataset.parts] == NAMES
    assert dataset.microscope_file == f"Merlin/scan/{STAMP}/{STAMP}.hdf"
    assert dataset.microscope is not None
    assert dataset.microscope.voltage_kv == 200
    assert dataset.identity is not None
    assert (dataset.identity.n_frames, dataset.n_frames_expected) == (10, 10)
    assert dataset.identity.size_bytes == sum(path.stat().st_size for path in raws)
    assert dataset.stages == ("convert",)


def test_a_part_that_changes_is_seen_and_changes_the_identity(add_series: Series, discover: Discover) -> None:
    raws = add_series()
    before = the_only(discover())
    touch_now(raws[2])
    touched = the_only(discover())
    assert touched.verdict == "growing"
    assert touched.identity == before.identity
    data = raws[2].read_bytes()
    raws[2].write_bytes(data.replace(b"2026-01-01", b"2026-01-02", 1))
    make_old(raws[2].parent)
    again = the_only(discover())
    assert again.verdict == "ready"
    assert again.identity != before.identity


def test_every_file_has_to_be_quiet(add_series: Series, discover: Discover) -> None:
    raws = add_series()
    touch_now(raws[1])
    assert verdict(the_only(discover())) == ("growing", "was written to a moment ago")


@pytest.mark.parametrize(
    ("damage", "lack"),
    [
        (lambda raws: raws[1].unlink(), f"7 of 10 frames are on disk: {NAMES[1]} is missing"),
        (
            lambda raws: [raws[index].unlink() for index in (1, 2)],
            f"4 of 10 frames are on disk: {NAMES[1]} and 1 more of its files are missing",
        ),
        (lambda raws: raws[3].unlink(), "9 of 10 frames are on disk"),
        (lambda raws: cut(raws[2], 10), "9 of 10 frames are on disk"),
        (lambda raws: cut(raws[3], 10), "9 of 10 frames are on disk"),
    ],
)
def test_what_is_not_there_is_waited_for_and_then_named(
    add_series: Series, discover: Discover, damage: Callable[[tuple[Path, ...]], object], lack: str
) -> None:
    raws = add_series()
    damage(raws)
    dataset = the_only(discover())
    assert verdict(dataset) == ("incomplete", f"{lack} and nothing more came")
    assert dataset.stages == ()
    touch_now(raws[0])
    assert verdict(the_only(discover())) == ("growing", lack)


def test_without_a_promise_the_numbers_of_the_files_and_their_ends_count(
    session: Path, add_series: Series, discover: Discover
) -> None:
    raws = add_series()
    hdr = session / f"Merlin/scan/{STAMP}/{STAMP}_data.hdr"
    write_hdr(hdr, read_hdr(hdr).raw | {"Frames in Acquisition (Number)": "0"})
    make_old(hdr.parent)
    assert verdict(the_only(discover())) == ("ready", "10 whole frames in 4 files")
    cut(raws[1], 10)
    reason = f"{NAMES[1]} ends in the middle of frame 3 and nothing more came"
    assert verdict(the_only(discover())) == ("incomplete", reason)
    raws[1].unlink()
    assert verdict(the_only(discover())) == ("incomplete", f"{NAMES[1]} is missing and nothing more came")


def test_an_empty_file_is_named(add_series: Series, discover: Discover) -> None:
    raws = add_series()
    cut(raws[3], raws[3].stat().st_size)
    assert verdict(the_only(discover())) == ("incomplete", f"{NAMES[3]} is empty: no frame was written")


def test_a_file_of_another_kind_rejects_the_acquisition_by_name(add_series: Series, discover: Discover) -> None:
    raws = add_series()
    write_mib(raws[2], [FRAMES[6:9, :4]], assembly="1x1", with_hdr=False)
    make_old(raws[2].parent)
    dataset = the_only(discover())
    assert dataset.verdict == "rejected"
    assert dataset.reason.startswith(f"{NAMES[2]}: holds U16 4x8 of 12 bit on 1x1 behind 384 bytes, but the first ")


def test_an_unusable_name_of_a_part_rejects_it(session: Path, add_series: Series, discover: Discover) -> None:
    raws = add_series()
    raws[0].parent.rename(session / "Merlin" / "scan" / "{a}")
    dataset = the_only(discover())
    assert verdict(dataset) == ("rejected", "its name holds {a}, which Snakemake takes for a variable; rename it")


def test_session_yaml_speaks_of_it_by_its_folder_or_its_hdr(
    session: Path, add_series: Series, add_scan: AddScan, discover: Discover
) -> None:
    add_series("one")
    add_series("two")
    (session / "session.yaml").write_text(
        "roles: {'Merlin/one': gold}\nscan_shapes: {'*/two/*_data.hdr': [5, 2]}\nignore: ['Merlin/none']\n"
    )
    one, two = discover().datasets.values()
    assert one.role == "gold"
    assert (two.role, two.scan_shape) == ("sample", (5, 2))
    assert two.gold_candidates == (one.id,)


def test_names_are_grouped_as_the_reader_groups_them(tmp_path: Path) -> None:
    """The counter-test of the rule: whatever lies together, discovery and `open_mib` see the same acquisitions."""
    write_mib(tmp_path / "seed.mib", [FRAMES[:1]], assembly="1x1")
    folder = tmp_path / "Merlin"
    folder.mkdir()
    stems = ["a", "a_1", "a_1_000001", "a_1_000002", "a-3", "a7", "a_12x", "b_1", "b_02", "c", "c_1", "1", "12", "d_٣"]
    stems += ["20240101_120000", "20240101_120500", "20240101_12", "e._1", "e.", "F_1"]
    for stem in stems:
        shutil.copy(tmp_path / "seed.mib", folder / f"{stem}.mib")
    shutil.copy(tmp_path / "seed.mib", folder / "f_2.MIB")
    for stem in ("a_1_", "a", "b", "c_1", "1", "20240101_12", "20240101", "d", "e.", "f", "lonely"):
        shutil.copy(tmp_path / "seed.hdr", folder / f"{stem}.hdr")
    for removed in ("a.mib", "20240101_12.mib"):
        (folder / removed).unlink()
    found = group_acquisitions(take_snapshot(tmp_path, ()), ".mib")
    together = {path: one for one in found for path in (raw.path for raw in one.raws)}
    files = sorted(path.relative_to(tmp_path).as_posix() for path in folder.iterdir() if path.suffix.lower() == ".mib")
    assert sorted(together) == [*files, "seed.mib"]
    for path in files:
        with open_mib(tmp_path / path) as mib:
            theirs = {one.relative_to(tmp_path).as_posix() for one in mib.paths}
        assert {raw.path for raw in together[path].raws} == theirs, path
        if together[path].parts:
            with open_mib(tmp_path / together[path].path) as mib:
                assert {one.relative_to(tmp_path).as_posix() for one in mib.paths} == theirs
    assert sum(len(one.parts) > 1 for one in found) >= 3
    with pytest.raises(DataError, match="has no frames beside it"):
        open_mib(folder / "lonely.hdr")
