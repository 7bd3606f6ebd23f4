"""An acquisition in several ``.mib`` files with one ``.hdr``.

A ``.mib`` file that has an ``.hdr`` of its own stem is an acquisition by itself. Otherwise it belongs to the ``.hdr``
whose stem, a number and perhaps ``_`` or ``-`` between them make its own: ``scan_000001.mib`` and ``scan2.mib`` both
belong to ``scan.hdr``. A file with neither stands alone: time stamps as names look like numbered files, and putting two
scans together would be worse than reading one file of several.

The files come in the order of the number of their first frame, as the detector wrote it, and not of their names. A file
that is missing is a gap in the numbers, which `MibSeries.table` shows as such.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats.merlin.header import FrameHeader
from stemcal.formats.merlin.layout import MibLayout, hdr_path_of, inspect_mib
from stemcal.formats.merlin.pixels import picture_dtype
from stemcal.formats.merlin.reader import MibFile, records_buffer
from stemcal.formats.merlin.table import HeaderTable

_NUMBER = re.compile(r"[_-]?(\d+)")


def open_mib(path: Path) -> MibFile | MibSeries:
    """Open the acquisition that a ``.mib`` or ``.hdr`` file belongs to.

    Raises
    ------
    DataError
        If there is no ``.mib`` file to it, or one cannot be read.
    """
    hdr = path if path.suffix.lower() == ".hdr" else hdr_of_part(path)
    if hdr is None:
        return MibFile(path)
    whole = hdr.with_suffix(".mib")
    return MibFile(whole) if whole.is_file() else MibSeries(hdr, _parts(hdr))


def _parts(hdr: Path) -> tuple[Path, ...]:
    """Return the numbered ``.mib`` files of an ``.hdr``, ordered by number."""
    try:
        files = [file for file in hdr.parent.iterdir() if file.suffix.lower() == ".mib" and file.is_file()]
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise DataError(hdr.parent, problem, "check the path and its permissions") from error
    parts = [file for file in files if hdr_of_part(file) == hdr]
    if not parts:
        problem = f"has no frames beside it: neither {hdr.stem}.mib nor {hdr.stem}_<number>.mib"
        raise DataError(hdr, problem, "copy the .mib files into the same folder")
    return tuple(sorted(parts, key=lambda part: (_number(part, hdr), part.name)))


def hdr_of_part(mib: Path) -> Path | None:
    """Return the ``.hdr`` that a numbered ``.mib`` file belongs to; None if it has one of its own, or none at all."""
    if hdr_path_of(mib).is_file():
        return None
    lengths = range(len(mib.stem) - 1, 0, -1)
    stems = [mib.stem[:length] for length in lengths if _NUMBER.fullmatch(mib.stem[length:])]
    hdrs = [hdr for hdr in (mib.with_name(f"{stem}.hdr") for stem in stems) if hdr.is_file()]
    return next((hdr for hdr in hdrs if not hdr.with_suffix(".mib").is_file()), None)


def _number(part: Path, hdr: Path) -> int:
    found = _NUMBER.fullmatch(part.stem[len(hdr.stem) :])
    return int(found[1]) if found else 0


class MibSeries:
    """The whole frames of an acquisition in several ``.mib`` files, numbered through; a context manager.

    The files are opened only while they are read, so that there may be any number of them.

    Parameters
    ----------
    hdr : Path
        The ``.hdr`` of the acquisition.
    paths : tuple of Path
        Its ``.mib`` files, ordered by name.

    Attributes
    ----------
    path : Path
        The first file.
    layout : MibLayout
        The plan of the first file, with the acquisition's ``.hdr``.
    layouts : tuple of MibLayout
        The plan of each file, in the order of the frames.
    header, n_frames, frame_shape, dtype
        As in `MibFile`.

    Raises
    ------
    DataError
        If a file cannot be read, holds no whole frame, or holds frames of another kind than the first.
    """

    def __init__(self, hdr: Path, paths: tuple[Path, ...]) -> None:
        layouts = sorted((inspect_mib(path, hdr) for path in paths), key=lambda layout: layout.header.sequence)
        self.layouts: tuple[MibLayout, ...] = tuple(layouts)
        self.layout: MibLayout = layouts[0]
        self.path: Path = self.layout.path
        self.header: FrameHeader = self.layout.header
        for layout in layouts:
            _check_same_kind(layout, self.header)
            with MibFile(layout.path, layout):
                pass
        self._starts = (0, *accumulate(layout.n_whole_frames for layout in layouts))
        self._closed = False
        self.n_frames: int = self._starts[-1]
        self.frame_shape: tuple[int, int] = self.header.picture_shape
        self.dtype: np.dtype[Any] = picture_dtype(self.header)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, in the order of their frames."""
        return tuple(layout.path for layout in self.layouts)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return frames ``start`` to ``stop`` (excluded) as `MibFile.read` does."""
        frames = np.empty((self._count(start, stop), *self.frame_shape), self.dtype)
        for layout, first, last, place in self._spans(start, stop):
            with MibFile(layout.path, layout) as mib:
                frames[place : place + last - first] = mib.read(first, last)
        return frames

    def read_records(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return frames ``start`` to ``stop`` (excluded), headers and pixels, as `MibFile.read_records` does."""
        records = records_buffer(self._count(start, stop), self.layout.stride_bytes, out)
        for layout, first, last, place in self._spans(start, stop):
            with MibFile(layout.path, layout) as mib:
                mib.read_records(first, last, records[place : place + last - first])
        return records

    def headers(self, start: int, stop: int) -> tuple[FrameHeader, ...]:
        """Return the parsed headers of frames ``start`` to ``stop`` (excluded) as `MibFile.headers` does."""
        self._count(start, stop)
        found: list[FrameHeader] = []
        for layout, first, last, _ in self._spans(start, stop):
            with MibFile(layout.path, layout) as mib:
                found.extend(mib.headers(first, last))
        return tuple(found)

    def sequence_numbers(self, start: int = 0, stop: int | None = None) -> NDArray[np.int64]:
        """Return the sequence numbers of frames ``start`` to ``stop`` (excluded), by default of all."""
        end = self.n_frames if stop is None else stop
        numbers = np.empty(self._count(start, end), np.int64)
        for layout, first, last, place in self._spans(start, end):
            with MibFile(layout.path, layout) as mib:
                numbers[place : place + last - first] = mib.sequence_numbers(first, last)
        return numbers

    def table(self, threads: int = 1) -> HeaderTable:
        """Return what every header says as `MibFile.table` does; ``same_kind`` compares with the very first header."""
        table = HeaderTable.unknown(self._count(0, self.n_frames))
        for layout, start in zip(self.layouts, self._starts, strict=False):
            with MibFile(layout.path, layout) as mib:
                table.put(slice(start, start + mib.n_frames), mib.table(threads))
        return table

    def check_unchanged(self) -> None:
        """Check each file as `MibFile.check_unchanged` does."""
        for layout in self.layouts:
            with MibFile(layout.path, layout) as mib:
                mib.check_unchanged()

    def close(self) -> None:
        """End the reading; a second call does nothing."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _count(self, start: int, stop: int) -> int:
        """Return the number of frames of a range.

        Raises
        ------
        IndexError
            If it is not within the acquisition.
        ValueError
            If the series has been closed.
        """
        if self._closed:
            raise ValueError(f"{self.path} has been closed")
        if not 0 <= start <= stop <= self.n_frames:
            raise IndexError(f"frames {start}:{stop} are not within 0:{self.n_frames} of {self.path}")
        return stop - start

    def _spans(self, start: int, stop: int) -> list[tuple[MibLayout, int, int, int]]:
        """Return what to read: the file, its own first and last (excluded) frame, and their place in the result."""
        spans = []
        index = bisect_right(self._starts, start) - 1
        while start < stop:
            end = min(stop, self._starts[index + 1])
            own = self._starts[index]
            spans.append((self.layouts[index], start - own, end - own, start))
            start, index = end, index + 1
        origin = spans[0][3] if spans else 0
        return [(layout, first, last, place - origin) for layout, first, last, place in spans]


def _check_same_kind(layout: MibLayout, first: FrameHeader) -> None:
    expected, found = (_kind(header) for header in (first, layout.header))
    if expected != found:
        problem = f"holds {found}, but the first file of the acquisition holds {expected}"
        raise DataError(layout.path, problem, "take the file that does not belong to it out of the folder")


def _kind(header: FrameHeader) -> str:
    rows, cols = header.frame_shape
    kind = f"{header.pixel_type} {rows}x{cols} of {header.counter_depth_bit} bit on {header.assembly}"
    return f"{kind} behind {header.header_bytes} bytes"
