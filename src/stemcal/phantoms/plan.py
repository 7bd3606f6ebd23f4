"""The plan of a synthetic session: every number that decides its bytes, as one record."""

from __future__ import annotations

from pydantic import Field

from stemcal.formats.chip_gap import gapped_shape
from stemcal.optics.scan_affine import ScanAxes
from stemcal.phantoms.powder import Camera
from stemcal.phantoms.recipe import Recipe, atomic_resolution, faulty_detector
from stemcal.phantoms.scan import CHIP_GAP_PX, CameraPlan, DetectorPlan, ScanPlan
from stemcal.phantoms.weak_phase import WeakPhasePlan, crystal
from stemcal.records.base import Record
from stemcal.records.microscope import Microscope

FULL_FRAME_PX = 256
FULL_SCAN_PX = 20


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
        centre = (0.4621 * frame_px, 0.5375 * frame_px + CHIP_GAP_PX)
        return cls(
            seed=seed,
            ring_width_px=1.3 * zoom,
            camera=camera,
            detector=faulty_detector(frame_px),
            scans=(*Recipe(scan_px, centre, descan_px=1.6 * zoom, counts=2e4).scans(), atomic_resolution()),
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
        scans = Recipe(7, (56.2, 74.0), descan_px=0.8, counts=1.2e4).scans()
        return cls(seed=seed, ring_width_px=0.9, camera=camera, detector=faulty_detector(128), scans=scans)

    def with_gain(self, *, spread: float = 0.04, parity_spread: float = 0.0) -> SessionPlan:
        """Return the plan with a detector whose pixels answer differently, and a flat field that shows it."""
        gold = next(scan for scan in self.scans if scan.role == "gold")
        recipe = Recipe(gold.scan_shape[0], gold.centre_px, descan_px=0.0, counts=gold.counts_per_frame / 2)
        detector = self.detector.model_copy(update={"gain_spread": spread, "gain_parity_spread": parity_spread})
        scans = (*self.scans, recipe.gain(self.camera.frame_shape))
        return self.model_copy(update={"detector": detector, "scans": scans})

    def camera_of(self, scan: ScanPlan) -> CameraPlan:
        """Return the camera that takes ``scan``."""
        return scan.camera or self.camera

    def detector_of(self, scan: ScanPlan) -> DetectorPlan:
        """Return the detector that takes ``scan``: frames of another size are those of another one."""
        shape = self.camera_of(scan).frame_shape
        return self.detector if shape == self.camera.frame_shape else faulty_detector(shape[0])

    def plane_shape(self, scan: ScanPlan) -> tuple[int, int]:
        """Return (det_row, det_col) of the plane that ``scan`` is seen on: the chips with the gap between them."""
        return gapped_shape(self.camera_of(scan).frame_shape, self.detector_of(scan).gap_px)

    def phantom_camera(self, scan: ScanPlan) -> Camera:
        """Return the camera that draws the patterns of ``scan``."""
        plan = self.camera_of(scan)
        return Camera(
            frame_shape=self.plane_shape(scan),
            centre_row_px=scan.centre_px[0],
            centre_col_px=scan.centre_px[1],
            pixel_size_per_angstrom=plan.pixel_size_per_angstrom,
            ratio=plan.ratio,
            angle_deg=plan.angle_deg,
            voltage_kv=plan.voltage_kv,
        )

    def weak_phase(self, scan: ScanPlan) -> WeakPhasePlan:
        """Return what is simulated of a scan at atomic resolution."""
        assert scan.thin is not None
        thin, camera = scan.thin, self.camera_of(scan)
        step, root = 10 * scan.step_nm, thin.step_ratio**0.5
        return WeakPhasePlan(
            axes=ScanAxes(thin.theta_fast_deg, thin.theta_slow_deg, step / root, step * root, thin.flip),
            thin=crystal(thin.kind, strength=thin.strength, angle_deg=thin.crystal_angle_deg),
            aberrations_angstrom=thin.aberrations_angstrom,
            scan_shape=scan.scan_shape,
            frame_shape=self.plane_shape(scan),
            voltage_kv=camera.voltage_kv,
            semi_angle_mrad=camera.convergence_semi_angle_mrad,
            disk_radius_px=camera.disk_radius_px,
            centre_px=scan.centre_px,
            source_sigma_angstrom=thin.source_sigma_angstrom,
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
            magnification=float(f"{2e6 / scan.step_nm:.4g}"),
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
