"""What a killed run left behind: its processes, its cluster jobs, its locks, its half-written files.

Nothing is unlocked before every process and job that might still write is gone.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from stemcal.driver.mark import RunMark, clear_mark, read_mark, session_members
from stemcal.errors import BusyError
from stemcal.records.atomic import stale_partials

_PATIENCE_S = 60.0
_TERM_S = 10.0
_POLL_S = 0.5


def recover(
    processing: Path, unlock: Callable[[], None], say: Callable[[str], None], job_prefix: str | None = None
) -> None:
    """Clear away what a killed run left, under the session's lock.

    Parameters
    ----------
    processing : Path
        The processing folder.
    unlock : callable
        Removes Snakemake's own lock.
    say : callable
        Takes a line for the user.
    job_prefix : str or None
        Begins the names of the session's cluster jobs, whose end is then made sure of even if no mark tells of them;
        None where this run does not use the cluster.

    Raises
    ------
    BusyError
        If something that may still write cannot be stopped, or runs on another machine.
    """
    mark = read_mark(processing)
    if mark is not None:
        _stop_processes(mark, say)
    for prefix in {job_prefix, mark.job_prefix if mark is not None and mark.slurm else None} - {None}:
        cancel_jobs(str(prefix), say)
    if snakemake_locked(processing):
        if mark is None:
            raise BusyError(
                f"{processing}: locked by a Snakemake that stemcal did not start; let it finish, or run "
                "`snakemake --unlock` there if it is dead"
            )
        say("recovering from a run that was killed")
        unlock()
    for leftover in stale_partials(processing):
        leftover.unlink(missing_ok=True)
    clear_mark(processing)


def snakemake_locked(processing: Path) -> bool:
    """Tell whether Snakemake's lock lies in the processing folder."""
    return any((processing / ".snakemake" / "locks").glob("*"))


def _stop_processes(mark: RunMark, say: Callable[[str], None]) -> None:
    if mark.host != socket.gethostname():
        if mark.slurm:
            return  # its driver held the lock, which we have now; what is left of it are jobs, and those we can see
        raise BusyError(f"the last run was on {mark.host} and did not end by itself; run the next tick there")
    _end(mark, signal.SIGTERM, _TERM_S, say)
    _end(mark, signal.SIGKILL, _TERM_S, say)
    if session_members(mark.group, mark.started):
        raise BusyError(f"processes of the last run (session {mark.group}) will not end; stop them by hand")


def _end(mark: RunMark, number: signal.Signals, patience_s: float, say: Callable[[str], None]) -> None:
    members = session_members(mark.group, mark.started)
    if not members:
        return
    say(f"stopping {len(members)} processes of the last run ({number.name})")
    for process in members:
        _kill(process, number)
    deadline = time.monotonic() + patience_s
    while session_members(mark.group, mark.started) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _kill(process: int, number: signal.Signals) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return


def cancel_jobs(prefix: str, say: Callable[[str], None]) -> None:
    """Cancel the cluster jobs of a session and wait until none of them can write any more.

    Needed after every Snakemake, not only after a killed one: a job that it was about to submit when it was
    interrupted is submitted after its end (executor plugin 2.6.1).

    Parameters
    ----------
    prefix : str
        Begins the names of the session's jobs, see `stemcal.driver.run.job_prefix`.
    say : callable
        Takes a line for the user.

    Raises
    ------
    BusyError
        If a job does not end, or the scheduler does not answer.
    """
    deadline = time.monotonic() + _PATIENCE_S
    jobs = cluster_jobs(prefix)
    if jobs:
        say(f"cancelling {len(jobs)} cluster jobs that were left: {' '.join(jobs)}")
        _slurm("scancel", *jobs)
    while jobs and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        jobs = cluster_jobs(prefix)
    if jobs:
        raise BusyError(f"cluster jobs will not end: {' '.join(jobs)}; cancel them by hand")


def cluster_jobs(prefix: str) -> tuple[str, ...]:
    """Return the numbers of our cluster jobs whose name is ``prefix``, an underscore and Snakemake's run id.

    Raises
    ------
    BusyError
        If the scheduler does not answer: then nobody knows what still runs.
    """
    listing = _slurm("squeue", "--noheader", "--me", "--format=%A %j")
    pairs = (line.split(maxsplit=1) for line in listing.splitlines() if line.strip())
    return tuple(sorted({number for number, *name in pairs if name and name[0].startswith(f"{prefix}_")}))


def _slurm(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_PATIENCE_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise BusyError(f"{command[0]} does not answer ({error}); the next tick will try again") from error
    return done.stdout
