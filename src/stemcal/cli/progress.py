"""Progress: a bar on a terminal, a plain line per minute in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

Progress = Callable[[int, int], None]

_SECONDS_BETWEEN_LINES = 60.0


@contextmanager
def open_progress(what: str, *, enabled: bool, unit: str = "frame") -> Iterator[Progress]:
    """Give a callable that takes (done, total) and shows it on standard error.

    Parameters
    ----------
    what : str
        The name of the step.
    enabled : bool
        False gives a callable that shows nothing.
    unit : str
        What is counted.
    """
    if not enabled:
        yield _silent
    elif sys.stderr.isatty():
        with tqdm(desc=what, unit=unit, leave=False) as bar:
            yield _bar(bar)
    else:
        yield _lines(what, unit)


def _silent(_done: int, _total: int) -> None:
    return


def _bar(bar: tqdm[None]) -> Progress:
    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return show


def _lines(what: str, unit: str) -> Progress:
    last = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES:
            print(f"{what}: {done} of {total} {unit}s", file=sys.stderr, flush=True)
            last = now

    return show
