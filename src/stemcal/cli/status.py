"""``stemcal status``: what is ready, running, done, held and why."""

from __future__ import annotations

import argparse

from stemcal.cli.session import add_session_options, folders
from stemcal.driver.lock import is_locked
from stemcal.errors import UsageError
from stemcal.records.frozen import read_latest
from stemcal.records.progress import DatasetProgress, count_states, dataset_progress
from stemcal.stages import canonical

_STATE_WIDTH = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options to ``parser``."""
    add_session_options(parser)
    parser.add_argument("--json", action="store_true", help="print the state of every data set")


def run(args: argparse.Namespace) -> int:
    """Say where every data set stands, what needs a person first."""
    _, processing = folders(args)
    manifest = read_latest(processing)
    if manifest is None:
        raise UsageError(f"{processing}: nothing is known of this session yet; run stemcal process {args.session}")
    progress = dataset_progress(manifest, processing)
    if args.json:
        print(canonical([one.model_dump(mode="json") for one in progress]))
        return 0
    for one in progress:
        print(_line(one, manifest.datasets[one.dataset].label))
    counts = count_states(progress)
    print(", ".join(f"{number} {state}" for state, number in counts.items()) or "no raw files")
    print("a run is at work now" if is_locked(processing) else "no run is at work now")
    return 0


def _line(one: DatasetProgress, label: str) -> str:
    steps = " ".join(f"{stage.stage}:{stage.verdict or stage.state}" for stage in one.stages if stage.state != "absent")
    return f"{one.state:<{_STATE_WIDTH}}{label}  [{steps}]  {one.reason}".rstrip()
