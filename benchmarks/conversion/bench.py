"""What the sections share: the raw file, the place for outputs, how often, on how many cores."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.paired import Contestant, Pairs, Spread
from harness.process import Run, run_function

ITEMSIZE = 2
"""Bytes per pixel of the acquisitions that are made here, which are U16."""


@dataclass(frozen=True)
class Bench:
    """One raw file and how it is worked on.

    Attributes
    ----------
    mib : Path
        The raw file.
    scan_shape : tuple of int
        (scan_row, scan_col).
    frame_px : int
        Side of the square detector.
    place : Path
        Folder for outputs; everything in it is removed by whoever made it.
    repeats, cores : int
        Pairs of runs, and the cores that a run may use.
    peers : tuple of str
        Names of the peers that take part.
    """

    mib: Path
    scan_shape: tuple[int, int]
    frame_px: int
    place: Path
    repeats: int
    cores: int
    peers: tuple[str, ...]

    @property
    def raw_mb(self) -> float:
        """Pixels of the raw file in MB (1e6 bytes)."""
        return self.scan_shape[0] * self.scan_shape[1] * self.frame_px**2 * ITEMSIZE / 1e6

    def call(self, function: str, /, *, on: int | None = None, **arguments: object) -> Run:
        """Run a function in a process of its own, see `harness.process.run_function`; ``on`` so many cores."""
        return run_function(function, arguments, self.cores if on is None else on)


@dataclass
class Section:
    """What one section found: text for a person, numbers for a program, and whether all answers agree.

    ``load_average`` is that of the machine at the end: where it is above the number of cores somebody else was at work,
    which takes more from a contestant with threads than from one without.
    """

    name: str
    title: str
    text: str = ""
    found: dict[str, Any] = field(default_factory=dict)
    agrees: bool = True
    load_average: float = 0.0


@dataclass
class Checked:
    """A contestant whose first output is compared with the raw file before it is removed.

    Attributes
    ----------
    output : Path
        What a run writes.
    check : callable or None
        Compares it and returns the verdict; None if there is nothing to compare.
    verdict : dict
        What the check said.
    """

    output: Path
    check: Callable[[], dict[str, Any]] | None
    verdict: dict[str, Any] = field(default_factory=dict)

    def contestant(self, name: str, start: Callable[[], Run], note: str = "") -> Contestant:
        """Return ``start`` as a contestant that is checked once and leaves nothing behind."""

        def run() -> Run:
            say(f"  {name}")
            try:
                done = start()
                if self.check is not None and not self.verdict:
                    self.verdict.update(self.check())
            finally:
                remove(self.output)
            return done

        return Contestant(name, run, note)


def remove(output: Path) -> None:
    """Remove an output and what stands beside it under the same stem: their pages must not wait for the disk."""
    for path in output.parent.glob(f"{output.stem.removesuffix('_data')}*"):
        path.unlink()


def say(text: str) -> None:
    """Tell whoever watches what is going on."""
    print(text, file=sys.stderr, flush=True)


def pairs_as_dict(pairs: Pairs) -> dict[str, Any]:
    """Return the runs of one pair for JSON."""
    if pairs.problem:
        return {"problem": pairs.problem}
    return {
        "wall_ratio": asdict(pairs.ratio(wall)),
        "cpu_ratio": asdict(pairs.ratio(cpu)),
        "ours": [asdict(run) for run in pairs.ours],
        "theirs": [asdict(run) for run in pairs.theirs],
    }


def wall(run: Run) -> float:
    """Return the wall time of the work in seconds."""
    return run.wall_s


def cpu(run: Run) -> float:
    """Return the processor time of the work in seconds."""
    return run.cpu_s


def figures(runs: tuple[Run, ...], raw_mb: float) -> list[str]:
    """Return the cells MB/s, MB per processor second, start-up and peak memory of some runs, each the median."""
    of = [Spread.of(values).median for values in zip(*(_values(run, raw_mb) for run in runs), strict=True)]
    return [f"{of[0]:.0f}", f"{of[1]:.0f}", f"{of[2]:.1f}", f"{of[3]:.0f}"]


FIGURES = ("MB/s", "MB/cpu-s", "start-up s", "peak MB")


def _values(run: Run, raw_mb: float) -> tuple[float, float, float, float]:
    return raw_mb / run.wall_s, raw_mb / run.cpu_s, run.startup_s, run.peak_mb
