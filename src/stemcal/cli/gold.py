"""``stemcal gold``: elliptical distortion and reciprocal pixel size from a gold powder pattern."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from stemcal.cli import describe
from stemcal.cli.common import StepContext, add_step_options, execute_step, keep_apart, positive_number
from stemcal.errors import StemcalError
from stemcal.gold.measure import Optics
from stemcal.gold.run import history_entry, run_gold
from stemcal.gold.settings import GoldSettings
from stemcal.history.entries import instant
from stemcal.history.file import merge_history, read_history
from stemcal.records.gold import GoldRecord
from stemcal.records.history import HistoryEntry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb to ``parser``."""
    parser.add_argument(
        "data",
        type=Path,
        metavar="DATA",
        help="4-D data set (.hdf5, .mib, .npy, .hspy) or one pattern (.tif, .png, .npy)",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="JSON", help="record to write, <id>_gold.json"
    )
    parser.add_argument("--figure", type=Path, metavar="PNG", help="figure to write (beside the record)")
    parser.add_argument(
        "--voltage-kv", type=positive_number, metavar="KV", help="accelerating voltage in kV (the data set's)"
    )
    parser.add_argument(
        "--nominal-camera-length-m",
        type=positive_number,
        metavar="M",
        help="nominal camera length in m (the data set's); without it any scale is searched",
    )
    parser.add_argument(
        "--history",
        type=Path,
        metavar="FILE",
        help="calibrations of the instrument (JSON lines): this one is compared with the last before it and added",
    )
    parser.add_argument(
        "--instrument", default="", metavar="NAME", help="name of the microscope in the history, where it holds several"
    )
    parser.add_argument(
        "--acquired-at", type=iso_time, metavar="TIME", help="ISO time of the acquisition, where the data do not say it"
    )
    add_step_options(parser, "gold")


def run(args: argparse.Namespace) -> int:
    """Run the verb and return its exit code."""
    keep_apart((args.data, args.history), (args.output, args.figure or args.output.with_suffix(".png")))

    def action(context: StepContext[GoldSettings]) -> GoldRecord:
        known, usable = _history(args, context)
        record = run_gold(
            args.data,
            args.output,
            settings=context.settings,
            source=context.source,
            threads=context.threads,
            world=context.world,
            progress=context.progress,
            optics=Optics(args.voltage_kv, args.nominal_camera_length_m),
            figure=args.figure,
            history=known,
            instrument=_instrument(args, known),
            acquired_at=args.acquired_at,
        )
        if usable and context.world.rank == 0:
            _remember(args, record, _instrument(args, known))
        return record

    return execute_step(args, "gold", GoldSettings, args.output, action)


def iso_time(text: str) -> str:
    """Return ``text`` if it is an ISO time, for argparse."""
    if instant(text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not an ISO time, such as 2026-05-12T10:30:00")
    return text


def _history(args: argparse.Namespace, context: StepContext[GoldSettings]) -> tuple[tuple[HistoryEntry, ...], bool]:
    """Return the earlier calibrations, frozen by the workflow or in a file, and whether this one may be added to it."""
    frozen = context.source.get("history")
    if isinstance(frozen, list):
        return tuple(HistoryEntry.model_validate(one) for one in frozen), False
    if args.history is None:
        return (), False
    try:
        return read_history(args.history), True
    except StemcalError as error:
        _say(error)
        return (), False


def _instrument(args: argparse.Namespace, known: tuple[HistoryEntry, ...]) -> str:
    """Return the name that was given, or that of the only instrument in the history."""
    names = {one.instrument for one in known}
    return names.pop() if not args.instrument and len(names) == 1 else str(args.instrument)


def _remember(args: argparse.Namespace, record: GoldRecord, instrument: str) -> None:
    entry = history_entry(record, args.data.name, instrument)
    if entry is None:
        print(
            "stemcal gold: not added to the history: it failed, or its time (--acquired-at), voltage or camera length "
            "are not known",
            file=sys.stderr,
        )
        return
    try:
        merge_history(args.history, (entry,))
    except (StemcalError, OSError) as error:
        _say(error)


def _say(error: Exception) -> None:
    print(f"stemcal gold: the history is left alone: {describe(error)}", file=sys.stderr)
