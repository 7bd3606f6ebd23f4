"""``stemcal polar``: azimuthal mean and variance per scan position."""

from __future__ import annotations

import argparse
from pathlib import Path

from stemcal.cli.common import StepContext, add_step_options, execute_step, keep_apart, scan_shape
from stemcal.polar.run import run_polar
from stemcal.polar.settings import PolarSettings
from stemcal.polar.store import PolarPaths
from stemcal.records.polar import PolarRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb to ``parser``."""
    parser.add_argument("data", type=Path, metavar="DATA", help="4-D data set: .hdf5, .mib, .npy or .hspy")
    parser.add_argument(
        "--calibration", type=Path, required=True, metavar="JSON", help="result of `stemcal calibration` for DATA"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="PREFIX", help="folder and id of the files to write"
    )
    parser.add_argument(
        "--scan-shape",
        type=scan_shape,
        metavar="ROWS,COLS",
        help="scan positions, where DATA does not say them",
    )
    add_step_options(parser, "polar")


def run(args: argparse.Namespace) -> int:
    """Run the verb and return its exit code."""
    paths = PolarPaths.of(args.output)
    keep_apart(
        (args.data, args.calibration),
        (paths.mean, paths.variance, paths.full, paths.record, paths.figure, paths.corrected),
    )

    def action(context: StepContext[PolarSettings]) -> PolarRecord:
        return run_polar(
            args.data,
            args.calibration,
            args.output,
            settings=context.settings,
            source=context.source,
            threads=context.threads,
            world=context.world,
            progress=context.progress,
            scan_shape=args.scan_shape,
        )

    return execute_step(args, "polar", PolarSettings, paths.record, action)
