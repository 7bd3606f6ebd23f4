"""How the scan of an acquisition was found: what every source says, and the layouts that it leaves possible."""

from __future__ import annotations

from pydantic import Field

from stemcal.records.base import Record


class ScanEvidence(Record):
    """What one source says of the layout.

    ``source`` is ``user``, ``hdr_scan`` (ScanX, ScanY), ``hdr_frames_per_trigger``, ``microscope``, ``exposures``,
    ``timestamps``, ``intensity`` or ``frame_count``. ``scan_shape`` (scan_row, scan_col) is what it alone says, None
    where it names no shape. ``weight`` is the natural logarithm of how much likelier the source makes the best layout
    than a series that is no scan; negative where it speaks against it.
    """

    source: str
    statement: str
    scan_shape: tuple[int, int] | None
    weight: float


class ScanCandidate(Record):
    """A layout that is possible: position (row, col) is slot ``first_slot`` + row * cols + col.

    ``probability`` is its share of all that was considered, "no scan at all" included; ``sources`` are those that
    support it.
    """

    scan_shape: tuple[int, int]
    first_slot: int
    fly_back_cols: tuple[int, ...]
    probability: float = Field(ge=0, le=1)
    sources: tuple[str, ...]
