#!/usr/bin/env python3
"""Geometry of scan and camera against the truth of simulated scans, and against peers on the same data.

Section ``accuracy``: random geometries, square and hexagonal crystals, aberrations; two doses, without and with the
blur of source, detector and focus, without and with the lattice's symmetry: errors, coverage, refusals, silent
failures.
Section ``degraded``: every fault on every geometry, scans that hold no geometry, and the multislice sets of abTEM
(``--abtem``); counts silent failures, which are wrong answers (or answers where there is nothing to tell) without a
flag that takes them back. Section ``peers``: py4DSTEM's centre of mass and parallax, ptychography40's single side band
(``--ptychography40``), near focus on crystals and far from it on a film. Section ``speed``: single side band against
its peers, the whole step on a large scan, threads and ranks against one. Ends with 1 if there is a silent failure.

Geometries are drawn from seeds: 1000 to 1023 are held out and reported, ``--tuning`` takes 100 to 107 instead.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from contestants.geometry_answers import Said
from contestants.geometry_scans import SaidOf, accuracy_of, degraded_of
from contestants.thin_scans import HELD_OUT_SEEDS, TUNING_SEEDS
from geometry_peers import peers, speed
from harness.table import columns, machine

_ANGLES = ("fast", "slow")
_TARGETS = {  # rms of angle in deg and of ratio in percent: what was aimed at
    ("1e+04", "sharp", "free"): "0.05, 0.1",
    ("1e+03", "sharp", "free"): "0.15, 0.35",
    ("1e+04", "blurred", "free"): "0.1, 0.25",
    ("1e+04", "blurred", "symmetry"): "0.05, 0.02",
}
_SCALES = {"C10": 10.0, "C12": 10.0, "C21": 10.0, "C30": 1e4}
"""Angstrom in the units of the table: nm, nm, nm, um."""


def main() -> int:
    """Run the sections, print their tables."""
    options = _options()
    print(f"load {machine(Path('/tmp'))['load_average']:.1f}", flush=True)
    sections: dict[str, Callable[[argparse.Namespace], bool]] = {
        "accuracy": _accuracy,
        "degraded": _degraded,
        "peers": peers,
        "speed": speed,
    }
    passed = [sections[name](options) for name in options.section]
    return 0 if all(passed) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("accuracy", "degraded", "peers", "speed")
    parser.add_argument("--section", nargs="*", choices=names, default=names, help="sections (all)")
    parser.add_argument("--tuning", action="store_true", help="seeds that may be looked at while something is changed")
    parser.add_argument("--geometries", type=int, default=24, help="geometries of `accuracy` (%(default)s)")
    parser.add_argument("--doses", type=float, nargs="*", default=(1e4, 1e3), help="of `accuracy` (1e4 1e3)")
    parser.add_argument("--kind", nargs="*", choices=("sharp", "blurred"), default=("sharp", "blurred"), help="(both)")
    parser.add_argument("--degraded", type=int, default=9, help="geometries of `degraded` (%(default)s)")
    parser.add_argument("--side", type=int, default=128, help="positions along each axis of the scan (%(default)s)")
    parser.add_argument("--abtem", type=Path, help="folder of the multislice sets (left out)")
    parser.add_argument("--peers", type=int, default=4, help="scans of each kind in `peers` (%(default)s)")
    parser.add_argument("--ptychography40", default="", metavar="FOLDER", help="where that package is (left out)")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs in `speed` (%(default)s)")
    parser.add_argument("--large", type=int, nargs=2, default=(256, 128), help="scan and frame of `speed` (256 128)")
    parser.add_argument("--answers", type=Path, help="file to which every answer is added as it comes, JSON lines")
    parser.add_argument("--read", type=Path, help="print the tables of such a file instead of running anything")
    parser.add_argument("--place", type=Path, help="folder for the scans (the system's for such)")
    parser.add_argument("--jobs", type=int, default=2, help="processes of `accuracy` and `degraded` (%(default)s)")
    return parser.parse_args()


def _seeds(options: argparse.Namespace, n: int) -> Sequence[int]:
    seeds = TUNING_SEEDS if options.tuning else HELD_OUT_SEEDS
    print(f"\nseeds {seeds[0]} to {seeds[:n][-1]}, {'for tuning' if options.tuning else 'held out'}", flush=True)
    return seeds[:n]


def _collect(
    work: Callable[[int, str], Iterator[SaidOf]], seeds: Sequence[int], options: argparse.Namespace
) -> list[SaidOf]:
    """Return what is said of the scans of all seeds, and write it down as it comes."""
    with tempfile.TemporaryDirectory(prefix="stemcal-bench-", dir=options.place) as folder:
        ask_all = partial(_all_of, work, folder, options.answers)
        if options.jobs == 1:
            parts = list(map(ask_all, seeds))
        else:
            with ProcessPoolExecutor(options.jobs) as pool:
                parts = list(pool.map(ask_all, seeds))
    return [one for part in parts for one in part]


def _all_of(work: Callable[[int, str], Iterator[SaidOf]], place: str, answers: Path | None, seed: int) -> list[SaidOf]:
    found = []
    for one in work(seed, place):
        found.append(one)
        if one.said.is_silent_failure:
            print(f"SILENT FAILURE: {one}", flush=True)
        if answers is not None:
            with answers.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(one)) + "\n")
    return found


def _read(path: Path, seeds: Sequence[int]) -> list[SaidOf]:
    """Return the answers of an earlier run, those of these seeds."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found = [SaidOf(one["name"], one["seed"], Said(**one["said"])) for one in lines]
    return sorted((one for one in found if one.seed in seeds), key=lambda one: one.seed)


