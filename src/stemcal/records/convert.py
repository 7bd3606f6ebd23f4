"""``<id>_convert.json``: what one acquisition holds and how its scan was found."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stemcal.records.base import Measurement, Quantity, Record
from stemcal.records.microscope import Microscope
from stemcal.records.scan import ScanCandidate, ScanEvidence


class RawFile(Record):
    """One raw file as it was read; ``sha256`` is of all its bytes."""

    name: str
    size_bytes: int
    n_frames: int
    sha256: str


class Scan(Record):
    """How the scan lies in the acquisition.

    Slots are the frames in the order of their numbers, lost ones included; position (row, col) is slot ``first_slot`` +
    row * cols + col, fly-back columns included. ``certain`` is False where the frames were kept as one line because
    no layout is; ``probability`` is then that of "no scan at all".
    """

    certain: bool
    probability: float = Field(ge=0, le=1)
    first_slot: int
    fly_back_cols: tuple[int, ...]
    candidates: tuple[ScanCandidate, ...]
    evidence: tuple[ScanEvidence, ...]


class FrameCounts(Record):
    """What became of the frames: ``in_file`` of them, and ``positions`` in the scan.

    ``missing`` positions have no frame; ``fly_back`` and ``spikes`` were exposed for longer than the others;
    ``outside_scan`` frames are kept beside the scan (lead-in, behind the scan, ``duplicates``, frames without a place);
    ``unreadable`` headers have no number; ``restarts`` are places where the numbering begins again; ``first_number`` is
    the detector's number of the first slot.
    """

    in_file: int
    positions: int
    ok: int
    missing: int
    fly_back: int
    spikes: int
    outside_scan: int
    duplicates: int
    unreadable: int
    restarts: tuple[int, ...]
    first_number: int | None


class InvalidPixels(Record):
    """Pixels that are not valid, by reason; a pixel may have several."""

    gap: int
    masked: int
    dead: int
    hot: int
    total: int


class Saturation(Record):
    """Counters that were full in frames that are ok: ``ceiling`` is the largest count of the detector."""

    ceiling: int
    n_pixels: int
    n_frames: int


class VirtualDetectors(Record):
    """Bright disk found in a sample of frames, and the virtual detectors laid around it, in pixels."""

    centre_row_px: Quantity
    centre_col_px: Quantity
    disk_radius_px: Quantity
    bright_field_px: tuple[float, float]
    annular_bright_field_px: tuple[float, float]
    annular_dark_field_px: tuple[float, float]
    high_angle_dark_field_px: tuple[float, float]


class Binned(Record):
    """A second file with sums over detector pixels and scan positions; ``path`` is relative to the record."""

    path: str
    detector_px: int
    scan_positions: int
    shape: tuple[int, int, int, int]
    dtype: str


class ConvertResult(Record):
    """Shape, counts and geometry of a converted data set; axes (scan_row, scan_col, det_row, det_col).

    ``chip_gap_px`` is the width of the gap between the chips that was put into the frames; ``virtual_detectors`` is
    None where there is no bright disk, and a flag says why; ``saturation`` is None for a detector without a ceiling.
    """

    raw_files: tuple[RawFile, ...]
    scan_shape: tuple[int, int]
    scan: Scan
    frames: FrameCounts
    frame_shape: tuple[int, int]
    chip_gap_px: int
    dtype: str
    pixel_type: str
    counter_depth_bit: int | None
    assembly: str
    rows_flipped: bool
    invalid_pixels: InvalidPixels
    mean_counts_per_frame: Quantity
    max_count: int
    saturation: Saturation | None
    virtual_detectors: VirtualDetectors | None
    binned: Binned | None
    acquired_at: str | None
    microscope: Microscope | None


class ConvertRecord(Measurement):
    """The record of a conversion."""

    schema_id: Literal["stemcal/convert/2"] = Field(default="stemcal/convert/2", alias="schema")
    result: ConvertResult | None
