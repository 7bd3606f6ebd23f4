#!/usr/bin/env python3
"""Factorisation against scikit-learn as ePSIC calls it, on scans of known phases: accuracy, number, time.

Scans of two to four phases (gold, silicon, iron on an amorphous film, vacuum beside it) with the texture of grains.
``components``: cosine between a true profile and the component for it; ``maps``: correlation of true and found map;
both of the worst phase, and of the worst seed. ``vacuum``: mean loading where there is nothing, as part of that where
there is matter. Everybody is told the number of phases; ``number`` is what our bi-cross-validation would have chosen,
over the seeds. Peers: ``epsic`` scales each profile to its own range (their default), ``plain`` leaves it out.
Time is processor time of fit and maps on one core, the median of pairs. Ends with 1 if a promise of docs/nmf.md is not
kept: at 50 counts per ring cosine above 0.99, correlation above 0.95, every number right.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.paired import Contestant, interleave
from harness.process import Run, run_function
from harness.table import columns, machine, spread

_WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "ours": ("ours", {"loss": "kullback_leibler"}),
    "ours, least squares": ("ours", {"loss": "frobenius"}),
    "epsic": ("epsic", {"scaled": True}),
    "plain": ("epsic", {"scaled": False}),
}
_PEERS = ("ours, least squares", "epsic", "plain")
_PROMISED_AT = 50
_COSINE, _CORRELATION = 0.99, 0.95


@dataclass(frozen=True)
class Case:
    """Scans of one kind, one per seed."""

    n_phases: int
    counts: float
    side_px: int
    seeds: tuple[int, ...]

    def scan(self, seed: int) -> dict[str, Any]:
        """Return the arguments of the phantom."""
        shape = (self.side_px, self.side_px)
        return {"n_phases": self.n_phases, "counts_per_ring": self.counts, "shape": shape, "seed": seed}


def main() -> int:
    """Run every case, print the tables."""
    options = _options()
    facts = machine(Path.cwd())
    print(f"{facts['processor']}, load {facts['load_average']:.1f}", flush=True)
    rows, kept = [], True
    for n_phases in options.phases:
        for counts in options.counts:
            case = Case(n_phases, counts, options.side, tuple(range(1, options.seeds + 1)))
            found, good = _accuracy(case, ("ours", *options.peer))
            rows += found
            kept &= good
    head = ("", "counts per ring", "components", "maps", "vacuum", "number")
    print(f"\naccuracy, worst of {options.seeds} scans of {options.side} x {options.side}\n\n{columns(head, rows)}")
    if options.repeats:
        timed = Case(max(options.phases), _PROMISED_AT, options.time_side, (1,))
        print(f"\ntime, {timed.side_px} x {timed.side_px}, {timed.n_phases} phases\n\n{_times(timed, options)}")
    return 0 if kept else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phases", nargs="*", type=int, default=(2, 3, 4), help="numbers of phases")
    parser.add_argument("--counts", nargs="*", type=float, default=(5, 50, 500), help="counts per ring")
    parser.add_argument("--seeds", type=int, default=5, help="scans of each kind (%(default)s)")
    parser.add_argument("--side", type=int, default=40, help="scan positions along a side (%(default)s)")
    parser.add_argument("--time-side", type=int, default=128, help="the same where time is taken (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of runs; 0 leaves time out (%(default)s)")
    parser.add_argument("--peer", nargs="*", choices=_PEERS, default=_PEERS, help="other ways (all)")
    return parser.parse_args()


def _run(case: Case, seed: int, way: str) -> Run:
    function, arguments = _WAYS[way]
    return run_function(f"contestants.factors:{function}", {"scan": case.scan(seed), **arguments}, 1)


def _accuracy(case: Case, ways: tuple[str, ...]) -> tuple[list[tuple[str, ...]], bool]:
    numbers = [run_function("contestants.factors:number", {"scan": case.scan(seed)}, 1).answer for seed in case.seeds]
    right = sum(one["number"] == case.n_phases for one in numbers)
    rows, kept = [], right == len(numbers)
    for way in ways:
        found = [_run(case, seed, way).answer for seed in case.seeds]
        cosine, correlation = (min(one[key] for one in found) for key in ("cosine", "correlation"))
        vacuum = max(one["vacuum"] for one in found)
        if way == "ours":
            kept &= cosine > _COSINE and correlation > _CORRELATION
        score = f"{right} of {len(numbers)}" if way == "ours" else ""
        name = f"{case.n_phases} phases, {way}"
        rows.append((name, f"{case.counts:g}", f"{cosine:.4f}", f"{correlation:.3f}", f"{vacuum:.3f}", score))
    return rows, kept or case.counts != _PROMISED_AT


def _times(case: Case, options: argparse.Namespace) -> str:
    def contestant(way: str) -> Contestant:
        return Contestant(way, partial(_run, case, case.seeds[0], way))

    measure: Callable[[Run], float] = lambda run: run.cpu_s  # noqa: E731
    rows = []
    for pairs in interleave(contestant("ours"), [contestant(way) for way in options.peer], options.repeats):
        theirs, mine = (sorted(map(measure, runs))[len(runs) // 2] for runs in (pairs.theirs, pairs.ours))
        rows.append((pairs.peer.name, f"{theirs:.2f}", f"{mine:.2f}", spread(pairs.ratio(measure))))
    return columns(("", "s of a core", "ours", "ours times as fast"), rows)


if __name__ == "__main__":
    raise SystemExit(main())
