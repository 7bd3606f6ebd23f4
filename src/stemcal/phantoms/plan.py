"""The plan of a synthetic session: every number that decides its bytes, as one record.

The camera is that of a 200 kV column at a nominal camera length of 90 mm with 55 um pixels: 0.0112 1/angstrom per
pixel, an effective camera length of 0.196 m, 2.2 times the nominal one, as ePSIC's own table has it for 90 mm.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from stemcal.optics.descan import evaluate
from stemcal.optics.wavelength import wavelength_angstrom
from stemcal.phantoms.powder import Camera
from stemcal.records.base import Record
from stemcal.records.microscope import Microscope

FULL_FRAME_PX = 256
FULL_SCAN_PX = 20
Damage = Literal["cut", "garbled_header"]
Expected = Literal["ready", "growing", "incomplete", "rejected"]


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

    frame_shape: tuple[int, int] = (FULL_FRAME_PX, FULL_FRAME_PX)
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
    """Faults of the detector: a dead cross between the chips, dead and hot pixels as (row, col)."""

    dead_cross_px: int = Field(default=2, ge=0, multiple_of=2)
    dead_pixels: tuple[tuple[int, int], ...] = ()
    hot_pixels: tuple[tuple[int, int], ...] = ()
    hot_count: int = 400


class ScanPlan(Record):
    """One acquisition."""

    folder: str
    timestamp: str = Field(pattern=r"^\d{8}_\d{6}$", description="local time of the start; taken as UTC")
    role: Literal["gold", "sample"]
    expected: Expected = "ready"
    damage: Damage | None = None
    scan_shape: tuple[int, int]
    frames_on_disk: int | None = Field(default=None, description="fewer than the scan has, in a growing file")
    scan_in_hdr: bool = Field(default=False, description="ScanX and ScanY")
    lines_in_hdr: bool = Field(default=False, description="frames per trigger = one line; 1 otherwise")
    centre_px: tuple[float, float]
    descan_degree: int = 2
    descan_row_px: tuple[float, ...]
    descan_col_px: tuple[float, ...]
    blobs: tuple[Blob, ...]
    counts_per_frame: float
    direct_beam_fraction: float = 0.3
    diffuse_fraction: float = 0.35
    camera: CameraPlan | None = Field(default=None, description="instead of the session's")
    step_nm: float = 5.0
    stage_um: tuple[float, float] = (0.0, 0.0)

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


class SessionPlan(Record):
    """A whole session; equal plans give equal bytes."""

    seed: int = Field(default=1, ge=0)
    exposure_s: float = 1e-3
    ring_width_px: float = 1.3
    camera: CameraPlan
    detector: DetectorPlan
    scans: tuple[ScanPlan, ...]

    @classmethod
    def demo(cls, *, scan_px: int = FULL_SCAN_PX, frame_px: int = FULL_FRAME_PX, seed: int = 1) -> SessionPlan:
        """Return the plan of the demonstration.

        Parameters
        ----------
        scan_px : int
            Side of the gold scan; the other scans go with it.
        frame_px : int
            Side of the detector; the camera length goes with it, so that the gold fills the frame.
        seed : int
            Seed of every random number.
        """
        zoom = frame_px / FULL_FRAME_PX
        camera = CameraPlan(
            frame_shape=(frame_px, frame_px),
            pixel_size_per_angstrom=0.0112 / zoom,
            nominal_camera_length_m=round(0.09 * zoom, 4),
            disk_radius_px=5.0 * zoom,
        )
        centre = (0.4621 * frame_px, 0.5375 * frame_px)
        return cls(
            seed=seed,
            ring_width_px=1.3 * zoom,
            camera=camera,
            detector=_detector(frame_px),
            scans=_scans(scan_px, centre, descan_px=1.6 * zoom, counts=2e4),
        )

    @classmethod
    def tiny(cls, *, seed: int = 1) -> SessionPlan:
        """Return a session of 7 MB for tests: 128 px detector, five gold rings, still fit to be calibrated."""
        camera = CameraPlan(
            frame_shape=(128, 128),
            pixel_size_per_angstrom=0.0178,
            nominal_camera_length_m=0.057,
            disk_radius_px=3.0,
        )
        scans = _scans(7, (55.2, 71.9), descan_px=0.8, counts=1.2e4)
        return cls(seed=seed, ring_width_px=0.9, camera=camera, detector=_detector(128), scans=scans)

    def camera_of(self, scan: ScanPlan) -> CameraPlan:
        """Return the camera that takes ``scan``."""
        return scan.camera or self.camera

    def phantom_camera(self, scan: ScanPlan) -> Camera:
        """Return the camera that draws the patterns of ``scan``."""
        plan = self.camera_of(scan)
        return Camera(
            frame_shape=plan.frame_shape,
            centre_row_px=scan.centre_px[0],
            centre_col_px=scan.centre_px[1],
            pixel_size_per_angstrom=plan.pixel_size_per_angstrom,
            ratio=plan.ratio,
            angle_deg=plan.angle_deg,
            voltage_kv=plan.voltage_kv,
        )

    def microscope(self, scan: ScanPlan) -> Microscope:
        """Return what the microscope's file says of ``scan``; the scan size only where the scan is square."""
        rows, cols = scan.scan_shape
        camera = self.camera_of(scan)
        return Microscope(
            voltage_kv=camera.voltage_kv,
            nominal_camera_length_m=camera.nominal_camera_length_m,
            convergence_semi_angle_mrad=float(f"{camera.convergence_semi_angle_mrad:.4g}"),
            scan_step_nm=scan.step_nm,
            field_of_view_nm=scan.step_nm * cols,
            scan_size_px=cols if rows == cols else None,
            dwell_time_us=self.exposure_s * 1e6,
            defocus_nm=0.0,
            magnification=4e5,
            scan_rotation_deg=0.0,
            spot_size=8,
            aperture_index=4,
            stage_x_um=scan.stage_um[0],
            stage_y_um=scan.stage_um[1],
            stage_z_um=-104.0,
            stage_tilt_x_deg=0.2,
            stage_tilt_y_deg=-0.13,
        )

    def replacing(self, scan: ScanPlan) -> SessionPlan:
        """Return the plan with ``scan`` in the place of the one of the same name."""
        scans = tuple(scan if other.name == scan.name else other for other in self.scans)
        return self.model_copy(update={"scans": scans})


