"""``stemcal geometry``: how scan and camera lie to each other, from a focused scan at atomic resolution."""

from __future__ import annotations

import argparse
from pathlib import Path

from stemcal.cli.common import StepContext, add_step_options, execute_step, keep_apart, positive_number, scan_shape
from stemcal.geometry.run import Conditions, GeometryPaths, run_geometry
from stemcal.geometry.settings import GeometrySettings
from stemcal.records.geometry import GeometryRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb to ``parser``."""
    parser.add_argument(
        "data", type=Path, metavar="DATA", help="4-D data set: .hdf5, .mib, .npy, .hspy or EMPAD's .xml"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="JSON", help="record to write, <id>_geometry.json"
    )
    parser.add_argument("--ssb", type=Path, metavar="HDF5", help="images to write (beside the record, <id>_ssb.hdf5)")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="figure to write (beside the record)")
    parser.add_argument(
        "--voltage-kv", type=positive_number, metavar="KV", help="accelerating voltage in kV (the data set's)"
    )
    parser.add_argument(
        "--semi-angle-mrad",
        type=positive_number,
        metavar="MRAD",
        help="convergence semi-angle in mrad (the settings', or the data set's); without it lengths come from the step",
    )
    parser.add_argument(
        "--step-angstrom",
        type=positive_number,
        metavar="ANGSTROM",
        help="commanded scan step in angstrom (the data set's); without it the search is wider",
    )
    parser.add_argument(
        "--scan-shape", type=scan_shape, metavar="ROWS,COLS", help="scan positions, where DATA does not say them"
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
    add_step_options(parser, "geometry")


def run(args: argparse.Namespace) -> int:
    """Run the verb and return its exit code."""
    paths = GeometryPaths.of(args.output, args.ssb, args.figure)
    keep_apart((args.data, *args.gain), (paths.record, paths.ssb, paths.figure))

    def action(context: StepContext[GeometrySettings]) -> GeometryRecord:
        return run_geometry(
            args.data,
            paths,
            settings=context.settings,
            source=context.source,
            threads=context.threads,
            world=context.world,
            progress=context.progress,
            conditions=Conditions(args.voltage_kv, args.semi_angle_mrad, args.step_angstrom, args.scan_shape),
            gains=args.gain,
        )

    return execute_step(args, "geometry", GeometrySettings, args.output, action)
