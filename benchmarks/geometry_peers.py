"""The sections ``peers`` and ``speed`` of `geometry`: every way in a process of its own."""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness.paired import Contestant, interleave
from harness.process import NotInstalledError, Run, RunFailedError, run_function
from harness.table import columns, spread

KINDS = ("crystal near focus", "crystal, blurred", "film, 80 nm from focus")
_FIRST_SEED = 1000
_OURS = "stemcal"
_PEERS = {
    "py4DSTEM DPC": "contestants.phase_peers:centre_of_mass",
    "py4DSTEM parallax": "contestants.phase_peers:parallax",
    "ptychography40 SSB, told the geometry": "contestants.phase_peers:trotters",
}
_TARGETS = {"ptychography40, masks included": 10, "dense 4-D FFT, complex64": 4}
_CPU_TARGET_S, _PEAK_TARGET_MB = 40.0, 1500.0


def peers(options: argparse.Namespace) -> bool:
    """Print rotation, aberrations, phase, time and memory of every way; say whether ours gave no wrong answer."""
    good = True
    for kind in KINDS:
        found: dict[str, list[dict[str, Any] | str]] = {}
        for seed in range(_FIRST_SEED, _FIRST_SEED + options.peers):
            with tempfile.TemporaryDirectory(prefix="stemcal-bench-", dir=options.place) as folder:
                for way, one in _one_scan(kind, seed, Path(folder), options.ptychography40).items():
                    found.setdefault(way, []).append(one)
        print(f"\n{kind}, seeds {_FIRST_SEED} to {seed}: largest error; median phase correlation, CPU, memory\n")
        head = ("", "rotation (deg)", "flip wrong", "C10 (nm)", "C12 (nm)", "C30 (um)", "phase", "CPU s", "peak MB", "")
        print(columns(head, [_row(way, answers) for way, answers in found.items()]), flush=True)
        good &= not any(isinstance(one, dict) and one["rotation"] > 1 for one in found[_OURS])
    return good


def _one_scan(kind: str, seed: int, folder: Path, package: str) -> dict[str, dict[str, Any] | str]:
    """Return by way what it made of one scan, or why there is nothing."""
    counts, container, truth, phase = (str(folder / name) for name in ("a.npy", "a_data.hdf5", "t.npy", "p.npy"))
    files = {"counts": counts, "container": container, "truth": truth}
    given = run_function("contestants.geometry_files:make", {"kind": kind, "seed": seed, **files}, 1).answer
    record = str(folder / "a_geometry.json")
    ways: dict[str, Callable[[], Run]] = {
        _OURS: partial(
            run_function, "contestants.geometry_files:calibrate", {"container": container, "record": record}, 1
        )
    }
    for name, target in _PEERS.items():
        told = {"counts": counts, "phase": phase, "given": {**given, "folder": package}}
        ways[name] = partial(run_function, target, told, 1)
    found: dict[str, dict[str, Any] | str] = {}
    for name, start in ways.items():
        try:
            run = start()
        except (NotInstalledError, RunFailedError) as error:
            found[name] = str(error).strip().splitlines()[-1][:60]
            continue
        read = {"record": record} if name == _OURS else {"said": run.answer, "phase": phase}
        worth = run_function("contestants.geometry_worth:worth", {"given": given, "truth": truth, **read}, 1).answer
        found[name] = worth if isinstance(worth, str) else {**worth, "cpu_s": run.cpu_s, "peak_mb": run.peak_mb}
    return found


def _row(way: str, answers: Sequence[dict[str, Any] | str]) -> tuple[str, ...]:
    good = [one for one in answers if isinstance(one, dict)]
    why = sorted({one for one in answers if isinstance(one, str)})
    note = f"{len(answers) - len(good)} of {len(answers)}: {', '.join(why)}" if why else ""
    worst = (_worst(good, name, digits) for name, digits in (("C10", 2), ("C12", 2), ("C30", 2)))
    middle = (_median(good, name, digits) for name, digits in (("phase", 3), ("cpu_s", 1), ("peak_mb", 0)))
    flips = f"{sum(one['flip_wrong'] for one in good)}" if good and good[0]["flip_wrong"] is not None else ""
    return (way, _worst(good, "rotation", 2), flips, *worst, *middle, note)


def _worst(found: Sequence[dict[str, Any]], name: str, digits: int) -> str:
    values = [one[name] for one in found if one[name] is not None]
    return f"{max(values):.{digits}f}" if values else ""


