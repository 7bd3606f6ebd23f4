"""HyperSpy's HDF5 format (``.hspy``, format version 3.3): a deterministic writer and a reader, by h5py alone.

``hyperspy.api.load`` opens what is written here as a Signal1D or Signal2D with its axes. HyperSpy itself takes seconds
to import and writes the version of whatever is installed; a rerun here gives the same bytes. Results arrive in scan
order, so the writer takes whole scan rows as they come and never holds a data set in memory.

Layout (from the reader of RosettaSciIO): ``/Experiments/<title>/data``, beside it one group ``axis-<i>`` per array axis
and the groups ``metadata`` and ``original_metadata``; group attributes are the values of a dictionary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats.hdf5 import create_hdf5, named_errors

FORMAT_VERSION = "3.3"
UNNAMED = "__unnamed__"

Metadata = Mapping[str, "str | int | float | bool | Metadata | None"]


@dataclass(frozen=True)
class Axis:
    """One uniform axis: value of index ``i`` is ``offset + i * scale`` in ``units``.

    Attributes
    ----------
    name, units : str
        As they are shown; HyperSpy calls inverse angstrom ``1/Å``.
    scale, offset : float
        Step and first value.
    """

    name: str
    units: str
    scale: float = 1.0
    offset: float = 0.0

    def values(self, size: int) -> NDArray[np.float64]:
        """Return the ``size`` values of the axis."""
        return self.offset + self.scale * np.arange(size, dtype=np.float64)


@dataclass(frozen=True)
class HspySignal:
    """What a ``.hspy`` file holds.

    Attributes
    ----------
    data : ndarray
        Navigation axes first, signal axes last, as in numpy.
    axes : tuple of Axis
        One per array axis.
    n_signal_axes : int
        How many of the last axes are signal axes.
    metadata : dict
        Nested dictionary of HyperSpy's metadata.
    """

    data: NDArray[Any]
    axes: tuple[Axis, ...]
    n_signal_axes: int
    metadata: dict[str, Any] = field(default_factory=dict)


def write_signal1d(
    path: Path, data: NDArray[Any], axes: Sequence[Axis], *, title: str = "", metadata: Metadata | None = None
) -> None:
    """Write ``data``, whose last axis is the signal, as a HyperSpy Signal1D.

    Parameters
    ----------
    path : Path
        Final name, ``.hspy``; it appears whole or not at all.
    data : ndarray
        Shape (..., n); usually (scan_row, scan_col, n).
    axes : sequence of Axis
        One per array axis.
    title : str
        Title of the signal and name of its group; ``/`` becomes ``-``.
    metadata : mapping, optional
        Nested values to put beside HyperSpy's own metadata.

    Raises
    ------
    ValueError
        If there is not one axis per dimension.
    """
    _write(path, data, axes, 1, title, metadata)


def write_signal2d(
    path: Path, data: NDArray[Any], axes: Sequence[Axis], *, title: str = "", metadata: Metadata | None = None
) -> None:
    """Write ``data``, whose last two axes are an image, as a HyperSpy Signal2D; see :func:`write_signal1d`."""
    _write(path, data, axes, 2, title, metadata)


def _write(
    path: Path,
    data: NDArray[Any],
    axes: Sequence[Axis],
    n_signal_axes: int,
    title: str,
    metadata: Metadata | None,
) -> None:
    opened = open_writer(path, data.shape, data.dtype, axes, n_signal_axes, title=title, metadata=metadata)
    with opened as dataset, named_errors(path):
        dataset[...] = data


@contextmanager
def open_writer(
    path: Path,
    shape: Sequence[int],
    dtype: np.dtype[Any],
    axes: Sequence[Axis],
    n_signal_axes: int = 1,
    *,
    title: str = "",
    metadata: Metadata | None = None,
) -> Iterator[h5py.Dataset]:
    """Give the data set of a new ``.hspy`` file to be filled piece by piece; the file appears when the block ends.

    Chunks are single rows of the first axis (one scan row of profiles): fill whole rows, or chunks are compressed
    more than once. Compression is HDF5's own gzip with shuffle, which every HDF5 library reads.

    Parameters
    ----------
    path : Path
        Final name.
    shape : sequence of int
        Shape of the whole array.
    dtype : numpy dtype
        Type of its values.
    axes : sequence of Axis
        One per array axis.
    n_signal_axes : int
        1 for a Signal1D, 2 for a Signal2D.
    title, metadata :
        As for :func:`write_signal1d`.

    Yields
    ------
    h5py.Dataset
        To be assigned to.

    Raises
    ------
    ValueError
        If there is not one axis per dimension.
    """
    if len(axes) != len(shape):
        raise ValueError(f"{len(axes)} axes for an array of shape {tuple(shape)}: give one axis per dimension")
    with create_hdf5(path) as file:
        group = begin_signal(file, shape, axes, n_signal_axes, title=title, metadata=metadata)
        yield group.create_dataset("data", **_layout(shape, dtype, n_signal_axes))


def begin_signal(
    file: h5py.File,
    shape: Sequence[int],
    axes: Sequence[Axis],
    n_signal_axes: int,
    *,
    title: str = "",
    metadata: Metadata | None = None,
) -> h5py.Group:
    """Write everything of a signal but its data into a new file.

    Parameters
    ----------
    file : h5py.File
        Open for writing, empty.
    shape, axes, n_signal_axes, title, metadata :
        As for :func:`open_writer`, which checks them.

    Returns
    -------
    h5py.Group
        ``/Experiments/<title>``, in which the data set ``data`` is to be created.
    """
    file.attrs["file_format"] = "HyperSpy"
    file.attrs["file_format_version"] = FORMAT_VERSION
    group = file.create_group(f"Experiments/{group_name(title)}")
    group.attrs["package"] = "stemcal"
    group.attrs["package_version"] = ""
    for index, axis in enumerate(axes):
        _write_axis(group, index, axis, shape[index], navigate=index < len(shape) - n_signal_axes)
    _write_metadata(group, _utf8(title) or UNNAMED, n_signal_axes, metadata or {})
    return group


def group_name(title: str) -> str:
    """Return ``title`` as a name that HDF5 takes for a group: no slash, not only dots, valid UTF-8."""
    name = _utf8(title).replace("/", "-")
    return name if name.strip(".") else UNNAMED


def _utf8(text: str) -> str:
    """Replace what is not Unicode: a file name on Linux may be any bytes."""
    return text.encode("utf-8", "replace").decode()


def _layout(shape: Sequence[int], dtype: np.dtype[Any], n_signal_axes: int) -> dict[str, Any]:
    layout: dict[str, Any] = {"shape": tuple(shape), "dtype": dtype}
    if all(shape):
        chunks = tuple(shape) if len(shape) == n_signal_axes else (1, *shape[1:])
        layout |= {"chunks": chunks, "compression": "gzip", "compression_opts": 1, "shuffle": True}
    return layout


def _write_axis(group: h5py.Group, index: int, axis: Axis, size: int, *, navigate: bool) -> None:
    attributes = group.create_group(f"axis-{index}").attrs
    attributes["_type"] = "UniformDataAxis"
    attributes["name"] = axis.name
    attributes["units"] = axis.units
    attributes["navigate"] = navigate
    attributes["is_binned"] = False
    attributes["size"] = size
    attributes["scale"] = axis.scale
    attributes["offset"] = axis.offset


def _write_metadata(group: h5py.Group, title: str, n_signal_axes: int, extra: Metadata) -> None:
    metadata = group.create_group("metadata")
    _write_dictionary(metadata.create_group("General"), {"title": title})
    _write_dictionary(metadata.create_group("Signal"), {"signal_type": "", "signal_dimension": n_signal_axes})
    _write_dictionary(metadata, extra)
    group.create_group("original_metadata")


def _write_dictionary(group: h5py.Group, values: Metadata) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping):
            _write_dictionary(group.require_group(key), value)
        else:
            group.attrs[key] = "_None_" if value is None else value


@contextmanager
def open_signal(path: Path) -> Iterator[tuple[h5py.Dataset, HspySignal]]:
    """Open the first signal of a ``.hspy`` file without reading its data.

    Parameters
    ----------
    path : Path
        A file by HyperSpy or by this module.

    Yields
    ------
    tuple
        The h5py data set, and the signal with an empty ``data``.

    Raises
    ------
    DataError
        If the file cannot be opened or is no HyperSpy file.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(path, "cannot be opened as HDF5", "check that it is a complete .hspy file") from error
    with file:
        group = _first_experiment(file, path)
        dataset = group["data"]
        axes, n_signal_axes = _read_axes(group, dataset.ndim, path)
        metadata = _read_dictionary(group["metadata"]) if "metadata" in group else {}
        yield dataset, HspySignal(np.empty(0, dataset.dtype), axes, n_signal_axes, metadata)


