from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stemcal.errors import UsageError
from stemcal.frames.ranks import SERIAL, launched_size, open_world

MPIEXEC = Path(sys.executable).with_name("mpiexec")
needs_mpi = pytest.mark.skipif(not MPIEXEC.is_file(), reason="no mpiexec beside this Python")


@pytest.mark.parametrize(
    ("environment", "size"),
    [
        ({}, None),
        ({"SLURM_NTASKS": "4"}, None),
        ({"PMI_SIZE": "2", "PMI_RANK": "1"}, 2),
        ({"OMPI_COMM_WORLD_SIZE": "3"}, 3),
        ({"PMIX_RANK": "0"}, 0),
        ({"PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "1"}, 1),
        ({"PMIX_RANK": "3", "SLURM_STEP_NUM_TASKS": "4"}, 4),
    ],
)
def test_a_launcher_shows_in_the_environment(environment: dict[str, str], size: int | None) -> None:
    assert launched_size(environment) == size


def test_without_a_launcher_mpi_is_not_needed() -> None:
    assert open_world(None, {}) is SERIAL
    assert open_world(1, {}) is SERIAL
    assert SERIAL.bcast("value") == "value"
    with pytest.raises(RuntimeError, match="single rank"):
        SERIAL.send("value", 1)
    with pytest.raises(RuntimeError, match="single rank"):
        SERIAL.recv(1)


def test_a_promise_without_a_launcher_is_broken() -> None:
    with pytest.raises(UsageError, match="4 ranks were promised but MPI sees 1"):
        open_world(4, {})


def launch(n_ranks: int, program: str) -> subprocess.CompletedProcess[str]:
    command = [str(MPIEXEC), "-n", str(n_ranks), sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@needs_mpi
def test_real_ranks_meet() -> None:
    program = """
from stemcal.frames.ranks import open_world
world = open_world(2)
assert world.size == 2
if world.rank == 1:
    world.send({"big": b"x" * 3_000_000}, 0)
else:
    assert len(world.recv(1)["big"]) == 3_000_000
assert world.bcast("word" if world.rank == 0 else None) == "word"
world.barrier()
print(f"done {world.rank}\\n", end="")
"""
    done = launch(2, program)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split("\n")[:2]) == ["done 0", "done 1"]


@needs_mpi
def test_a_rank_that_fails_ends_all() -> None:
    program = """
from stemcal.frames.ranks import open_world
world = open_world()
if world.rank == 1:
    world.abort(7)
world.recv(1)
"""
    assert launch(2, program).returncode != 0
