"""The other end of `harness.process.run_function`: ``python -m harness.child JOB RESULT``."""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path


def main() -> None:
    """Read the job, prepare, work, write what it took."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job["cores"]])
    module, name = job["target"].split(":")
    try:
        work = getattr(importlib.import_module(module), name)(**job["arguments"])
    except ModuleNotFoundError as error:
        found: dict[str, object] = {"missing": f"{error.name} is not installed"}
    else:
        began, cpu, start = time.monotonic(), _cpu_s(), time.perf_counter()
        answer = work()
        wall = time.perf_counter() - start
        found = {"wall_s": wall, "cpu_s": _cpu_s() - cpu, "began": began, "peak_mb": _peak_mb(), "answer": answer}
    Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")


def _cpu_s() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak_mb() -> float:
    """Return the largest resident memory since this program began; ``ru_maxrss`` would count what was before it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
