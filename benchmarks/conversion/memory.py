"""Section ``memory``: peak memory of ``stemcal convert`` as a command, at several sizes, beside what the stage states.

Large files are made of headers and holes, so that their size costs next to no disk; nothing in a conversion depends on
how many of the counts are zero but the size of the output.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conversion.bench import ITEMSIZE, Bench, Section, remove, say
from conversion.sizes import scan_of
from harness.process import Run, run_command
from harness.table import columns
from stemcal.stages import Extent, memory_mb

_LARGEST = Extent(512 * 512, 515 * 515, ITEMSIZE)
"""The acquisition that a job of 4 GB has to take."""


def run(bench: Bench, gigabytes: Sequence[float]) -> Section:
    """Convert the raw file itself and files of ``gigabytes`` that are mostly holes, by the command line."""
    section = Section("memory", f"Peak memory of the command stemcal convert with {bench.cores} threads")
    found = [_measured(bench, bench.mib, bench.scan_shape, "counts everywhere")]
    for size in gigabytes:
        mib = bench.place / "holes.mib"
        scan = scan_of(size, bench.frame_px)
        made = bench.call("acquisitions:mostly_holes", path=str(mib), scan_shape=list(scan), frame_px=bench.frame_px)
        note = f"mostly holes, {made.answer['disk_bytes'] / 1e9:.2f} GB of disk"
        found.append(_measured(bench, mib, scan, note))
        remove(mib)
    section.found = {"runs": found, "largest": _largest(bench, found)}
    section.text = _table(found) + "\n\n" + section.found["largest"]["sentence"]
    return section


def _measured(bench: Bench, mib: Path, scan: tuple[int, int], note: str) -> dict[str, Any]:
    output = bench.place / "memory_data.hdf5"
    command = [str(Path(sys.executable).with_name("stemcal")), "convert", str(mib), "-o", str(output)]
    command += ["--scan-shape", f"{scan[0]},{scan[1]}"]
    say(f"  stemcal convert {scan[0]} x {scan[1]} x {bench.frame_px} x {bench.frame_px}")
    try:
        done: Run = run_command([*command, "--threads", str(bench.cores), "--no-progress"], bench.cores)
    finally:
        remove(output)
    extent = Extent(scan[0] * scan[1], bench.frame_px**2, ITEMSIZE)
    return {
        "n_frames": extent.n_frames,
        "raw_bytes": extent.raw_bytes,
        "peak_mb": done.peak_mb,
        "wall_s": done.wall_s,
        "stated_mb": memory_mb("convert", extent, bench.cores),
        "note": note,
    }


def _largest(bench: Bench, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Say what the largest acquisition needs, by the stage and by what each frame adds here."""
    small, large = (choose(found, key=lambda one: one["n_frames"]) for choose in (min, max))
    more = large["n_frames"] - small["n_frames"]
    per_frame = (large["peak_mb"] - small["peak_mb"]) * 1e6 / more if more else 0.0
    stated = memory_mb("convert", _LARGEST, bench.cores)
    sentence = (
        f"Each frame adds {per_frame:.0f} bytes from {small['n_frames']} to {large['n_frames']} frames. "
        f"512 x 512 x 515 x 515: the stage asks for {stated} MB."
    )
    return {"bytes_per_frame": per_frame, "stated_mb": stated, "sentence": sentence}


def _table(found: list[dict[str, Any]]) -> str:
    rows = [
        [
            f"{one['raw_bytes'] / 1e9:.2f} GB",
            str(one["n_frames"]),
            f"{one['peak_mb']:.0f}",
            str(one["stated_mb"]),
            f"{one['wall_s']:.1f}",
            one["note"],
        ]
        for one in found
    ]
    return columns(("", "frames", "peak MB", "stage asks for MB", "s", ""), rows)
