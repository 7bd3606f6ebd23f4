"""What the verbs that work on a whole session have in common: where it is, and with which configuration."""

from __future__ import annotations

import argparse
from pathlib import Path

from stemcal.config import resolve
from stemcal.discover.run import Request
from stemcal.discover.session_file import read_session_file
from stemcal.errors import UsageError


def add_session_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that tell where a session is to ``parser``."""
    parser.add_argument("session", type=Path, metavar="SESSION", help="the folder that the microscope fills; only read")
    parser.add_argument(
        "--processing", type=Path, metavar="FOLDER", help="where the outputs go (SESSION/processing by default)"
    )


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a configuration to ``parser``."""
    parser.add_argument("--config", type=Path, metavar="YAML", help="sections that differ from config/config.yaml")
    parser.add_argument("--instrument", metavar="NAME", help="a file of config/instruments")


def folders(args: argparse.Namespace) -> tuple[Path, Path]:
    """Return the absolute session and processing folders.

    Raises
    ------
    UsageError
        If the session is not a folder.
    """
    session = args.session.resolve()
    if not session.is_dir():
        raise UsageError(f"{args.session}: is not a folder; give the folder that the microscope fills")
    processing = args.processing.resolve() if args.processing else session / "processing"
    if processing == session:
        raise UsageError(f"{args.processing}: is the session itself, which is only read; give another folder")
    return session, processing


def request(args: argparse.Namespace) -> Request:
    """Return what is to be looked at, with the configuration in force.

    Raises
    ------
    UsageError
        If the session, its ``session.yaml`` or the configuration cannot be used.
    """
    session, processing = folders(args)
    said = read_session_file(session)
    config, instrument = resolve(
        overrides=args.config, instrument=args.instrument or said.instrument, session=said.settings
    )
    return Request(session, processing, config.sections(), config.discover, said, config.instrument, instrument.bounds)
