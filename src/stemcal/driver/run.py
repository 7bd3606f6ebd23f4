"""``process``: one tick on one session, from discovery to the page."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stemcal.discover.run import Request, run_discover
from stemcal.driver.history import remember_calibrations
from stemcal.driver.lock import session_lock
from stemcal.driver.mark import clear_mark
from stemcal.driver.recover import cancel_jobs, recover
from stemcal.driver.workflow import Outcome, Plan, run_workflow, unlock
from stemcal.records.frozen import freeze, read_latest, state_folder
from stemcal.records.manifest import Manifest
from stemcal.records.progress import dataset_progress
from stemcal.report.run import run_report
from stemcal.stages import digest

_MAX_PASSES = 4
_PREFIX_LENGTH = 8


@dataclass(frozen=True)
class Tick:
    """How a tick ended.

    Attributes
    ----------
    exit_code : int
        0: all that could be done is done; 1: something failed in this tick.
    did_something : bool
        Whether any job ran.
    new_failures : tuple of str
        Data sets and steps that failed in this tick, with the reason.
    manifest : Manifest
        The session as it stands after the tick.
    """

    exit_code: int
    did_something: bool
    new_failures: tuple[str, ...]
    manifest: Manifest


def job_prefix(processing: Path) -> str:
    """Return the beginning of the names of a session's cluster jobs: the same at every tick, another per session."""
    return f"stemcal-{digest(str(processing))[:_PREFIX_LENGTH]}"


def run_tick(request: Request, plan: Plan, *, say: Callable[[str], None], show: Callable[[int, int], None]) -> Tick:
    """Do all that can be done on a session now.

    A pass is discovery and one Snakemake DAG. A step that refuses a data set in one pass is held in the next, so that
    what needs all data sets (factorisation, page) is made of the good ones within the same tick.

    Parameters
    ----------
    request : Request
        What to look at, with which configuration.
    plan : Plan
        How to run the workflow.
    say : callable
        Takes a line for the user.
    show : callable
        Takes (steps done, steps in all).

    Raises
    ------
    BusyError
        If another run holds the session, or what a killed run left cannot be stopped.
    """
    started = time.time()
    request.processing.mkdir(parents=True, exist_ok=True)
    with session_lock(request.processing) as lock:
        recover(
            request.processing, lambda: _unlock(request, plan), say, job_prefix=plan.job_prefix if plan.slurm else None
        )
        outcomes, manifest = _passes(request, plan, lock, say, show)
        clear_mark(request.processing)
        remember_calibrations(request, manifest, say)
        failures = _failures(manifest, request.processing)
        failed_now = failures - _told(request.processing)
        if outcomes[-1].exit_code != 0:
            _report_anyway(request.processing, manifest)
        tick = Tick(
            exit_code=1 if failed_now or outcomes[-1].exit_code else 0,
            did_something=any(outcome.did_something for outcome in outcomes),
            new_failures=tuple(sorted(failed_now)),
            manifest=manifest,
        )
        _write_run_record(request.processing, tick, started, failures)
        return tick


def _passes(
    request: Request, plan: Plan, lock: int, say: Callable[[str], None], show: Callable[[int, int], None]
) -> tuple[list[Outcome], Manifest]:
    outcomes: list[Outcome] = []
    manifest = _discover(request)
    while len(outcomes) < _MAX_PASSES:
        n_staged = sum(bool(one.stages) for one in manifest.datasets.values())
        say(f"{len(manifest.datasets)} data sets, {n_staged} of them in the workflow")
        outcomes.append(_run_and_sweep(plan, manifest.path, lock, say, show))
        if outcomes[-1].exit_code == 0:
            break
        again = _discover(request)
        if again.path == manifest.path:
            break
        manifest = again
        say("some data sets were refused and are held; going on with the others")
    return outcomes, manifest


def _run_and_sweep(
    plan: Plan, manifest: str, lock: int, say: Callable[[str], None], show: Callable[[int, int], None]
) -> Outcome:
    """Run the workflow and leave no job of it behind, however it ended."""
    try:
        return run_workflow(plan, manifest, lock, show)
    finally:
        if plan.slurm:
            cancel_jobs(plan.job_prefix, say)


def _discover(request: Request) -> Manifest:
    previous = read_latest(request.processing)
    return freeze(run_discover(request, previous=previous), request.processing)


def _unlock(request: Request, plan: Plan) -> None:
    manifest = read_latest(request.processing) or _discover(request)
    unlock(plan, manifest.path)


def _report_anyway(processing: Path, manifest: Manifest) -> None:
    """Write the page of a session whose workflow did not get that far, dated so that the workflow will redo it."""
    run_report(processing / manifest.path, processing, source={})
    for page in ("session.html", "session.json"):
        os.utime(processing / page, (0, 0))


def _told(processing: Path) -> set[str]:
    """Return the failures that were known when the last tick ended; one that was killed told nobody of its own."""
    log = state_folder(processing) / "runs.jsonl"
    try:
        last = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
        return set(last["failures"])
    except (OSError, IndexError, ValueError, KeyError):
        return set()


def _failures(manifest: Manifest, processing: Path) -> set[str]:
    """Return a line for each data set with a failed step: the first of them, the others follow from it."""
    lines = set()
    for one in dataset_progress(manifest, processing):
        failed = next((stage for stage in one.stages if stage.state == "failed"), None)
        if failed is not None:
            lines.add(f"{manifest.datasets[one.dataset].label}: {failed.stage}: {failed.reason}")
    return lines


def _write_run_record(processing: Path, tick: Tick, started: float, failures: set[str]) -> None:
    """Append one line on this tick; the only place where times and process numbers are kept."""
    line = {
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 1),
        "process": os.getpid(),
        "exit_code": tick.exit_code,
        "did_something": tick.did_something,
        "manifest": tick.manifest.path,
        "new_failures": list(tick.new_failures),
        "failures": sorted(failures),
    }
    with (state_folder(processing) / "runs.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")
