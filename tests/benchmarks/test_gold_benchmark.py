"""The benchmark of the ring calibration runs, and knows a wrong answer when it sees one. No timing."""

from __future__ import annotations

import subprocess
import sys

import pytest


def test_it_prints_a_table(benchmarks):
    options = ["--section", "accuracy", "--set", "saturated centre", "--seeds", "1", "--way", "stemcal", "--jobs", "1"]
    command = [sys.executable, str(benchmarks / "gold.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "saturated centre, 1 scans" in done.stdout
    assert "stemcal" in done.stdout


@pytest.mark.parametrize(
    ("found", "refused", "silent"),
    [
        ((1.02, 30.0, 0.0117), "", False),
        ((1.02, 30.0, 0.0118), "", True),
        ((1.03, 30.0, 0.0117), "", True),
        ((1.02, 36.0, float("nan")), "", True),
        ((float("nan"), float("nan"), 0.0117), "", False),
        ((float("nan"),) * 3, "", True),
        ((float("nan"),) * 3, "no rings", False),
    ],
)
def test_a_silent_failure_is_noticed(benchmarks, found, refused, silent):
    from contestants.standards import CAMERA, Answer
    from gold import _is_silent_failure

    assert _is_silent_failure(Answer(found, refused), CAMERA) == silent


@pytest.mark.parametrize(("seed", "material"), [(58, "W"), (140, "Si")])
def test_a_material_once_taken_for_gold_is_refused(benchmarks, seed, material):
    from contestants.cameras import blind_scan
    from contestants.standards import answer, load

    name, scan = blind_scan(seed)
    assert name == material
    assert answer("stemcal", load(scan)).refused == "other_material"
