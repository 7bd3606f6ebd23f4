"""The benchmark of the rings runs, compares, and notices profiles that differ. No timing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest


def test_it_agrees_with_a_peer_and_leaves_nothing(benchmarks, tmp_path):
    options = ["--frame", "64", "--patterns", "16", "--repeats", "1", "--peer", "pyfai", "--place", str(tmp_path)]
    command = [sys.executable, str(benchmarks / "polar.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "64 x 64, 24 rings" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_another_profile_is_noticed(benchmarks, tmp_path):
    from contestants.patterns import difference

    mean = np.random.default_rng(0).random((3, 20)) + 1
    for name, factor in (("a", 1.0), ("b", 1.01)):
        np.savez(tmp_path / f"{name}.npz", mean=mean * factor)
    same, other = (difference(str(tmp_path / "a.npz"), str(tmp_path / f"{name}.npz"))() for name in "ab")
    assert same == 0
    assert other == pytest.approx(0.01)
