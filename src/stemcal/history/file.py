"""The file of a history: one calibration per line (JSON lines), in the order of acquisition."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from stemcal.errors import DataError
from stemcal.history.entries import by_time
from stemcal.records.atomic import write_text
from stemcal.records.history import HistoryEntry

_PATIENCE_S = 30.0
_POLL_S = 0.05


def read_history(path: Path) -> tuple[HistoryEntry, ...]:
    """Return the calibrations in ``path`` in the order of acquisition; a file that is not there holds none.

    Raises
    ------
    DataError
        If it cannot be read, or a line is no calibration; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise DataError(path, "is not a history of calibrations but a binary file", "move it away") from error
    return by_time(_entry(path, number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip())


def _entry(path: Path, number: int, line: str) -> HistoryEntry:
    try:
        return HistoryEntry.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the line"
        problem = f"line {number} is no calibration: {place}: {first['msg']}"
        raise DataError(path, problem, "mend or remove the line, or move the file away") from error


def merge_history(path: Path, found: Iterable[HistoryEntry]) -> int:
    """Put calibrations into ``path``, each acquisition once; return how many lines are new or have changed.

    The file is read and written again under a lock beside it, so that sessions that end together lose nothing, and
    takes its name only when it is whole.

    Raises
    ------
    DataError
        If the file is broken: it is then left as it is.
    OSError
        If it cannot be written.
    """
    found = tuple(found)
    if not found:
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        known = {one.identity: one for one in read_history(path)}
        changed = [one for one in found if known.get(one.identity) != one]
        if changed:
            together = by_time((known | {one.identity: one for one in changed}).values())
            write_text(path, "".join(f"{one.model_dump_json(by_alias=True)}\n" for one in together))
        return len(changed)


def _wait_for(descriptor: int, path: Path) -> None:
    """Take the lock; give up after a while, because a run must not hang on a file that others share."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise DataError(path, "is being written by another run for too long", "look who holds it") from error
            time.sleep(_POLL_S)
        else:
            return


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _wait_for(descriptor, path)
        yield
    finally:
        os.close(descriptor)
