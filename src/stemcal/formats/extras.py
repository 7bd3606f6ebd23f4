"""What stands beside the frames in a container: validity, status, sums, headers, microscope, identity."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from stemcal.errors import DataError
from stemcal.records.microscope import Microscope
from stemcal.stages import canonical

_TEXT = h5py.string_dtype()


class FrameStatus(IntEnum):
    """What a scan position holds."""

    OK = 0
    FLY_BACK = 1
    SPIKE = 2
    MISSING = 3


@dataclass(frozen=True)
class Sum:
    """One reduction of the frames: an array, its unit and what it is."""

    values: NDArray[Any]
    unit: str
    description: str


@dataclass(frozen=True)
class Extras:
    """What stands beside the frames; absent parts are None or empty."""

    valid: NDArray[np.bool_] | None = None
    frame_status: NDArray[np.uint8] | None = None
    sequence_number: NDArray[np.int64] | None = None
    exposure_ns: NDArray[np.int64] | None = None
    time_ns: NDArray[np.int64] | None = None
    dead: NDArray[np.bool_] | None = None
    hot: NDArray[np.bool_] | None = None
    sums: Mapping[str, Sum] = field(default_factory=dict)
    first_header: str | None = None
    hdr: str | None = None
    microscope: Microscope | None = None
    microscope_file: Mapping[str, Any] = field(default_factory=dict)
    microscope_units: Mapping[str, str] = field(default_factory=dict)
    acquired_at: str | None = None
    identity: Mapping[str, int | float | str | None] = field(default_factory=dict)
    parameter: str | None = None
    attributes: Mapping[str, int | float | str | bool] = field(default_factory=dict)


def read_extras(path: Path, group: h5py.Group) -> Extras:
    """Read what stands beside the frames of an open experiment; empty for a file that is not ours.

    Raises
    ------
    DataError
        If the microscope metadata of the file do not fit this version.
    """
    if "stemcal" not in group:
        return Extras()
    ours = group["stemcal"]
    microscope = dict(ours["microscope"].attrs) if "microscope" in ours else None
    try:
        parsed = None if microscope is None else Microscope.model_validate_json(json.dumps(microscope, default=float))
    except ValidationError as error:
        raise DataError(path, f"has microscope metadata that do not fit ({error})", "convert it again") from error
    return Extras(
        valid=_array(ours, "valid"),
        frame_status=_flat(ours, "frame_status"),
        sequence_number=_flat(ours, "sequence_number"),
        exposure_ns=_flat(ours, "exposure_ns"),
        time_ns=_flat(ours, "time_ns"),
        dead=_array(ours, "dead"),
        hot=_array(ours, "hot"),
        sums={name: _sum(ours["sums"][name]) for name in ours.get("sums", ())},
        first_header=_text(ours, "first_header"),
        hdr=_text(ours, "hdr"),
        microscope=parsed,
        acquired_at=ours.attrs.get("acquired_at"),
        identity=json.loads(_text(ours, "identity") or "{}"),
        parameter=_text(ours, "parameter"),
        attributes={name: _plain(value) for name, value in ours.attrs.items()},
    )


def write_extras(group: h5py.Group, extras: Extras, shape: tuple[int, ...]) -> None:
    """Write ``extras`` into an empty group, always in the same order.

    Parameters
    ----------
    group : h5py.Group
        ``/Experiments/<name>/stemcal``.
    extras : Extras
        What there is.
    shape : tuple of int
        (scan_row, scan_col, det_row, det_col) of the frames.
    """
    for name, value in extras.attributes.items():
        group.attrs[name] = value
    if extras.acquired_at is not None:
        group.attrs["acquired_at"] = extras.acquired_at
    for name, pixels in (("valid", extras.valid), ("dead", extras.dead), ("hot", extras.hot)):
        if pixels is not None:
            _write_array(group, name, pixels, f"detector pixels, True = {name}")
    statuses = ", ".join(f"{status.value} {status.name.lower().replace('_', '-')}" for status in FrameStatus)
    per_position = (
        ("frame_status", extras.frame_status, statuses),
        ("sequence_number", extras.sequence_number, "the detector's own count of frames, -1 where unknown"),
        ("exposure_ns", extras.exposure_ns, "exposure, -1 where unknown"),
        ("time_ns", extras.time_ns, "time stamp, ns since 1970, -1 where unknown"),
    )
    for name, values, meaning in per_position:
        if values is not None:
            _write_array(group, name, values.reshape(shape[:2]), meaning)
    sums = group.create_group("sums")
    for name, reduction in extras.sums.items():
        _write_array(sums, name, reduction.values, reduction.description).attrs["unit"] = reduction.unit
    texts = {"first_header": extras.first_header, "hdr": extras.hdr, "parameter": extras.parameter}
    for name, text in texts.items():
        if text is not None:
            group.create_dataset(name, data=text, dtype=_TEXT)
    group.create_dataset("identity", data=canonical(dict(extras.identity)), dtype=_TEXT)
    if extras.microscope is not None:
        _write_attributes(group.create_group("microscope"), extras.microscope.model_dump(exclude_none=True))
    _write_attributes(group.create_group("microscope_file"), extras.microscope_file)
    _write_attributes(group.create_group("microscope_units"), extras.microscope_units)


def _write_attributes(group: h5py.Group, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        group.attrs[name] = json.dumps(value) if isinstance(value, list) else value


def _write_array(group: h5py.Group, name: str, values: NDArray[Any], description: str) -> h5py.Dataset:
    dataset = group.create_dataset(name, data=values)
    dataset.attrs["description"] = description
    return dataset


def _array(group: h5py.Group, name: str) -> NDArray[Any] | None:
    return group[name][()] if name in group else None


def _flat(group: h5py.Group, name: str) -> NDArray[Any] | None:
    array = _array(group, name)
    return None if array is None else array.reshape(-1)


def _text(group: h5py.Group, name: str) -> str | None:
    return str(group[name].asstr()[()]) if name in group else None


def _sum(dataset: h5py.Dataset) -> Sum:
    return Sum(dataset[()], str(dataset.attrs["unit"]), str(dataset.attrs["description"]))


def _plain(value: Any) -> int | float | str | bool:
    plain: int | float | str | bool = value.item() if isinstance(value, np.generic) else value
    return plain
