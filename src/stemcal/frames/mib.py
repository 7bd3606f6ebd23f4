"""Frames of a Merlin acquisition, each in its scan position, with what its ``.hdr`` and the microscope's file say."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats.chip_gap import gap_valid, gapped_shape, insert_gap
from stemcal.formats.merlin.hdr import HdrFile, read_hdr
from stemcal.formats.merlin.layout import MibLayout
from stemcal.formats.merlin.reader import MibFile
from stemcal.formats.merlin.series import MibSeries, open_mib
from stemcal.formats.merlin.table import HeaderTable
from stemcal.formats.microscope import microscope_from_raw, raw_metadata
from stemcal.frames.base import BaseSource
from stemcal.frames.memory import empty
from stemcal.frames.scan.decide import ScanLayout, by_slot, decide
from stemcal.frames.scan.mapping import ScanMap, map_scan
from stemcal.frames.scan.person import DoesNotFit
from stemcal.frames.scan.placement import Slots, place_frames
from stemcal.records.base import Flag
from stemcal.records.manifest import RawIdentity
from stemcal.records.microscope import Microscope

T = TypeVar("T")
_DATA = "_data"
_QUAD = 4
_MAX_UNREADABLE = 0.05
_FRAMES_PER_READ = 16
"""Frames that are turned upside down at a time: a second block in memory would cost more."""


@dataclass(frozen=True)
class Sidecars:
    """Files beside a ``.mib`` file; None where there is none."""

    hdr: Path | None = None
    microscope: Path | None = None


def find_sidecars(mib: Path) -> Sidecars:
    """Return the ``.hdr`` of the same stem, and the ``.hdf`` of the same stem without a final ``_data``."""
    hdr = mib.with_suffix(".hdr")
    stems = (mib.stem.removesuffix(_DATA), mib.stem)
    microscopes = [path for path in (mib.with_name(f"{stem}.hdf") for stem in stems) if path.is_file()]
    return Sidecars(hdr if hdr.is_file() else None, microscopes[0] if microscopes else None)


class MibSource(BaseSource):
    """The frames of a Merlin acquisition in raster order, rows turned upside down as RosettaSciIO does.

    Every frame goes where its number and the layout of the scan put it: a frame that was lost leaves a position
    without counts, marked in ``frame_status``. Where no layout is certain the frames are one line.

    Parameters
    ----------
    path : Path
        The ``.mib`` file, or one of several of an acquisition.
    scan_shape : tuple of int or None
        (scan_row, scan_col) as a person states it; otherwise `stemcal.frames.scan.decide` weighs the evidence.
    sidecars : Sidecars or None
        Files that stand elsewhere; what is None is looked for beside the frames, see `find_sidecars`.
    microscope : Microscope or None
        Replaces what the microscope's file says.
    gap_px : int
        Pixels between the chips of a 2 x 2 assembly; they are put into the frames and are not valid.
    threads : int
        Threads that read the headers.

    Attributes
    ----------
    mib : MibFile or MibSeries
        The frames in file order.
    table : HeaderTable
        What each header says, in file order.
    slots : Slots
        The acquisition with its holes.
    scan : ScanLayout
        The layout with its evidence and doubts.
    scan_map : ScanMap
        Which frame belongs to which position.
    gap_px : int
        As given; 0 for a single chip.
    flags : tuple of Flag
        Doubts about the layout, what is missing, and the files beside it that cannot be read.
    layout : MibLayout
        What the first header says.
    hdr_text : str or None
        The ``.hdr`` as it stands.
    microscope_file : dict
        Everything in the microscope's file under its own keys.

    Raises
    ------
    DataError
        If the file cannot be read or decoded, holds frames of different kinds, or ``scan_shape`` does not fit the
        number of frames.
    """

    def __init__(
        self,
        path: Path,
        scan_shape: tuple[int, int] | None = None,
        *,
        sidecars: Sidecars | None = None,
        microscope: Microscope | None = None,
        gap_px: int = 0,
        threads: int = 1,
    ) -> None:
        self.mib: MibFile | MibSeries = open_mib(path)
        try:
            self.layout: MibLayout = self.mib.layout
            self.sidecars = _sidecars(path, self.layout, sidecars)
            flags: list[Flag] = []
            self._hdr = _readable(read_hdr, self.sidecars.hdr, flags)
            self.hdr_text = _readable(_text, self.sidecars.hdr, flags) if self._hdr else None
            self.microscope_file = _readable(raw_metadata, self.sidecars.microscope, flags) or {}
            said = microscope or (microscope_from_raw(self.microscope_file) if self.microscope_file else None)
            self._own_flags = tuple(flags)
            self.table: HeaderTable = self.mib.table(threads)
            _check_kinds(path, self.table, self.layout)
            self.slots: Slots = place_frames(self.table.sequence)
            self.gap_px = chip_gap_px(self.mib, gap_px)
            self._user = scan_shape
            self._said = said
            self._take(self._decide(None))
            super().__init__(
                path,
                self.scan.scan_shape,
                gapped_shape(self.mib.frame_shape, self.gap_px),
                self.mib.dtype,
                valid=gap_valid(self.mib.frame_shape, self.gap_px),
                frame_status=self.scan_map.status,
                microscope=said,
                acquired_at=self.layout.header.timestamp,
                identity=_identity(self.mib, self.sidecars).model_dump(mode="json"),
            )
        except BaseException:
            self.mib.close()
            raise

    def hear_intensity(self, totals: NDArray[np.float64]) -> None:
        """Decide the layout anew, now that a pass over the data can speak too.

        Parameters
        ----------
        totals : ndarray of float64
            (mib.n_frames,) total intensity of each frame of the file.
        """
        by_slot = np.full(self.slots.n_slots, np.nan)
        at = self.slots.file_index >= 0
        by_slot[at] = totals[self.slots.file_index[at]]
        self._take(self._decide(by_slot))
        self.scan_shape = self.scan.scan_shape
        self.frame_status = self.scan_map.status

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return frames start:stop as (n, det_row, det_col), native byte order, rows in RosettaSciIO's order."""
        self.check_range(start, stop)
        frames = empty((stop - start, *self.frame_shape), self.dtype)
        frames[self.scan_map.places[start:stop] < 0] = 0
        for at, first, last in contiguous(self.scan_map.places[start:stop], _FRAMES_PER_READ):
            frames[at : at + last - first] = insert_gap(self.mib.read(first, last)[:, ::-1], self.gap_px)
        return frames

    def close(self) -> None:
        """Release the file."""
        self.mib.close()

    def _decide(self, totals: NDArray[np.float64] | None) -> ScanLayout:
        hdr = self._hdr
        found = decide(
            self.slots.n_slots,
            exposure_ns=by_slot(self.slots, self.table.exposure_ns),
            time_ns=by_slot(self.slots, self.table.time_ns),
            hdr_scan=None if hdr is None else hdr.scan_shape,
            frames_per_trigger=None if hdr is None else hdr.frames_per_trigger,
            scan_size_px=None if self._said is None else self._said.scan_size_px,
            restarts=self.slots.restarts,
            totals=totals,
            user=self._user,
        )
        if isinstance(found, DoesNotFit):
            raise DataError(self.mib.path, found.problem, found.remedy)
        return found

    def _take(self, scan: ScanLayout) -> None:
        self.scan = scan
        self.scan_map: ScanMap = map_scan(self.slots, scan, self.mib.n_frames)
        self.flags = (*self._own_flags, *_incomplete(self.mib, self._hdr), *scan.flags)


