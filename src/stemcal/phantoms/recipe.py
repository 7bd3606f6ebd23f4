"""Which acquisitions a synthetic session has: gold, three samples, and one of each kind that goes wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stemcal.phantoms.scan import Blob, CameraPlan, DetectorPlan, ScanPlan, ThinPlan

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

_DESCAN_ROW = (0.0, 1.0, -0.3, 0.06, 0.03, -0.08)
_DESCAN_COL = (0.0, 0.35, -0.8, 0.05, -0.06, 0.04)
"""Shape of the descan, polynomial of degree 2 in the order of `stemcal.optics.descan`."""

_FLAT_COUNTS_PER_PIXEL = 3600.0
"""In all frames of a flat field: the gain is then known to 1.7 %."""


@dataclass(frozen=True)
class Recipe:
    """What the acquisitions of a session have in common.

    Attributes
    ----------
    scan_px : int
        Side of the gold scan; the others go with it.
    centre_px : tuple of float
        Beam (row, col) on the gold; the samples drift away from it by a pixel.
    descan_px : float
        How far the beam moves from the middle of the scan to its edge.
    counts : float
        Electrons per frame of a sample of weight 1; the gold has twice as many.
    """

    scan_px: int
    centre_px: tuple[float, float]
    descan_px: float
    counts: float

    def scans(self) -> tuple[ScanPlan, ...]:
        """Return gold, three good samples, one cut, one with a broken header and one that grows, minutes apart."""
        rows, cols = max(3, round(0.8 * self.scan_px)), max(4, round(1.2 * self.scan_px))
        square = max(3, round(0.9 * self.scan_px))
        few = max(2, rows // 4)
        stated = {"scan_in_hdr": True, "lines_in_hdr": True}
        broken = {**stated, "damage": "garbled_header", "expected": "rejected"}
        growing = {**stated, "expected": "growing", "frames_on_disk": few * cols // 2 + 1}
        return (
            self.gold(),
            self.sample("20250513_094127", (rows, cols), 0.4, _ISLANDS, {**stated, "edx": True}),
            self.sample("20250513_094655", (rows, cols), 0.7, _LAYERS, {"lines_in_hdr": True}),
            self.sample("20250513_095310", (square, square), 0.9, _TORN, {}),
            self.sample(
                "20250513_095836", (few, cols), 1.0, _LAYERS, {**stated, "damage": "cut", "expected": "incomplete"}
            ),
            self.sample("20250513_100204", (few, cols // 2), 1.0, _ISLANDS, broken),
            self.sample("20250513_100751", (2 * few, cols), 1.1, _ISLANDS, growing),
        )

    def gold(self) -> ScanPlan:
        """Return the cross-grating, evenly covered."""
        return ScanPlan(
            folder="Au_xgrating",
            timestamp="20250513_093012",
            role="gold",
            scan_shape=(self.scan_px, self.scan_px),
            centre_px=self.centre_px,
            descan_row_px=self._times_descan(_DESCAN_ROW),
            descan_col_px=self._times_descan(_DESCAN_COL),
            blobs=(Blob(phase="Au", amount=1.0),),
            counts_per_frame=2 * self.counts,
            stage_um=(412.0, -57.5),
        )

    def gain(self, frame_shape: tuple[int, int]) -> ScanPlan:
        """Return a flat field, as many frames as the gold, between gold and samples."""
        pixels = frame_shape[0] * frame_shape[1]
        return ScanPlan(
            folder="gain",
            timestamp="20250513_093627",
            role="gain",
            scan_shape=(self.scan_px, self.scan_px),
            centre_px=self.centre_px,
            descan_row_px=self._times_descan(0.0 for _ in _DESCAN_ROW),
            descan_col_px=self._times_descan(0.0 for _ in _DESCAN_COL),
            blobs=(),
            counts_per_frame=_FLAT_COUNTS_PER_PIXEL * pixels / self.scan_px**2,
        )

    def sample(
        self,
        timestamp: str,
        shape: tuple[int, int],
        drift_px: float,
        blobs: tuple[Blob, ...],
        said: Mapping[str, object],
    ) -> ScanPlan:
        """Return a scan of the film whose beam has drifted by ``drift_px``; ``said`` is added to the record."""
        row, col = self.centre_px
        fields: dict[str, object] = {
            "folder": "SiAl_film",
            "timestamp": timestamp,
            "role": "sample",
            "scan_shape": shape,
            "centre_px": (row - drift_px, col + 0.6 * drift_px),
            "descan_row_px": self._times_descan(0.9 * value for value in _DESCAN_ROW),
            "descan_col_px": self._times_descan(0.9 * value for value in _DESCAN_COL),
            "blobs": blobs,
            "counts_per_frame": self.counts,
            "stage_um": (35.0 + drift_px * 10, 12.5),
        }
        return ScanPlan.model_validate({**fields, **said})

    def _times_descan(self, shares: Iterable[float]) -> tuple[float, ...]:
        return tuple(round(self.descan_px * share, 6) for share in shares)


def atomic_resolution() -> ScanPlan:
    """Return a focused scan of a thin hexagonal crystal whose disk lies on one chip: it shows its geometry."""
    camera = CameraPlan(
        frame_shape=(64, 64),
        pixel_size_per_angstrom=0.0731,
        ratio=1.0,
        angle_deg=0.0,
        nominal_camera_length_m=0.02,
        disk_radius_px=12.0,
    )
    thin = ThinPlan(
        kind="hexagonal",
        crystal_angle_deg=17.0,
        theta_fast_deg=-31.4,
        theta_slow_deg=-30.6,
        step_ratio=1.02,
        aberrations_angstrom={"C10": 45.0, "C12a": 12.0, "C12b": -8.0},
        source_sigma_angstrom=0.25,
    )
    still = (0.0,) * len(_DESCAN_ROW)
    return ScanPlan(
        folder="MoS2",
        timestamp="20250513_101423",
        role="sample",
        scan_shape=(64, 64),
        scan_in_hdr=True,
        centre_px=(16.3, 16.9),
        descan_row_px=still,
        descan_col_px=still,
        blobs=(),
        thin=thin,
        counts_per_frame=8e3,
        camera=camera,
        step_nm=0.04,
        stage_um=(-14.0, 88.0),
    )


def faulty_detector(frame_px: int) -> DetectorPlan:
    """Return a few faults at fixed places, away from the beam."""

    def at(row: float, col: float) -> tuple[int, int]:
        return math.floor(row * frame_px), math.floor(col * frame_px)

    dead = (at(0.11, 0.18), at(0.31, 0.82), at(0.75, 0.36), at(0.89, 0.91))
    return DetectorPlan(dead_pixels=dead, hot_pixels=(at(0.09, 0.71),))
