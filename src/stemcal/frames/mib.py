"""Frames in a Merlin ``.mib`` file, with what its ``.hdr`` and the microscope's ``.hdf`` say of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats.merlin.hdr import HdrFile, read_hdr
from stemcal.formats.merlin.layout import MibLayout, check_last_frame
from stemcal.formats.merlin.reader import MibFile
from stemcal.formats.microscope import microscope_from_raw, raw_metadata
from stemcal.frames.base import BaseSource, given_shape
from stemcal.frames.scan_shape import Disagreement, ScanShape, decide, witnesses
from stemcal.records.base import Flag
from stemcal.records.manifest import RawIdentity
from stemcal.records.microscope import Microscope

T = TypeVar("T")
_DATA = "_data"


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
    """The frames of a ``.mib`` file of U08, U16 or U32, rows turned upside down as RosettaSciIO does.

    Parameters
    ----------
    path : Path
        The ``.mib`` file.
    scan_shape : tuple of int or None
        (scan_row, scan_col) as a person states it; otherwise the witnesses of `stemcal.frames.scan_shape` decide.
    sidecars : Sidecars or None
        The files beside it; `find_sidecars` if None.
    microscope : Microscope or None
        Replaces what the microscope's file says.

    Attributes
    ----------
    scan_decision : ScanShape
        The scan shape with its evidence and doubts.
    flags : tuple of Flag
        The doubts about the scan shape, and the files beside it that cannot be read.
    layout : MibLayout
        What the first header says.
    hdr_text : str or None
        The ``.hdr`` as it stands.
    microscope_file : dict
        Everything in the microscope's file under its own keys.

    Raises
    ------
    DataError
        If the file cannot be read or decoded, is cut, has fewer frames than its ``.hdr`` promises, the witnesses of
        its scan shape disagree, or ``scan_shape`` does not fit the number of frames.
    """

    def __init__(
        self,
        path: Path,
        scan_shape: tuple[int, int] | None = None,
        *,
        sidecars: Sidecars | None = None,
        microscope: Microscope | None = None,
    ) -> None:
        self.sidecars = find_sidecars(path) if sidecars is None else sidecars
        flags: list[Flag] = []
        hdr = _readable(read_hdr, self.sidecars.hdr, flags)
        self.hdr_text = _readable(_text, self.sidecars.hdr, flags) if hdr else None
        self.microscope_file = _readable(raw_metadata, self.sidecars.microscope, flags) or {}
        said = microscope or (microscope_from_raw(self.microscope_file) if self.microscope_file else None)
        self._mib = MibFile(path)
        try:
            self.layout: MibLayout = self._mib.layout
            _check_whole(self.layout, hdr)
            self.scan_decision = _scan_shape(path, self._mib.n_frames, hdr, said, scan_shape)
            self.flags = (*flags, *self.scan_decision.flags)
            super().__init__(
                path,
                self.scan_decision.scan_shape,
                self._mib.frame_shape,
                self._mib.dtype,
                microscope=said,
                acquired_at=self.layout.header.timestamp,
                identity=_identity(self.layout, self.sidecars).model_dump(mode="json"),
            )
        except BaseException:
            self._mib.close()
            raise

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return frames start:stop as (n, det_row, det_col), native byte order, rows in RosettaSciIO's order."""
        self.check_range(start, stop)
        frames = self._mib.read(start, stop)
        for frame in frames:
            _flip_rows(frame)
        return frames

    def sequence_numbers(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the detector's own numbers of frames start:stop, (n,), -1 where a header is damaged."""
        return self._mib.sequence_numbers(start, stop)

    def close(self) -> None:
        """Release the file."""
        self._mib.close()


def _flip_rows(frame: NDArray[Any]) -> None:
    """Turn one frame upside down in place: a second block in memory would cost more than the turning."""
    half = len(frame) // 2
    top, bottom = frame[:half], frame[::-1][:half]
    kept = top.copy()
    top[:] = bottom
    bottom[:] = kept


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


def _check_whole(layout: MibLayout, hdr: HdrFile | None) -> None:
    """Refuse a file that was cut or is still growing: a shorter scan would be taken for a whole one."""
    remedy = "wait until the acquisition is complete, or copy the file again"
    expected = None if hdr is None else hdr.n_frames_expected
    if expected is not None and layout.n_whole_frames < expected:
        problem = f"has {layout.n_whole_frames} whole frames but its .hdr promises {expected}"
        raise DataError(layout.path, problem, remedy)
    if layout.trailing_bytes:
        problem = (
            f"ends inside frame {layout.n_whole_frames + 1} ({layout.trailing_bytes} of {layout.stride_bytes} bytes)"
        )
        raise DataError(layout.path, problem, remedy)
    check_last_frame(layout.path, layout)


def _scan_shape(
    path: Path, n_frames: int, hdr: HdrFile | None, microscope: Microscope | None, user: tuple[int, int] | None
) -> ScanShape:
    heard = witnesses(
        n_frames,
        hdr_scan=None if hdr is None else hdr.scan_shape,
        frames_per_trigger=None if hdr is None else hdr.frames_per_trigger,
        scan_size_px=None if microscope is None else microscope.scan_size_px,
    )
    given = None if user is None else given_shape(path, n_frames, user, user)
    decision = decide(n_frames, heard, given)
    if isinstance(decision, Disagreement):
        problem = f"has {n_frames} frames and no certain scan shape: {decision.statements}"
        raise DataError(path, problem, "state it with --scan-shape ROWS,COLS or in session.yaml")
    return decision


def _identity(layout: MibLayout, sidecars: Sidecars) -> RawIdentity:
    return RawIdentity(
        size_bytes=layout.size_bytes,
        n_frames=layout.n_whole_frames,
        first_header_sha256=hashlib.sha256(layout.header_data).hexdigest(),
        first_timestamp=layout.header.timestamp,
        hdr_sha256=_digest(sidecars.hdr),
        microscope_sha256=_digest(sidecars.microscope),
    )


def _digest(path: Path | None) -> str | None:
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def _text(path: Path) -> str:
    return path.read_bytes().decode("latin-1").replace("\r\n", "\n").rstrip(" \0")
