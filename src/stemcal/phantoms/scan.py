"""The records that describe one synthetic acquisition: camera, detector, scan, and what lies where in it.

The camera is that of a 200 kV column at a nominal camera length of 90 mm with 55 um pixels: 0.0112 1/angstrom per
pixel, an effective camera length of 0.196 m, 2.2 times the nominal one, as ePSIC's own table has it for 90 mm.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stemcal.optics.descan import evaluate
from stemcal.optics.wavelength import wavelength_angstrom
from stemcal.records.base import Record

Damage = Literal["cut", "garbled_header"]
Expected = Literal["ready", "growing", "incomplete", "rejected"]


CHIP_GAP_PX = 3
"""Width of the gap between the chips of a Medipix3 quad, as ePSIC has it."""


class Blob(Record):
    """A soft disk of one phase in scan coordinates, both axes scaled to [-1, 1].

    ``vacuum`` is no phase: it takes away its amount of whatever is there.
    """

    phase: Literal["Au", "Si", "Al", "C", "vacuum"]
    row: float = 0.0
    col: float = 0.0
    radius: float = 100.0
    softness: float = 0.12
    amount: float = Field(ge=0)


class CameraPlan(Record):
    """What the gold has to find, and what the microscope says of itself."""

    frame_shape: tuple[int, int] = Field(default=(256, 256), description="as read out, without the gap between chips")
    pixel_size_per_angstrom: float = 0.0112
    ratio: float = 1.025
    angle_deg: float = 35.0
    voltage_kv: float = 200.0
    nominal_camera_length_m: float = 0.09
    detector_pixel_um: float = 55.0
    disk_radius_px: float = 5.0

    @property
    def wavelength_angstrom(self) -> float:
        """Electron wavelength in angstrom."""
        return wavelength_angstrom(self.voltage_kv)

    @property
    def effective_camera_length_m(self) -> float:
        """Camera length at which the detector's pixels have the pixel size, in m."""
        return self.detector_pixel_um * 1e-6 / (self.wavelength_angstrom * self.pixel_size_per_angstrom)

    @property
    def convergence_semi_angle_mrad(self) -> float:
        """Semi-angle that goes with the radius of the bright disk."""
        return self.disk_radius_px * self.pixel_size_per_angstrom * self.wavelength_angstrom * 1e3


class DetectorPlan(Record):
    """Four chips with a gap between them, and faults: dead edges along the gap, dead and hot pixels as (row, col).

    Pixels are counted as they are read out, without the gap; the patterns and the truth about them are on the plane
    that has it.
    """

    gap_px: int = Field(default=CHIP_GAP_PX, ge=0, description="between the chips, where nothing is counted")
    dead_cross_px: int = Field(default=2, ge=0, multiple_of=2)
    dead_pixels: tuple[tuple[int, int], ...] = ()
    hot_pixels: tuple[tuple[int, int], ...] = ()
    hot_count: int = 400
    gain_spread: float = Field(default=0.0, ge=0, lt=0.2, description="relative standard deviation of the pixels' gain")
    gain_parity_spread: float = Field(
        default=0.0, ge=0, lt=0.2, description="the same of half the difference between even and odd frames"
    )

    @property
    def is_even(self) -> bool:
        """Whether all pixels answer alike."""
        return self.gain_spread == 0 and self.gain_parity_spread == 0


class ThinPlan(Record):
    """A thin crystal at atomic resolution, in place of a powder: how the scan lies in the camera, and the lens.

    Angles and the names of the aberrations are those of ``stemcal.optics``, on the plane of the chips, file row order.
    """

    kind: Literal["square", "hexagonal"]
    strength: float = Field(default=1.0, gt=0, description="factor on the phase of the crystal")
    crystal_angle_deg: float = 0.0
    theta_fast_deg: float
    theta_slow_deg: float
    step_ratio: float = Field(default=1.0, gt=0, description="slow over fast; their geometric mean is the step")
    flip: bool = False
    aberrations_angstrom: dict[str, float] = Field(default_factory=dict)
    source_sigma_angstrom: float = Field(default=0.0, ge=0)


class ScanPlan(Record):
    """One acquisition."""

    folder: str
    timestamp: str = Field(pattern=r"^\d{8}_\d{6}$", description="local time of the start; taken as UTC")
    role: Literal["gold", "sample", "gain"]
    expected: Expected = "ready"
    damage: Damage | None = None
    scan_shape: tuple[int, int]
    frames_on_disk: int | None = Field(default=None, description="fewer than the scan has, in a growing file")
    scan_in_hdr: bool = Field(default=False, description="ScanX and ScanY")
    lines_in_hdr: bool = Field(default=False, description="frames per trigger = one line; 1 otherwise")
    centre_px: tuple[float, float] = Field(description="on the detector with the gap between its chips")
    descan_degree: int = 2
    descan_row_px: tuple[float, ...]
    descan_col_px: tuple[float, ...]
    blobs: tuple[Blob, ...]
    thin: ThinPlan | None = Field(default=None, description="instead of the blobs")
    counts_per_frame: float
    direct_beam_fraction: float = 0.3
    diffuse_fraction: float = 0.35
    camera: CameraPlan | None = Field(default=None, description="instead of the session's")
    step_nm: float = 5.0
    stage_um: tuple[float, float] = (0.0, 0.0)
    edx: bool = Field(default=False, description="an EDX map was taken with it")

    @property
    def n_frames(self) -> int:
        """Frames of the finished scan."""
        return self.scan_shape[0] * self.scan_shape[1]

    @property
    def n_written(self) -> int:
        """Frames that are written at first."""
        return self.n_frames if self.frames_on_disk is None else self.frames_on_disk

    @property
    def name(self) -> str:
        """Path of the raw file in the session."""
        return f"Merlin/{self.folder}/{self.timestamp}/{self.timestamp}_data.mib"


def descan_of(scan: ScanPlan) -> list[tuple[float, float]]:
    """Return the displacement (row, col) in px of every frame of ``scan``, raster order."""
    positions = evaluate(scan.descan_row_px, scan.descan_col_px, scan.descan_degree, scan.scan_shape)
    return [(float(row), float(col)) for row, col in positions]
