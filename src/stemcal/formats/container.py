"""``<id>_data.hdf5``: one frame per chunk, bitshuffle-LZ4, in HyperSpy's layout, with everything known of the frames.

``/Experiments/<name>/data`` has the axes (scan_row, scan_col, det_row, det_col) and opens in
``hyperspy.api.load(path, reader="hspy")``; ``/Experiments/<name>/stemcal`` beside it holds, each described by its
attributes: ``frame_status`` and ``sequence_number`` (scan_row, scan_col), ``valid`` (det_row, det_col), ``sums/...``,
``first_header``, ``hdr``, ``microscope`` (attributes with the unit in the name), ``microscope_file`` (the microscope's
own keys), ``identity`` and ``parameter`` (canonical JSON).

Equal inputs give equal bytes: no times are tracked, and everything is written in a fixed order by one writer.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from stemcal.errors import DataError
from stemcal.formats import bitshuffle
from stemcal.formats.hspy import Axis, begin_signal
from stemcal.records.atomic import atomic_path
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
class Layout:
    """What has to be known before the first frame is written.

    Attributes
    ----------
    name : str
        Name of the experiment and HyperSpy's title.
    shape : tuple of int
        (scan_row, scan_col, det_row, det_col).
    axes : tuple of Axis
        One per dimension.
    dtype : dtype
        Type of the counts; stored little-endian.
    """

    name: str
    shape: tuple[int, int, int, int]
    axes: tuple[Axis, Axis, Axis, Axis]
    dtype: np.dtype[Any]

    @property
    def n_frames(self) -> int:
        """Number of scan positions."""
        return self.shape[0] * self.shape[1]


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
    sums: Mapping[str, Sum] = field(default_factory=dict)
    first_header: str | None = None
    hdr: str | None = None
    microscope: Microscope | None = None
    microscope_file: Mapping[str, Any] = field(default_factory=dict)
    acquired_at: str | None = None
    identity: Mapping[str, int | float | str | None] = field(default_factory=dict)
    parameter: str | None = None
    attributes: Mapping[str, int | float | str | bool] = field(default_factory=dict)


class ContainerWriter:
    """Writes one container: frames in raster order, then the extras. Only one thread may use it.

    Parameters
    ----------
    path : Path
        The (temporary) file to create.
    layout : Layout
        Name, axes and type.
    final : Path
        What the file will be called, for messages.
    """

    def __init__(self, path: Path, layout: Layout, final: Path) -> None:
        self._layout = layout
        self._final = final
        with _named(final):
            # "v110" and not "latest": the index of the chunks stays the same whatever HDF5 is installed
            self._file = h5py.File(path, "w", libver=("v110", "v110"))
        self._group = begin_signal(self._file, layout.shape, layout.axes, 2, title=layout.name)
        self._data = self._group.create_dataset(
            "data",
            shape=layout.shape,
            dtype=layout.dtype.newbyteorder("<"),
            chunks=(1, 1, *layout.shape[2:]),
            **bitshuffle.filter_options(),
        )
        self._next = 0

    def append(self, chunks: Iterable[bytes]) -> None:
        """Write the next frames, each as the bytes that `bitshuffle.compress` returned for it."""
        with _named(self._final):
            for chunk in chunks:
                row, col = divmod(self._next, self._layout.shape[1])
                self._data.id.write_direct_chunk((row, col, 0, 0), chunk)
                self._next += 1

    def finish(self, extras: Extras) -> None:
        """Write what stands beside the frames.

        Raises
        ------
        ValueError
            If not every frame has been written.
        """
        expected = self._layout.n_frames
        if self._next != expected:
            raise ValueError(f"{self._next} frames were written but the scan has {expected}: write them all first")
        with _named(self._final):
            _write_extras(self._group.create_group("stemcal"), extras, self._layout.shape)
            self._file.flush()

    def close(self) -> None:
        """Close the file; safe to call again."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


@contextmanager
def open_container(final: Path, layout: Layout) -> Iterator[ContainerWriter]:
    """Give a writer for ``final``; the file takes that name only when the block ends without error."""
    with atomic_path(final) as temporary, ContainerWriter(temporary, layout, final) as writer:
        yield writer


@contextmanager
def _named(final: Path) -> Iterator[None]:
    """Say which file could not be written and why, in place of HDF5's page of addresses."""
    try:
        yield
    except OSError as error:
        number = error.errno or errno.EIO
        raise OSError(number, os.strerror(number), str(final)) from error


def open_experiment(path: Path) -> tuple[h5py.File, h5py.Group]:
    """Open an HDF5 file in HyperSpy's layout that holds one experiment.

    Returns
    -------
    tuple
        The open file, which the caller closes, and the group ``/Experiments/<name>``.

    Raises
    ------
    DataError
        If the file cannot be opened, is no HDF5, or does not hold one experiment.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(path, f"cannot be opened as HDF5 ({error})", "convert the raw file again") from error
    root = file.get("Experiments")
    groups = [] if root is None else [root[name] for name in root if "data" in root[name]]
    if len(groups) != 1:
        file.close()
        remedy = "give a file written by `stemcal convert`, or a .hspy file with one signal"
        raise DataError(path, f"holds {len(groups)} signals under /Experiments, not one", remedy)
    return file, groups[0]


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
        sums={name: _sum(ours["sums"][name]) for name in ours.get("sums", ())},
        first_header=_text(ours, "first_header"),
        hdr=_text(ours, "hdr"),
        microscope=parsed,
        acquired_at=ours.attrs.get("acquired_at"),
        identity=json.loads(_text(ours, "identity") or "{}"),
        parameter=_text(ours, "parameter"),
        attributes={name: _plain(value) for name, value in ours.attrs.items()},
    )


def _write_extras(group: h5py.Group, extras: Extras, shape: tuple[int, ...]) -> None:
    for name, value in extras.attributes.items():
        group.attrs[name] = value
    if extras.acquired_at is not None:
        group.attrs["acquired_at"] = extras.acquired_at
    if extras.valid is not None:
        _write_array(group, "valid", extras.valid, "detector pixels, True = valid")
    if extras.frame_status is not None:
        meaning = ", ".join(f"{status.value} {status.name.lower().replace('_', '-')}" for status in FrameStatus)
        _write_array(group, "frame_status", extras.frame_status.reshape(shape[:2]), meaning)
    if extras.sequence_number is not None:
        numbers = extras.sequence_number.reshape(shape[:2])
        _write_array(group, "sequence_number", numbers, "the detector's own count of frames")
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
