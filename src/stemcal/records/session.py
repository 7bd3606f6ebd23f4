"""``session.json``: a whole session in one file, the facts that the session page shows."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stemcal.records.base import Measurement, Quantity, Record, Verdict
from stemcal.records.geometry import Mode
from stemcal.records.history import Drift, HistoryEntry
from stemcal.records.manifest import Role
from stemcal.records.progress import DatasetState, StageProgress


class SessionFigure(Record):
    """A figure of a step; ``path`` is relative to the folder of the record."""

    stage: str
    path: str
    caption: str


class Remark(Record):
    """Something that a step has to say about a data set: the message of a flag, or why a record cannot be read."""

    stage: str
    message: str


class SessionDataset(Record):
    """One file of the session: what it is, how far it came, and what a person should know of it."""

    id: str
    label: str
    role: Role
    role_reason: str
    state: DatasetState
    verdict: Verdict | None
    reason: str
    stages: tuple[StageProgress, ...]
    acquired_at: str | None
    scan_shape: tuple[int, int] | None
    frame_shape: tuple[int, int] | None
    n_frames: int | None
    n_missing_frames: int | None
    mean_counts_per_frame: Quantity | None
    voltage_kv: float | None
    nominal_camera_length_m: float | None
    calibrated_by: str | None = Field(description="label of the gold data set that was bound")
    calibration_reason: str | None
    gain_by: str | None = Field(default=None, description="label of the gain data set whose factors are applied")
    gain_reason: str | None = None
    geometry_reason: str | None = None
    descan_range_px: float | None
    group: str | None
    remarks: tuple[Remark, ...]
    figures: tuple[SessionFigure, ...]


class SessionCalibration(Record):
    """What one gold data set says of the camera, and which data sets are read with it."""

    dataset: str
    label: str
    verdict: Verdict
    pixel_size: Quantity | None
    ellipse_ratio: Quantity | None
    ellipse_angle_deg: Quantity | None
    effective_camera_length_m: Quantity | None
    nominal_camera_length_m: float | None
    voltage_kv: float | None
    n_rings_used: int | None
    remarks: tuple[str, ...]
    serves: tuple[str, ...] = Field(description="labels of the data sets bound to it")


class HistoryPoint(Record):
    """One calibration of the camera in the course of time, and what has changed since the one before."""

    entry: HistoryEntry
    of_this_session: bool
    drift: Drift | None


class SessionGain(Record):
    """What one gain data set says of the detector, and how many data sets are read with it."""

    dataset: str
    label: str
    verdict: Verdict
    voltage_kv: float | None
    gain_spread: float | None
    gain_noise: float | None
    parity: Literal["joint", "separate"] | None
    n_faulty_pixels: int | None = Field(description="dead, hot and noisy pixels that the data set's mask did not know")
    remarks: tuple[str, ...]
    serves: tuple[str, ...] = Field(description="labels of the data sets whose counts are corrected with it")


class SessionGeometry(Record):
    """What one scan says of how scan and camera lie to each other, and which data sets are read with it."""

    dataset: str
    label: str
    verdict: Verdict
    mode: Mode | None
    voltage_kv: float | None
    nominal_camera_length_m: float | None
    theta_fast_deg: Quantity | None
    theta_slow_deg: Quantity | None
    step_ratio: Quantity | None
    step_fast_angstrom: Quantity | None
    flip: bool | None
    half_turn_resolved: bool | None
    defocus_angstrom: Quantity | None = Field(description="C10, positive overfocus")
    explained_energy: float | None
    remarks: tuple[str, ...]
    serves: tuple[str, ...] = Field(description="labels of the other data sets that are read with it")


class SessionFactorisation(Record):
    """The factorisation of one group of scans."""

    group: str
    path: str
    state: Literal["done", "failed", "waiting"]
    verdict: Verdict | None
    reason: str
    n_scans: int
    n_left_out: int
    n_components: int | None
    n_profiles: int | None
    explained_variance: float | None
    component_share: tuple[float, ...]
    remarks: tuple[str, ...]
    figures: tuple[SessionFigure, ...]


class SessionResult(Record):
    """The session as it stands."""

    session: str
    instrument: str
    counts: dict[DatasetState, int]
    datasets: tuple[SessionDataset, ...]
    calibrations: tuple[SessionCalibration, ...]
    gains: tuple[SessionGain, ...] = ()
    geometries: tuple[SessionGeometry, ...] = ()
    history: tuple[HistoryPoint, ...] = Field(default=(), description="calibrations of the camera, oldest first")
    factorisations: tuple[SessionFactorisation, ...]
    warnings: tuple[str, ...]


class SessionRecord(Measurement):
    """The record of the session page; its verdict is the worst of what the session holds."""

    schema_id: Literal["stemcal/session/1"] = Field(default="stemcal/session/1", alias="schema")
    result: SessionResult
