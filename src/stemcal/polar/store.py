"""The data files of the rings, filled scan row by scan row.

``<id>_azimuthal_mean.hspy`` and ``<id>_azimuthal_var.hspy`` are HyperSpy Signal1D (scan_row, scan_col, q).
``<id>_polar.hdf5`` holds the same and what belongs to it: every array is (scan_row, scan_col, q) float32 with its
``unit``, those of the symmetry orders (scan_row, scan_col, order, q); NaN = missing. float32 keeps 6e-8 of a value; all
arithmetic before it is float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from stemcal.formats.hdf5 import create_hdf5, named_errors
from stemcal.formats.hspy import Axis, open_writer
from stemcal.formats.ripple import open_ripple
from stemcal.polar.rows import excess_variance, standard_error
from stemcal.polar.statistics import RingStatistics

Q_UNITS = "1/Å"


@dataclass(frozen=True)
class PolarPaths:
    """Names of the outputs for one prefix ``<folder>/<id>``."""

    mean: Path
    variance: Path
    full: Path
    record: Path
    figure: Path
    corrected: Path

    @classmethod
    def of(cls, prefix: Path) -> PolarPaths:
        """Return the names for ``prefix``."""
        endings = (
            "azimuthal_mean.hspy",
            "azimuthal_var.hspy",
            "polar.hdf5",
            "polar.json",
            "polar.png",
            "corrected.hspy",
        )
        return cls(*(prefix.with_name(f"{prefix.name}_{ending}") for ending in endings))


@dataclass(frozen=True)
class Layout:
    """Shape, axes and provenance that the three files share.

    Attributes
    ----------
    scan_shape : tuple of int
        (scan_row, scan_col).
    n_bins : int
        Number of radial bins.
    q_step_per_angstrom : float
        Width of a bin; bin b has its centre at (b + 0.5) steps.
    scan_step_nm : float or None
        Distance of scan positions; without it the scan axes are in px.
    parameter : str
        Canonical JSON of stage, revision, settings and source.
    counts_per_electron : float
        For the shot-noise corrected variance.
    symmetry_orders : tuple of int
        Orders that are measured.
    ripple : bool
        Whether mean and variance are written as ripple too.
    """

    scan_shape: tuple[int, int]
    n_bins: int
    q_step_per_angstrom: float
    scan_step_nm: float | None
    parameter: str
    counts_per_electron: float
    symmetry_orders: tuple[int, ...] = ()
    ripple: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """(scan_row, scan_col, n_bins)."""
        return (*self.scan_shape, self.n_bins)

    @property
    def axes(self) -> tuple[Axis, Axis, Axis]:
        """Axes of the HyperSpy signals."""
        step, units = (self.scan_step_nm, "nm") if self.scan_step_nm else (1.0, "px")
        q = Axis("q", Q_UNITS, self.q_step_per_angstrom, 0.5 * self.q_step_per_angstrom)
        return Axis("scan_row", units, step), Axis("scan_col", units, step), q


_Derive = Callable[[RingStatistics, float], NDArray[np.floating[Any]]]
_Columns = Mapping[str, tuple[str, str, _Derive]]

_RINGS: _Columns = {
    "mean": ("counts", "azimuthal mean per pixel", lambda rows, _: rows.mean),
    "variance": ("counts^2", "unbiased variance around the ring", lambda rows, _: rows.variance),
    "excess_variance": ("counts^2", "variance less that of shot noise", excess_variance),
    "standard_error": ("counts", "standard error of the mean", lambda rows, _: standard_error(rows)),
    "n_effective": ("px", "effective number of valid pixels", lambda rows, _: rows.n_effective),
    "valid_area": ("px", "valid area of the ring; 0 = nothing measured", lambda rows, _: rows.area),
}
_ORDERS: _Columns = {
    "symmetry_amplitude": ("1", "abs(F_n) / F_0 with counting noise", lambda rows, _: rows.symmetry_amplitude),
    "symmetry_power": ("1", "abs(F_n)^2 / F_0^2 less counting noise", lambda rows, _: rows.symmetry_power),
    "symmetry_angle": ("deg", "where the order is highest, from +col to +row", lambda rows, _: rows.symmetry_angle),
}


Store = Callable[[int, RingStatistics], None]


@contextmanager
def open_store(paths: PolarPaths, layout: Layout, origin_px: NDArray[np.float64]) -> Iterator[Store]:
    """Give a function ``store(first_row, rows)`` that writes whole scan rows; the files appear when the block ends.

    Parameters
    ----------
    paths : PolarPaths
        Where to write.
    layout : Layout
        Shape, axes and provenance.
    origin_px : ndarray
        (n_frames, 2) origin (row, col) of the operator that each position was measured with.

    Yields
    ------
    callable
        Takes the first scan row and the `RingStatistics` of a multiple of scan_col positions.
    """
    with ExitStack() as stack:
        signals = {
            "mean": stack.enter_context(_signal(paths.mean, layout, "mean")),
            "variance": stack.enter_context(_signal(paths.variance, layout, "variance")),
        }
        ripples = {}
        if layout.ripple:
            ripples = {name: stack.enter_context(_ripple(getattr(paths, name), layout)) for name in signals}
        file = stack.enter_context(create_hdf5(paths.full))
        arrays = _create(file, layout, origin_px)

        def store(first_row: int, rows: RingStatistics) -> None:
            n_rows = len(rows.mean) // layout.scan_shape[1]
            for name, (_, _, derive) in _columns(layout).items():
                values = np.asarray(derive(rows, layout.counts_per_electron), np.float32)
                values = values.reshape(n_rows, *arrays[name].shape[1:])
                with named_errors(paths.full):
                    arrays[name][first_row : first_row + n_rows] = values
                if name in signals:
                    with named_errors(getattr(paths, name)):
                        signals[name][first_row : first_row + n_rows] = values
                if name in ripples:
                    ripples[name](values)

        yield store


def _signal(path: Path, layout: Layout, name: str) -> AbstractContextManager[h5py.Dataset]:
    metadata = {"stemcal": {"parameter": layout.parameter, "unit": _RINGS[name][0]}}
    title = f"azimuthal {name}"
    return open_writer(path, layout.shape, np.dtype(np.float32), layout.axes, title=title, metadata=metadata)


def _ripple(signal: Path, layout: Layout) -> AbstractContextManager[Callable[[NDArray[Any]], None]]:
    """Open the ripple files beside a signal, with RosettaSciIO's keys for the axes.

    Programs do not agree on the encoding of a ``.rpl``, so there is no A with a ring in it.
    """
    keys: dict[str, str] = {}
    for prefix, axis in zip(("height", "width", "depth"), layout.axes, strict=True):
        facts = {"name": axis.name, "origin": axis.offset, "scale": axis.scale, "units": axis.units.replace("Å", "A")}
        keys |= {f"{prefix}-{key}": str(value) for key, value in facts.items()}
    return open_ripple(signal.with_suffix(".rpl"), layout.shape, np.dtype(np.float32), keys)


def _create(file: h5py.File, layout: Layout, origin_px: NDArray[np.float64]) -> dict[str, h5py.Dataset]:
    file.attrs["schema"] = "stemcal/polar/1"
    file.attrs["parameter"] = layout.parameter
    file.attrs["axes"] = "scan_row, scan_col, q"
    q = file.create_dataset("q", data=layout.axes[2].values(layout.n_bins))
    q.attrs["unit"] = "1/angstrom"
    q.attrs["description"] = "centre of each radial bin"
    origin = file.create_dataset("origin", data=origin_px.reshape(*layout.scan_shape, 2))
    origin.attrs["unit"] = "px"
    origin.attrs["description"] = "origin (row, col) that each position was measured about"
    if layout.symmetry_orders:
        orders = file.create_dataset("symmetry_orders", data=np.array(layout.symmetry_orders, np.int32))
        orders.attrs["unit"] = "1"
        orders.attrs["description"] = "n of the second last axis of symmetry_*"
    arrays = {}
    for name, (unit, description, _) in _columns(layout).items():
        shape = layout.shape if name in _RINGS else (*layout.scan_shape, len(layout.symmetry_orders), layout.n_bins)
        packed = {"chunks": (1, *shape[1:]), "compression": "gzip", "compression_opts": 1, "shuffle": True}
        arrays[name] = file.create_dataset(name, shape, np.float32, **packed)
        arrays[name].attrs["unit"] = unit
        arrays[name].attrs["description"] = description
    return arrays


def _columns(layout: Layout) -> _Columns:
    return {**_RINGS, **_ORDERS} if layout.symmetry_orders else _RINGS
