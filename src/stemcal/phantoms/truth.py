"""``truth.json`` beside a synthetic session: what every step ought to find."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stemcal.optics.scan_affine import scan_axes
from stemcal.phantoms.materials import phase_maps
from stemcal.phantoms.plan import SessionPlan
from stemcal.phantoms.scan import Expected, ScanPlan, ThinPlan, descan_of
from stemcal.records.base import Record


class GeometryTruth(Record):
    """How scan and camera lie to each other, in RosettaSciIO's row order, which is that of the converted file.

    Turning the rows over inverts the camera's row axis: the flip changes, angles and sine terms change their sign.
    """

    theta_fast_deg: float
    theta_slow_deg: float
    step_ratio: float
    step_fast_angstrom: float
    step_slow_angstrom: float
    flip: bool
    matrix: tuple[tuple[float, float], tuple[float, float]] = Field(description="angstrom per step, columns slow, fast")
    aberrations_angstrom: dict[str, float]
    semi_angle_mrad: float


class DatasetTruth(Record):
    """The truth about one acquisition; maps are (scan_row, scan_col), pixels those of the frame with the chip gap."""

    role: Literal["gold", "sample", "gain"]
    expected_verdict: Expected
    reason: str
    scan_shape: tuple[int, int]
    scan_shape_witnesses: tuple[str, ...]
    n_frames_expected: int
    pixel_size_per_angstrom: float = Field(description="area-preserving")
    pixel_size_minor_axis_per_angstrom: float
    ellipse_ratio: float
    ellipse_angle_deg: float = Field(description="major axis, from +col toward +row, file row order")
    ellipse_angle_flipped_deg: float = Field(description="the same with the rows turned over (RosettaSciIO's order)")
    effective_camera_length_m: float
    camera_length_ratio: float
    centre_row_px: float = Field(description="mean over the scan, file row order")
    centre_row_flipped_px: float
    centre_col_px: float
    disk_radius_px: float
    beam_row_px: tuple[float, ...] = Field(description="per frame, raster order, file row order")
    beam_col_px: tuple[float, ...]
    geometry: GeometryTruth | None = None
    phases: tuple[str, ...]
    phase_maps: dict[str, tuple[tuple[float, ...], ...]] = Field(description="relative scattered intensity")


class SessionTruth(Record):
    """Everything that is known of a synthetic session."""

    schema_id: Literal["stemcal/phantom-session/1"] = Field(default="stemcal/phantom-session/1", alias="schema")
    plan: SessionPlan
    datasets: dict[str, DatasetTruth] = Field(description="by the path of the raw file in the session")


def session_truth(plan: SessionPlan) -> SessionTruth:
    """Return the truth about a session that is made after ``plan``."""
    return SessionTruth(plan=plan, datasets={scan.name: _dataset(plan, scan) for scan in plan.scans})


def _dataset(plan: SessionPlan, scan: ScanPlan) -> DatasetTruth:
    camera = plan.camera_of(scan)
    last_row = plan.plane_shape(scan)[0] - 1
    descan = descan_of(scan)
    rows = [scan.centre_px[0] + row for row, _ in descan]
    cols = [scan.centre_px[1] + col for _, col in descan]
    maps = phase_maps(scan)
    mean_row = sum(rows) / len(rows)
    return DatasetTruth(
        role=scan.role,
        expected_verdict=scan.expected,
        reason=_REASONS[scan.expected],
        scan_shape=scan.scan_shape,
        scan_shape_witnesses=_witnesses(scan),
        n_frames_expected=scan.n_frames,
        pixel_size_per_angstrom=camera.pixel_size_per_angstrom,
        pixel_size_minor_axis_per_angstrom=camera.pixel_size_per_angstrom * camera.ratio**0.5,
        ellipse_ratio=camera.ratio,
        ellipse_angle_deg=camera.angle_deg,
        ellipse_angle_flipped_deg=-camera.angle_deg % 180.0,
        effective_camera_length_m=camera.effective_camera_length_m,
        camera_length_ratio=camera.effective_camera_length_m / camera.nominal_camera_length_m,
        centre_row_px=mean_row,
        centre_row_flipped_px=last_row - mean_row,
        centre_col_px=sum(cols) / len(cols),
        disk_radius_px=camera.disk_radius_px,
        beam_row_px=tuple(round(value, 6) for value in rows),
        beam_col_px=tuple(round(value, 6) for value in cols),
        geometry=None if scan.thin is None else _geometry(plan, scan, scan.thin),
        phases=tuple(maps),
        phase_maps={name: _rounded(values) for name, values in maps.items()},
    )


def _geometry(plan: SessionPlan, scan: ScanPlan, thin: ThinPlan) -> GeometryTruth:
    turned_over = np.diag([-1.0, 1.0]) @ plan.weak_phase(scan).scan_matrix
    axes = scan_axes(turned_over)
    (a, b), (c, d) = ((round(float(value), 9) for value in line) for line in turned_over)
    return GeometryTruth(
        theta_fast_deg=round(axes.theta_fast_deg, 9),
        theta_slow_deg=round(axes.theta_slow_deg, 9),
        step_ratio=round(axes.step_ratio, 9),
        step_fast_angstrom=round(axes.step_fast, 9),
        step_slow_angstrom=round(axes.step_slow, 9),
        flip=axes.flip,
        matrix=((a, b), (c, d)),
        aberrations_angstrom={
            name: -value if name.endswith("b") else value for name, value in thin.aberrations_angstrom.items()
        },
        semi_angle_mrad=plan.camera_of(scan).convergence_semi_angle_mrad,
    )


def _rounded(values: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(float(value), 6) for value in line) for line in values)


def _witnesses(scan: ScanPlan) -> tuple[str, ...]:
    square = scan.scan_shape[0] == scan.scan_shape[1]
    found = {
        "hdr ScanX and ScanY": scan.scan_in_hdr,
        "hdr frames per trigger": scan.lines_in_hdr,
        "microscope set_scan_px": square,
        "square frame count": square,
    }
    return tuple(name for name, there in found.items() if there)


_REASONS = {
    "ready": "every frame is there and nobody writes to it",
    "growing": "fewer frames are on disk than the .hdr promises, and it was written to a moment ago",
    "incomplete": "the file ends in the middle of its last frame and was left so long ago",
    "rejected": "the first frame header is garbled",
}
