"""The microscope's own ``.hdf`` beside an acquisition, as ePSIC (Diamond E02) writes it.

One HDF5 group ``metadata`` of scalar datasets, most with their unit in the name; ``lens_values`` and
``deflector_values`` are groups or arrays. Nobody publishes such a file: the keys and typical values come from the
printed tables of ePSIC's notebooks. Two relations hold in all 18 acquisitions printed there:
``step_size(m) = field_of_view(m) / set_scan_px``, and
``defocus(nm) = (current_OLfine - zero_OLfine) * defocus_per_bit(nm)``, which tells the unit of the two lens currents.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from stemcal.errors import DataError
from stemcal.records.atomic import atomic_path
from stemcal.records.microscope import Microscope

GROUP = "metadata"
Scalar = bool | int | float | str
Value = Scalar | list[Any]

KEYS: Mapping[str, tuple[str, float]] = {
    "ht_value(V)": ("voltage_kv", 1e-3),
    "nominal_camera_length(m)": ("nominal_camera_length_m", 1.0),
    "merlin_camera_length(m)": ("merlin_camera_length_m", 1.0),
    "convergence_semi-angle(rad)": ("convergence_semi_angle_mrad", 1e3),
    "step_size(m)": ("scan_step_nm", 1e9),
    "field_of_view(m)": ("field_of_view_nm", 1e9),
    "set_scan_px": ("scan_size_px", 1.0),
    "set_dwell_time(usec)": ("dwell_time_us", 1.0),
    "defocus(nm)": ("defocus_nm", 1.0),
    "magnification": ("magnification", 1.0),
    "nominal_scan_rotation": ("scan_rotation_deg", 1.0),
    "spot_size": ("spot_size", 1.0),
    "aperture_size": ("aperture_index", 1.0),
    "x_pos(m)": ("stage_x_um", 1e6),
    "y_pos(m)": ("stage_y_um", 1e6),
    "z_pos(m)": ("stage_z_um", 1e6),
    "x_tilt(deg)": ("stage_tilt_x_deg", 1.0),
    "y_tilt(deg)": ("stage_tilt_y_deg", 1.0),
}
"""ePSIC's key -> (field of Microscope, factor that brings it to the field's unit)."""

_BRACKETS = re.compile(r"\(([^()]+)\)$")
_SPELLING: Mapping[str, str] = {"usec": "us"}
"""ePSIC's spelling of a unit -> ours."""

_UNITS: Mapping[str, str] = {
    "4D_shape": "px",
    "aperture_size": "",
    "current_OLfine": "bit",
    "magnification": "",
    "nominal_scan_rotation": "deg",
    "set_bit_depth": "bit",
    "set_scan_px": "px",
    "spot_size": "",
    "zero_OLfine": "bit",
}
"""Units of the keys that do not say theirs; "" for an index or a plain number."""

_WHOLE = ("scan_size_px", "aperture_index")
_POSITIVE = (
    "voltage_kv",
    "nominal_camera_length_m",
    "merlin_camera_length_m",
    "convergence_semi_angle_mrad",
    "scan_step_nm",
    "field_of_view_nm",
    "scan_size_px",
    "dwell_time_us",
)
_REMEDY = "copy it again from the microscope, or take it away to go without it"

UNMAPPED_DEFAULTS: Mapping[str, Value] = {
    "A1_value_(kV)": 4.16,
    "A2_value_(kV)": 4.7,
    "current_OLfine": 32810,
    "defocus_per_bit(nm)": 0.75,
    "merlin_camera_length(m)": 0.0,
    "set_bit_depth": 12,
    "zero_OLfine": 32784,
}
"""Typical values of the keys that a record does not state, for files that are synthesised."""


