"""``<id>_polar.json``: what was measured in polar coordinates, and how much of it is valid."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stemcal.records.base import Measurement, Record


class PolarResult(Record):
    """Shape and extent of the azimuthal statistics; axes (scan_row, scan_col, radial bin)."""

    scan_shape: tuple[int, int]
    n_radial_bins: int
    bin_width_px: float
    q_pixel_size_per_angstrom: float
    q_max_per_angstrom: float
    n_empty_bins: int
    n_positions_without_data: int
    calibration: str
    calibration_group: str = Field(description="digest of the bound pixel size and ellipse: equal means comparable")


class PolarRecord(Measurement):
    """The record of the polar statistics of one data set."""

    schema_id: Literal["stemcal/polar/1"] = Field(default="stemcal/polar/1", alias="schema")
    result: PolarResult | None
