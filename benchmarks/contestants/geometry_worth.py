"""What an answer of any way is worth: rotation up to the half turn, aberrations that no rotation changes, the phase."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

_RIM = 8
"""Positions at the edge of the scan that no way has to get right."""


def worth(
    given: dict[str, Any],
    truth: str,
    record: str | None = None,
    said: dict[str, Any] | None = None,
    phase: str = "",
) -> Callable[[], dict[str, Any] | str]:
    """Return the comparison of our record, or of what a peer said and its phase, with what is true.

    Its result is the reason where ours refused. ``rotation`` in deg, coefficients in nm and um, ``phase`` the
    correlation with the object's phase without its sign, which a half turn changes; None for what is not said.
    """

    def work() -> dict[str, Any] | str:
        if record is None:
            return _compared(given, said or {}, np.load(truth), np.load(phase))
        ours = json.loads(Path(record).read_text())
        if ours["result"] is None:
            return f"refused, {ours['quality']['flags'][0]['name']}"
        with h5py.File(record.removesuffix("_geometry.json") + "_ssb.hdf5") as file:
            images = file["ssb"]
            image = np.asarray(images["phase_corrected" if "phase_corrected" in images else "phase_uncorrected"])
        return _compared(given, _of_record(ours["result"]), np.load(truth), image)

    return work


def _of_record(result: Mapping[str, Any]) -> dict[str, Any]:
    axes = result["scan_to_camera"]
    fast, slow = axes["theta_fast_deg"]["value"], axes["theta_slow_deg"]["value"]
    found = {"rotation_deg": fast + ((slow - fast + 180) % 360 - 180) / 2, "flip": axes["flip"]}
    values = {name: quantity["value"] for name, quantity in result["aberrations"].items()}
    return {**found, **(_magnitudes(values) if values else {})}


def _magnitudes(values: Mapping[str, float]) -> dict[str, float]:
    """Return coefficients that do not depend on the axes they are counted from, in angstrom."""
    c12 = math.hypot(values.get("C12a", 0.0), values.get("C12b", 0.0))
    return {"C10": values.get("C10", 0.0), "C12": c12, "C30": values.get("C30", 0.0)}


def _compared(
    given: Mapping[str, Any], said: Mapping[str, Any], truth: NDArray[Any], phase: NDArray[Any]
) -> dict[str, Any]:
    right = _magnitudes(given["aberrations"])
    turned = None if "rotation_deg" not in said else (said["rotation_deg"] - given["rotation_deg"] + 180) % 360 - 180
    # half a turn inverts every aberration: neither is wrong alone
    sign = -1 if turned is not None and abs(turned) > 90 else 1
    found: dict[str, Any] = {
        "rotation": None if turned is None else abs((turned + 90) % 180 - 90),
        "flip_wrong": None if "flip" not in said else said["flip"] != given["flip"],
    }
    for name, scale, signed in (("C10", 10.0, True), ("C12", 10.0, False), ("C30", 1e4, True)):
        value = said.get(name)
        found[name] = None if value is None else abs((sign if signed else 1) * value - right[name]) / scale
    inner = (slice(_RIM, -_RIM),) * 2
    image = np.nan_to_num(phase)[inner]
    found["phase"] = abs(float(np.corrcoef(truth[inner].ravel(), image.ravel())[0, 1]))
    return found
