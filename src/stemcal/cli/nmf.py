"""``stemcal nmf``."""

from __future__ import annotations

import argparse
from pathlib import Path

from stemcal.cli.common import StepContext, add_step_options, execute_step
from stemcal.nmf.edx_match import match_edx
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
    parser.add_argument(
        "--edx",
        nargs="*",
        default=[],
        metavar="FILE",
        help="EDX maps (.rpl with .raw beside it, or .hspy), each of the data set whose name carries the same time "
        "stamp, or given as PREFIX=FILE",
    )
    add_step_options(parser, "nmf")


def run(args: argparse.Namespace) -> int:
    """Factorise the profiles of ``args.prefixes`` and return the exit code."""
    prefixes = [_prefix(path) for path in args.prefixes]

    def action(context: StepContext[NmfSettings]) -> NmfRecord:
        return run_nmf(
            prefixes,
            args.output,
            settings=context.settings,
            source=context.source,
            progress=context.progress,
            edx=match_edx(args.edx, prefixes, _bound(context.source)),
            threads=context.threads,
        )

    return execute_step(args, "nmf", NmfSettings, Outputs(args.output).record, action)


def _bound(source: dict[str, object]) -> dict[str, dict[str, object]]:
    """Return the EDX maps that discovery has bound, as they stand in the parameter."""
    bound = source.get("edx", {})
    assert isinstance(bound, dict)
    return bound


def _prefix(path: Path) -> Path:
    return path.with_name(path.name.removesuffix("_polar.json"))
