"""Ranks: the same bytes for any number of them, and whatever befalls one of them ends all with one reason."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rank_program import OUTPUTS, PROGRAM, STRIDE, calls, contents, write_raw

from stemcal.errors import DataError
from stemcal.frames.ranks import SERIAL, World
from stemcal.frames.stream import make_alike

MPIEXEC = Path(sys.executable).with_name("mpiexec")
QUIET = {"OMP_NUM_THREADS": "1", "GIT_DIR": os.devnull}
needs_mpi = pytest.mark.skipif(not MPIEXEC.is_file(), reason="no mpiexec beside this Python")


def launch(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | QUIET,
        start_new_session=True,
    )


def part(n_ranks: int, trouble: str, asked: list[list[str]]) -> list[str | Path]:
    return ["-n", str(n_ranks), sys.executable, PROGRAM, trouble, json.dumps(asked)]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_raw(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def serial(raw: dict[str, Path]) -> dict[str, bytes]:
    folder = raw["hard"].with_name("serial")
    done = launch(sys.executable, PROGRAM, "none", json.dumps(calls(raw, folder)))
    assert done.returncode == 0, done.stderr
    return contents(folder)


@needs_mpi
@pytest.mark.parametrize("n_ranks", [1, 2, 3])
def test_any_number_of_ranks_gives_the_same_bytes(raw: dict[str, Path], serial: dict[str, bytes], n_ranks: int) -> None:
    folder = raw["hard"].with_name(f"{n_ranks} ranks")
    done = launch(MPIEXEC, *part(n_ranks, "none", calls(raw, folder)))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("convert: ") == len(raw), "one of them speaks"
    assert contents(folder) == serial
    assert {name.rpartition("/")[2] for name in serial} == OUTPUTS


@pytest.fixture
def hard(tmp_path: Path) -> tuple[dict[str, Path], Path]:
    """One acquisition that may be spoilt, and where its outputs go."""
    return {"hard": write_raw(tmp_path)["hard"]}, tmp_path / "out"


def reason(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one sentence of a failed run; MPI adds lines of its own."""
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("stemcal convert: ")]
    return said.removeprefix("stemcal convert: ")


@needs_mpi
@pytest.mark.parametrize(
    ("trouble", "path", "problem"),
    [("truncated", "hard.mib", "ends at byte 80645, it had"), ("full", "out/hard/a_data.hdf5", "File too large")],
)
def test_a_rank_that_fails_ends_all_and_leaves_nothing(
    hard: tuple[dict[str, Path], Path], trouble: str, path: str, problem: str
) -> None:
    raw, folder = hard
    said = reason(launch(MPIEXEC, *part(2, trouble, calls(raw, folder))))
    assert said.startswith(f"{raw['hard'].parent / path}: {problem}")
    assert contents(folder) == {}


@needs_mpi
def test_ranks_that_see_different_files_do_not_begin(hard: tuple[dict[str, Path], Path]) -> None:
    raw, folder = hard
    other = {"hard": raw["hard"].with_name("other.mib")}
    other["hard"].write_bytes(raw["hard"].read_bytes()[:-STRIDE])
    both = (*part(1, "none", calls(raw, folder)), ":", *part(1, "none", calls(other, folder)))
    different = f"{raw['hard']}: is not the same for all ranks: it has changed while they opened it; wait until"
    assert reason(launch(MPIEXEC, *both)).startswith(different)
    other["hard"].unlink()
    absent = f"{other['hard']}: cannot be read (No such file or directory); check the path"
    assert reason(launch(MPIEXEC, *both)).startswith(absent)
    assert not folder.exists()


@needs_mpi
def test_what_a_killed_rank_leaves_is_removed_by_the_next_run(raw: dict[str, Path], serial: dict[str, bytes]) -> None:
    folder = raw["hard"].with_name("killed")
    done = launch(MPIEXEC, *part(2, "killed", calls(raw, folder)))
    assert done.returncode != 0
    left = contents(folder)
    assert left
    assert all(Path(name).name.startswith(".") for name in left), "nothing has a final name"
    done = launch(sys.executable, PROGRAM, "none", json.dumps(calls(raw, folder)))
    assert done.returncode == 0, done.stderr
    assert contents(folder) == serial


class Other(World):
    """Rank 1 of two, which keeps what it sends."""

    rank, size = 1, 2

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, value: object, to: int) -> None:
        assert to == 0
        self.sent.append(pickle.dumps(value))


class First(World):
    """Rank 0 of two, which gets what the other one sent."""

    size = 2

    def __init__(self, other: Other) -> None:
        self._other = other

    def recv(self, source: int) -> Any:
        assert source == 1
        return pickle.loads(self._other.sent.pop(0))


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(2, "No such file or directory", "a.mib"),
        OSError("broken"),
        MemoryError("no more"),
        DataError("a.mib", "is empty (0 bytes)", "remove it"),
        ValueError("no", 3),
    ],
    ids=repr,
)
def test_an_error_of_another_rank_arrives_as_it_was(error: Exception) -> None:
    def fail() -> int:
        raise error

    other = Other()
    with pytest.raises(type(error)):
        make_alike(fail, str, other)
    with pytest.raises(type(error)) as caught:
        make_alike(lambda: 3, str, First(other))
    assert (str(caught.value), vars(caught.value)) == (str(error), vars(error))
    assert isinstance(error, OSError) <= (getattr(caught.value, "filename", None) == getattr(error, "filename", None))


def test_what_ranks_see_is_compared() -> None:
    other = Other()
    assert make_alike(lambda: [3], str, other) == ([3], True)
    assert make_alike(lambda: [3], str, other) == ([3], True)
    assert make_alike(lambda: [3], str, First(other)) == ([3], True)
    assert make_alike(lambda: [4], str, First(other)) == ([4], False)
    assert make_alike(lambda: [4], str, SERIAL) == ([4], True)
