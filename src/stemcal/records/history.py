"""The history of a camera: one line per gold calibration, and what has changed since the one before."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field, field_validator

from stemcal.records.base import Quality, Quantity, Record, Verdict


class HistoryEntry(Record):
    """What one gold data set said of the camera, and at which settings of the microscope."""

    schema_id: Literal["stemcal/gold-history/1"] = Field(default="stemcal/gold-history/1", alias="schema")
    identity: str = Field(description="digest of what makes the raw data the same ones, wherever they lie")
    label: str
    instrument: str
    acquired_at: str
    voltage_kv: float
    nominal_camera_length_m: float
    detector_pixel_um: float
    frame_shape: tuple[int, int]
    standard: str
    revision: int = Field(description="of the gold step")
    verdict: Verdict
    pixel_size: Quantity = Field(description="area-preserving")
    ellipse_ratio: Quantity
    ellipse_angle_deg: Quantity
    effective_camera_length_m: Quantity
    camera_length_ratio: float = Field(description="effective over nominal")

    @field_validator("acquired_at")
    @classmethod
    def _is_a_time(cls, value: str) -> str:
        datetime.fromisoformat(value)
        return value


class Drift(Record):
    """How the camera has changed since ``previous``; the measurement itself is judged by its own ``quality``.

    ``strain_change`` is the length of the difference of the strain vectors (e1, e2), e = ln(ratio) / 2, which has
    neither the jump of an angle at 180 degrees nor its indifference when the camera is round.
    """

    previous: HistoryEntry
    pixel_size_change: float = Field(description="relative")
    pixel_size_change_sigmas: float | None
    ratio_change: float
    angle_change_deg: float = Field(description="in (-90, 90]")
    strain_change: float
    strain_change_sigmas: float | None
    quality: Quality
