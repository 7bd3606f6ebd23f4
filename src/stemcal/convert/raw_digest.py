"""SHA-256 of the raw files, from the records that the pass reads anyway.

A digest is made in file order, one byte after the other, so it has a thread of its own that follows the pass.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from stemcal.convert.checksum import Checksum
from stemcal.errors import DataError
from stemcal.formats.merlin.layout import MibLayout, open_regular
from stemcal.formats.positioned import reading

_WAITING = 2
"""Blocks that may wait: enough that the pass does not, few enough that memory stays bounded."""
_READ_BYTES = 2**22


@dataclass(frozen=True)
class Begun:
    """Where an earlier pass stopped: frames of the file that it took, and the state of their digest."""

    n_frames: int
    state: bytes


class RawDigest:
    """The digests of an acquisition's files; a context manager.

    Parameters
    ----------
    layouts : tuple of MibLayout
        The files in the order of their frames.
    begun : Begun or None
        Frames of the first file that were taken earlier.
    growing : bool
        Whether the file goes on: then the piece of a frame behind its whole ones is not taken.
    """

    def __init__(self, layouts: tuple[MibLayout, ...], begun: Begun | None = None, *, growing: bool = False) -> None:
        self._layouts = layouts
        self._growing = growing
        self._lane = ThreadPoolExecutor(1)
        self._stopped = Event()
        self._waiting: deque[Future[None]] = deque()
        self._digests = [Checksum() for _ in layouts]
        self._file = 0
        self._frames = 0
        if begun is not None:
            self._digests[0] = Checksum(begun.state)
            self._frames = begun.n_frames
            if self._frames == layouts[0].n_whole_frames and not growing:
                self._submit(self._lane.submit(self._end_file, layouts[0]))

    def add(self, records: NDArray[np.uint8], release: Callable[[NDArray[np.uint8]], None] | None = None) -> None:
        """Take the next records in file order, (n, stride_bytes); ``release`` gets them back when they are done."""
        future = self._lane.submit(self._add, records)
        if release is not None:
            future.add_done_callback(lambda _: release(records))
        self._submit(future)

    def read_all(self) -> None:
        """Read the files once more instead: where several ranks share the pass, none of them sees every record."""
        self._submit(self._lane.submit(self._read_all))

    def finish(self) -> tuple[str, ...]:
        """Return the digest of each file in hexadecimal, once every record has been taken.

        Raises
        ------
        DataError
            If a file has become shorter since it was opened.
        """
        self._wait()
        if self._file < len(self._layouts):
            raise ValueError(f"{self._frames} frames of {self._layouts[self._file].path} were given: give them all")
        return tuple(digest.hexdigest() for digest in self._digests)

    def state(self) -> bytes | None:
        """Return the state of the first file's digest behind the frames that were taken."""
        self._wait()
        return self._digests[0].state()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._lane.shutdown(cancel_futures=True)

    def _wait(self) -> None:
        while self._waiting:
            self._waiting.popleft().result()

    def _submit(self, future: Future[None]) -> None:
        self._waiting.append(future)
        while len(self._waiting) > _WAITING:
            self._waiting.popleft().result()

    def _add(self, records: NDArray[np.uint8]) -> None:
        while len(records):
            layout = self._layouts[self._file]
            taken = records[: layout.n_whole_frames - self._frames]
            self._digests[self._file].update(taken)
            self._frames += len(taken)
            records = records[len(taken) :]
            if self._frames == layout.n_whole_frames and not self._growing:
                self._end_file(layout)

    def _end_file(self, layout: MibLayout) -> None:
        self._update(self._file, layout, layout.n_whole_frames * layout.stride_bytes)
        self._file, self._frames = self._file + 1, 0

    def _read_all(self) -> None:
        self._digests = [Checksum() for _ in self._layouts]
        for index, layout in enumerate(self._layouts):
            self._update(index, layout, 0)
        self._file = len(self._layouts)

    def _update(self, index: int, layout: MibLayout, start: int) -> None:
        for piece in _pieces(layout, start):
            if self._stopped.is_set():
                return
            self._digests[index].update(np.frombuffer(piece, np.uint8))


def _pieces(layout: MibLayout, start: int) -> Iterable[bytes]:
    """Yield the bytes of a file from ``start`` to the size that it had when it was opened."""
    if start == layout.size_bytes:
        return
    with os.fdopen(open_regular(layout.path), "rb") as file:
        file.seek(start)
        while start < layout.size_bytes:
            with reading(layout.path):
                piece = file.read(min(_READ_BYTES, layout.size_bytes - start))
            if not piece:
                problem = f"ends at byte {start}, it had {layout.size_bytes} when it was opened"
                raise DataError(layout.path, problem, "wait until nobody writes to it and run again")
            start += len(piece)
            yield piece
