"""What the factorisation reads and writes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats.hspy import open_signal
from stemcal.nmf.members import LeftOut, Member
from stemcal.nmf.profiles import Block, FloatArray, Grid, ring_areas
from stemcal.nmf.settings import Quantity
from stemcal.records.atomic import atomic_path, read_record
from stemcal.records.convert import ConvertRecord
from stemcal.records.polar import PolarRecord

BLOCK_PROFILES = 8192
"""Profiles that are in memory at a time while a file is gone through: whole scan rows, one at least."""

_FILE_OF_QUANTITY = {"mean": "azimuthal_mean.hspy", "variance": "azimuthal_var.hspy", "excess_variance": "polar.hdf5"}


def polar_record_path(prefix: Path) -> Path:
    """Return where the polar step of the data set at ``prefix`` leaves its record."""
    return prefix.with_name(f"{prefix.name}_polar.json")


def profiles_path(prefix: Path, quantity: Quantity) -> Path:
    """Return the file with the profiles of the data set at ``prefix``."""
    return prefix.with_name(f"{prefix.name}_{_FILE_OF_QUANTITY[quantity]}")


def full_path(prefix: Path) -> Path:
    """Return the file with the effective number of pixels of the data set at ``prefix``."""
    return prefix.with_name(f"{prefix.name}_polar.hdf5")


def read_member(dataset: str, prefix: Path, quantity: Quantity) -> Member | LeftOut:
    """Return what the files of one data set say of its profiles, or why it has none.

    Raises
    ------
    DataError
        If the polar record is missing or broken, or the profiles are not of its shape.
    """
    record = read_record(polar_record_path(prefix), PolarRecord)
    if record.result is None:
        words = "; ".join(flag.message for flag in record.quality.flags) or "its polar step measured nothing"
        return LeftOut(dataset, prefix, words)
    expected = (*record.result.scan_shape, record.result.n_radial_bins)
    with open_signal(profiles_path(prefix, "mean")) as (mean, head):
        _check_shape(profiles_path(prefix, "mean"), mean, expected)
        axis = head.axes[-1]
    with _opened(prefix, quantity) as values:
        _check_shape(profiles_path(prefix, quantity), values, expected)
    radius = _disk_radius(prefix, record.result.q_pixel_size_per_angstrom)
    return Member(dataset, prefix, record.result, axis, radius)


def _check_shape(path: Path, values: h5py.Dataset, expected: tuple[int, ...]) -> None:
    if values.shape != expected:
        problem = f"has the shape {values.shape}, its record says {expected}"
        raise DataError(path, problem, "run stemcal polar again for this data set")


@contextmanager
def _opened(prefix: Path, quantity: Quantity) -> Iterator[h5py.Dataset]:
    path = profiles_path(prefix, quantity)
    if quantity != "excess_variance":
        with open_signal(path) as (data, _):
            yield data
        return
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(path, "cannot be opened as HDF5", "run stemcal polar for this data set") from error
    with file:
        if quantity not in file:
            raise DataError(path, f"holds no {quantity}", "run stemcal polar again for this data set")
        yield file[quantity]


def _disk_radius(prefix: Path, pixel_size: float) -> float | None:
    """Return the radius of the bright disk in 1/angstrom if the conversion found it and left its record here."""
    path = prefix.with_name(f"{prefix.name}_convert.json")
    if not path.is_file():
        return None
    result = read_record(path, ConvertRecord).result
    if result is None or result.virtual_detectors is None:
        return None
    return result.virtual_detectors.disk_radius_px.value * pixel_size


def read_blocks(member: Member, quantity: Quantity) -> Iterator[Block]:
    """Go through the profiles of ``member`` in raster order, on their own axis, some whole scan rows at a time."""
    n_rows, n_cols = member.polar.scan_shape
    step = max(1, BLOCK_PROFILES // n_cols)
    path = full_path(member.prefix)
    with _opened(member.prefix, quantity) as data:
        full = h5py.File(path, "r") if path.is_file() else None
        try:
            for row in range(0, n_rows, step):
                values = _flat(data[row : row + step])
                pixels = full["n_effective"][row : row + step] if full else _ring_pixels(member, len(values))
                yield Block(row * n_cols, values, _flat(pixels))
        finally:
            if full:
                full.close()


def _flat(values: NDArray[np.floating[Any]]) -> FloatArray:
    return values.reshape(-1, values.shape[-1]).astype(np.float64)


def _ring_pixels(member: Member, n_profiles: int) -> FloatArray:
    return np.broadcast_to(own_ring_areas(member), (n_profiles, member.polar.n_radial_bins))


def own_ring_areas(member: Member) -> FloatArray:
    """Return the areas of the full rings of ``member`` in its own pixels."""
    polar = member.polar
    radius = member.axis.values(polar.n_radial_bins) / polar.q_pixel_size_per_angstrom
    return ring_areas(radius, polar.bin_width_px)


class NmfWriter:
    """``nmf.hdf5``: components first, then the loadings of one data set after the other.

    Parameters
    ----------
    file : h5py.File
        Open for writing.
    """

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        file.attrs["schema"] = "stemcal/nmf-hdf5/2"

    def write_components(self, components: FloatArray, grid: Grid, quantity: Quantity) -> None:
        """Write ``components`` (n_components, n_bins), their radial axis and the weights of the fit."""
        data = self._file.create_dataset("components", data=components)
        data.attrs["axes"] = ["component", "q"]
        data.attrs["normalisation"] = "each component sums to 1 over its radial bins"
        data.attrs["quantity"] = quantity
        axis = self._file.create_dataset("q_per_angstrom", data=grid.q_per_angstrom)
        axis.attrs["units"] = "1/angstrom"
        self._file.create_dataset("weight", data=grid.weight)

    def write_maps(self, dataset: str, loadings: NDArray[np.float32], residual: NDArray[np.float32]) -> None:
        """Write ``loadings`` (component, scan_row, scan_col) and ``residual`` (scan_row, scan_col); NaN = missing."""
        group = self._file.create_group(f"datasets/{dataset}")
        options = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        maps = group.create_dataset("loadings", data=loadings, **options)
        maps.attrs["axes"] = ["component", "scan_row", "scan_col"]
        maps.attrs["units"] = "sum of the profile over its radial bins, per count of dose"
        left = group.create_dataset("relative_residual", data=residual, **options)
        left.attrs["axes"] = ["scan_row", "scan_col"]
        left.attrs["meaning"] = "length of (profile - model) over length of profile, both weighted"


@contextmanager
def open_nmf_writer(path: Path) -> Iterator[NmfWriter]:
    """Give a writer of ``path``; the file appears when the block ends without error."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        yield NmfWriter(file)


def names(prefixes: Sequence[Path]) -> tuple[str, ...]:
    """Return a short unique name of each data set: its prefix, from the folder on that holds them all."""
    resolved = [prefix.resolve() for prefix in prefixes]
    shared = os.path.commonpath([prefix.parent for prefix in resolved])
    return tuple(prefix.relative_to(shared).as_posix() for prefix in resolved)
