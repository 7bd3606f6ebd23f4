"""Creating an HDF5 file so that it appears whole or not at all, also on a full disk."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py

from stemcal.records.atomic import atomic_path

_ERRNO = re.compile(r"errno = (\d+)")


@contextmanager
def create_hdf5(final: Path) -> Iterator[h5py.File]:
    """Give a new HDF5 file to write to; it takes the name ``final`` only when the block ends without error.

    Parameters
    ----------
    final : Path
        The name the file shall have.

    Yields
    ------
    h5py.File
        Open for writing.

    Raises
    ------
    OSError
        If it cannot be written: with the errno and ``final``, whatever HDF5 made of it.
    """
    with atomic_path(final) as temporary:
        with named_errors(final):
            file = h5py.File(temporary, "w")
        try:
            yield file
            with named_errors(final):
                file.flush()
                file.close()
        except BaseException:
            abandon(file)
            raise


@contextmanager
def named_errors(final: Path) -> Iterator[None]:
    """Turn HDF5's errors inside into an `OSError` that says which file could not be written and why."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        told = _ERRNO.search(str(error))
        number = int(told[1]) if told else getattr(error, "errno", None) or errno.EIO
        raise OSError(number, os.strerror(number), str(final)) from error


def abandon(file: h5py.File) -> None:
    """Close a file that nobody wants any more.

    HDF5 would keep trying to write what it still holds in memory, and crash at exit where the disk is full; so it is
    given the null device to write to.
    """
    if not file:
        return
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, file.id.get_vfd_handle())
    os.close(nowhere)
    with suppress(OSError, RuntimeError):
        file.close()