def chip_gap_px(mib: MibFile | MibSeries, gap_px: int) -> int:
    """Return the width of the gap in the frames of ``mib``: ``gap_px`` for four chips in a square, else 0.

    Raises
    ------
    DataError
        If the chips have not equal parts of the frame (a region of interest), so that nobody knows where the gap is.
    """
    if gap_px == 0 or mib.layout.header.n_chips != _QUAD:
        return 0
    rows, cols = mib.frame_shape
    if rows % 2 or cols % 2:
        problem = f"holds frames of {rows} x {cols} pixels, of which four chips have no equal parts"
        raise DataError(mib.path, problem, f"set chip_gap_px to 0 for it: a gap of {gap_px} pixels has no known place")
    return gap_px


def contiguous(places: NDArray[np.int64], at_most: int) -> Iterator[tuple[int, int, int]]:
    """Yield (where in ``places``, first, last excluded) of each run of consecutive frames; negative ones are left out.

    Parameters
    ----------
    places : ndarray of int64
        (n,) frame numbers, -1 for none.
    at_most : int
        Longest run.
    """
    breaks = np.flatnonzero((np.diff(places) != 1) | (places[:-1] < 0)) + 1
    for begin, end in zip((0, *breaks), (*breaks, places.size), strict=True):
        if begin == end or places[begin] < 0:
            continue
        for at in range(int(begin), int(end), at_most):
            first = int(places[at])
            yield at, first, first + min(at_most, int(end) - at)