def descan_of(scan: ScanPlan) -> list[tuple[float, float]]:
    """Return the displacement (row, col) in px of every frame of ``scan``, raster order."""
    positions = evaluate(scan.descan_row_px, scan.descan_col_px, scan.descan_degree, scan.scan_shape)
    return [(float(row), float(col)) for row, col in positions]


def _detector(frame_px: int) -> DetectorPlan:
    """Return a few faults at fixed places, away from the beam."""

    def at(row: float, col: float) -> tuple[int, int]:
        return math.floor(row * frame_px), math.floor(col * frame_px)

    dead = (at(0.11, 0.18), at(0.31, 0.82), at(0.75, 0.36), at(0.89, 0.91))
    return DetectorPlan(dead_pixels=dead, hot_pixels=(at(0.09, 0.71),))


def _scans(scan_px: int, centre: tuple[float, float], *, descan_px: float, counts: float) -> tuple[ScanPlan, ...]:
    """Return gold, three good samples, one that grows, one cut and one with a broken header, minutes apart."""
    rows, cols = max(3, round(0.8 * scan_px)), max(4, round(1.2 * scan_px))
    square = max(3, round(0.9 * scan_px))
    few = max(2, rows // 4)
    d = descan_px
    gold = ScanPlan(
        folder="Au_xgrating",
        timestamp="20250513_093012",
        role="gold",
        scan_shape=(scan_px, scan_px),
        centre_px=centre,
        descan_row_px=(0.0, d, -0.3 * d, 0.06 * d, 0.03 * d, -0.08 * d),
        descan_col_px=(0.0, 0.35 * d, -0.8 * d, 0.05 * d, -0.06 * d, 0.04 * d),
        blobs=(Blob(phase="Au", amount=1.0),),
        counts_per_frame=2 * counts,
        stage_um=(412.0, -57.5),
    )

    def sample(timestamp: str, shape: tuple[int, int], drift: float, blobs: tuple[Blob, ...]) -> ScanPlan:
        return ScanPlan(
            folder="SiAl_film",
            timestamp=timestamp,
            role="sample",
            scan_shape=shape,
            centre_px=(centre[0] - drift, centre[1] + 0.6 * drift),
            descan_row_px=(0.0, 0.9 * d, -0.25 * d, 0.05 * d, 0.02 * d, -0.05 * d),
            descan_col_px=(0.0, 0.3 * d, -0.75 * d, 0.04 * d, -0.05 * d, 0.03 * d),
            blobs=blobs,
            counts_per_frame=counts,
            stage_um=(35.0 + drift * 10, 12.5),
        )

    hdr = {"scan_in_hdr": True, "lines_in_hdr": True}
    return (
        gold,
        sample("20250513_094127", (rows, cols), 0.4, _ISLANDS).model_copy(update=hdr),
        sample("20250513_094655", (rows, cols), 0.7, _LAYERS).model_copy(update={"lines_in_hdr": True}),
        sample("20250513_095310", (square, square), 0.9, _TORN),
        sample("20250513_095836", (few, cols), 1.0, _LAYERS).model_copy(
            update={**hdr, "damage": "cut", "expected": "incomplete"}
        ),
        sample("20250513_100204", (few, cols // 2), 1.0, _ISLANDS).model_copy(
            update={**hdr, "damage": "garbled_header", "expected": "rejected"}
        ),
        sample("20250513_100751", (2 * few, cols), 1.1, _ISLANDS).model_copy(
            update={**hdr, "expected": "growing", "frames_on_disk": few * cols // 2 + 1}
        ),
    )


_ISLANDS = (
    Blob(phase="C", amount=0.45),
    Blob(phase="Si", row=-0.35, col=-0.45, radius=0.45, amount=0.7),
    Blob(phase="Al", row=0.4, col=0.5, radius=0.4, amount=0.8),
    Blob(phase="Al", row=-0.6, col=0.7, radius=0.2, amount=0.5),
)
_LAYERS = (
    Blob(phase="C", row=-3.0, radius=2.7, softness=0.15, amount=0.9),
    Blob(phase="C", amount=0.15),
    Blob(phase="Si", row=3.0, radius=2.8, softness=0.15, amount=0.9),
    Blob(phase="Al", row=0.0, col=0.1, radius=0.3, softness=0.1, amount=0.8),
)
_TORN = (
    Blob(phase="C", amount=0.5),
    Blob(phase="Al", row=-0.2, col=-0.6, radius=0.5, amount=0.7),
    Blob(phase="Si", row=0.5, col=0.0, radius=0.4, amount=0.9),
    Blob(phase="vacuum", row=-0.9, col=0.9, radius=0.55, softness=0.05, amount=1.0),
)
"""Maps of the samples: islands on carbon; layers; a film with a hole in one corner."""
