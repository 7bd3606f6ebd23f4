"""``<id>_gold.json``: elliptical distortion and reciprocal pixel size from a gold powder pattern."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stemcal.records.base import Measurement, Quantity, Record
from stemcal.records.history import Drift


class Ellipse(Record):
    """Elliptical distortion of the camera (conventions in ``stemcal.optics.conventions``).

    ``matrix`` is symmetric with determinant 1 and takes a distorted (row, col) offset from the centre to the round
    one. ``ratio`` = major / minor >= 1; ``angle_deg`` is the direction of the major axis of the distorted rings, from
    +col toward +row, in [0, 180).
    """

    ratio: Quantity
    angle_deg: Quantity
    matrix: tuple[tuple[float, float], tuple[float, float]]


class PixelSize(Record):
    """Reciprocal pixel size in 1/angstrom, in both conventions of the field.

    ``area_preserving`` goes with the determinant-1 ``matrix``; ``minor_axis`` = ``area_preserving`` * sqrt(ratio) goes
    with a correction that shrinks the major axis onto the minor one (py4DSTEM, ePSIC).
    """

    area_preserving: Quantity
    minor_axis: Quantity


class Centre(Record):
    """Centre of the pattern in detector pixels; pixel (0, 0) has its centre at 0."""

    row: Quantity
    col: Quantity


class Ring(Record):
    """One powder ring: where it should be, how well it was seen, and whether the fit used it."""

    label: str
    hkl: tuple[int, int, int] | None
    q: float = Field(description="1/angstrom")
    radius_px: float
    amplitude: Quantity | None
    residual_px: float | None
    coverage: float = Field(ge=0, le=1, description="part of the circle that lies on valid pixels")
    used: bool


class ScaleSearch(Record):
    """Score of the winning comb of rings and of the best comb that is not the same one."""

    best_pixel_size_per_angstrom: float
    best_score: float
    runner_up_pixel_size_per_angstrom: float | None
    runner_up_score: float | None


class GoldResult(Record):
    """What the gold, or another standard, says of the camera."""

    ellipse: Ellipse
    pixel_size: PixelSize
    effective_camera_length_m: Quantity | None
    camera_length_ratio: float | None
    centre: Centre
    rings: tuple[Ring, ...]
    scale_search: ScaleSearch
    ring_width_px: float
    bright_disk_radius_px: float | None
    threefold_distortion: Quantity = Field(description="radius change / radius of order 3, which no ellipse removes")
    fourfold_distortion: Quantity = Field(description="radius change / radius of order 4, which no ellipse removes")
    reduced_chi_square: float
    reduced_chi_square_without_rings: float
    n_patterns: int
    n_resampling_blocks: int


class GoldRecord(Measurement):
    """The record of a gold calibration; the last three keys are those that ePSIC's notebooks read.

    ``p_ellipse`` is [x0, y0, a, b, theta] with py4DSTEM's x = row, in px and rad, of the 220 ring (of the most visible
    ring where the standard is a table); ``reciprocal_space_pix(1/A)`` is in the minor-axis convention.
    """

    schema_id: Literal["stemcal/gold/1"] = Field(default="stemcal/gold/1", alias="schema")
    voltage_kv: float | None
    nominal_camera_length_m: float | None
    detector_pixel_um: float
    standard: str
    acquired_at: str | None
    frame_shape: tuple[int, int] | None
    result: GoldResult | None
    drift: Drift | None = Field(default=None, description="since the last calibration with the same settings")
    reciprocal_space_pix: float | None = Field(default=None, alias="reciprocal_space_pix(1/A)")
    p_ellipse: tuple[float, float, float, float, float] | None = None
    epsic_nominal_camera_length: float | None = Field(default=None, alias="nominal_camera_length(m)")