def _sidecars(path: Path, layout: MibLayout, given: Sidecars | None) -> Sidecars:
    """Return the files beside; those of an acquisition in several files are called like its ``.hdr``."""
    found = find_sidecars(layout.hdr_path or path)
    if given is None:
        return found
    return Sidecars(given.hdr or found.hdr, given.microscope or found.microscope)


def _readable(read: Callable[[Path], T], path: Path | None, flags: list[Flag]) -> T | None:
    """Read a file beside the frames; a damaged one is a flag, because the frames can be worked on without it."""
    if path is None:
        return None
    try:
        return read(path)
    except DataError as error:
        message = f"{path.name} {error.problem}: it was passed over; {error.remedy}"
        flags.append(Flag(name="sidecar_unreadable", value=path.name, message=message))
        return None


def _check_kinds(path: Path, table: HeaderTable, layout: MibLayout) -> None:
    """Refuse a file whose frames are not all where the first header says.

    A single damaged header is passed over, but the last one has to be where it belongs, and nearly all others too.
    """
    other = np.flatnonzero(~table.same_kind & (table.sequence >= 0))
    if other.size:
        frame = int(other[0])
        problem = f"holds frames of another kind from frame {frame + 1} (byte {frame * layout.stride_bytes}) on"
        raise DataError(path, problem, "copy it again from the microscope, or cut it into one file of each kind")
    unreadable = np.flatnonzero(table.sequence < 0)
    if unreadable.size and (unreadable[-1] == len(table) - 1 or unreadable.size > _MAX_UNREADABLE * len(table)):
        frame = int(unreadable[0])
        problem = f"has no Merlin header at frame {frame + 1} (byte {frame * layout.stride_bytes})"
        problem = f"{problem} nor at {unreadable.size - 1} other places where one belongs"
        raise DataError(path, problem, "copy it again from the microscope; the frames before may still be good")


def _incomplete(mib: MibFile | MibSeries, hdr: HdrFile | None) -> tuple[Flag, ...]:
    """Return what of the acquisition is not in the file."""
    flags = []
    expected = None if hdr is None else hdr.n_frames_expected
    if expected is not None and mib.n_frames < expected:
        message = f"there are {mib.n_frames} whole frames but the .hdr promises {expected}: the rest is missing"
        flags.append(Flag(name="frames_fewer_than_promised", value=mib.n_frames, limit=expected, message=message))
    trailing = sum(layout.trailing_bytes for layout in mib.layouts)
    if trailing:
        message = f"{trailing} bytes of a frame that is not whole were left out"
        flags.append(Flag(name="frame_cut", value=trailing, limit=0, message=message))
    return tuple(flags)


def _identity(mib: MibFile | MibSeries, sidecars: Sidecars) -> RawIdentity:
    return RawIdentity(
        size_bytes=sum(layout.size_bytes for layout in mib.layouts),
        n_frames=mib.n_frames,
        first_header_sha256=hashlib.sha256(b"".join(layout.header_data for layout in mib.layouts)).hexdigest(),
        first_timestamp=mib.layout.header.timestamp,
        hdr_sha256=_digest(sidecars.hdr),
        microscope_sha256=_digest(sidecars.microscope),
    )


def _digest(path: Path | None) -> str | None:
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def _text(path: Path) -> str:
    return path.read_bytes().decode("latin-1").replace("\r\n", "\n").rstrip(" \0")
