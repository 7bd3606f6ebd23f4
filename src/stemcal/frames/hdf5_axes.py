"""What the files of other programs say of the microscope: HyperSpy's axes and metadata, py4DSTEM's dim vectors."""

from __future__ import annotations

import math
from typing import Any

import h5py

from stemcal.records.microscope import Microscope

_NM: dict[str, float] = {
    "pm": 1e-3,
    "A": 0.1,
    "Å": 0.1,
    "\u212b": 0.1,
    "angstrom": 0.1,
    "nm": 1.0,
    "um": 1e3,
    "µm": 1e3,
    "\u03bcm": 1e3,
    "m": 1e9,
}
"""Unit of a length -> nm; pixels and what is not known have none."""
_TEM = "metadata/Acquisition_instrument/TEM"


def read_microscope(group: h5py.Group) -> Microscope | None:
    """Return what stands beside a 4-D stack of frames in ``group``; None if nothing that is understood.

    The scan step is taken where both scan axes state the same one in a unit of length; of HyperSpy's metadata also the
    beam energy (kV) and the camera length (mm).
    """
    steps = [step for step in _axis_steps(group) or _dim_steps(group) if step is not None]
    equal = len(steps) == 2 and math.isclose(*steps, rel_tol=1e-6)
    tem = group[_TEM].attrs if _TEM in group else {}
    camera_mm = _positive(tem.get("camera_length"))
    found = Microscope(
        voltage_kv=_positive(tem.get("beam_energy")),
        nominal_camera_length_m=None if camera_mm is None else camera_mm / 1e3,
        scan_step_nm=steps[0] if equal else None,
    )
    return None if found == Microscope() else found


def _axis_steps(group: h5py.Group) -> list[float | None]:
    """Return the steps (row, col) in nm of HyperSpy's axes; empty if there are none."""
    axes = [group[f"axis-{index}"].attrs for index in range(2) if f"axis-{index}" in group]
    return [_length_nm(axis.get("scale"), axis.get("units")) for axis in axes]


def _dim_steps(group: h5py.Group) -> list[float | None]:
    """Return the steps (row, col) in nm of EMD's vectors, counted from 0 (py4DSTEM 0.14) or from 1 (before)."""
    first = 0 if "dim0" in group else 1
    found = [group.get(f"dim{first + axis}") for axis in range(2)]
    vectors = [one for one in found if isinstance(one, h5py.Dataset) and one.ndim == 1 and one.size > 1]
    return [_length_nm(_difference(one), one.attrs.get("units")) for one in vectors]


def _difference(vector: h5py.Dataset) -> float | None:
    return float(vector[1]) - float(vector[0]) if vector.dtype.kind in "uif" else None


def _length_nm(value: Any, unit: Any) -> float | None:
    text = unit.decode("utf-8", "replace") if isinstance(unit, bytes) else str(unit)
    number = _positive(value)
    return None if number is None or text not in _NM else _positive(f"{number * _NM[text]:.12g}")


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < math.inf else None
