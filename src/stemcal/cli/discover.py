"""``stemcal discover``: look through a session folder and freeze what is there into a manifest."""

from __future__ import annotations

import argparse
from collections import Counter

from stemcal.cli.session import add_config_options, add_session_options, request
from stemcal.discover.run import run_discover
from stemcal.records.atomic import record_json
from stemcal.records.frozen import freeze, read_latest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options to ``parser``."""
    add_session_options(parser)
    add_config_options(parser)
    parser.add_argument("--json", action="store_true", help="print the manifest")


def run(args: argparse.Namespace) -> int:
    """Write the manifest and say what was found."""
    asked = request(args)
    manifest = freeze(run_discover(asked, previous=read_latest(asked.processing)), asked.processing)
    if args.json:
        print(record_json(manifest), end="")
        return 0
    for dataset in manifest.datasets.values():
        print(f"{dataset.verdict:<11}{dataset.role:<10}{dataset.label}: {dataset.reason}")
    for warning in manifest.warnings:
        print(f"warning: {warning}")
    counts = Counter(dataset.verdict for dataset in manifest.datasets.values())
    print(", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items())) or "no raw files")
    print(f"manifest: {asked.processing / manifest.path}")
    return 0
