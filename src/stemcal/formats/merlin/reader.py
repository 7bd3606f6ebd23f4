"""Blocks of frames out of a ``.mib`` file.

Reads go through ``preadv`` on one descriptor and not through a memory map: a mapped file counts as resident memory of
the job, and a file that shrinks under a map kills the process instead of raising an error. ``preadv`` has no file
position, so any number of threads may read at once. Pixels of U types go straight to their places, those of R64
through a scratch of a few frames.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats.merlin.header import RAW, FrameHeader, parse_header
from stemcal.formats.merlin.layout import MibLayout, inspect_open, open_regular
from stemcal.formats.merlin.pixels import decode, picture_dtype
from stemcal.formats.merlin.swap_kernels import swap_bytes
from stemcal.formats.merlin.table import HeaderTable, parse_table, sequence_numbers
from stemcal.formats.positioned import open_descriptor, read_exactly, reading

_FRAMES_PER_CALL = 256
"""Two buffers for each frame; the kernel takes 1024 in one call."""

_SEQUENCE_BYTES = 12
"""Up to the comma behind a seventh digit, from the millionth frame on."""

_HEADERS_PER_BLOCK = 4096
_SCRATCH_BYTES = 4 * 2**20
_READ_THROUGH_BYTES = 16384
"""Frames up to this size are read whole for the sake of their headers: fewer calls, and the disk reads ahead."""


class MibFile:
    """The whole frames of a ``.mib`` file, as many as there were when it was opened; a context manager.

    Parameters
    ----------
    path : Path
        The ``.mib`` file.
    layout : MibLayout, optional
        What an earlier look at the same file found; it is not looked at again.

    Attributes
    ----------
    frame_shape : tuple of int
        (det_row, det_col) of the picture; for R64 that is not what the header says.
    dtype : numpy.dtype
        Native unsigned integers.
    layouts : tuple of MibLayout
        The layout, as one of a series has several.

    Raises
    ------
    DataError
        If it cannot be read, holds no whole frame, or is not the file of ``layout`` any more.
    """

    def __init__(self, path: Path, layout: MibLayout | None = None) -> None:
        self.path = path
        self._descriptor: int | None = open_regular(path)
        try:
            self.layout: MibLayout = inspect_open(path, self._descriptor) if layout is None else layout
            _check_whole_frame(self.layout)
            self._check_same_file(os.fstat(self._descriptor))
        except BaseException:
            self.close()
            raise
        self.header: FrameHeader = self.layout.header
        self.n_frames: int = self.layout.n_whole_frames
        self.frame_shape: tuple[int, int] = self.header.picture_shape
        self.dtype: np.dtype[Any] = picture_dtype(self.header)
        self.layouts: tuple[MibLayout, ...] = (self.layout,)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files of the acquisition: this one."""
        return (self.path,)

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
        if self.header.pixel_type == RAW:
            self._read_raw(frames, start)
            return frames
        for first in range(start, stop, _FRAMES_PER_CALL):
            self._scatter(frames[first - start : first - start + _FRAMES_PER_CALL], first)
        return frames if sys.byteorder == "big" else _swapped(frames)

    def read_records(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return frames ``start`` to ``stop`` (excluded) as they stand in the file, headers and pixels.

        Parameters
        ----------
        start, stop : int
            The frames.
        out : ndarray, optional
            (n, stride_bytes) uint8, C-contiguous, to be filled.

        Returns
        -------
        ndarray
            (n, stride_bytes) uint8; ``out`` where it was given.

        Raises
        ------
        IndexError
            If the range is not within the file.
        ValueError
            If ``out`` has another shape or type.
        DataError
            If the file has become shorter since it was opened.
        """
        self._check_range(start, stop)
        records = records_buffer(stop - start, self.layout.stride_bytes, out)
        self._fill(records.reshape(-1).data, start * self.layout.stride_bytes)
        return records

    def table(self, threads: int = 1) -> HeaderTable:
        """Return what every header says, reading all of them, a few thousand at a time in each thread.

        Raises
        ------
        DataError
            If the file has become shorter since it was opened. A damaged header raises nothing.
        """
        table = HeaderTable.unknown(self.n_frames)

        def fill(start: int) -> None:
            rows = slice(start, min(start + _HEADERS_PER_BLOCK, self.n_frames))
            heads = self._header_bytes(rows.start, rows.stop, self.header.header_bytes)
            table.put(rows, parse_table(heads, self.header))

        with self._scattered_reads(), ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(fill, range(0, self.n_frames, _HEADERS_PER_BLOCK)):
                pass
        return table

    def check_unchanged(self) -> None:
        """Check that the path still leads to the file that is open, no shorter and with the same first header.

        To be called at the end of a pass over the frames: what was read before a change is not to be kept. A file
        that has only grown is the same.

        Raises
        ------
        DataError
            If it was removed, replaced, shortened or written anew.
        """
        remedy = "wait until nobody writes to it and run again"
        try:
            status = self.path.stat()
        except OSError as error:
            raise DataError(self.path, f"was there and is not any more ({error.strerror})", remedy) from error
        self._check_same_file(status)
        if status.st_size < self.layout.size_bytes:
            problem = f"has {status.st_size} bytes, it had {self.layout.size_bytes} when it was opened"
            raise DataError(self.path, problem, remedy)
        with reading(self.path):
            head = os.pread(self._open_descriptor(), self.header.header_bytes, 0)
        if head != self.layout.header_data:
            raise DataError(self.path, "was written anew while it was read: its first header has changed", remedy)

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
        return sequence_numbers(self._header_bytes(start, end, _SEQUENCE_BYTES))

    def close(self) -> None:
        """Give the descriptor back; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_range(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.n_frames:
            raise IndexError(f"frames {start}:{stop} are not within 0:{self.n_frames} of {self.path}")

    def _check_same_file(self, status: os.stat_result) -> None:
        if (status.st_dev, status.st_ino) != self.layout.file_id:
            remedy = "wait until nobody writes to it and run again"
            raise DataError(self.path, "was replaced by another file of the same name", remedy)

    def _header_bytes(self, start: int, stop: int, count: int) -> NDArray[np.uint8]:
        """Return the first ``count`` bytes of each frame, (n, count)."""
        stride = self.layout.stride_bytes
        if stride <= _READ_THROUGH_BYTES:
            return np.ascontiguousarray(self.read_records(start, stop)[:, :count])
        rows = np.empty((stop - start, count), np.uint8)
        targets = rows.reshape(-1).data
        descriptor = self._open_descriptor()
        with reading(self.path):
            for row, index in enumerate(range(start, stop)):
                target = targets[row * count : (row + 1) * count]
                if os.preadv(descriptor, [target], index * stride) != count:
                    self._fill(target, index * stride)
        return rows

    @contextmanager
    def _scattered_reads(self) -> Iterator[None]:
        """Tell the kernel that only the headers are wanted, so that it does not read the pixels ahead."""
        if self.layout.stride_bytes <= _READ_THROUGH_BYTES:
            yield
            return
        os.posix_fadvise(self._open_descriptor(), 0, 0, os.POSIX_FADV_RANDOM)
        try:
            yield
        finally:
            os.posix_fadvise(self._open_descriptor(), 0, 0, os.POSIX_FADV_NORMAL)

    def _read_raw(self, frames: NDArray[Any], first: int) -> None:
        """Read consecutive R64 frames, decoding a few megabytes at a time."""
        count = max(1, _SCRATCH_BYTES // self.layout.stride_bytes)
        scratch = np.empty((min(count, len(frames)), self.layout.stride_bytes), np.uint8)
        for start in range(0, len(frames), count):
            part = frames[start : start + count]
            records = self.read_records(first + start, first + start + len(part), scratch[: len(part)])
            decode(records[:, self.header.header_bytes :], self.header, part)

    def _scatter(self, frames: NDArray[Any], first: int) -> None:
        """Read consecutive frames straight to their places, the headers into one scratch line."""
        scratch = bytearray(self.header.header_bytes)
        targets = [part for frame in frames for part in (scratch, frame.reshape(-1).view(np.uint8).data)]
        stride = self.layout.stride_bytes
        with reading(self.path):
            whole = os.preadv(self._open_descriptor(), targets, first * stride) == len(frames) * stride
        if whole:
            return
        for index, frame in enumerate(frames, first):
            self._fill(frame.reshape(-1).view(np.uint8).data, index * stride + self.header.header_bytes)

    def _open_descriptor(self) -> int:
        return open_descriptor(self._descriptor, self.path)

    def _fill(self, target: memoryview, offset: int) -> None:
        read_exactly(self._descriptor, self.path, target, offset, self.layout.size_bytes)


def records_buffer(n_frames: int, stride_bytes: int, out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Return ``out``, or an array for so many records if it is None.

    Raises
    ------
    ValueError
        If ``out`` has another shape or type, or is not C-contiguous.
    """
    if out is None:
        return np.empty((n_frames, stride_bytes), np.uint8)
    if out.shape != (n_frames, stride_bytes) or out.dtype != np.uint8 or not out.flags.c_contiguous:
        raise ValueError(f"out is {out.dtype} {out.shape}, it must be contiguous uint8 {(n_frames, stride_bytes)}")
    return out


def _check_whole_frame(layout: MibLayout) -> None:
    if layout.n_whole_frames == 0:
        problem = f"holds no whole frame ({layout.size_bytes} bytes, a frame has {layout.stride_bytes})"
        raise DataError(layout.path, problem, "wait for the acquisition to go on, or remove the file")


def _swapped(frames: NDArray[Any]) -> NDArray[Any]:
    """Return ``frames`` in the other byte order, in the same memory."""
    if frames.itemsize == 2:
        swap_bytes(frames.reshape(-1))
        return frames
    return frames.byteswap(inplace=True)
