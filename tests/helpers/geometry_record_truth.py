"""Geometry records with a known truth, shared by the tests of calibration and report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from stemcal.optics.scan_affine import ScanAxes, scan_axes, scan_matrix
from stemcal.records.atomic import write_record
from stemcal.records.base import Flag, InputFile, Provenance, Quality, Quantity
from stemcal.records.geometry import (
    Aperture,
    Consistency,
    GeometryRecord,
    GeometryResult,
    HalfTurn,
    Preparation,
    ScanToCamera,
)

AXES = ScanAxes(theta_fast_deg=31.0, theta_slow_deg=30.4, step_fast=0.41, step_slow=0.42, flip=False)
NOMINAL_STEP = 0.4
SIGMA_DEG = 0.05
SIGMA_RATIO = 1e-3


def scan_to_camera(axes: ScanAxes = AXES, *, resolved: bool = True, **changes: Any) -> ScanToCamera:
    """Return ``axes`` as measured to ``SIGMA_DEG`` and ``SIGMA_RATIO``; ``resolved=False`` is half a turn away."""
    s = scan_matrix(axes) * (1 if resolved else -1)
    spread = np.kron(np.array([[0.0, -1.0], [1.0, 0.0]]), np.eye(2)) @ s.ravel()
    turn = math.radians(SIGMA_DEG) * spread
    covariance = np.outer(turn, turn) + np.diag((SIGMA_RATIO * np.abs(s).max()) ** 2 * np.ones(4)) / 2
    seen = scan_axes(s)
    values: dict[str, Any] = {
        "theta_fast_deg": Quantity(value=seen.theta_fast_deg, sigma=SIGMA_DEG, unit="deg"),
        "theta_slow_deg": Quantity(value=seen.theta_slow_deg, sigma=SIGMA_DEG, unit="deg"),
        "step_ratio": Quantity(value=seen.step_ratio, sigma=SIGMA_RATIO, unit="1"),
        "step_fast_angstrom": Quantity(value=seen.step_fast, sigma=1e-3, unit="angstrom"),
        "step_slow_angstrom": Quantity(value=seen.step_slow, sigma=1e-3, unit="angstrom"),
        "flip": seen.flip,
        "half_turn_resolved": resolved,
        "matrix": s.tolist(),
        "covariance": covariance.tolist(),
        "unit": "angstrom",
        "scale_source": "semi_angle",
        "disk_shift_px": np.linalg.inv(s).T.tolist(),
    }
    return ScanToCamera.model_validate({**values, **changes})


def geometry_record(verdict: str = "pass", *, measured: ScanToCamera | None = None, **changes: Any) -> GeometryRecord:
    """Return a geometry record that fits ``calibration_truth.CAMERA``, with some values changed."""
    measured = measured or scan_to_camera()
    unit = Quantity(value=1.0, sigma=0.0, unit="1")
    result = GeometryResult(
        mode="thin",
        aperture=Aperture(
            centre_row=Quantity(value=48.0, sigma=0.01, unit="px"),
            centre_col=Quantity(value=56.0, sigma=0.01, unit="px"),
            radius_px=Quantity(value=15.0, sigma=0.01, unit="px"),
            ratio=unit,
            angle_deg=Quantity(value=0.0, sigma=None, unit="deg"),
            edge_px=0.5,
            mean_counts_per_px=1.5,
            mrad_per_px=Quantity(value=1.6, sigma=0.001, unit="mrad/px"),
        ),
        scan_to_camera=measured,
        aberrations={
            "C10": Quantity(value=120.0, sigma=1.0, unit="angstrom"),
            "C12a": Quantity(value=-15.0, sigma=0.5, unit="angstrom"),
        },
        aberration_order=1,
        focal_spread_angstrom=None,
        explained_energy=0.99,
        margin=500.0,
        half_turn=HalfTurn(
            resolved=measured.half_turn_resolved,
            z=12.0,
            correlation=0.9,
            skewness=1.1,
            skewness_sign=1,
            reason="the dark field agrees",
        ),
        column_rule="negative" if measured.flip else "positive",
        votes=(),
        peaks=(),
        symmetry=None,
        com_curl=None,
        j_matrix=None,
        consistency=Consistency(
            determinant_px2=900.0,
            expected_px2=900.0,
            ratio=1.0,
            frequency_step_px=0.3,
            expected_frequency_step_px=0.3,
        ),
        preparation=Preparation(
            gain_corrected=False,
            normalised=True,
            beam_rms=0.01,
            bad_lines=(),
            unusable_fraction=0.0,
            descan_px_per_step=((0.0, 0.0), (0.0, 0.0)),
            binning=1,
        ),
        tilt_mrad=None,
        n_resampling_tiles=16,
    )
    flag = Flag(name="few_peaks", message="2 peaks, at least 4 are needed")
    values: dict[str, Any] = {
        "method": "truth",
        "inputs": (InputFile(role="data", path="x_data.hdf5", identity={"size": 1}),),
        "quality": Quality(verdict=verdict, flags=() if verdict == "pass" else (flag,)),  # type: ignore[arg-type]
        "provenance": Provenance(
            stemcal_version="0", commit=None, lock_sha256=None, stage="geometry", revision=1, settings={}, source={}
        ),
        "voltage_kv": 200.0,
        "semi_angle_mrad": 24.0,
        "nominal_step_angstrom": NOMINAL_STEP,
        "nominal_camera_length_m": 0.2,
        "scan_rotation_deg": 15.0,
        "magnification": 2e7,
        "acquired_at": "2026-05-12T10:00:00+00:00",
        "scan_shape": (128, 128),
        "frame_shape": (96, 112),
        "result": None if verdict == "fail" else result,
    }
    return GeometryRecord(**{**values, **changes})


def write_geometry(path: Path, verdict: str = "pass", **changes: Any) -> Path:
    write_record(path, geometry_record(verdict, **changes))
    return path
