"""The benchmark of the geometry runs, and knows a wrong answer when it sees one. No timing."""

from __future__ import annotations

import subprocess
import sys

import pytest


def test_it_prints_a_table_without_silent_failures(benchmarks, tmp_path):
    options = ["--section", "accuracy", "--tuning", "--geometries", "1", "--doses", "1e4"]
    options += ["--side", "40", "--kind", "sharp", "--jobs", "1", "--place", str(tmp_path)]
    command = [sys.executable, str(benchmarks / "geometry.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1e+04, sharp, symmetry" in done.stdout
    assert "seeds 100 to 100, for tuning" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "silent"),
    [
        ({}, False),
        ({"errors": {"fast": 0.4}}, True),
        ({"errors": {"fast": 0.4}, "sigmas": {"fast": 0.2}}, False),
        ({"errors": {"fast": 1.6}, "sigmas": {"fast": 0.45}}, True),
        ({"errors": {"ratio": 0.02}, "flags": ("half_turn",)}, True),
        ({"errors": {"ratio": 0.02}, "flags": ("uncertain",)}, False),
        ({"flip_right": False}, True),
        ({"half_turn_right": False}, True),
        ({"half_turn_right": False, "verdict": "fail"}, False),
        ({"flip_right": None}, True),
        ({"flip_right": None, "answered": False, "verdict": "fail"}, False),
    ],
)
def test_a_silent_failure_is_noticed(benchmarks, changes, silent):
    from contestants.geometry_answers import Said

    errors = {"fast": 0.0, "slow": 0.0, "ratio": 0.0, "scale": 0.0} | changes.pop("errors", {})
    sound = {"verdict": "pass", "flags": (), "answered": True, "cpu_s": 0.0, "flip_right": True}
    assert Said(**sound | changes, errors=errors).is_silent_failure == silent


def test_seeds_for_reporting_are_not_those_for_tuning(benchmarks):
    from contestants.thin_scans import HELD_OUT_SEEDS, TUNING_SEEDS, random_plan

    assert not set(HELD_OUT_SEEDS) & set(TUNING_SEEDS)
    plans = [random_plan(seed) for seed in HELD_OUT_SEEDS]
    assert {plan.axes.flip for plan in plans} == {True, False}
    assert all(0.94 <= plan.axes.step_ratio <= 1.06 for plan in plans)
