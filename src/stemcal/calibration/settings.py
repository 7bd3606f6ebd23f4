"""Settings of the calibration step."""

from __future__ import annotations

from pydantic import Field

from stemcal.records.base import Settings


class CalibrationSettings(Settings):
    """When a reference fits, how the origin is measured, and what is required of both."""

    voltage_tolerance_percent: float = Field(
        default=0.5,
        gt=0,
        description="high tension of scan and reference may differ by this; it is a setting, not noise",
    )
    camera_length_tolerance_percent: float = Field(
        default=1.0, gt=0, description="nominal camera lengths are round numbers; 1 % absorbs their rounding only"
    )
    warn_age_hours: float = Field(
        default=24.0,
        gt=0,
        description="a reference further away in time than this still serves, with a warning: lenses are reset between "
        "days",
    )
    sample_frames: int = Field(
        default=256, ge=1, description="frames, evenly spaced, whose mean shows where the bright disk is"
    )
    max_descan_degree: int = Field(
        default=2, ge=0, le=3, description="highest degree tried; descan is a plane with a little curvature"
    )
    cut_sigma: float = Field(
        default=4.0, gt=1, description="positions further than this from the polynomial, in robust sigma, do not count"
    )
    resampling_tiles: int = Field(
        default=6,
        ge=2,
        le=16,
        description="the scan is cut into n x n tiles: they are the independent observations when the degree is chosen "
        "and each is left out once for the uncertainty of the centre",
    )
    min_counts_fraction: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="frames with fewer counts than this part of the median are dark and do not count",
    )
    warn_residual_px: float = Field(
        default=0.5,
        gt=0,
        description="rms distance of measured and fitted origin: 0.5 px is half a radial bin; a good scan leaves 0.05",
    )
    max_residual_px: float = Field(
        default=3.0,
        gt=0,
        description="beyond this the polynomial does not describe the beam, and the origin is refused",
    )
    warn_fraction_used: float = Field(
        default=0.8, gt=0, le=1, description="part of the frames whose origin belongs to the polynomial"
    )
    min_fraction_used: float = Field(
        default=0.3, gt=0, le=1, description="with fewer the polynomial may follow the wrong part of the scan"
    )
