"""Section ``copy``: the conversion against ``cp`` of the same file, which computes nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from conversion.bench import FIGURES, Bench, Checked, Section, figures, pairs_as_dict, wall
from conversion.throughput import convert
from harness.paired import Contestant, Pairs, interleave
from harness.process import Run
from harness.table import columns, spread


def run(bench: Bench) -> Section:
    """Convert and copy in turn, with the raw file in memory and with the raw file on the disk.

    stemcal does not return before its output is on the disk; ``cp`` does, unless it is followed by a flush.
    """
    section = Section("copy", "Conversion against cp of the raw file")
    warm = [_copy(bench, "cp", False, False), _copy(bench, "cp, flushed to the disk", True, False)]
    cold = [_copy(bench, "cp, raw file not in memory, flushed", True, True)]
    found = [
        *interleave(_ours(bench, False), warm, bench.repeats),
        *interleave(_ours(bench, True), cold, bench.repeats),
    ]
    section.text = _table(bench, found)
    section.found = {pairs.peer.name: pairs_as_dict(pairs) for pairs in found}
    return section


def _ours(bench: Bench, cold: bool) -> Contestant:
    output = Checked(bench.place / "copy-ours_data.hdf5", None)
    return output.contestant("stemcal", partial(_after_forgetting, bench, cold, partial(convert, bench, output)))


def _copy(bench: Bench, name: str, flush: bool, cold: bool) -> Contestant:
    output = Checked(bench.place / "copy-theirs.mib", None)

    def start() -> Run:
        return bench.call("contestants.files:copy", source=str(bench.mib), target=str(output.output), flush=flush)

    return output.contestant(name, partial(_after_forgetting, bench, cold, start))


def _after_forgetting(bench: Bench, cold: bool, start: Callable[[], Run]) -> Run:
    if cold:
        bench.call("contestants.files:forget", path=str(bench.mib))
    return start()


def _table(bench: Bench, found: list[Pairs]) -> str:
    rows = []
    for pairs in found:
        rows.append(["stemcal", *figures(pairs.ours, bench.raw_mb), ""])
        rows.append([pairs.peer.name, *figures(pairs.theirs, bench.raw_mb), spread(pairs.ratio(wall))])
    return columns(("", *FIGURES, "ours times as fast"), rows)
