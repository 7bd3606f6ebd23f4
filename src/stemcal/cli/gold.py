"""``stemcal gold``: elliptical distortion and reciprocal pixel size from a gold powder pattern."""

from __future__ import annotations

import argparse
from pathlib import Path

from stemcal.cli.common import StepContext, add_step_options, execute_step, keep_apart, positive_number
from stemcal.gold.measure import Optics
from stemcal.gold.run import run_gold
from stemcal.gold.settings import GoldSettings
from stemcal.records.gold import GoldRecord


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
    add_step_options(parser, "gold")


def run(args: argparse.Namespace) -> int:
    """Run the verb and return its exit code."""
    keep_apart((args.data,), (args.output, args.figure or args.output.with_suffix(".png")))

    def action(context: StepContext[GoldSettings]) -> GoldRecord:
        return run_gold(
            args.data,
            args.output,
            settings=context.settings,
            source=context.source,
            threads=context.threads,
            world=context.world,
            progress=context.progress,
            optics=Optics(args.voltage_kv, args.nominal_camera_length_m),
            figure=args.figure,
        )

    return execute_step(args, "gold", GoldSettings, args.output, action)
