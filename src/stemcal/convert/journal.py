"""What has been converted of a file that still grows: compressed frames in the order of the file, kept between ticks.

The folder holds ``chunks``, to which frames are appended, and ``state.npz``, which says how many of them count. The
state is replaced at once and only after the frames are on the disk: a killed tick leaves an older state, and what was
appended behind it is cut off by the next one. A state that was made with other settings or for another file counts
for nothing.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from stemcal.convert.checksum import can_go_on
from stemcal.convert.raw_digest import Begun
from stemcal.errors import DataError
from stemcal.formats import bitshuffle
from stemcal.formats.merlin.layout import MibLayout
from stemcal.records.atomic import atomic_path
from stemcal.stages import STAGES, canonical, digest

_CHUNKS, _STATE = "chunks", "state.npz"


def journal_key(layout: MibLayout, gap_px: int) -> str:
    """Return what decides the frames in a journal: the file, the revision of the step and the gap."""
    first = digest(layout.header_data.decode("latin-1"))
    return canonical({"first_header": first, "gap_px": gap_px, "revision": STAGES["convert"].revision})


@dataclass(frozen=True)
class Journal:
    """The frames that are done; immutable: a tick makes a new one.

    Attributes
    ----------
    folder : Path
        Where it is kept.
    key : str
        See `journal_key`.
    ends : ndarray of int64
        (n,) where each compressed frame ends in ``chunks``.
    digest_state : bytes
        State of the raw file's digest behind these frames; empty where it cannot be kept.
    """

    folder: Path
    key: str
    ends: NDArray[np.int64]
    digest_state: bytes = b""

    @property
    def n_frames(self) -> int:
        """Frames that are done."""
        return int(self.ends.size)

    def begun(self) -> Begun | None:
        """Return where the digest of the raw file goes on, None where it has to begin again."""
        known = self.n_frames and self.digest_state and can_go_on()
        return Begun(self.n_frames, self.digest_state) if known else None

    def chunks(self, start: int, stop: int) -> list[bytes]:
        """Return the compressed frames start:stop."""
        begins = np.concatenate([[0], self.ends])[start : stop + 1]
        with (self.folder / _CHUNKS).open("rb") as file:
            file.seek(int(begins[0]))
            return [file.read(int(size)) for size in np.diff(begins)]

    def frames(self, start: int, out: NDArray[Any]) -> list[bytes]:
        """Put the frames from ``start`` on into ``out`` (n, det_row, det_col) and return them compressed.

        Raises
        ------
        DataError
            If one is damaged.
        """
        chunks = self.chunks(start, start + len(out))
        try:
            for chunk, frame in zip(chunks, out, strict=True):
                bitshuffle.decompress(chunk, frame)
        except ValueError as error:
            remedy = "remove that folder and convert the file again"
            raise DataError(self.folder / _CHUNKS, f"holds a damaged frame ({error})", remedy) from error
        return chunks

    @contextmanager
    def append(self) -> Iterator[Appending]:
        """Give a place for more frames; what it takes counts once `Appending.commit` has been called."""
        self.folder.mkdir(parents=True, exist_ok=True)
        done = int(self.ends[-1]) if self.n_frames else 0
        chunks = self.folder / _CHUNKS
        try:
            with chunks.open("ab") as file:
                file.truncate(done)
                yield Appending(self, file, done)
        except OSError as error:
            if error.filename is None:  # a full disk does not say which file
                raise OSError(error.errno, error.strerror, str(chunks)) from error
            raise

    def remove(self) -> None:
        """Take the journal from the disk."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Appending:
    """Frames on their way into a journal."""

    def __init__(self, journal: Journal, file: BinaryIO, end: int) -> None:
        self._journal = journal
        self._file = file
        self._end = end
        self._ends: list[int] = []

    def take(self, chunks: Iterable[bytes]) -> None:
        """Append compressed frames."""
        for chunk in chunks:
            self._file.write(chunk)
            self._end += len(chunk)
            self._ends.append(self._end)

    def commit(self, digest_state: bytes | None) -> Journal:
        """Make everything that was taken count, and return the journal with it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        old = self._journal
        ends = np.concatenate([old.ends, np.array(self._ends, np.int64)])
        new = Journal(old.folder, old.key, ends, digest_state or b"")
        with atomic_path(old.folder / _STATE) as temporary, temporary.open("wb") as file:
            np.savez(file, key=np.array(new.key), ends=ends, digest=np.frombuffer(new.digest_state, np.uint8))
        return new


def open_journal(folder: Path, key: str, n_frames: int) -> Journal:
    """Return the journal in ``folder`` if it belongs to ``key``, otherwise an empty one.

    Parameters
    ----------
    folder : Path
        Where it may be.
    key : str
        See `journal_key`.
    n_frames : int
        Whole frames of the file: a journal with more is of an earlier file.
    """
    empty = Journal(folder, key, np.empty(0, np.int64))
    try:
        with (folder / _STATE).open("rb") as file, np.load(file, allow_pickle=False) as state:
            found = Journal(folder, str(state["key"]), state["ends"], state["digest"].tobytes())
        size = (folder / _CHUNKS).stat().st_size
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return empty
    whole = not found.n_frames or int(found.ends[-1]) <= size
    return found if found.key == key and found.n_frames <= n_frames and whole else empty
