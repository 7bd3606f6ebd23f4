"""``stemcal process``: do a whole session."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

from stemcal.cli.common import positive_int
from stemcal.cli.progress import open_progress
from stemcal.cli.session import add_config_options, add_session_options, request
from stemcal.driver.run import Tick, job_prefix, run_tick
from stemcal.driver.workflow import Plan

_MIB = 2**20
_MEMORY_SHARE = 0.8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options to ``parser``."""
    add_session_options(parser)
    add_config_options(parser)
    parser.add_argument("--slurm", action="store_true", help="run the jobs through SLURM with profiles/slurm")
    parser.add_argument(
        "--cores", type=positive_int, default=len(os.sched_getaffinity(0)), help="cores of this machine (%(default)s)"
    )
    parser.add_argument(
        "--memory-mb", type=positive_int, default=_available_memory_mb(), help="memory for all jobs (%(default)s MB)"
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing unless something fails (for cron)")
    parser.add_argument(
        "--snakemake", nargs=argparse.REMAINDER, default=[], metavar="WORD", help="all that follows goes to Snakemake"
    )


def run(args: argparse.Namespace) -> int:
    """Do one tick on the session and say how it ended."""
    asked = request(args)
    prefix = job_prefix(asked.processing)
    plan = Plan(asked.processing, args.slurm, args.cores, args.memory_mb, prefix, tuple(args.snakemake))

    def say(line: str) -> None:
        if not args.quiet:
            print(line, flush=True)

    with open_progress("session", enabled=not args.quiet, unit="step") as show:
        tick = run_tick(asked, plan, say=say, show=show)
    for failure in tick.new_failures:
        print(f"failed: {failure}", file=sys.stderr)
    if tick.exit_code and not tick.new_failures:
        log = asked.processing / ".stemcal" / "snakemake.log"
        print(f"the workflow failed without a word from a step; see {log}", file=sys.stderr)
    for line in _summary(tick, asked.processing):
        say(line)
    return tick.exit_code


def _summary(tick: Tick, processing: Path) -> list[str]:
    counts = Counter(dataset.verdict for dataset in tick.manifest.datasets.values())
    what = ", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items())) or "no raw files"
    first = "" if tick.did_something else "nothing to do, everything is up to date: "
    return [f"{first}{what}", f"session page: {processing / 'session.html'}"]


def _available_memory_mb() -> int:
    """Return what the jobs may ask for together: a share of the machine's memory, or of our control group's limit."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    words = limit.read_text(encoding="ascii").strip() if limit.is_file() else "max"
    allowed = machine if words == "max" else min(machine, int(words))
    return int(_MEMORY_SHARE * allowed) // _MIB
