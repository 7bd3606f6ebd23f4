"""One call of Snakemake: its command line, its output as progress, its end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TextIO

from stemcal.driver.mark import write_mark
from stemcal.records.checkout import checkout_root
from stemcal.records.frozen import state_folder

NOTHING_TO_DO = "Nothing to be done"
_STEPS = re.compile(r"(\d+) of (\d+) steps")
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE_S = 180.0


@dataclass(frozen=True)
class Plan:
    """How to run the workflow.

    Attributes
    ----------
    processing : Path
        Working directory and place of all outputs.
    slurm : bool
        Through the cluster profile instead of on this machine.
    cores : int
        Cores of this machine to use when not on the cluster.
    memory_mb : int
        Memory of this machine that the jobs may ask for together.
    job_prefix : str
        Begins the name of every cluster job of this session.
    extra : tuple of str
        More words for Snakemake.
    """

    processing: Path
    slurm: bool
    cores: int
    memory_mb: int
    job_prefix: str
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a call ended: its exit code, and whether there was anything to do."""

    exit_code: int
    did_something: bool


def command(plan: Plan, manifest: str) -> list[str]:
    """Return the command line of Snakemake for ``plan`` on the manifest at ``manifest`` (relative to processing)."""
    root = checkout_root()
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(root / "Snakefile")]
    words += ["--directory", str(plan.processing), "--configfile", str(plan.processing / manifest)]
    words += ["--keep-going", "--rerun-incomplete"]
    if plan.slurm:
        words += ["--workflow-profile", str(root / "profiles" / "slurm")]
        words += ["--slurm-jobname-prefix", plan.job_prefix]
        words += ["--slurm-logdir", str(plan.processing / "logs" / "slurm")]
    else:
        words += ["--cores", str(plan.cores), "--resources", f"mem_mb={plan.memory_mb}"]
    return words + list(plan.extra)


def unlock(plan: Plan, manifest: str) -> None:
    """Remove Snakemake's lock on the processing folder; only after `stemcal.driver.recover` made sure it is stale."""
    words = [*command(Plan(plan.processing, False, 1, plan.memory_mb, ""), manifest), "--unlock"]
    subprocess.run(words, check=True, capture_output=True, env=_environment())


def run_workflow(plan: Plan, manifest: str, lock: int, show: Callable[[int, int], None]) -> Outcome:
    """Run Snakemake to its end.

    Its output goes to ``.stemcal/snakemake.log``. An interrupt is passed on as SIGINT, on which Snakemake stops its
    jobs and removes its lock.

    Parameters
    ----------
    plan : Plan
        How to run.
    manifest : str
        Path of the frozen manifest relative to the processing folder.
    lock : int
        Descriptor of the session's lock; the child keeps it open, so that the lock outlives this process.
    show : callable
        Takes (steps done, steps in all).

    Raises
    ------
    KeyboardInterrupt
        After the child has ended, if we were told to end (SIGINT, SIGTERM or SIGHUP).
    """
    log = state_folder(plan.processing) / "snakemake.log"
    with log.open("w", encoding="utf-8") as sink, _interruptible() as child:
        process = child.start(command(plan, manifest), lock)
        write_mark(plan.processing, group=process.pid, job_prefix=plan.job_prefix, slurm=plan.slurm)
        did_something = _follow(process, sink, show)
        outcome = Outcome(process.wait(), did_something)
    if child.ended:
        raise KeyboardInterrupt
    return outcome


def _follow(process: subprocess.Popen[str], sink: TextIO, show: Callable[[int, int], None]) -> bool:
    """Copy the output of Snakemake to ``sink``, show its steps, and tell whether there was anything to do."""
    did_something = True
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            sink.write(line)
            sink.flush()
            did_something = did_something and NOTHING_TO_DO not in line
            steps = _STEPS.search(line)
            if steps:
                show(int(steps[1]), int(steps[2]))
    return did_something


def _environment() -> dict[str, str]:
    """Return the environment of the workflow: the commands of our own installation come first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return os.environ | {"PATH": path, "PYTHONUNBUFFERED": "1"}


class _Child:
    """The one child process, which is to hear of every signal that would end us."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.ended = False
        self._last_resort: threading.Timer | None = None

    def start(self, words: list[str], lock: int) -> subprocess.Popen[str]:
        """Start the child in a process session of its own, so that it gets our signals once and from us alone."""
        self.process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            pass_fds=(lock,),
            env=_environment(),
        )
        if self.ended:
            self.process.send_signal(signal.SIGINT)
        return self.process

    def end(self, _number: int, _frame: FrameType | None) -> None:
        """Pass a signal on as SIGINT: on SIGTERM Snakemake would wait for its jobs, on SIGHUP leave them alone."""
        self.ended = True
        if self.process is None:
            return
        self.process.send_signal(signal.SIGINT)
        if self._last_resort is None:
            self._last_resort = threading.Timer(_PATIENCE_S, self._kill)
            self._last_resort.daemon = True
            self._last_resort.start()

    def forget(self) -> None:
        """Give up the last resort: the child has ended."""
        if self._last_resort is not None:
            self._last_resort.cancel()

    def _kill(self) -> None:
        """Kill a child that does not end, which would keep the lock of the session for ever."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)


@contextmanager
def _interruptible() -> Iterator[_Child]:
    """Give a child that hears of our ending.

    The handlers are there before the child is: a script that starts us in the background has SIGINT ignored, which
    the child would inherit.
    """
    child = _Child()
    before = {number: signal.signal(number, child.end) for number in _ENDING_SIGNALS}
    try:
        yield child
    finally:
        child.forget()
        for number, handler in before.items():
            signal.signal(number, handler)