def raw_metadata(path: Path) -> dict[str, Value]:
    """Read everything in the group ``metadata``, unknown keys too.

    Parameters
    ----------
    path : Path
        The ``.hdf`` file.

    Returns
    -------
    dict
        Sorted by key; scalars as Python values, arrays as lists, members of sub-groups as ``group/member``.

    Raises
    ------
    DataError
        If the file cannot be read, is not HDF5, or has no group ``metadata``.
    """
    if not path.is_file():
        raise DataError(path, "does not exist", "check the path")
    try:
        with h5py.File(path, "r") as file:
            group = file.get(GROUP)
            if isinstance(group, h5py.Group):
                return _contents(group)
    except (OSError, RuntimeError, KeyError) as error:
        raise DataError(path, f"cannot be read as HDF5 ({error})", _REMEDY) from error
    raise DataError(path, f"is HDF5 but has no group '{GROUP}'", _REMEDY)


def read_microscope(path: Path) -> Microscope:
    """Read the microscope's settings.

    A value that is missing, not a number, not finite, or not positive where only a positive one makes sense becomes
    None: an unset field of the microscope's software says nothing about the acquisition.

    Raises
    ------
    DataError
        If the file cannot be read, is not HDF5, or has no group ``metadata``.
    """
    return microscope_from_raw(raw_metadata(path))


def microscope_from_raw(raw: Mapping[str, Value]) -> Microscope:
    """Return the record of ePSIC's keys in ``raw``; keys that it does not know are passed over."""
    fields: dict[str, float | int | None] = {}
    for key, (name, factor) in KEYS.items():
        fields[name] = _converted(raw.get(key), name, factor)
    return Microscope.model_validate(fields)


def raw_from_microscope(microscope: Microscope) -> dict[str, Value]:
    """Return ePSIC's keys for ``microscope``, with typical values for the keys that it has no field for."""
    raw: dict[str, Value] = dict(UNMAPPED_DEFAULTS)
    for key, (name, factor) in KEYS.items():
        value = getattr(microscope, name)
        if value is not None:
            raw[key] = value if factor == 1.0 else _tidy(value / factor)
    raw["lens_values/C1"] = 0.5
    raw["deflector_values/GUN1"] = [0.0, 0.0]
    return dict(sorted(raw.items()))


def units_of(key: str) -> str | None:
    """Return the unit of one of ePSIC's keys.

    Parameters
    ----------
    key : str
        As `raw_metadata` gives it, ``group/member`` for members of sub-groups.

    Returns
    -------
    str or None
        "m", "kV", "us", "px" ...; "" for a number without unit; None where nobody states the unit, as for the members
        of ``lens_values`` and ``deflector_values`` and for keys that are not known.

    Examples
    --------
    >>> units_of("set_dwell_time(usec)"), units_of("set_scan_px"), units_of("magnification"), units_of("lens_values/C1")
    ('us', 'px', '', None)
    """
    named = _BRACKETS.search(key)
    if named is None:
        return _UNITS.get(key)
    return _SPELLING.get(named[1], named[1])


def write_microscope(path: Path, values: Mapping[str, Value] | Microscope) -> None:
    """Write ``values`` to a ``.hdf`` in ePSIC's form, atomically.

    Parameters
    ----------
    path : Path
        The file to write.
    values : mapping or Microscope
        ePSIC's keys (``group/member`` makes a sub-group), or a record whose units are converted to theirs.
    """
    raw = raw_from_microscope(values) if isinstance(values, Microscope) else values
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        group = file.create_group(GROUP)
        for key, value in raw.items():
            group[key] = value


def _contents(group: h5py.Group) -> dict[str, Value]:
    found: dict[str, Value] = {}

    def collect(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = _python(item[()])

    group.visititems(collect)
    return dict(sorted(found.items()))


def _python(value: Any) -> Value:
    """Return an HDF5 value as Python's own type."""
    plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(plain, bytes):
        return plain.decode("utf-8", "replace")
    if isinstance(plain, list) and len(plain) == 1:
        return _python(plain[0])
    return plain if isinstance(plain, bool | int | float | str | list) else str(plain)


def _converted(value: Value | None, name: str, factor: float) -> float | int | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    if not np.isfinite(number) or (name in _POSITIVE and number <= 0):
        return None
    if name in _WHOLE:
        return round(number)
    return _tidy(number * factor)


def _tidy(value: float) -> float:
    """Round to 12 significant digits: 1e-8 m is 10 nm, not 10.000000000000002 nm."""
    return float(f"{value:.12g}")
