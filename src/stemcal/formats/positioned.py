"""Reading at a place of an open file, without a file position: any number of threads may do it at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stemcal.errors import DataError


def open_descriptor(descriptor: int | None, path: Path) -> int:
    """Return the descriptor of a reader that has not been closed.

    Raises
    ------
    ValueError
        If it has.
    """
    if descriptor is None:
        raise ValueError(f"{path} has been closed")
    return descriptor


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an error of the disk or the file server inside, which does not know the name, into a `DataError`."""
    try:
        yield
    except OSError as error:
        problem = f"cannot be read any more ({error.strerror})"
        raise DataError(path, problem, "wait until nobody writes to it and the disk answers, then run again") from error


def read_exactly(descriptor: int | None, path: Path, target: memoryview, offset: int, size_bytes: int) -> None:
    """Fill ``target`` from byte ``offset`` on; one call of the kernel moves 2 GiB at most, so it may take several.

    Parameters
    ----------
    descriptor : int or None
        Of the open file; None after it was closed.
    path : Path
        The file, for messages.
    target : memoryview
        Bytes to fill.
    offset : int
        Where in the file.
    size_bytes : int
        Size of the file when it was opened.

    Raises
    ------
    DataError
        If the file has become shorter or the disk gives an error.
    ValueError
        If the file was closed.
    """
    done, number = 0, open_descriptor(descriptor, path)
    while done < len(target):
        with reading(path):
            count = os.preadv(number, [target[done:]], offset + done)
        if count == 0:
            problem = f"ends at byte {offset + done}, it had {size_bytes} when it was opened"
            raise DataError(path, problem, "wait until nobody writes to it and run again")
        done += count
