"""The workflow as text and as a graph."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

from stemcal.driver.workflow import Plan, command
from stemcal.generated import generated_files

from .conftest import environment

N_SCANS = 300
SCANS_PER_GOLD = 10

MAX_RSS = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
print(done.stdout + done.stderr)
print("peak_rss_mb:", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
sys.exit(done.returncode)
"""


def dataset(index: int, role: str, golds: list[str], gains: list[str] | None = None) -> dict[str, object]:
    name = f"Merlin/{role}/scan{index:04d}/scan{index:04d}"
    stages = ["convert", role] if role in ("gold", "gain") else ["convert", "calibration", "polar"]
    return {
        "id": name,
        "label": f"{role}/scan{index:04d}",
        "role": role,
        "mib": f"{name}_data.mib",
        "hdr": None,
        "microscope_file": None,
        "identity": {"size_bytes": 1, "n_frames": 65536},
        "frame_shape": [256, 256],
        "itemsize": 2,
        "scan_shape": None,
        "gold_candidates": golds,
        "gain_candidates": gains or [],
        "group": "200kV_200mm_256x256" if role == "sample" else None,
        "stages": stages,
        "verdict": "ready",
        "source": {"raw": {"index": index}, "gold": golds, "gain": gains or []},
    }


def growing(index: int) -> dict[str, object]:
    return dataset(index, "sample", []) | {"verdict": "growing", "grows": True, "stages": [], "group": None}


def large_manifest(folder: Path) -> Path:
    golds = [dataset(index, "gold", []) for index in range(N_SCANS // SCANS_PER_GOLD)]
    names = [str(gold["id"]) for gold in golds]
    gain = dataset(2000, "gain", [])
    n_samples = N_SCANS - len(golds) - 1
    scans = [dataset(1000 + index, "sample", names[:2], [str(gain["id"])]) for index in range(n_samples)]
    entries = {str(entry["id"]): entry for entry in [*golds, gain, *scans, growing(3000)]}
    for entry in entries.values():
        raw = folder / str(entry["mib"])
        raw.parent.mkdir(parents=True)
        raw.touch()
    processing = folder / "processing"
    path = processing / ".stemcal" / "manifests" / "large.json"
    path.parent.mkdir(parents=True)
    manifest = {"schema": "stemcal/manifest/1", "path": ".stemcal/manifests/large.json", "session": ".."}
    path.write_text(json.dumps(manifest | {"settings": {}, "datasets": entries}))
    return processing


def test_a_session_of_300_data_sets_is_planned_in_a_minute(tmp_path: Path) -> None:
    processing = large_manifest(tmp_path)
    plan = Plan(processing, False, 2, 16000, "x", ("--dry-run", "--quiet", "rules"))
    words = command(plan, ".stemcal/manifests/large.json")
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", MAX_RSS, *words], capture_output=True, text=True, env=environment(), check=False
    )
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = {rule: int(number) for rule, number in re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE)}
    n_golds = N_SCANS // SCANS_PER_GOLD
    n_samples = N_SCANS - n_golds - 1
    expected = {"convert": N_SCANS, "gold": n_golds, "gain": 1, "calibration": n_samples, "polar": n_samples}
    once = {"convert_growing": 1, "nmf": 1, "report": 1, "all": 1}
    assert jobs == expected | once | {"total": N_SCANS + n_golds + 1 + 2 * n_samples + 4}
    assert seconds < 60
    peak = re.search(r"peak_rss_mb: (\d+)", done.stdout)
    assert peak is not None
    assert int(peak[1]) < 1000


def test_without_a_manifest_it_says_what_to_do(checkout: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "snakemake", "-s", str(checkout / "Snakefile"), "-d", str(tmp_path), "-n"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode != 0
    assert "run `stemcal discover SESSION`" in done.stdout + done.stderr


def test_lint_asks_for_nothing_but_containers(tmp_path: Path) -> None:
    processing = large_manifest(tmp_path)
    words = [*command(Plan(processing, False, 1, 1000, "x"), ".stemcal/manifests/large.json"), "--lint"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)
    titles = set(re.findall(r"^ {4}\* (.*):$", done.stdout + done.stderr, re.MULTILINE))
    assert titles <= {"Specify a conda environment or container for each rule."}


def test_generated_files_are_in_step_with_the_models(checkout: Path) -> None:
    stale = [name for name, text in generated_files().items() if (checkout / name).read_text("utf-8") != text]
    assert stale == [], "run scripts/generate"


def test_planning_imports_nothing_heavy() -> None:
    code = "import sys, stemcal.stages; print(sorted({'numpy', 'pydantic', 'h5py'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
