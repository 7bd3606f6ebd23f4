"""``cp`` of the raw file: what the disk and the memory allow when nothing is computed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable


def copy(source: str, target: str, flush: bool) -> Callable[[], None]:
    """Return ``cp``, on request until the copy is on the disk and not only in memory."""

    def work() -> None:
        subprocess.run(["cp", source, target], check=True)
        if flush:
            flush_file(target)

    return work


def flush_file(path: str) -> None:
    """Wait until the file is on its disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def forget(path: str) -> Callable[[], None]:
    """Return what makes the system forget the file, so that the next reader has to go to the disk."""

    def work() -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)

    return work
