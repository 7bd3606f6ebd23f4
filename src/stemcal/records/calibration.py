"""``<id>_calibration.json``: the calibration that one data set is to be read with, and why that one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stemcal.records.base import Measurement, Quantity, Record
from stemcal.records.geometry import Matrix
from stemcal.records.gold import Ellipse


class Candidate(Record):
    """A reference that might have served this data set, in order of preference, and what was decided of it."""

    dataset: str
    path: str
    chosen: bool
    reason: str


class Instrument(Record):
    """What has to agree between a data set and its reference."""

    voltage_kv: float
    nominal_camera_length_m: float
    frame_shape: tuple[int, int]


class BoundPixelSize(Record):
    """Reciprocal pixel size (area-preserving) and where it came from."""

    area_preserving: Quantity
    minor_axis: Quantity
    source: str
    why: str


class BoundEllipse(Record):
    """Elliptical distortion and where it came from."""

    ellipse: Ellipse
    source: str
    why: str


class Origin(Record):
    """Position of the undiffracted beam over the scan.

    ``coefficients_row_px`` and ``coefficients_col_px`` belong to the polynomial of ``degree`` in scan coordinates
    scaled to [-1, 1] (``stemcal.optics.descan`` states the order of its terms); ``centre`` is its value in the middle
    of the scan, ``descan_range_px`` how far the beam moves over the scan.
    """

    centre_row_px: Quantity
    centre_col_px: Quantity
    degree: int
    coefficients_row_px: tuple[float, ...]
    coefficients_col_px: tuple[float, ...]
    residual_rms_px: float
    descan_range_px: float
    fraction_used: float
    measured_centre_px: tuple[float, float]
    source: str
    why: str


class BoundGain(Record):
    """Gain reference whose factors the counts are multiplied by when they are read.

    ``file`` holds the factors, relative to the folder of the record; ``parity`` tells whether even and odd frames
    have factors of their own.
    """

    source: str
    file: str
    sha256: str
    parity: Literal["joint", "separate"]
    why: str


class BoundScanToCamera(Record):
    """How the scan lies in the camera, measured on this data set or pooled over others, and why.

    ``matrix``, ``covariance`` and ``unit`` are those of ``stemcal.records.geometry.ScanToCamera``. ``chi_square`` (per
    degree of freedom) says whether the sources agree; above 1 the uncertainties are widened by its root.
    """

    geometry_source: Literal["own", "pooled"]
    matrix: Matrix
    covariance: tuple[tuple[float, float, float, float], ...] | None = Field(min_length=4, max_length=4)
    unit: Literal["angstrom", "1"]
    theta_fast_deg: Quantity
    theta_slow_deg: Quantity
    step_ratio: Quantity
    step_fast_angstrom: Quantity | None
    step_slow_angstrom: Quantity | None
    flip: bool
    half_turn_resolved: bool
    scale_source: Literal["measured", "nominal_step"] | None
    sources: tuple[str, ...]
    chi_square: float | None
    degrees_of_freedom: int
    why: str


class BoundAberrations(Record):
    """Aberrations of the probe, in angstrom, as measured on this data set itself: they are not the instrument's."""

    coefficients: dict[str, Quantity]
    source: str
    why: str


class CalibrationRecord(Measurement):
    """The calibration bound to one data set; parts that do not exist are ``null``."""

    schema_id: Literal["stemcal/calibration/1"] = Field(default="stemcal/calibration/1", alias="schema")
    instrument: Instrument | None
    candidates: tuple[Candidate, ...]
    q_pixel_size: BoundPixelSize | None
    ellipse: BoundEllipse | None
    origin: Origin | None
    gain: BoundGain | None = Field(default=None, description="null: counts are used as they are")
    gain_candidates: tuple[Candidate, ...] = ()
    scan_to_camera: BoundScanToCamera | None = None
    aberrations: BoundAberrations | None = None
    geometry_candidates: tuple[Candidate, ...] = ()
