"""Section ``read``: the sum over all frames, ours out of the container, LiberTEM's out of the raw file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from conversion.bench import FIGURES, Bench, Checked, Section, cpu, figures, pairs_as_dict, remove, wall
from conversion.throughput import convert
from harness.paired import Contestant, Pairs, interleave
from harness.process import Run
from harness.table import columns, spread

_OURS = "contestants.ours:sum_pattern"
_LIBERTEM = "contestants.libertem:sum_pattern"


def run(bench: Bench) -> Section:
    """Read everything back, on one core and on all of them, and compare every sum with that of the raw file."""
    section = Section("read", "Sum over all frames: stemcal out of its container, LiberTEM's SumUDF on the raw file")
    container = bench.place / "container_data.hdf5"
    convert(bench, Checked(container, None))
    checked: dict[str, Checked] = {}
    found: list[Pairs] = []
    for cores in sorted({1, bench.cores}):
        start = partial(_contestant, bench, checked, cores)
        mine = start("stemcal", _OURS, container)
        peers = [start("LiberTEM, raw file", _LIBERTEM, bench.mib), start("stemcal, raw file", _OURS, bench.mib)]
        found += interleave(mine, peers, bench.repeats)
    remove(container)
    section.text = _table(bench, found, checked)
    section.found = {pairs.peer.name: {**pairs_as_dict(pairs), **checked[pairs.peer.name].verdict} for pairs in found}
    section.agrees = all(one.verdict.get("agrees", True) for one in checked.values())
    return section


def _contestant(
    bench: Bench, checked: dict[str, Checked], cores: int, who: str, target: str, source: Path
) -> Contestant:
    name = f"{who}, {cores} core{'s' if cores > 1 else ''}"
    answer = bench.place / "answer.npy"

    def start() -> Run:
        scan_shape = list(bench.scan_shape)
        return bench.call(target, on=cores, source=str(source), answer=str(answer), scan_shape=scan_shape, cores=cores)

    def check() -> dict[str, Any]:
        verdict: dict[str, Any] = bench.call("agreement:summed", source=str(bench.mib), answer=str(answer)).answer
        return verdict

    checked[name] = Checked(answer, check)
    return checked[name].contestant(name, start)


def _table(bench: Bench, found: list[Pairs], checked: dict[str, Checked]) -> str:
    rows = []
    shown: set[str] = set()
    for pairs in found:
        if pairs.problem:
            rows.append([pairs.peer.name, *[""] * (len(FIGURES) + 2), pairs.problem])
            continue
        if pairs.our_name not in shown:
            shown.add(pairs.our_name)
            rows.append([pairs.our_name, *figures(pairs.ours, bench.raw_mb), _equal(checked[pairs.our_name]), "", ""])
        cells = [*figures(pairs.theirs, bench.raw_mb), _equal(checked[pairs.peer.name])]
        rows.append([pairs.peer.name, *cells, spread(pairs.ratio(wall)), spread(pairs.ratio(cpu))])
    return columns(("", *FIGURES, "equal", "ours times as fast", "ours per core"), rows)


def _equal(one: Checked) -> str:
    return "yes" if one.verdict["agrees"] else "NO"
