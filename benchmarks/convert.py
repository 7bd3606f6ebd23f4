#!/usr/bin/env python3
"""Conversion against its peers on the same file, in one run: throughput, agreement, memory, and what limits it.

Every run is a process of its own on the same cores; start-up and imports are timed apart. "Ours times as fast" is the
median over the repeats of the ratio of two runs next to each other in time, with the smallest and the largest, because
the machine that runs this is seldom alone. Give --place a folder on the disk that matters, or /dev/shm for memory.
Ends with 1 if an output does not hold the counts of the raw file.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from conversion import copying, limits, memory, reading, throughput
from conversion.bench import Bench, Section, say
from conversion.sizes import scan_of
from harness.table import machine, write_json

SECTIONS = ("convert", "copy", "read", "memory", "limits")


def main() -> int:
    """Make the raw file, run the sections, print the tables."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that gigabytes are not left behind
    with tempfile.TemporaryDirectory(prefix="stemcal-bench-", dir=options.place) as folder:
        bench = _bench(options, Path(folder))
        facts = machine(bench.place)
        print(_heading(bench, facts), flush=True)
        sections = list(_run(options, bench))
    if options.json is not None:
        settings = {"scan_shape": bench.scan_shape, "frame_px": bench.frame_px, "raw_mb": bench.raw_mb}
        about = {"machine": facts, "repeats": bench.repeats, "cores": bench.cores, **settings}
        write_json(options.json, {**about, "sections": [asdict(section) for section in sections]})
    disagreeing = [section.name for section in sections if not section.agrees]
    if disagreeing:
        say(f"outputs differ from the raw file in: {', '.join(disagreeing)}")
    return 1 if disagreeing else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of the raw file in 1e9 bytes (%(default)s)")
    parser.add_argument("--frame", type=int, default=256, help="side of the detector in px (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of runs per peer (%(default)s)")
    parser.add_argument("--cores", type=int, default=2, help="cores that every run is kept on (%(default)s)")
    parser.add_argument("--place", type=Path, help="folder for the raw file and the outputs (the system's for such)")
    parser.add_argument("--peer", nargs="*", choices=throughput.PEERS, help="peers of the conversion (all)")
    parser.add_argument("--section", nargs="*", choices=SECTIONS, default=SECTIONS, help="what to measure (all)")
    parser.add_argument(
        "--holes",
        nargs="*",
        type=float,
        default=(1.0, 4.0),
        metavar="GB",
        help="sizes of the files that are mostly holes, for the memory; 34.4 is 512 x 512 x 256 x 256 (1 4)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run")
    options = parser.parse_args()
    if options.repeats < 1 or options.gigabytes <= 0 or options.frame < 64 or options.frame % 2:
        parser.error("at least 1 repeat, some data, and an even detector from 64 px on")
    return options


def _bench(options: argparse.Namespace, place: Path) -> Bench:
    """Make the raw file."""
    scan_shape = scan_of(options.gigabytes, options.frame)
    cores = min(options.cores, len(os.sched_getaffinity(0)))
    peers = tuple(throughput.PEERS) if options.peer is None else tuple(options.peer)
    bench = Bench(place / "raw.mib", scan_shape, options.frame, place, options.repeats, cores, peers)
    say("making the raw file")
    bench.call("acquisitions:acquisition", path=str(bench.mib), scan_shape=list(scan_shape), frame_px=options.frame)
    return bench


def _run(options: argparse.Namespace, bench: Bench) -> Iterator[Section]:
    run: dict[str, Callable[[], Section]] = {
        "convert": lambda: throughput.run(bench),
        "copy": lambda: copying.run(bench),
        "read": lambda: reading.run(bench),
        "memory": lambda: memory.run(bench, options.holes),
        "limits": lambda: limits.run(bench),
    }
    for name in SECTIONS:
        if name in options.section:
            say(name)
            section = run[name]()
            section.load_average = os.getloadavg()[0]
            print(f"\n{section.title} (load {section.load_average:.1f})\n\n{section.text}", flush=True)
            yield section


def _heading(bench: Bench, facts: dict[str, object]) -> str:
    rows, cols = bench.scan_shape
    return (
        f"{rows} x {cols} x {bench.frame_px} x {bench.frame_px} U16, {bench.raw_mb / 1e3:.2f} GB, {bench.cores} of "
        f"{facts['cores']} cores ({facts['processor']}), {facts['file_system']}, load {facts['load_average']:.1f}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
