"""Lines of a history with known numbers."""

from __future__ import annotations

from typing import Any

from stemcal.records.base import Quantity
from stemcal.records.history import HistoryEntry


def entry(name: str, acquired_at: str = "2026-05-12T10:00:00", **changes: Any) -> HistoryEntry:
    values = {
        "identity": name,
        "label": f"session/{name}",
        "instrument": "epsic_e02",
        "acquired_at": acquired_at,
        "voltage_kv": 200.0,
        "nominal_camera_length_m": 0.2,
        "detector_pixel_um": 55.0,
        "frame_shape": (515, 515),
        "standard": "gold",
        "revision": 2,
        "verdict": "pass",
        "pixel_size": Quantity(value=0.0048, sigma=4.8e-7, unit="1/angstrom"),
        "ellipse_ratio": Quantity(value=1.02, sigma=1e-4, unit="1"),
        "ellipse_angle_deg": Quantity(value=37.0, sigma=0.2, unit="deg"),
        "effective_camera_length_m": Quantity(value=0.456, sigma=5e-5, unit="m"),
        "camera_length_ratio": 2.28,
    }
    return HistoryEntry.model_validate(values | changes)
