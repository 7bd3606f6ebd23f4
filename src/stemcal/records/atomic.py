"""Files appear whole or not at all: write beside the final name, fsync, rename.

What this does not protect against: a file system that acknowledges fsync without doing it, and two processes that
write the same final name (the session lock does that).

A writer that is killed leaves its temporary file; the next writer of the same name removes it.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from stemcal.errors import DataError

PARTIAL = ".partial"
_ABANDONED_S = 24 * 3600
"""Age at which a temporary file of another machine, whose processes nobody here can see, is given up."""
_ONLY_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors that reading never gives, so that one without a file name is about the file being written."""

ModelT = TypeVar("ModelT", bound=BaseModel)


def partial_path(final: Path) -> Path:
    """Return the temporary name for ``final``: same folder and suffix, unique to this host and process."""
    return final.with_name(f".{final.stem}.{socket.gethostname()}-{os.getpid()}{PARTIAL}{final.suffix}")


def refuse_folder(final: Path) -> None:
    """Raise `IsADirectoryError` if a folder has the name of a file that is going to be written."""
    if final.is_dir():
        raise _named(errno.EISDIR, final)


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Give a temporary path to write to; on success it takes the name ``final``, on any exception it is removed.

    Parameters
    ----------
    final : Path
        The name the file shall have. Its folder is created if need be.

    Yields
    ------
    Path
        A path in the same folder with the same suffix.

    Raises
    ------
    OSError
        If the file cannot be written; it names ``final`` and not the temporary path.
    """
    refuse_folder(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(final)
    temporary = partial_path(final)
    try:
        yield temporary
        _fsync(temporary)
        temporary.replace(final)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and _is_about(error, temporary):
            raise _named(error.errno, final) from error
        raise
    _fsync(final.parent)


def _is_about(error: OSError, temporary: Path) -> bool:
    if error.filename is None:
        return error.errno in _ONLY_WRITING
    return str(error.filename) == str(temporary)


def _named(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


def _remove_leftovers(final: Path) -> None:
    """Remove what killed writers of ``final`` left; one that cannot be removed does no harm."""
    begin, end = f".{final.stem}.", f"{PARTIAL}{final.suffix}"
    with suppress(OSError):
        for path in final.parent.iterdir():
            named = path.name.startswith(begin) and path.name.endswith(end)
            if named and _is_abandoned(path, path.name[len(begin) : -len(end)]):
                path.unlink()


def _is_abandoned(leftover: Path, writer: str) -> bool:
    """Tell whether nobody writes to ``leftover`` any more; ``writer`` is the host and the process in its name."""
    host, _, process = writer.rpartition("-")
    if not process.isdigit():
        return False
    if host == socket.gethostname():
        return not _lives(int(process))
    return time.time() - leftover.stat().st_mtime > _ABANDONED_S


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def stale_partials(folder: Path) -> list[Path]:
    """Return the temporary files that killed writers left below ``folder``, sorted."""
    return sorted(path for path in folder.rglob(f".*{PARTIAL}*") if path.is_file())


def write_text(final: Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``final`` atomically."""
    with atomic_path(final) as temporary:
        temporary.write_text(text, encoding="utf-8")


def record_json(record: BaseModel) -> str:
    """Return ``record`` as the text that is written to disk: indented, keys in declaration order, one newline."""
    return record.model_dump_json(indent=1, by_alias=True) + "\n"


def write_record(final: Path, record: BaseModel) -> None:
    """Write ``record`` as JSON to ``final`` atomically."""
    write_text(final, record_json(record))


def read_record(path: Path, model: type[ModelT]) -> ModelT:
    """Read the JSON at ``path`` as ``model``.

    Raises
    ------
    DataError
        If the file cannot be read or does not fit the model; the message names the first offending key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise DataError(path, f"is not a {model.__name__} record but a binary file", "give the JSON file") from error
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        problem = f"is not a {model.__name__} record: {place}: {first['msg']}"
        raise DataError(path, problem, "write it again with this version of stemcal") from error
