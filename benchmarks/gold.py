#!/usr/bin/env python3
"""Ring calibration against its peers on scans of gold with a known truth, and whether its uncertainties cover.

Section ``accuracy``: every way on the same seeds of each set: bias and standard deviation, refusals, and silent
failures, which are answers without an error that are off by more than 0.005 of the ratio or of the pixel size, or by 5
degrees. Section ``coverage``: random cameras, doses and grains; how often the truth is within one and three of the
given sigmas. Section ``blind``: random cameras with centres anywhere in the inner half of the detector and a pixel size
anywhere within a factor of three, and other materials in between; nothing but the voltage is known, and no answer may
be wrong. Ends with 1 if ours misses a target.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np

from contestants.cameras import COVERAGE_SETS, blind_scan, coverage_scan
from contestants.standards import SETS, WAYS, Answer, Data, answer, load, pyxem
from harness.table import columns
from stemcal.phantoms.powder import Camera
from stemcal.phantoms.standard_scan import StandardScan

_OFF = (0.005, 5.0, 0.005)
"""Errors of ratio, angle (deg) and pixel size beyond which an answer is a failure."""
_TARGETS = ("1e-4", "2e-4", "0.5", "1e-4")
_QUANTITIES = ("ratio", "angle", "pixel size", "centre row", "centre col")


def main() -> int:
    """Run the sections, print their tables."""
    warnings.simplefilter("ignore")
    options = _options()
    with ProcessPoolExecutor(options.jobs) as pool:
        sections: dict[str, Callable[[], bool]] = {
            "accuracy": lambda: _accuracy(pool, options),
            "coverage": lambda: _coverage(pool, options.draws),
            "blind": lambda: _blind(pool, options.draws),
        }
        passed = [sections[name]() for name in options.section]
    return 0 if all(passed) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("accuracy", "coverage", "blind")
    parser.add_argument("--section", nargs="*", choices=names, default=names, help="sections (all)")
    parser.add_argument("--set", nargs="*", choices=tuple(SETS), default=tuple(SETS), help="sets of `accuracy` (all)")
    parser.add_argument("--seeds", type=int, default=8, help="scans per set (%(default)s)")
    parser.add_argument("--draws", type=int, default=200, help="scans of `coverage` and of `blind` (%(default)s)")
    parser.add_argument("--way", nargs="*", choices=tuple(WAYS), default=tuple(WAYS), help="ways (all)")
    parser.add_argument("--pyxem-python", help="interpreter of an environment that has pyxem")
    parser.add_argument("--jobs", type=int, default=2, help="processes (%(default)s)")
    return parser.parse_args()


def _accuracy(pool: ProcessPoolExecutor, options: argparse.Namespace) -> bool:
    good = True
    for name in options.set:
        scans = [replace(SETS[name], seed=seed) for seed in range(options.seeds)]
        found = list(pool.map(partial(_all_ways, options.way, options.pyxem_python), scans))
        rows = []
        for way in found[0]:
            answers = [one[way] for one in found]
            errors = np.array([_errors(said, SETS[name].camera) for said in answers])
            silent = sum(_is_silent_failure(said, SETS[name].camera) for said in answers)
            refused = [said.refused for said in answers if said.refused]
            seconds = float(np.median([said.seconds for said in answers]))
            rows.append((way, *map(_bias, errors.T), f"{len(refused)}", f"{silent}", f"{seconds:.1f}"))
            good &= way != "stemcal" or silent == 0
        head = ("", "ratio", "angle (deg)", "pixel size", "refused", "silent", "s")
        print(f"\n{name}, {options.seeds} scans: bias +- standard deviation\n\n{columns(head, rows)}", flush=True)
    return good


def _all_ways(ways: Sequence[str], python: str | None, scan: StandardScan) -> dict[str, Answer]:
    data: Data = load(scan)
    said = {way: answer(way, data) for way in ways}
    return said | (pyxem(data, python) if python else {})


def _errors(said: Answer, camera: Camera) -> tuple[float, float, float]:
    ratio, angle, pixel_size = said.found
    turned = (angle - camera.angle_deg + 90) % 180 - 90
    return ratio - camera.ratio, turned, pixel_size / camera.pixel_size_per_angstrom - 1


def _is_silent_failure(said: Answer, camera: Camera) -> bool:
    errors = _errors(said, camera)
    if said.refused:
        return False
    asked = _OFF if camera.ratio > 1 + _OFF[0] else (_OFF[0], math.inf, _OFF[2])
    return all(map(math.isnan, errors)) or any(abs(error) > off for error, off in zip(errors, asked, strict=True))


def _bias(errors: np.ndarray) -> str:
    known = errors[np.isfinite(errors)]
    return "" if known.size == 0 else f"{known.mean():+.1e} +- {known.std(ddof=1 if known.size > 1 else 0):.1e}"


def _coverage(pool: ProcessPoolExecutor, draws: int) -> bool:
    good, rows = True, []
    for name in COVERAGE_SETS:
        scans = [coverage_scan(name, seed) for seed in range(draws)]
        answers = list(pool.map(_ours, scans))
        pulls = np.array([_pulls(said, scan.camera) for said, scan in zip(answers, scans, strict=True)])
        refused = sum(bool(said.refused) for said in answers)
        for quantity, pull in zip(_QUANTITIES, pulls.T, strict=True):
            known = np.abs(pull[np.isfinite(pull)])
            one, three = float((known < 1).mean()), float((known < 3).mean())
            good &= 0.60 <= one <= 0.76 and three >= 0.98
            rows.append((name, quantity, f"{known.size}", f"{one:.1%}", f"{three:.1%}", f"{known.max():.1f}"))
        rows.append((name, "refused", f"{refused}", "", "", ""))
    head = ("", "quantity", "scans", "within 1 sigma", "within 3", "largest")
    print(f"\ncoverage, targets 60 to 76 % and 98 %\n\n{columns(head, rows)}", flush=True)
    return good


def _ours(scan: StandardScan) -> Answer:
    return answer("stemcal", load(scan))


def _pulls(said: Answer, camera: Camera) -> np.ndarray:
    if said.refused:
        return np.full(len(_QUANTITIES), np.nan)
    ratio, angle, pixel_size = _errors(said, camera)
    centre = said.centre[0] - camera.centre_row_px, said.centre[1] - camera.centre_col_px
    return np.array([ratio, angle, pixel_size * camera.pixel_size_per_angstrom, *centre]) / said.sigmas


def _blind(pool: ProcessPoolExecutor, draws: int) -> bool:
    drawn = [blind_scan(seed) for seed in range(draws)]
    answers = list(pool.map(_ours, [scan for _, scan in drawn]))
    rows, wrong = [], 0
    for material in sorted({name for name, _ in drawn}):
        these = [(said, scan) for (name, scan), said in zip(drawn, answers, strict=True) if name == material]
        refused = [said.refused for said, _ in these if said.refused]
        if material == "Au":
            silent = sum(_is_silent_failure(said, scan.camera) for said, scan in these)
        else:
            silent = len(these) - len(refused)
        wrong += silent
        reasons = ", ".join(f"{reason} {refused.count(reason)}" for reason in sorted(set(refused)))
        rows.append((material, f"{len(these)}", f"{len(refused)}", f"{silent}", reasons))
    print(f"\nblind\n\n{columns(('', 'scans', 'refused', 'silent failures', 'reasons'), rows)}", flush=True)
    return wrong == 0


if __name__ == "__main__":
    raise SystemExit(main())
