"""``stemcal gain``: how strongly each pixel of the detector answers, from a scan under a uniform beam."""

from __future__ import annotations

import argparse
from pathlib import Path

from stemcal.cli.common import StepContext, add_step_options, execute_step, keep_apart, positive_number, scan_shape
from stemcal.gain.run import GainPaths, run_gain
from stemcal.gain.settings import GainSettings
from stemcal.records.gain import GainRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb to ``parser``."""
    parser.add_argument(
        "data", type=Path, metavar="DATA", help="frames under a uniform beam, no specimen: .hdf5, .mib, .npy or .hspy"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="JSON", help="record to write, <id>_gain.json"
    )
    parser.add_argument("--factors", type=Path, metavar="HDF5", help="gain factors to write (beside the record)")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="figure to write (beside the record)")
    parser.add_argument("--voltage-kv", type=positive_number, metavar="KV", help="high tension, where DATA is silent")
    parser.add_argument(
        "--scan-shape", type=scan_shape, metavar="ROWS,COLS", help="scan positions, where DATA does not say them"
    )
    add_step_options(parser, "gain")


def run(args: argparse.Namespace) -> int:
    """Run the verb and return its exit code."""
    paths = GainPaths.of(args.output, args.factors, args.figure)
    keep_apart((args.data,), (paths.record, paths.data, paths.figure))

    def action(context: StepContext[GainSettings]) -> GainRecord:
        return run_gain(
            args.data,
            paths,
            settings=context.settings,
            source=context.source,
            threads=context.threads,
            world=context.world,
            progress=context.progress,
            voltage_kv=args.voltage_kv,
            scan_shape=args.scan_shape,
        )

    return execute_step(args, "gain", GainSettings, args.output, action)
