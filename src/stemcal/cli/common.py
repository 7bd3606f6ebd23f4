"""What the verbs of the steps have in common: options, settings, failure records, exit codes."""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from pydantic import ValidationError

from stemcal.cli import TERMINATED, describe
from stemcal.cli.progress import Progress, open_progress
from stemcal.errors import DataError, StemcalError, UsageError
from stemcal.frames.ranks import World, open_world
from stemcal.records.atomic import record_json, write_record
from stemcal.records.base import Measurement, Settings
from stemcal.records.failure import FailureRecord, failure_path
from stemcal.stages import STAGES, digest

SettingsT = TypeVar("SettingsT", bound=Settings)

_ENVIRONMENT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.ESTALE, errno.EFBIG, errno.EROFS}


@dataclass(frozen=True)
class StepContext(Generic[SettingsT]):
    """What a step is run with.

    Attributes
    ----------
    settings : Settings
        The step's settings in full.
    source : dict
        Identity of the data as the workflow passed it; empty when called by hand.
    threads : int
        Worker threads of this rank.
    world : World
        The MPI ranks; size 1 without a launcher.
    progress : callable
        Takes (done, total).
    """

    settings: SettingsT
    source: dict[str, object]
    threads: int
    world: World
    progress: Progress


def add_step_options(parser: argparse.ArgumentParser, stage: str) -> None:
    """Add the options that every step understands to ``parser``."""
    options = parser.add_argument_group("options of every step")
    given = options.add_mutually_exclusive_group()
    given.add_argument(
        "--settings",
        metavar="JSON",
        default="{}",
        help=f"settings that differ from the defaults: JSON with keys of section '{stage}' of config/config.yaml",
    )
    given.add_argument(
        "--parameter",
        metavar="JSON",
        help="what the workflow passes: stage, revision, all settings and the identity of the data",
    )
    options.add_argument(
        "--threads",
        type=positive_int,
        default=_available_cores(),
        metavar="N",
        help="worker threads per rank (%(default)s)",
    )
    options.add_argument(
        "--ranks", type=positive_int, metavar="N", help="number of MPI ranks that the launcher promised; checked"
    )
    options.add_argument("--json", action="store_true", help="print the result record")
    options.add_argument(
        "--accept-fail", action="store_true", help="exit 0 even if the verdict is fail: it is in the record"
    )
    options.add_argument("--no-progress", action="store_true", help="show no progress")


def positive_int(text: str) -> int:
    """Return ``text`` as an integer of at least 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def scan_shape(text: str) -> tuple[int, int]:
    """Return ``ROWS,COLS`` as a scan shape, for argparse."""
    try:
        rows, cols = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not ROWS,COLS, such as 256,256") from None
    if min(rows, cols) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} has a number below 1")
    return rows, cols


def positive_number(text: str) -> float:
    """Return ``text`` as a finite number above 0, for argparse."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def keep_apart(inputs: Iterable[Path | None], outputs: Iterable[Path]) -> None:
    """Refuse to write over what is read, or two outputs under one name; links are followed.

    Raises
    ------
    UsageError
        If an output is an input or another output.
    """
    taken = {path.resolve() for path in inputs if path is not None}
    for output in outputs:
        if output.resolve() in taken or any(_is_same(output, path) for path in taken):
            raise UsageError(f"{output}: is read or written by this command already; give another name to write to")
        taken.add(output.resolve())


def _is_same(output: Path, other: Path) -> bool:
    """Tell whether two names that exist are hard links to one file."""
    return output.exists() and other.exists() and output.samefile(other)


def _available_cores() -> int:
    return len(os.sched_getaffinity(0))


