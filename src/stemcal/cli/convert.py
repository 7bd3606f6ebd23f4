"""``stemcal convert``: a Merlin ``.mib`` file to HDF5."""

from __future__ import annotations

import argparse
from pathlib import Path

from stemcal.cli.common import (
    StepContext,
    add_step_options,
    execute_step,
    keep_apart,
    scan_shape,
    step_settings,
)
from stemcal.cli.progress import open_progress
from stemcal.convert.grow import grow
from stemcal.convert.paths import ConvertPaths
from stemcal.convert.run import run_convert
from stemcal.convert.settings import ConvertSettings
from stemcal.errors import DataError, UsageError
from stemcal.frames.mib import Sidecars
from stemcal.records.atomic import record_json, write_record
from stemcal.records.convert import ConvertRecord
from stemcal.records.growth import Growth


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``convert`` to ``parser``."""
    parser.add_argument("mib", type=Path, metavar="FILE.mib", help="raw file of a Merlin detector, in any mode")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.hdf5", help="HDF5 file to write")
    parser.add_argument(
        "--scan-shape",
        type=scan_shape,
        metavar="ROWS,COLS",
        help="scan positions down and across; their product is the number of frames (default: what the files say)",
    )
    parser.add_argument("--hdr", type=Path, metavar="FILE", help="Merlin's .hdr (default: beside the raw file)")
    parser.add_argument(
        "--microscope", type=Path, metavar="FILE", help="the microscope's .hdf (default: beside the raw file)"
    )
    parser.add_argument(
        "--growing",
        action="store_true",
        help="the file is still being written: convert the frames that are whole now and keep them; a later call goes "
        "on from there, and the final one without this option takes them up",
    )
    parser.add_argument(
        "--record", type=Path, metavar="JSON", help="result record (default: x_data.hdf5 -> x_convert.json)"
    )
    parser.add_argument("--figure", type=Path, metavar="PNG", help="overview (default: x_data.hdf5 -> x_overview.png)")
    add_step_options(parser, "convert")


def run(args: argparse.Namespace) -> int:
    """Convert and return the exit code.

    Raises
    ------
    UsageError
        If a file that was named does not exist.
    """
    paths = ConvertPaths.of(args.output, args.record, args.figure)
    keep_apart((args.mib, args.hdr, args.microscope), (paths.data, paths.record, paths.figure))

    if args.growing:
        return _grow(args, paths)

    def action(context: StepContext[ConvertSettings]) -> ConvertRecord:
        return run_convert(
            args.mib,
            paths,
            settings=context.settings,
            sidecars=_sidecars(args),
            scan_shape=args.scan_shape,
            source=context.source,
            threads=context.threads,
            world=context.world,
            progress=context.progress,
        )

    return execute_step(args, "convert", ConvertSettings, paths.record, action)


def _grow(args: argparse.Namespace, paths: ConvertPaths) -> int:
    settings, _source = step_settings(args, "convert", ConvertSettings)
    with open_progress("convert", enabled=not args.no_progress) as progress:
        try:
            growth = grow(args.mib, paths.data, settings=settings, threads=args.threads, progress=progress)
        except DataError as error:
            if not args.accept_fail:
                raise
            growth = Growth(raw=args.mib.name, problem=str(error), n_frames=0, n_frames_expected=None)
    write_record(paths.growing, growth)
    promised = "" if growth.n_frames_expected is None else f" of {growth.n_frames_expected}"
    done = f"{growth.n_frames}{promised} frames are done"
    print(record_json(growth) if args.json else f"convert: growing: {growth.problem or done}")
    return 0


def _sidecars(args: argparse.Namespace) -> Sidecars:
    for path in (args.hdr, args.microscope):
        if path is not None and not path.is_file():
            raise UsageError(f"{path}: there is no such file; leave the option out to go without it")
    return Sidecars(args.hdr, args.microscope)
