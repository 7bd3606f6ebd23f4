"""``<id>_polar.json``: what was measured in polar coordinates, and how much of it is valid."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stemcal.records.base import Measurement, Record


class CorrectedFrames(Record):
    """The frames without ellipse and descan; ``file`` is relative to the folder of the record."""

    file: str
    frame_shape: tuple[int, int]
    origin_row_px: int = Field(description="pixel in whose middle the origin of every frame is")
    origin_col_px: int


class PolarResult(Record):
    """Shape and extent of the azimuthal statistics; axes (scan_row, scan_col, radial bin)."""

    scan_shape: tuple[int, int]
    n_radial_bins: int
    bin_width_px: float
    q_pixel_size_per_angstrom: float
    q_max_per_angstrom: float = Field(description="outer edge of the last bin")
    coverage_at_q_max: float = Field(ge=0, description="part of the last ring that lies on valid pixels")
    n_empty_bins: int = Field(description="bins without a valid pixel at any position")
    n_positions_without_data: int
    n_missing_means: int = Field(description="values of the mean that are NaN")
    n_missing_variances: int = Field(description="values of the variance that are NaN")
    n_origins: int = Field(description="operators built: origins that differ after rounding to the step")
    corrected: CorrectedFrames | None = Field(default=None, description="null where they were not asked for")
    calibration: str
    calibration_group: str = Field(description="digest of the bound pixel size and ellipse: equal means comparable")


class PolarRecord(Measurement):
    """The record of the polar statistics of one data set."""

    schema_id: Literal["stemcal/polar/1"] = Field(default="stemcal/polar/1", alias="schema")
    result: PolarResult | None
