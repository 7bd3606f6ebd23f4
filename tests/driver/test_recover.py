from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stemcal.driver.mark import RunMark, mark_path, read_mark, session_members, start_ticks, write_mark
from stemcal.driver.recover import recover
from stemcal.errors import BusyError
from stemcal.records.atomic import partial_path, write_record

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def start(code: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def reap(process: subprocess.Popen[str]) -> None:
    process.wait(10)
    assert process.stdout is not None
    process.stdout.close()


def test_processes_of_a_killed_run_are_stopped_before_anything_is_unlocked(tmp_path: Path) -> None:
    process = start(STUBBORN)
    write_mark(tmp_path, group=process.pid, job_prefix="x", slurm=False)
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").touch()
    leftover = partial_path(tmp_path / "a" / "b_data.hdf5")
    leftover.parent.mkdir()
    leftover.touch()
    unlocked: list[bool] = []
    lines: list[str] = []

    def unlock() -> None:
        unlocked.append(not session_members(process.pid, 0))

    recover(tmp_path, unlock, lines.append)
    assert unlocked == [True]
    reap(process)
    assert not leftover.exists()
    assert read_mark(tmp_path) is None
    assert lines[-1] == "recovering from a run that was killed"


def test_a_lock_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").touch()
    with pytest.raises(BusyError, match="locked by a Snakemake that stemcal did not start"):
        recover(tmp_path, lambda: pytest.fail("unlocked"), lambda _line: None)


def test_a_later_process_with_the_same_number_is_not_ours(tmp_path: Path) -> None:
    process = start("print('up', flush=True); import time; time.sleep(60)")
    try:
        started = start_ticks(process.pid)
        assert started is not None
        assert session_members(process.pid, started) == (process.pid,)
        assert session_members(process.pid, started + 1) == ()
    finally:
        process.kill()
        reap(process)
    assert session_members(process.pid, 0) == ()


def test_a_run_on_another_machine_is_not_guessed_at(tmp_path: Path) -> None:
    mark = RunMark(host=f"not-{socket.gethostname()}", group=os.getpid(), started=0, job_prefix="x", slurm=False)
    write_record(mark_path(tmp_path), mark)
    with pytest.raises(BusyError, match="did not end by itself; run the next tick there"):
        recover(tmp_path, lambda: None, lambda _line: None)


def test_a_scheduler_that_does_not_answer_is_no_empty_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    mark = RunMark(host=socket.gethostname(), group=2**22 + 7, started=0, job_prefix="x", slurm=True)
    write_record(mark_path(tmp_path), mark)
    with pytest.raises(BusyError, match="squeue does not answer"):
        recover(tmp_path, lambda: None, lambda _line: None)
