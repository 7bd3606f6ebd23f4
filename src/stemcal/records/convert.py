"""``<id>_convert.json``: what one raw file holds and how its scan shape was decided."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stemcal.records.base import Measurement, Quantity, Record
from stemcal.records.microscope import Microscope


class ScanShapeEvidence(Record):
    """One witness of the scan shape, (scan_row, scan_col).

    ``source`` is ``user``, ``hdr_scan`` (ScanX, ScanY), ``hdr_frames_per_trigger``, ``microscope`` or ``frame_count``.
    """

    source: str
    scan_shape: tuple[int, int]


class VirtualDetectors(Record):
    """Bright disk found in a sample of frames, and the virtual detectors laid around it, in pixels."""

    centre_row_px: Quantity
    centre_col_px: Quantity
    disk_radius_px: Quantity
    bright_field_px: tuple[float, float]
    annular_bright_field_px: tuple[float, float]
    annular_dark_field_px: tuple[float, float]


class ConvertResult(Record):
    """Shape, counts and geometry of a converted data set; axes (scan_row, scan_col, det_row, det_col).

    ``n_missing_frames`` are holes in the detector's frame numbers; ``virtual_detectors`` is None where there is no
    bright disk, and a flag says why.
    """

    scan_shape: tuple[int, int]
    scan_shape_evidence: tuple[ScanShapeEvidence, ...]
    frame_shape: tuple[int, int]
    dtype: str
    counter_depth_bit: int | None
    assembly: str
    rows_flipped: bool
    n_frames: int
    n_missing_frames: int
    n_invalid_pixels: int
    mean_counts_per_frame: Quantity
    max_count: int
    virtual_detectors: VirtualDetectors | None
    acquired_at: str | None
    microscope: Microscope | None


class ConvertRecord(Measurement):
    """The record of a conversion."""

    schema_id: Literal["stemcal/convert/1"] = Field(default="stemcal/convert/1", alias="schema")
    result: ConvertResult | None
