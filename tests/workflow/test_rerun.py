"""The rerun rules: what makes which job run again, and what does not."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from stemcal.formats.merlin.layout import inspect_mib
from stemcal.records.frozen import read_latest
from stemcal.records.manifest import Dataset

from .conftest import digests, planned_jobs, stemcal

pytestmark = pytest.mark.session


def ready(session: Path, role: str) -> list[Dataset]:
    manifest = read_latest(session / "processing")
    assert manifest is not None
    return [one for one in manifest.datasets.values() if one.verdict == "ready" and one.role == role]


def rewrite_first_frame(mib: Path) -> None:
    """Acquire the file again under the same name: another time in the first header, the same size, quiet."""
    layout = inspect_mib(mib)
    before = mib.stat()
    stamp = layout.header.timestamp
    assert stamp is not None
    data = layout.header_data.replace(stamp.encode(), re.sub(r"^\d{4}", "2024", stamp).encode())
    assert data != layout.header_data
    with mib.open("r+b") as file:
        file.write(data)
    os.utime(mib, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))


def test_nothing_runs_twice(processed: Path) -> None:
    assert planned_jobs(processed) == {}


def test_a_second_run_says_that_there_is_nothing_to_do(processed: Path) -> None:
    before = digests(processed / "processing")
    assert "nothing to do, everything is up to date" in stemcal("process", processed)
    assert digests(processed / "processing") == before


def test_a_touch_reruns_nothing(processed: Path) -> None:
    for file in (processed / "Merlin").rglob("*.*"):
        stat = file.stat()
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 3600 * 10**9))
    assert planned_jobs(processed) == {}


def test_a_copy_of_the_raw_files_reruns_nothing(processed: Path) -> None:
    """What rsync without -t does: the same bytes with new inodes and, after the quiet time, younger time stamps."""
    raw = processed / "Merlin"
    shutil.copytree(raw, processed / "copied")
    shutil.rmtree(raw)
    (processed / "copied").rename(raw)
    for file in raw.rglob("*.*"):
        os.utime(file, ns=(0, file.stat().st_mtime_ns - 2 * 3600 * 10**9))
    jobs = planned_jobs(processed)
    # the file that was growing is quiet now and therefore cut off: the page says so, nothing else changes
    assert set(jobs) <= {"report"}


def test_a_file_acquired_again_reruns_its_branch(processed: Path) -> None:
    sample = ready(processed, "sample")[0]
    rewrite_first_frame(processed / sample.mib)
    assert planned_jobs(processed) == {"convert": 1, "calibration": 1, "polar": 1, "nmf": 1, "report": 1}


def test_another_edx_map_reruns_the_factorisation_alone(processed: Path) -> None:
    (rpl,) = processed.rglob("*.rpl")
    text = rpl.read_text()
    rpl.write_text(text.replace("depth-origin\t-0.2", "depth-origin\t-0.1"))
    assert rpl.read_text() != text
    assert planned_jobs(processed) == {"nmf": 1, "report": 1}


def test_a_gold_acquired_again_reruns_what_it_calibrates(processed: Path) -> None:
    (gold,) = ready(processed, "gold")
    samples = len(ready(processed, "sample"))
    rewrite_first_frame(processed / gold.mib)
    expected = {"convert": 1, "gold": 1, "calibration": samples, "polar": samples, "nmf": 1, "report": 1}
    assert planned_jobs(processed) == expected


def test_a_setting_reruns_its_step_and_what_stands_on_it(processed: Path) -> None:
    (processed / "session.yaml").write_text("settings: {polar: {bin_width_px: 2.0}}\n")
    samples = len(ready(processed, "sample"))
    assert planned_jobs(processed) == {"polar": samples, "nmf": 1, "report": 1}


def test_a_revision_reruns_its_step_and_what_stands_on_it(processed: Path, checkout: Path, tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    for name in ("src", "workflow", "profiles", "config"):
        shutil.copytree(checkout / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "requirements.lock"):
        shutil.copy2(checkout / name, copy / name)
    stages = copy / "src" / "stemcal" / "stages.py"
    text, count = re.subn(r'("gold": Stage\()(\d+)', lambda found: f"{found[1]}{int(found[2]) + 1}", stages.read_text())
    assert count == 1
    path = str(copy / "src")
    assert planned_jobs(processed, PYTHONPATH=path) == {}
    stages.write_text(text)
    samples = len(ready(processed, "sample"))
    expected = Counter({"gold": 1, "calibration": samples, "polar": samples, "nmf": 1, "report": 1})
    assert Counter(planned_jobs(processed, PYTHONPATH=path)) == expected


def test_losing_the_memory_of_snakemake_reruns_nothing(processed: Path) -> None:
    shutil.rmtree(processed / "processing" / ".snakemake")
    assert planned_jobs(processed) == {}


def test_losing_our_own_memory_reruns_nothing(processed: Path) -> None:
    shutil.rmtree(processed / "processing" / ".stemcal")
    assert planned_jobs(processed) == {}


def test_a_lost_result_is_made_again(processed: Path) -> None:
    sample = ready(processed, "sample")[0]
    before = digests(processed / "processing")
    (processed / "processing" / f"{sample.id}_polar.hdf5").unlink()
    stemcal("process", processed)
    assert digests(processed / "processing") == before


def test_results_outlive_their_raw_files(processed: Path) -> None:
    for sample in ready(processed, "sample"):
        (processed / sample.mib).unlink()
    jobs = planned_jobs(processed)
    assert jobs == {"report": 1}