def execute_step(
    args: argparse.Namespace,
    stage: str,
    model: type[SettingsT],
    record_path: Path,
    action: Callable[[StepContext[SettingsT]], Measurement],
) -> int:
    """Run ``action`` as ``stage`` and return the exit code.

    In workflow mode (``--parameter``) a refusal leaves ``<record>.failure.json`` beside the record, so that the data
    set is held and not tried again at every tick; a success removes it.

    Parameters
    ----------
    args : argparse.Namespace
        Parsed options, see `add_step_options`.
    stage : str
        Name of the step.
    model : type of Settings
        The step's settings.
    record_path : Path
        Where the step writes its record.
    action : callable
        Takes a `StepContext`, writes the outputs and returns the record.

    Raises
    ------
    UsageError
        If the settings do not fit the model, or the parameter was made for another revision.
    """
    settings, source = step_settings(args, stage, model)
    world = open_world(args.ranks)
    try:
        enabled = not args.no_progress and world.rank == 0
        with _orderly_end(), open_progress(stage, enabled=enabled) as progress:
            record = action(StepContext(settings, source, args.threads, world, progress))
    except BaseException as error:
        if world.rank == 0:
            _record_failure(args, stage, record_path, error)
        if world.size > 1:
            exit_code = error.exit_code if isinstance(error, StemcalError) else 1
            if not isinstance(error, StemcalError | OSError | KeyboardInterrupt):
                traceback.print_exception(error)
            print(f"stemcal {stage}: {describe(error)}", file=sys.stderr, flush=True)
            world.abort(exit_code)
            raise SystemExit(exit_code) from error  # MPICH comes back from it, and the reason has been said
        raise
    if world.rank != 0:
        return 0
    failure_path(record_path).unlink(missing_ok=True)
    return _finish(args, stage, record_path, record)


@contextmanager
def _orderly_end() -> Iterator[None]:
    """Let a job that is cancelled remove what it has half written: SLURM asks for the end before it kills."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: object) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def step_settings(args: argparse.Namespace, stage: str, model: type[SettingsT]) -> tuple[SettingsT, dict[str, object]]:
    """Return the settings of ``stage`` and the identity of its data from ``--settings`` or ``--parameter``.

    Raises
    ------
    UsageError
        If they do not fit the model, or the parameter was made for another revision.
    """
    try:
        given = json.loads(args.parameter or args.settings)
    except json.JSONDecodeError as error:
        raise UsageError(f"the settings are not JSON: {error}; quote them as one word") from error
    source: dict[str, object] = {}
    if args.parameter:
        made_for = (given.get("stage"), given.get("revision"))
        here = (stage, STAGES[stage].revision)
        if made_for != here:
            raise UsageError(f"the parameter is for {made_for} but this is {here}; run stemcal discover again")
        given, source = given["settings"], given["source"]
    try:
        return model.model_validate(given), source
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"settings of {stage}: {place}: {first['msg']}; see config/config.yaml") from error


def _record_failure(args: argparse.Namespace, stage: str, record_path: Path, error: BaseException) -> None:
    if not args.parameter or isinstance(error, KeyboardInterrupt | SystemExit | UsageError):
        return
    failure = FailureRecord(
        dataset=record_path.name.removesuffix(f"_{stage}.json"),
        stage=stage,
        category=_category(error),
        message=str(error) if isinstance(error, StemcalError | OSError) else f"{type(error).__name__}: {error}",
        parameter_sha256=digest(args.parameter),
    )
    try:
        write_record(failure_path(record_path), failure)
    except OSError as second:
        print(f"stemcal {stage}: cannot write the failure record: {second}", file=sys.stderr)


def _category(error: BaseException) -> Literal["data", "environment", "bug"]:
    if isinstance(error, DataError):
        return "data"
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _ENVIRONMENT_ERRORS):
        return "environment"
    return "bug"


def _finish(args: argparse.Namespace, stage: str, record_path: Path, record: Measurement) -> int:
    if args.json:
        print(record_json(record), end="")
    else:
        print(f"{stage}: {record.quality.verdict}: {record_path}")
        for flag in record.quality.flags:
            print(f"  {flag.name}: {flag.message}")
    refused = record.quality.verdict == "fail" and not args.accept_fail
    return 1 if refused else 0
