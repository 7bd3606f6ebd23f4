"""The benchmark of the conversion runs, compares, and notices an output that is not the raw file's. No timing."""

from __future__ import annotations

import json
import subprocess
import sys

import h5py
import numpy as np

QUICK = ("--gigabytes", "0.02", "--repeats", "1", "--frame", "128", "--cores", "1")


def test_quick_mode_agrees_with_a_peer(benchmarks, tmp_path):
    found = tmp_path / "found.json"
    command = [sys.executable, str(benchmarks / "convert.py"), *QUICK, "--place", str(tmp_path), "--json", str(found)]
    options = ["--section", "convert", "memory", "--peer", "epsic", "--holes"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sections = {section["name"]: section["found"] for section in json.loads(found.read_text())["sections"]}
    assert set(sections) == {"convert", "memory"}
    ours, theirs = sections["convert"]["stemcal"], sections["convert"]["epsic"]
    assert ours["agrees"]
    assert theirs["agrees"]
    assert ours["sum_sha256"] == theirs["sum_sha256"]
    assert ours["n_frames_compared"] == theirs["n_frames_compared"] == 300
    assert len(theirs["ours"]) == len(theirs["theirs"]) == 1
    assert [run["raw_bytes"] for run in sections["memory"]["runs"]] == [19_922_944]
    assert "epsic" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]


def test_a_changed_pixel_is_noticed(benchmarks, tmp_path):
    import acquisitions
    import agreement
    from contestants import loops

    raw, output = tmp_path / "raw.mib", tmp_path / "out.hdf5"
    acquisitions.acquisition(str(raw), [4, 6], 64)()
    loops.h5py_rows(str(raw), str(output), [4, 6], 1)()
    assert agreement.converted(str(raw), str(output))()["agrees"]
    with h5py.File(output, "r+") as file:
        file["data"][2, 3, 10, 11] += np.uint16(1)
    assert not agreement.converted(str(raw), str(output))()["agrees"]


def test_holes_cost_no_disk_and_are_a_whole_acquisition(benchmarks, tmp_path):
    import acquisitions
    from stemcal.frames.source import open_source

    mib = tmp_path / "holes.mib"
    made = acquisitions.mostly_holes(str(mib), [40, 50], 128)()
    assert made["disk_bytes"] < made["size_bytes"] / 2
    with open_source(mib, scan_shape=(40, 50)) as frames:
        assert frames.scan_shape == (40, 50)
        assert frames.read(0, 1).any()
        assert not frames.read(1, 2).any()


def test_pairs_alternate_and_a_missing_peer_is_said(benchmarks):
    from harness.paired import Contestant, interleave
    from harness.process import NotInstalledError, Run

    order: list[str] = []

    def contestant(name: str, seconds: float) -> Contestant:
        def start() -> Run:
            order.append(name)
            return Run(seconds, seconds, 1.0, 0.0)

        return Contestant(name, start)

    def missing() -> Run:
        raise NotInstalledError("nothing is not installed")

    slow, absent = interleave(contestant("ours", 2.0), [contestant("slow", 6.0), Contestant("absent", missing)], 2)
    assert order == ["ours", "slow", "ours", "slow", "ours"]
    assert slow.ratio(lambda run: run.wall_s).median == 3.0
    assert absent.problem == "nothing is not installed"
