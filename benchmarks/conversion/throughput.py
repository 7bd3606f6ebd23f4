"""Section ``convert``: the whole conversion against other ways to make an HDF5 file of the same frames."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from conversion.bench import FIGURES, Bench, Checked, Section, figures, pairs_as_dict, wall
from harness.paired import Pairs, interleave
from harness.process import Run
from harness.table import columns, spread


@dataclass(frozen=True)
class Peer:
    """A peer: the function that prepares it, the ending of its file, and what a reader has to know."""

    target: str
    suffix: str
    note: str


PEERS = {
    "h5py-rows": Peer("contestants.loops:h5py_rows", ".hdf5", "h5py and hdf5plugin, a scan row at a time, bslz4"),
    "epsic": Peer("contestants.loops:epsic", ".hdf5", "as at ePSIC, frame by frame; C-Blosc out of hdf5plugin"),
    "rosettasciio": Peer("contestants.packages:rosettasciio", ".hdf5", "lazy into h5py, bslz4, dask's chunks"),
    "rosettasciio-auto": Peer("contestants.packages:rosettasciio_auto", ".hdf5", "the same, h5py's own chunks"),
    "rosettasciio-frames": Peer("contestants.packages:rosettasciio_frames", ".hdf5", "the same, a frame per chunk"),
    "hyperspy": Peer("contestants.packages:hyperspy", ".hspy", "lazy load, save to .hspy, as they come"),
}


def run(bench: Bench) -> Section:
    """Convert with everything on and with each peer in turn, and compare every output with the raw file."""
    section = Section("convert", f"Conversion to HDF5 on {bench.cores} cores, output to the same place")
    ours = _checked(bench, "ours", ".hdf5")
    mine = ours.contestant("stemcal", partial(convert, bench, ours), "all products, output flushed to the disk")
    theirs = {name: _checked(bench, name, PEERS[name].suffix) for name in bench.peers}
    peers = [
        one.contestant(name, partial(_start, bench, PEERS[name].target, one), PEERS[name].note)
        for name, one in theirs.items()
    ]
    found = list(interleave(mine, peers, bench.repeats))
    verdicts = {"stemcal": ours.verdict, **{name: one.verdict for name, one in theirs.items()}}
    section.text = _table(bench, mine.note, found, verdicts)
    section.found = {pairs.peer.name: {**pairs_as_dict(pairs), **verdicts[pairs.peer.name]} for pairs in found}
    section.found["stemcal"] = ours.verdict
    section.agrees = all(verdict.get("agrees", True) for verdict in verdicts.values())
    return section


def convert(bench: Bench, ours: Checked) -> Run:
    """Convert with everything on."""
    return _start(bench, "contestants.ours:convert", ours)


def _start(bench: Bench, target: str, one: Checked) -> Run:
    mib, output, scan_shape = str(bench.mib), str(one.output), list(bench.scan_shape)
    return bench.call(target, source=mib, target=output, scan_shape=scan_shape, cores=bench.cores)


def _checked(bench: Bench, name: str, suffix: str) -> Checked:
    output = bench.place / f"out-{name}_data{suffix}"

    def check() -> dict[str, Any]:
        verdict: dict[str, Any] = bench.call("agreement:converted", source=str(bench.mib), target=str(output)).answer
        return verdict

    return Checked(output, check)


def _table(bench: Bench, note: str, found: list[Pairs], verdicts: dict[str, dict[str, Any]]) -> str:
    rows = []
    mine = tuple(run for pairs in found for run in pairs.ours)
    if mine:
        rows.append(["stemcal", *figures(mine, bench.raw_mb), *_verdict(verdicts["stemcal"]), "", note])
    for pairs in found:
        name = pairs.peer.name
        if pairs.problem:
            rows.append([name, *[""] * (len(FIGURES) + 2), "", pairs.problem])
            continue
        cells = [*figures(pairs.theirs, bench.raw_mb), *_verdict(verdicts[name])]
        rows.append([name, *cells, spread(pairs.ratio(wall)), pairs.peer.note])
    return columns(("", *FIGURES, "file MB", "equal", "ours times as fast", ""), rows)


def _verdict(verdict: dict[str, Any]) -> list[str]:
    return [f"{verdict['size_bytes'] / 1e6:.0f}", "yes" if verdict["agrees"] else "NO"]