def _median(found: Sequence[dict[str, Any]], name: str, digits: int) -> str:
    values = [one[name] for one in found if one[name] is not None]
    return f"{statistics.median(values):.{digits}f}" if values else ""


def speed(options: argparse.Namespace) -> bool:
    """Print processor time of single side bands and of the whole step; say whether ranks give the same bytes."""
    with tempfile.TemporaryDirectory(prefix="stemcal-bench-", dir=options.place) as name:
        folder = Path(name)
        small = {key: str(folder / f"small{end}") for key, end in _ENDS.items()}
        made = run_function("contestants.geometry_files:make", {"kind": KINDS[0], "seed": _FIRST_SEED, **small}, 1)
        print("\nsingle side band, 128 x 128 positions, 64 x 64 px\n")
        print(_sideband(small["counts"], made.answer, options.repeats, options.ptychography40), flush=True)
        same = _ranks(folder, small["container"])
        scan_px, frame_px = options.large
        large = {"container": str(folder / "large_data.hdf5"), "counts": str(folder / "large.npy")}
        made = run_function(
            "contestants.geometry_files:make_large", {**large, "scan_px": scan_px, "frame_px": frame_px}, 1
        )
        Path(large["counts"]).unlink()
        _whole(folder, large["container"], f"{scan_px} x {scan_px} positions, {frame_px} x {frame_px} px", options)
    return same


_ENDS = {"counts": ".npy", "container": "_data.hdf5", "truth": "_truth.npy"}


def _sideband(counts: str, given: dict[str, Any], repeats: int, package: str) -> str:
    shared = {"counts": counts, "phase": f"{counts}.phase.npy", "given": {**given, "folder": package}}

    def start(name: str, target: str, **more: Any) -> Contestant:
        return Contestant(name, lambda: run_function(f"contestants.{target}", {**shared, **more}, 1))

    others = [
        start("ours, aberrations corrected", "sidebands:ours", corrected=True),
        start("ptychography40, masks included", "phase_peers:trotters"),
        start("dense 4-D FFT, complex64", "sidebands:dense_transform"),
    ]
    rows = []
    for pairs in interleave(start("ours", "sidebands:ours", corrected=False), others, repeats):
        if pairs.problem:
            rows.append((pairs.peer.name, pairs.problem, "", "", "", ""))
            continue
        theirs, mine = (statistics.median(run.cpu_s for run in runs) for runs in (pairs.theirs, pairs.ours))
        peak = statistics.median(run.peak_mb for run in pairs.theirs)
        target = f"{_TARGETS[pairs.peer.name]}" if pairs.peer.name in _TARGETS else ""
        ratio = spread(pairs.ratio(lambda run: run.cpu_s))
        rows.append((pairs.peer.name, f"{theirs:.2f}", f"{mine:.2f}", ratio, target, f"{peak:.0f}"))
    return columns(("", "CPU s", "ours", "ours times as fast", "target", "peak MB"), rows)


def _ranks(folder: Path, container: str) -> bool:
    """Print whether threads and ranks give the bytes that one of them gives."""
    digests = {}
    for threads, ranks in ((1, 1), (2, 1), (1, 2), (1, 4)):
        record = folder / f"{threads}-{ranks}" / "a_geometry.json"
        record.parent.mkdir()
        arguments = {"container": container, "record": str(record), "threads": threads, "ranks": ranks}
        run = run_function("contestants.geometry_files:calibrate", arguments, threads * ranks)
        digests[f"{threads} threads, {ranks} ranks"] = run.answer
    same = len({tuple(sorted(found.items())) for found in digests.values()}) == 1
    print(f"\n{'; '.join(digests)}: {'the same bytes' if same else f'DIFFERENT BYTES {digests}'}", flush=True)
    return same


def _whole(folder: Path, container: str, name: str, options: argparse.Namespace) -> None:
    arguments = {"container": container, "record": str(folder / "large_geometry.json")}
    runs = [run_function("contestants.geometry_files:calibrate", arguments, 1) for _ in range(options.repeats)]
    cpu, peak = (statistics.median(values) for values in zip(*((run.cpu_s, run.peak_mb) for run in runs), strict=True))
    size = Path(container).stat().st_size / 1e9
    print(f"\nthe whole step, {name}, from {size:.2f} GB of our HDF5, one core: {cpu:.1f} CPU s", end="")
    print(f" (aimed at {_CPU_TARGET_S:.0f}), peak {peak:.0f} MB (aimed at {_PEAK_TARGET_MB:.0f})", flush=True)
