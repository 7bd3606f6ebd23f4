#!/usr/bin/env python3
"""Azimuthal mean and variance against its peers on the same patterns, in one run: processor time per pattern.

Every run is a process of its own; imports and compilation come before the clock. The patterns are in memory, or read
from the compressed container where that is said, and one core works. "Ours times as fast" is the median over the
repeats of the ratio of processor times per pattern of two runs next to each other in time. pyxem gives a mean only,
pyFAI mean and standard deviation, py4DSTEM both. Then two threads against one and two MPI ranks against one, by wall
time. Ends with 1 if means do not agree.

pyxem wants other versions of numpy and HyperSpy: it can have an interpreter of its own (``--pyxem-python``).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from contestants.rings import FEW_ROWS
from harness.paired import Contestant, Pairs, interleave
from harness.process import Run, run_function
from harness.table import columns, machine, spread

PEERS = ("pyfai", "py4dstem", "pyxem")
_TARGETS = {"pyfai": 4, "py4dstem": 60, "pyxem": 20, "py4dstem, from the container": 15}
_AGREES = {"pyfai": 2e-3, "py4dstem": 3e-2, "pyxem": 1e-2, "py4dstem, from the container": 3e-2}
"""Largest median difference of the mean profiles, relative; py4DSTEM and pyxem smooth."""


@dataclass(frozen=True)
class Case:
    """One size of detector; ``n`` patterns in memory, ``rows`` rows of as many in the container."""

    frame_px: int
    place: Path
    n: int
    rows: int
    pyxem_python: str = sys.executable

    @property
    def centre(self) -> list[float]:
        """Origin (row, col) in px, on a quarter."""
        return [self.frame_px / 2 + 0.25, self.frame_px / 2 - 1.5]

    @property
    def n_bins(self) -> int:
        """Rings that are whole on the detector."""
        return self.frame_px // 2 - 8


def main() -> int:
    """Make the patterns, run every pair, print the tables."""
    options = _options()
    agrees = True
    with tempfile.TemporaryDirectory(prefix="stemcal-bench-", dir=options.place) as folder:
        facts = machine(Path(folder))
        print(f"{facts['processor']}, {facts['file_system']}, load {facts['load_average']:.1f}", flush=True)
        for frame_px in options.frame:
            case = Case(frame_px, Path(folder), options.patterns, 32, options.pyxem_python)
            agrees &= _run(case, options.repeats, options.peer)
    return 0 if agrees else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frame", nargs="*", type=int, default=(256, 515), help="sides of the detector in px")
    parser.add_argument("--patterns", type=int, default=128, help="patterns in memory (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of runs per peer (%(default)s)")
    parser.add_argument("--place", type=Path, help="folder for the patterns (the system's for such)")
    parser.add_argument("--pyxem-python", default=sys.executable, help="interpreter that has pyxem (this one)")
    parser.add_argument(
        "--peer", nargs="*", choices=PEERS, default=PEERS, help="peers (all); none of them: threads and ranks"
    )
    return parser.parse_args()


def _run(case: Case, repeats: int, peers: tuple[str, ...]) -> bool:
    patterns, container = case.place / "patterns.npy", case.place / "a_data.hdf5"
    size = {"frame_px": case.frame_px, "n": case.n, "rows": case.rows}
    run_function("contestants.patterns:make", {"patterns": str(patterns), "container": str(container), **size}, 2)
    start = partial(_contestant, case)
    mine = start("stemcal", "ours", case.n, patterns=str(patterns))
    others = [start(name, name, case.n, patterns=str(patterns)) for name in peers]
    found = list(interleave(mine, others, repeats))
    if "py4dstem" in peers:
        whole = start("stemcal", "whole_ours", case.n * case.rows, container=str(container), threads=1)
        name, few = "py4dstem, from the container", case.n * FEW_ROWS
        found += interleave(whole, [start(name, "whole_py4dstem", few, container=str(container))], repeats)
    rows, agrees = _rows(found, _cpu_s)
    head = ("", "ms of a core per pattern", "ours", "ours times as fast", "target", "means differ by")
    print(f"\n{case.frame_px} x {case.frame_px}, {case.n_bins} rings", flush=True)
    if rows:
        print(f"\n{columns(head, rows)}", flush=True)
    return _scaling(case, container, repeats) and agrees


def _scaling(case: Case, container: Path, repeats: int) -> bool:
    """Print the wall time of one and of two threads, and of one and two ranks; say whether both give the same."""
    start = partial(_contestant, case)
    n_whole = case.n * case.rows
    found: list[Pairs] = []
    for kind, function in (("threads", "whole_ours"), ("ranks", "whole_ranks")):
        name = f"one of the {kind}, and two"
        one, two = (start(name, function, n_whole, container=str(container), **{kind: n}) for n in (1, 2))
        found += interleave(two, [one], repeats)
    rows, agrees = _rows(found, _wall_s)
    head = ("", "one, ms per pattern", "two", "two times as fast", "", "means differ by")
    print(f"\nfrom the container, wall time\n\n{columns(head, rows)}", flush=True)
    return agrees


def _contestant(case: Case, name: str, function: str, n: int, **arguments: Any) -> Contestant:
    together = arguments.get("threads", arguments.get("ranks", 1))
    answer = case.place / f"{name.replace(', ', '-').replace(' ', '-')}-{function}-{together}.npz"
    given = {**arguments, "answer": str(answer), "centre": case.centre, "n_bins": case.n_bins}
    python = case.pyxem_python if name == "pyxem" else sys.executable

    def run() -> Run:
        done = run_function(f"contestants.rings:{function}", given, together, python)
        wall_s = done.wall_s if done.answer is None else done.answer
        return Run(wall_s / n, done.cpu_s / n, done.peak_mb, done.startup_s, str(answer))

    return Contestant(name, run)


def _rows(found: list[Pairs], measure: Callable[[Run], float]) -> tuple[list[tuple[str, ...]], bool]:
    rows: list[tuple[str, ...]] = []
    agrees = True
    for pairs in found:
        name = pairs.peer.name
        if pairs.problem:
            rows.append((name, pairs.problem, "", "", "", ""))
            continue
        both = {"mine": pairs.ours[0].answer, "theirs": pairs.theirs[0].answer}
        differ = run_function("contestants.patterns:difference", both, 1).answer
        limit = _AGREES.get(name, 0.0)
        agrees &= differ <= limit
        times = [statistics.median(measure(run) for run in runs) * 1e3 for runs in (pairs.theirs, pairs.ours)]
        target = f"{_TARGETS[name]}" if name in _TARGETS else ""
        rows.append((name, f"{times[0]:.3f}", f"{times[1]:.3f}", spread(pairs.ratio(measure)), target, f"{differ:.1e}"))
    return rows, agrees


def _cpu_s(run: Run) -> float:
    return run.cpu_s


def _wall_s(run: Run) -> float:
    return run.wall_s


if __name__ == "__main__":
    raise SystemExit(main())
