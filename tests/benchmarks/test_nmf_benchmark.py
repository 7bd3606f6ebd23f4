"""The benchmark of the factorisation runs, and its scores notice components that are not those of the phases."""

from __future__ import annotations

import subprocess
import sys

import numpy as np


def test_it_keeps_its_promise_and_prints_the_ways(benchmarks):
    options = ["--phases", "2", "--counts", "50", "--seeds", "1", "--repeats", "0", "--peer", "epsic"]
    command = [sys.executable, str(benchmarks / "nmf.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for way in ("2 phases, ours", "2 phases, epsic"):
        assert way in done.stdout
    assert "1 of 1" in done.stdout


def test_scores_are_one_for_the_truth_and_lower_for_a_mixture(benchmarks):
    from contestants.factors import _scores
    from stemcal.phantoms.phase_scans import phase_scan

    truth = phase_scan(3, 50, shape=(16, 16))
    loadings = truth.maps.reshape(3, -1).T
    order = [2, 0, 1]
    right = _scores(truth, truth.profiles[order], loadings[:, order])
    assert min(right["cosine"], right["correlation"]) > 1 - 1e-12
    assert right["vacuum"] < 0.01
    mixed = np.array([[0.7, 0.3, 0], [0, 1, 0], [0, 0, 1]]) @ truth.profiles
    assert _scores(truth, mixed, loadings)["cosine"] < 0.99