def read_signal(path: Path) -> HspySignal:
    """Read the first signal of a ``.hspy`` file whole; see :func:`open_signal` for the errors."""
    with open_signal(path) as (dataset, head):
        return HspySignal(dataset[...], head.axes, head.n_signal_axes, head.metadata)


def _first_experiment(file: h5py.File, path: Path) -> h5py.Group:
    for group in file.get("Experiments", {}).values():
        if isinstance(group, h5py.Group) and isinstance(group.get("data"), h5py.Dataset):
            return group
    raise DataError(path, "holds no /Experiments/<name>/data", "give a file in HyperSpy's format (.hspy)")


def _read_axes(group: h5py.Group, n_dimensions: int, path: Path) -> tuple[tuple[Axis, ...], int]:
    axes, n_signal_axes = [], 0
    for index in range(n_dimensions):
        attributes = group[f"axis-{index}"].attrs if f"axis-{index}" in group else {}
        if "scale" not in attributes:
            raise DataError(path, f"axis {index} is not uniform", "save the signal with uniform axes")
        name, units = (_text(attributes.get(key)) for key in ("name", "units"))
        axes.append(Axis(name, units, float(attributes["scale"]), float(attributes["offset"])))
        n_signal_axes += not bool(attributes["navigate"])
    return tuple(axes), n_signal_axes


def _text(value: object) -> str:
    text = value.decode() if isinstance(value, bytes) else str(value or "")
    return "" if text in {"_None_", "<undefined>"} else text


def _read_dictionary(group: h5py.Group) -> dict[str, Any]:
    values: dict[str, Any] = {
        key: None if isinstance(value, str) and value == "_None_" else _plain(value)
        for key, value in group.attrs.items()
    }
    for key, child in group.items():
        if isinstance(child, h5py.Group):
            values[key] = _read_dictionary(child)
    return values


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
