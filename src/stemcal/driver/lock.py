"""One run per session: a lock that lives exactly as long as the processes that work on it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stemcal.errors import BusyError
from stemcal.records.frozen import state_folder


@contextmanager
def session_lock(processing: Path) -> Iterator[int]:
    """Hold the lock of a session; give the descriptor that Snakemake inherits.

    The lock belongs to the open file, not to this process: it stays while any process holds the descriptor, so that a
    driver killed with SIGKILL does not free a session whose Snakemake still runs.

    Raises
    ------
    BusyError
        If another run holds it.
    """
    path = state_folder(processing) / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                f"{processing}: another run is at work here; `stemcal status` shows what it does"
            ) from error
        os.set_inheritable(descriptor, True)
        yield descriptor
    finally:
        os.close(descriptor)


def is_locked(processing: Path) -> bool:
    """Tell whether a run is at work on a session, without waiting for it or getting in its way."""
    path = state_folder(processing) / "lock"
    if not path.is_file():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
