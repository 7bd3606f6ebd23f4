"""The mark of a run: who works on the session now, so that the next tick can tell what a killed run left behind."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from stemcal.errors import DataError
from stemcal.records.atomic import read_record, write_record
from stemcal.records.base import Record
from stemcal.records.frozen import state_folder


class RunMark(Record):
    """A run that has started and not yet ended.

    ``group`` is the process group (and session) of its Snakemake, ``started`` the kernel's start time of the leader
    in clock ticks, which tells a process from a later one with the same number; ``job_prefix`` begins the name of
    every cluster job of the run.
    """

    host: str
    group: int
    started: int
    job_prefix: str
    slurm: bool


def mark_path(processing: Path) -> Path:
    """Return where the mark of a session is kept."""
    return state_folder(processing) / "run.json"


def write_mark(processing: Path, *, group: int, job_prefix: str, slurm: bool) -> None:
    """Write the mark of a run whose Snakemake has process group ``group``."""
    started = start_ticks(group) or 0
    mark = RunMark(host=socket.gethostname(), group=group, started=started, job_prefix=job_prefix, slurm=slurm)
    write_record(mark_path(processing), mark)


def read_mark(processing: Path) -> RunMark | None:
    """Return the mark of a run that did not end by itself, or None."""
    if not mark_path(processing).is_file():
        return None
    try:
        return read_record(mark_path(processing), RunMark)
    except DataError:
        return None


def clear_mark(processing: Path) -> None:
    """Say that the run has ended."""
    mark_path(processing).unlink(missing_ok=True)


def start_ticks(process: int) -> int | None:
    """Return the start time of a process in clock ticks since boot, or None if there is no such process."""
    fields = _stat_fields(process)
    return int(fields[19]) if fields else None


def session_members(session: int, started: int) -> tuple[int, ...]:
    """Return the living processes of the process session ``session``, none of them older than its leader.

    Parameters
    ----------
    session : int
        Number of the leader, which may itself be dead.
    started : int
        Its start time in clock ticks since boot.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        fields = _stat_fields(int(entry.name))
        if fields and fields[0] != "Z" and int(fields[3]) == session and int(fields[19]) >= started:
            found.append(int(entry.name))
    return tuple(sorted(found))


def _stat_fields(process: int) -> list[str] | None:
    """Return the fields of ``/proc/<pid>/stat`` behind the name (state first), which may itself hold spaces."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
