"""``stemcal nmf``."""

from __future__ import annotations

import argparse
from pathlib import Path

from stemcal.cli.common import StepContext, add_step_options, execute_step
from stemcal.nmf.run import Outputs, run_nmf
from stemcal.nmf.settings import NmfSettings
from stemcal.records.nmf import NmfRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb to ``parser``."""
    parser.add_argument(
        "prefixes",
        nargs="+",
        type=Path,
        metavar="PREFIX",
        help="output prefix of stemcal polar: PREFIX_polar.json and PREFIX_azimuthal_mean.hspy (and _var) are read; "
        "the name of the record itself will do",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=Path,
        metavar="FOLDER",
        help="folder for nmf.hdf5, nmf.json and the figures",
    )
    add_step_options(parser, "nmf")


def run(args: argparse.Namespace) -> int:
    """Factorise the profiles of ``args.prefixes`` and return the exit code."""

    def action(context: StepContext[NmfSettings]) -> NmfRecord:
        return run_nmf(
            [_prefix(path) for path in args.prefixes],
            args.output,
            settings=context.settings,
            source=context.source,
            progress=context.progress,
        )

    return execute_step(args, "nmf", NmfSettings, Outputs(args.output).record, action)


def _prefix(path: Path) -> Path:
    return path.with_name(path.name.removesuffix("_polar.json"))
