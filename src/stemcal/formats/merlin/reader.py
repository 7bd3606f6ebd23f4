"""Blocks of frames out of a ``.mib`` file.

Reads go through ``preadv`` on one descriptor and not through a memory map: a mapped file counts as resident memory of
the job, and a file that shrinks under a map kills the process instead of raising an error. ``preadv`` has no file
position, so any number of threads may read at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats.merlin.header import ITEMSIZE, MAGIC, FrameHeader, parse_header
from stemcal.formats.merlin.layout import MibLayout, inspect_mib

UNREADABLE = -1
"""Sequence number of a frame whose header is not a Merlin header."""

_FRAMES_PER_CALL = 256
"""Two buffers for each frame; the kernel takes 1024 in one call."""

_SEQUENCE = slice(4, 12)
"""Six digits, seven from the millionth frame on, up to the comma."""


class MibFile:
    """The whole frames of a ``.mib`` file, as many as there were when it was opened; a context manager.

    Parameters
    ----------
    path : Path
        The ``.mib`` file.

    Raises
    ------
    DataError
        If it cannot be read, holds no whole frame, or holds R64 pixels.
    """

    def __init__(self, path: Path) -> None:
        self.layout: MibLayout = inspect_mib(path)
        _check_decodable(self.layout)
        self.path = path
        self.header: FrameHeader = self.layout.header
        self.n_frames: int = self.layout.n_whole_frames
        self.frame_shape: tuple[int, int] = self.header.frame_shape
        self.dtype: np.dtype[Any] = np.dtype(f"u{ITEMSIZE[self.header.pixel_type]}")
        self._descriptor: int | None = os.open(path, os.O_RDONLY)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return frames ``start`` to ``stop`` (excluded), (n, det_row, det_col), file row order, native byte order.

        Raises
        ------
        IndexError
            If the range is not within the file.
        DataError
            If the file has become shorter since it was opened.
        """
        self._check_range(start, stop)
        frames = np.empty((stop - start, *self.frame_shape), self.dtype)
        for first in range(start, stop, _FRAMES_PER_CALL):
            self._scatter(frames[first - start : first - start + _FRAMES_PER_CALL], first)
        return frames.byteswap(inplace=True) if sys.byteorder == "little" else frames

    def headers(self, start: int, stop: int) -> tuple[FrameHeader, ...]:
        """Return the parsed headers of frames ``start`` to ``stop`` (excluded).

        Raises
        ------
        DataError
            If one of them is not a Merlin header.
        """
        self._check_range(start, stop)
        raw = self._header_bytes(start, stop, self.header.header_bytes)
        return tuple(parse_header(row.tobytes(), self.path) for row in raw)

    def sequence_numbers(self, start: int = 0, stop: int | None = None) -> NDArray[np.int64]:
        """Return the sequence numbers of frames ``start`` to ``stop`` (excluded), by default of all.

        Returns
        -------
        ndarray
            (n,) int64, -1 where the header is not a Merlin header.
        """
        end = self.n_frames if stop is None else stop
        self._check_range(start, end)
        return sequence_numbers(self._header_bytes(start, end, _SEQUENCE.stop))

    def close(self) -> None:
        """Give the descriptor back; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> MibFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_range(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.n_frames:
            raise IndexError(f"frames {start}:{stop} are not within 0:{self.n_frames} of {self.path}")

    def _header_bytes(self, start: int, stop: int, count: int) -> NDArray[np.uint8]:
        """Return the first ``count`` bytes of each frame, (n, count)."""
        rows = np.empty((stop - start, count), np.uint8)
        for row, index in zip(rows, range(start, stop), strict=True):
            self._fill(row.data, index * self.layout.stride_bytes)
        return rows

    def _scatter(self, frames: NDArray[Any], first: int) -> None:
        """Read consecutive frames straight to their places, the headers into one scratch line."""
        scratch = bytearray(self.header.header_bytes)
        targets = [part for frame in frames for part in (scratch, frame.reshape(-1).view(np.uint8).data)]
        stride = self.layout.stride_bytes
        if os.preadv(self._open_descriptor(), targets, first * stride) == len(frames) * stride:
            return
        for index, frame in enumerate(frames, first):
            self._fill(frame.reshape(-1).view(np.uint8).data, index * stride + self.header.header_bytes)

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError(f"{self.path} has been closed")
        return self._descriptor

    def _fill(self, target: memoryview, offset: int) -> None:
        """Read exactly ``len(target)`` bytes at ``offset``; one call of the kernel moves 2 GiB at most."""
        done = 0
        while done < len(target):
            count = os.preadv(self._open_descriptor(), [target[done:]], offset + done)
            if count == 0:
                problem = f"ends at byte {offset + done}, it had {self.layout.size_bytes} when it was opened"
                raise DataError(self.path, problem, "wait until nobody writes to it and run again")
            done += count


def sequence_numbers(heads: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Decode the sequence number in the first 12 bytes of each header.

    Parameters
    ----------
    heads : ndarray
        (n, 12) uint8, the beginnings of the headers.

    Returns
    -------
    ndarray
        (n,) int64, -1 where the bytes are not ``MQ1,<digits>,``.
    """
    magic = np.frombuffer(MAGIC, np.uint8)
    good = (heads[:, : len(magic)] == magic).all(axis=1)
    value = np.zeros(len(heads), np.int64)
    inside = np.ones(len(heads), bool)
    for column in heads[:, _SEQUENCE].T:
        digit = column.astype(np.int64) - ord("0")
        is_digit = (digit >= 0) & (digit <= 9)
        inside &= column != ord(",")
        good &= is_digit | ~inside
        value = np.where(inside & is_digit, 10 * value + digit, value)
    return np.where(good & ~inside, value, UNREADABLE)


def _check_decodable(layout: MibLayout) -> None:
    if layout.header.pixel_type not in ITEMSIZE:
        problem = f"holds R64 pixels ({layout.header.counter_depth_bit} bit), which are not decoded yet"
        raise DataError(layout.path, problem, "save the acquisition as U08, U16 or U32 in the Merlin software")
    if layout.n_whole_frames == 0:
        problem = f"holds no whole frame ({layout.size_bytes} bytes, a frame has {layout.stride_bytes})"
        raise DataError(layout.path, problem, "wait for the acquisition to go on, or remove the file")
