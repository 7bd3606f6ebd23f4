"""Data sets, gold records and calibrations with a known truth, shared by the tests of calibration and polar."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from stemcal.formats import bitshuffle
from stemcal.formats.container import Layout, open_container
from stemcal.formats.extras import Extras, FrameStatus
from stemcal.formats.hspy import Axis
from stemcal.optics.descan import evaluate
from stemcal.optics.ellipse import correction_matrix, strain_from_ratio
from stemcal.phantoms.powder import Camera, PowderPhase, powder_frames
from stemcal.records.atomic import write_record
from stemcal.records.base import Flag, Provenance, Quality, Quantity
from stemcal.records.gold import Centre, Ellipse, GoldRecord, GoldResult, PixelSize, ScaleSearch
from stemcal.records.microscope import Microscope

SCAN = (9, 11)
CAMERA = Camera((96, 112), 49.3, 57.8, 0.02, ratio=1.06, angle_deg=40.0)
DESCAN_ROW = (0.0, 0.9, -0.6)
DESCAN_COL = (0.0, 0.4, 1.2)
RING_Q = 0.6
PHASE = PowderPhase("ring", ((RING_Q, 1.0),), 1.2, grains_per_frame=6.0)
ACQUIRED = "2026-05-12T10:12:00+00:00"


def descan(scan_shape: tuple[int, int] = SCAN) -> np.ndarray:
    return evaluate(DESCAN_ROW, DESCAN_COL, 1, scan_shape)


def frames(scan_shape: tuple[int, int] = SCAN, *, camera: Camera = CAMERA, beam: float = 0.5) -> np.ndarray:
    n = scan_shape[0] * scan_shape[1]
    blocks = powder_frames(
        camera,
        (PHASE,),
        np.ones((n, 1)),
        descan(scan_shape),
        counts_per_frame=8000.0,
        direct_beam_fraction=beam,
        disk_radius_px=4.0,
        seed=11,
    )
    return np.concatenate(list(blocks))


def write_container(path: Path, stack: np.ndarray, scan_shape: tuple[int, int] = SCAN, **extras: Any) -> Path:
    """Write frames (n, det_row, det_col) as `stemcal convert` does."""
    axes = (Axis("scan_row", "nm", 2.0), Axis("scan_col", "nm", 2.0), Axis("det_row", "px"), Axis("det_col", "px"))
    known = Microscope(voltage_kv=200.0, nominal_camera_length_m=0.2, scan_step_nm=2.0)
    given = {"microscope": known, "acquired_at": ACQUIRED, "valid": np.ones(stack.shape[1:], bool), **extras}
    status = given.get("frame_status", np.zeros(len(stack), np.uint8))
    places = np.flatnonzero(status != FrameStatus.MISSING)
    shape = (*scan_shape, *stack.shape[1:])
    layout = Layout("truth", shape, axes, stack.dtype, n_missing=len(stack) - places.size)
    with open_container(path, layout) as writer:
        writer.put(places, map(bitshuffle.compress, stack[places]))
        writer.finish(Extras(**given))
    return path


def gold_record(verdict: str = "pass", **changes: Any) -> GoldRecord:
    """Return a gold record that fits ``CAMERA``, with some values changed."""
    matrix = correction_matrix(*strain_from_ratio(CAMERA.ratio, math.radians(CAMERA.angle_deg)))
    size = CAMERA.pixel_size_per_angstrom
    result = GoldResult(
        ellipse=Ellipse(
            ratio=Quantity(value=CAMERA.ratio, sigma=1e-4, unit="1"),
            angle_deg=Quantity(value=CAMERA.angle_deg, sigma=0.1, unit="deg"),
            matrix=((matrix[0, 0], matrix[0, 1]), (matrix[1, 0], matrix[1, 1])),
        ),
        pixel_size=PixelSize(
            area_preserving=Quantity(value=size, sigma=1e-6, unit="1/angstrom"),
            minor_axis=Quantity(value=size * math.sqrt(CAMERA.ratio), sigma=1e-6, unit="1/angstrom"),
        ),
        effective_camera_length_m=None,
        camera_length_ratio=None,
        centre=Centre(row=Quantity(value=48.0, unit="px"), col=Quantity(value=56.0, unit="px")),
        rings=(),
        scale_search=ScaleSearch(
            best_pixel_size_per_angstrom=size,
            best_score=0.9,
            runner_up_pixel_size_per_angstrom=None,
            runner_up_score=None,
        ),
        ring_width_px=1.2,
        bright_disk_radius_px=4.0,
        threefold_distortion=Quantity(value=0.0, sigma=1e-4, unit="1"),
        fourfold_distortion=Quantity(value=0.0, sigma=1e-4, unit="1"),
        reduced_chi_square=1.0,
        reduced_chi_square_without_rings=9.0,
        n_patterns=1,
        n_resampling_blocks=1,
    )
    flag = Flag(name="ambiguous", message="the comb of rings is ambiguous")
    values = {
        "method": "truth",
        "inputs": (),
        "quality": Quality(verdict=verdict, flags=() if verdict == "pass" else (flag,)),  # type: ignore[arg-type]
        "provenance": Provenance(
            stemcal_version="0",
            commit=None,
            lock_sha256=None,
            stage="gold",
            revision=1,
            settings={},
            source={},
        ),
        "voltage_kv": 200.0,
        "nominal_camera_length_m": 0.2,
        "detector_pixel_um": 55.0,
        "standard": "gold",
        "acquired_at": "2026-05-12T10:00:00+00:00",
        "frame_shape": CAMERA.frame_shape,
        "result": None if verdict == "fail" else result,
    }
    return GoldRecord(**{**values, **changes})


def write_gold(path: Path, verdict: str = "pass", **changes: Any) -> Path:
    write_record(path, gold_record(verdict, **changes))
    return path
