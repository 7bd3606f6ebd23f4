"""``stemcal report``."""

from __future__ import annotations

import argparse
from pathlib import Path

from stemcal.cli.common import StepContext, add_step_options, execute_step
from stemcal.records.base import Settings
from stemcal.records.session import SessionRecord
from stemcal.report.run import run_report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb to ``parser``."""
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="frozen manifest of the session (JSON)")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=Path,
        metavar="FOLDER",
        help="processing folder of the session: its records are read, session.html and session.json are written",
    )
    add_step_options(parser, "report")


def run(args: argparse.Namespace) -> int:
    """Write the page of the session and return the exit code."""

    def action(context: StepContext[Settings]) -> SessionRecord:
        return run_report(args.manifest, args.output, source=context.source)

    return execute_step(args, "report", Settings, args.output / "session.json", action)
