"""``stemcal calibration``: bind a reference to a data set and measure its origin."""

from __future__ import annotations

import argparse
from pathlib import Path

from stemcal.calibration.run import Conditions, run_calibration
from stemcal.calibration.settings import CalibrationSettings
from stemcal.cli.common import StepContext, add_step_options, execute_step, keep_apart, positive_number, scan_shape
from stemcal.records.calibration import CalibrationRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb to ``parser``."""
    parser.add_argument("data", type=Path, metavar="DATA", help="4-D data set: .hdf5, .mib, .npy or .hspy")
    parser.add_argument(
        "--gold",
        type=Path,
        nargs="*",
        action="extend",
        default=[],
        metavar="JSON",
        help="results of `stemcal gold`, the preferred one first (nearest in time)",
    )
    parser.add_argument(
        "--gain",
        type=Path,
        nargs="*",
        action="extend",
        default=[],
        metavar="JSON",
        help="results of `stemcal gain`, the preferred one first; without any the counts are used as they are",
    )
    parser.add_argument(
        "--geometry",
        type=Path,
        nargs="*",
        action="extend",
        default=[],
        metavar="JSON",
        help="results of `stemcal geometry`, the data set's own and others of the instrument",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="JSON", help="record to write, <id>_calibration.json"
    )
    parser.add_argument("--figure", type=Path, metavar="PNG", help="figure to write (beside the record)")
    parser.add_argument("--voltage-kv", type=positive_number, metavar="KV", help="high tension, where DATA is silent")
    parser.add_argument(
        "--nominal-camera-length-m",
        type=positive_number,
        metavar="M",
        help="nominal camera length, where DATA is silent",
    )
    parser.add_argument(
        "--scan-shape",
        type=scan_shape,
        metavar="ROWS,COLS",
        help="scan positions, where DATA does not say them",
    )
    add_step_options(parser, "calibration")


def run(args: argparse.Namespace) -> int:
    """Run the verb and return its exit code."""
    read = (args.data, *args.gold, *args.gain, *args.geometry)
    keep_apart(read, (args.output, args.figure or args.output.with_suffix(".png")))

    def action(context: StepContext[CalibrationSettings]) -> CalibrationRecord:
        return run_calibration(
            args.data,
            args.gold,
            args.output,
            settings=context.settings,
            source=context.source,
            threads=context.threads,
            world=context.world,
            progress=context.progress,
            conditions=Conditions(args.voltage_kv, args.nominal_camera_length_m, args.scan_shape),
            figure=args.figure,
            gains=args.gain,
            geometries=args.geometry,
        )

    return execute_step(args, "calibration", CalibrationSettings, args.output, action)
