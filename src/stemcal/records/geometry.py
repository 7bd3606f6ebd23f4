"""``<id>_geometry.json``: how scan and camera lie to each other, and the aberrations, from interference in the data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stemcal.records.base import Measurement, Quantity, Record

Pair = tuple[float, float]
Matrix = tuple[Pair, Pair]
Mode = Literal["thin", "bulk", "kikuchi", "line"]
ScaleSource = Literal["semi_angle", "nominal_step"]
"""What an angle of a pixel was taken from: the aperture's known semi-angle, or the commanded step."""


class Aperture(Record):
    """The bright-field disk on the camera; an ellipse as in ``stemcal.records.gold.Ellipse``.

    ``radius_px`` is area-preserving, ``edge_px`` the Gaussian width of the disk's edge. ``ratio`` is 1 where the
    ellipse is not significant. ``mrad_per_px`` is the semi-angle over the radius.
    """

    centre_row: Quantity
    centre_col: Quantity
    radius_px: Quantity
    ratio: Quantity
    angle_deg: Quantity
    edge_px: float
    mean_counts_per_px: float
    mrad_per_px: Quantity | None


class ScanToCamera(Record):
    """The steps of the scan on the camera (conventions in ``stemcal.optics.scan_affine``).

    ``matrix`` is S: its columns are the slow (scan_row) and the fast (scan_col) step, each (row, col), in ``unit`` per
    step; ``covariance`` is that of its four numbers in row-major order. ``disk_shift_px`` is B, what was measured:
    detector pixels per cycle per step. Steps that are the commanded ones (``scale_source``) have no sigma.
    """

    theta_fast_deg: Quantity
    theta_slow_deg: Quantity
    step_ratio: Quantity = Field(description="slow over fast")
    step_fast_angstrom: Quantity | None
    step_slow_angstrom: Quantity | None
    flip: bool
    half_turn_resolved: bool
    matrix: Matrix
    covariance: tuple[tuple[float, float, float, float], ...] | None = Field(min_length=4, max_length=4)
    unit: Literal["angstrom", "1"] = Field(description='"1": relative to the geometric mean of the steps')
    scale_source: ScaleSource | None
    disk_shift_px: Matrix


class Vote(Record):
    """What one way of measuring says of the geometry, and whether that was used.

    ``axis_deg`` is the direction of the fast axis, up to the half turn.
    """

    method: Mode
    usable: bool
    used: bool
    reason: str
    disk_shift_px: Matrix | None = None
    axis_deg: float | None = None
    sigma_deg: float | None = None


class Peak(Record):
    """A peak of the scan's power spectrum that was used; of each pair of opposite ones one is listed."""

    frequency: Pair = Field(description="cycles per step, (scan_row, scan_col), by the lattice where there is one")
    sigma: Pair | None = Field(description="of the peak by itself")
    power: float = Field(description="over the noise")
    index: tuple[int, int] | None = Field(description="on the lattice of the scan")


class HalfTurn(Record):
    """Which of the geometry and its opposite it is: the sign that makes atoms scatter as they do."""

    resolved: bool
    z: float | None = Field(description="correlation with the dark field over its standard deviation")
    correlation: float | None
    skewness: float | None = Field(description="of the phase, seen through the probe")
    skewness_sign: int = Field(ge=-1, le=1, description="what the skewness votes for; 0 is undecided")
    reason: str


class ComCurl(Record):
    """Rotation at which the centre of mass has the least curl, as other programs measure it.

    ``theta_deg`` is the direction of the fast axis, up to the half turn; ``rotation_deg`` and ``transpose`` say it
    in py4DSTEM's convention. ``ratio`` is curl over divergence.
    """

    theta_deg: Quantity
    flip: bool
    ratio: float
    rotation_deg: float
    transpose: bool


class JMatrix(Record):
    """S as the centre of mass alone has it, up to its scale and the half turn."""

    matrix: Matrix
    theta_fast_deg: Quantity
    theta_slow_deg: Quantity
    step_ratio: Quantity
    residual: float


class Consistency(Record):
    """|det B| against what wavelength, commanded step and angle of a pixel make of it."""

    determinant_px2: float
    expected_px2: float | None
    ratio: float | None
    frequency_step_px: float = Field(description="by how far a disk moves from one frequency of the scan to the next")
    expected_frequency_step_px: float | None


class Preparation(Record):
    """What was done to the counts before anything was measured."""

    gain_corrected: bool
    normalised: bool
    beam_rms: float = Field(description="relative change of the dose over the scan")
    bad_lines: tuple[int, ...]
    unusable_fraction: float = Field(ge=0, le=1, description="part of the scan positions that were left out")
    descan_px_per_step: Matrix = Field(description="columns: by how much the disk moves per slow and per fast step")
    binning: int


class Symmetry(Record):
    """The geometry under the assumption that the crystal has this rotational symmetry."""

    fold: Literal[4, 6]
    chi_square: float = Field(description="per degree of freedom, of which there are two")
    disk_shift_px: Matrix
    used: bool


class Tilt(Record):
    """Direction of the crystal's zone axis on the camera, from the beam."""

    row_mrad: Quantity
    col_mrad: Quantity
    source: str


class GeometryResult(Record):
    """What the data say of scan, camera and lens."""

    mode: Mode
    aperture: Aperture
    scan_to_camera: ScanToCamera
    aberrations: dict[str, Quantity] = Field(
        description="Krivanek's coefficients by name; empty where the model that fits them does not hold"
    )
    aberration_order: int | None
    focal_spread_angstrom: Quantity | None
    explained_energy: float | None = Field(description="part of the interference that the thin model explains")
    margin: float | None = Field(description="log-likelihood by which the next best geometry is worse")
    half_turn: HalfTurn
    column_rule: Literal["positive", "negative"] = Field(
        description="sign of an atom column's phase in a reconstruction whose axes are taken from the matrix and that "
        "knows no flip"
    )
    votes: tuple[Vote, ...]
    peaks: tuple[Peak, ...]
    symmetry: Symmetry | None
    com_curl: ComCurl | None
    j_matrix: JMatrix | None
    consistency: Consistency
    preparation: Preparation
    tilt_mrad: Tilt | None
    n_resampling_tiles: int


class GeometryRecord(Measurement):
    """The record of a geometry calibration."""

    schema_id: Literal["stemcal/geometry/1"] = Field(default="stemcal/geometry/1", alias="schema")
    voltage_kv: float | None
    semi_angle_mrad: float | None
    nominal_step_angstrom: float | None
    nominal_camera_length_m: float | None
    scan_rotation_deg: float | None = Field(description="as commanded")
    magnification: float | None
    acquired_at: str | None
    scan_shape: tuple[int, int] | None
    frame_shape: tuple[int, int] | None
    result: GeometryResult | None
