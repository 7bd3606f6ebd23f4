"""The conversion on two nodes: the same bytes as on one rank of this machine, and one end for all when a rank fails."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from rank_program import PROGRAM, calls, contents, write_raw

from .conftest import Slurm

pytestmark = pytest.mark.slurm

ON_TWO_NODES = ("srun", "--quiet", "--mpi=pmi2", "-N2", "-n2", sys.executable, PROGRAM)
# Commits that somebody makes meanwhile must not become part of the provenance.
QUIET = {"OMP_NUM_THREADS": "1", "GIT_DIR": os.devnull}


def test_two_nodes_give_the_bytes_of_one_rank(slurm: Slurm, tmp_path: Path) -> None:
    raw = write_raw(tmp_path)
    said = slurm.run(*ON_TWO_NODES, "none", json.dumps(calls(raw, tmp_path / "nodes")), timeout_s=300, **QUIET)
    assert said.count("convert: ") == len(raw), said
    slurm.run(sys.executable, PROGRAM, "none", json.dumps(calls(raw, tmp_path / "serial")), timeout_s=300, **QUIET)
    assert contents(tmp_path / "nodes") == contents(tmp_path / "serial")


def test_a_node_that_fails_ends_both(slurm: Slurm, tmp_path: Path) -> None:
    raw = {"hard": write_raw(tmp_path)["hard"]}
    asked = json.dumps(calls(raw, tmp_path / "out"))
    said = slurm.run(
        "bash", "-c", '"$@" || echo failed', "_", *ON_TWO_NODES, "truncated", asked, timeout_s=300, **QUIET
    )
    assert f"{raw['hard']}: ends at byte" in said
    assert said.endswith("failed\n")
    assert contents(tmp_path / "out") == {}