def _accuracy(options: argparse.Namespace) -> bool:
    work = partial(
        accuracy_of, doses=tuple(options.doses), side=options.side, blurs=[kind == "blurred" for kind in options.kind]
    )
    seeds = _seeds(options, options.geometries)
    found = _read(options.read, seeds) if options.read else _collect(work, seeds, options)
    rows = []
    for name in dict.fromkeys(one.name for one in found):
        rows += _accuracy_rows(name, [one for one in found if one.name == name])
    head = ("", "", "angle", "ratio", "scale", "C10", "C12", "C21", "C30", "refused", "flagged", "silent", "CPU s")
    print("\nangle deg; ratio, scale %; C10, C12, C21 nm; C30 um; unflagged answers\n")
    print(columns(head, rows), flush=True)
    print(f"\ncoverage\n\n{_coverage(found)}", flush=True)
    return not any(one.said.is_silent_failure for one in found)


def _accuracy_rows(name: str, found: Sequence[SaidOf]) -> list[tuple[str, ...]]:
    answers = [one.said for one in found if one.said.answered]
    clean = [said for said in answers if said.verdict == "pass"]
    errors = {
        "angle": [said.errors[axis] for said in clean for axis in _ANGLES],
        "ratio": [100 * said.errors["ratio"] for said in clean],
        "scale": [100 * said.errors["scale"] for said in clean],
    }
    for term, scale in _SCALES.items():
        parts = (term,) if term in ("C10", "C30") else (f"{term}a", f"{term}b")
        errors[term] = [said.errors[part] / scale for said in clean for part in parts if part in said.errors]
    refused, flagged = len(found) - len(answers), len(answers) - len(clean)
    silent = sum(one.said.is_silent_failure for one in found)
    seconds = float(np.median([one.said.cpu_s for one in found]))
    target = _TARGETS.get(tuple(name.split(", ")), "")  # type: ignore[arg-type]
    first = (name, "rms", *(_rms(values) for values in errors.values()))
    second = (f"  aimed at {target}" if target else "", "max", *(_max(values) for values in errors.values()))
    return [(*first, f"{refused}", f"{flagged}", f"{silent}", f"{seconds:.1f}"), (*second, "", "", "", "")]


def _rms(values: Sequence[float]) -> str:
    return f"{np.sqrt(np.mean(np.square(values))):.3g}" if values else ""


def _max(values: Sequence[float]) -> str:
    return f"{np.abs(values).max():.3g}" if values else ""


def _coverage(found: Iterable[SaidOf]) -> str:
    rows = []
    groups: dict[str, list[SaidOf]] = {}
    for one in found:
        if one.said.answered:
            groups.setdefault(one.name, []).append(one)
    for name, these in groups.items():
        for quantity in ("fast", "slow", "ratio", "scale", "C10", "C12", "C21", "C30"):
            parts = (f"{quantity}a", f"{quantity}b") if quantity in ("C12", "C21") else (quantity,)
            pulls = [
                abs(one.said.errors[part]) / one.said.sigmas[part]
                for one in these
                for part in parts
                if part in one.said.errors and one.said.sigmas.get(part, 0) > 0
            ]
            if pulls:
                one_sigma, three = np.mean(np.array(pulls) < 1), np.mean(np.array(pulls) < 3)
                rows.append((name, quantity, f"{len(pulls)}", f"{one_sigma:.0%}", f"{three:.0%}", f"{max(pulls):.1f}"))
    return columns(("", "quantity", "values", "within 1 sigma", "within 3", "largest"), rows)


def _degraded(options: argparse.Namespace) -> bool:
    work = partial(degraded_of, side=options.side, abtem=options.abtem)
    seeds = _seeds(options, options.degraded)
    found = _read(options.read, seeds) if options.read else _collect(work, seeds, options)
    rows = []
    for name in dict.fromkeys(one.name for one in found):
        these = [one.said for one in found if one.name == name]
        known = [said for said in these if said.errors]
        refused = sum(not said.answered or said.verdict == "fail" for said in these)
        silent = sum(said.is_silent_failure for said in these)
        angle = _max([said.errors[axis] for said in known for axis in _ANGLES])
        ratio = _max([100 * said.errors["ratio"] for said in known])
        turned = sum(said.half_turn_right is False for said in known)
        flags = sorted({flag for said in these for flag in said.flags})
        counts = ", ".join(f"{flag} {sum(flag in said.flags for said in these)}" for flag in flags)
        rows.append((name, f"{len(these)}", angle, ratio, f"{turned}", f"{refused}", f"{silent}", counts))
    head = ("", "runs", "worst angle (deg)", "ratio (%)", "half turn wrong", "refused", "silent")
    print(f"\n{columns((*head, 'flags'), rows)}", flush=True)
    silent = sum(one.said.is_silent_failure for one in found)
    print(f"\n{len(found)} runs, {silent} silent failures", flush=True)
    return silent == 0


if __name__ == "__main__":
    raise SystemExit(main())
