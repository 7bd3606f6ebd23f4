"""One run in a process of its own: wall time, processor time and peak memory, start-up apart from the work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Run:
    """What one run took.

    Attributes
    ----------
    wall_s, cpu_s : float
        The work alone, after imports and preparation; processor time of all threads and of child processes.
    peak_mb : float
        Largest resident memory of the process, imports and preparation included, in MB (1e6 bytes).
    startup_s : float
        From the start of the process to the start of the work.
    answer : Any
        What the work returned, as JSON carries it.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    startup_s: float
    answer: Any = None


class NotInstalledError(Exception):
    """A package that a contestant needs is missing here: no fault of the benchmark."""


class RunFailedError(Exception):
    """A run ended with an error; the message is the end of what it printed."""


def run_function(target: str, arguments: Mapping[str, object], cores: int, python: str = sys.executable) -> Run:
    """Call ``target`` in a fresh interpreter and time what it returns.

    Parameters
    ----------
    target : str
        ``module:function``, importable from the folder of the benchmarks. The function takes ``arguments``, prepares
        (imports, opens, warms up) and returns the work: a function without arguments, whose result JSON can carry.
    arguments : mapping
        Keyword arguments that JSON can carry.
    cores : int
        The process and all its threads are kept on that many cores.
    python : str
        Interpreter, for a package that cannot be installed beside ours.

    Raises
    ------
    NotInstalledError
        If a package is missing.
    RunFailedError
        If it fails in any other way.
    """
    with tempfile.TemporaryDirectory() as folder:
        job, result = Path(folder, "job.json"), Path(folder, "result.json")
        job.write_text(json.dumps({"target": target, "arguments": dict(arguments), "cores": cores}), encoding="utf-8")
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "MPLBACKEND": "Agg"}
        command = [python, "-W", "ignore", "-m", "harness.child", str(job), str(result)]
        started = time.monotonic()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RunFailedError(f"{target} ended with {done.returncode}: {done.stderr[-2000:]}")
        found = json.loads(result.read_text(encoding="utf-8"))
    if "missing" in found:
        raise NotInstalledError(found["missing"])
    return Run(found["wall_s"], found["cpu_s"], found["peak_mb"], found["began"] - started, found["answer"])


def run_command(command: Sequence[str], cores: int) -> Run:
    """Run a command from start to end; there the start-up is part of the work.

    Raises
    ------
    RunFailedError
        If it does not end with 0.
    """
    first_cores = set(sorted(os.sched_getaffinity(0))[:cores])
    with tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        os.sched_setaffinity(process.pid, first_cores)
        _pid, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(0)
            raise RunFailedError(f"{command[0]} ended with {process.returncode}: {errors.read()[-2000:].decode()}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6, 0.0)
