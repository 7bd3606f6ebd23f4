"""``stemcal`` in a child forked from this warm process: a fresh interpreter would take seconds each time.

The child is its own: a preparation may patch modules, drop privileges, limit or mount whatever it likes.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stemcal.cli import main

_CRASHED = 70


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code (negative: the signal that killed it) and what it said on stderr."""

    code: int
    said: str


@dataclass(frozen=True)
class Child:
    """A running child, which has to be waited for."""

    process: int
    log: Path

    def send(self, number: signal.Signals) -> None:
        os.kill(self.process, number)

    def wait(self) -> Ended:
        _, status = os.waitpid(self.process, 0)
        return Ended(os.waitstatus_to_exitcode(status), self.log.read_text())


def start(
    log: Path, words: list[str], *before: Callable[[], object], after: Callable[[], object] = lambda: None
) -> Child:
    """Fork a child that runs ``stemcal`` with ``words``, before and after it what is given; it speaks to ``log``."""
    log.write_bytes(b"")
    process = os.fork()
    if process == 0:
        os._exit(_run(log, words, before, after))
    return Child(process, log)


def run_child(
    log: Path, words: list[str], *before: Callable[[], object], after: Callable[[], object] = lambda: None
) -> Ended:
    """Run ``stemcal`` with ``words`` in a child to its end, see `start`."""
    return start(log, words, *before, after=after).wait()


def _run(log: Path, words: list[str], before: tuple[Callable[[], object], ...], after: Callable[[], object]) -> int:
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        said, silent = os.open(log, os.O_WRONLY | os.O_APPEND), os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(said, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False, buffering=1) for number in (1, 2))
        for prepare in before:
            prepare()
        code = main(words)
        after()
    except KeyboardInterrupt:
        return 130
    except BaseException:  # noqa: BLE001 (a fork must not go on as a second pytest)
        traceback.print_exc()
        return _CRASHED
    return code
