"""EDX maps: a spectrum of X-rays at every scan position, from ``.rpl``/``.raw`` or HyperSpy's ``.hspy``.

Whatever the file says of its channels ends in keV. A ripple file states them by ``ev-per-chan`` (Lispix) or by
``depth-scale``, ``depth-origin`` and ``depth-units`` (HyperSpy); many programs write neither, and then there is no
axis until somebody states one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats.hspy import Axis, read_signal, write_signal1d
from stemcal.formats.ripple import ByteOrder, RecordBy, Ripple, number_of, read_ripple, write_ripple

SUFFIXES = (".rpl", ".hspy")
_PER_KEV = {"kev": 1.0, "ev": 1e-3}
_AXIS_REMEDY = "write depth-units keV or eV into the .rpl, or state the axis in the settings edx.channel_kev and "
_AXIS_REMEDY += "edx.offset_kev"


@dataclass(frozen=True)
class EnergyAxis:
    """Energy of channel ``i`` is ``offset_kev + i * channel_kev``, the middle of the channel."""

    offset_kev: float
    channel_kev: float

    def values(self, n_channels: int) -> NDArray[np.float64]:
        """Return the energies of ``n_channels`` channels in keV."""
        return self.offset_kev + self.channel_kev * np.arange(n_channels, dtype=np.float64)

    def channels(self, low_kev: float, high_kev: float, n_channels: int) -> NDArray[np.int64]:
        """Return the channels whose middle lies in [low, high), which may be none."""
        energy = self.values(n_channels)
        return np.flatnonzero((energy >= low_kev) & (energy < high_kev))


@dataclass(frozen=True)
class EdxMap:
    """An EDX map.

    Attributes
    ----------
    path : Path
        Where it came from.
    counts : ndarray
        (row, col, channel), any type of number; a ripple map is mapped into memory and read as it is used.
    energy : EnergyAxis or None
        None where the file does not say.
    """

    path: Path
    counts: NDArray[Any]
    energy: EnergyAxis | None

    @property
    def shape(self) -> tuple[int, int]:
        """(row, col)."""
        return self.counts.shape[0], self.counts.shape[1]

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return int(self.counts.shape[2])


def read_edx(path: Path) -> EdxMap:
    """Open an EDX map.

    Parameters
    ----------
    path : Path
        ``.rpl`` with its ``.raw`` beside it, or ``.hspy`` with two axes of positions and one of energy.

    Raises
    ------
    DataError
        If the file cannot be read, is no map of spectra, or states an energy axis that makes no sense; it names the
        file and what to do.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(path, f"files ending in {path.suffix!r} are no EDX maps", "give a .rpl (with .raw) or a .hspy")
    if not path.is_file():
        raise DataError(path, "there is no such file", "check the path")
    if suffix == ".hspy":
        return _read_hspy(path)
    ripple, counts = read_ripple(path)
    return EdxMap(path, counts, _ripple_axis(path, ripple))


def _ripple_axis(path: Path, ripple: Ripple) -> EnergyAxis | None:
    """Return the axis of a ripple map: in the units it names; without units only where ``ev-per-chan`` tells them."""
    ev = number_of(path, ripple.keys, "ev-per-chan")
    scale = number_of(path, ripple.keys, "depth-scale")
    origin = number_of(path, ripple.keys, "depth-origin") or 0.0
    units = ripple.keys.get("depth-units", "")
    if scale is None:
        return None if ev is None else _axis(path, _ripple_origin(path, origin, units), ev, "eV")
    if units:
        return _axis(path, origin, scale, units)
    if ev is None:
        problem = f"states a depth-scale of {scale:g} without depth-units"
        raise DataError(path, problem, _AXIS_REMEDY)
    for name, per_kev in _PER_KEV.items():
        if np.isclose(scale * per_kev, ev * _PER_KEV["ev"], rtol=1e-3):
            return _axis(path, origin, scale, name)
    raise DataError(path, f"states a depth-scale of {scale:g} but ev-per-chan {ev:g}", _AXIS_REMEDY)


def _ripple_origin(path: Path, origin: float, units: str) -> float:
    """Return ``depth-origin`` in eV; one that is not 0 has to have units."""
    if origin == 0:
        return 0.0
    if units.lower() not in _PER_KEV:
        problem = f"states a depth-origin of {origin:g} with the units {units!r}"
        raise DataError(path, problem, _AXIS_REMEDY)
    return origin * _PER_KEV[units.lower()] / _PER_KEV["ev"]


def _axis(path: Path, offset: float, scale: float, units: str) -> EnergyAxis:
    per_kev = _PER_KEV.get(units.lower())
    if per_kev is None:
        raise DataError(path, f"states its energies in {units!r}, which is neither eV nor keV", _AXIS_REMEDY)
    if scale <= 0:
        raise DataError(path, f"states channels of {scale:g} {units}; they have to be wider than 0", _AXIS_REMEDY)
    return EnergyAxis(offset * per_kev, scale * per_kev)


def _read_hspy(path: Path) -> EdxMap:
    signal = read_signal(path)
    if signal.data.ndim != 3 or signal.n_signal_axes != 1:
        problem = f"holds an array of shape {signal.data.shape} with {signal.n_signal_axes} signal axes"
        raise DataError(
            path, f"{problem}, which is no map of spectra", "save the EDX map as a Signal1D of two scan axes"
        )
    energy = signal.axes[-1]
    axis = _axis(path, energy.offset, energy.scale, energy.units) if energy.units else None
    return EdxMap(path, signal.data, axis)


def write_edx(
    path: Path,
    counts: NDArray[Any],
    energy: EnergyAxis | None,
    *,
    record_by: RecordBy = "vector",
    byte_order: ByteOrder = "little-endian",
) -> None:
    """Write an EDX map so that `read_edx` and HyperSpy read it back.

    Parameters
    ----------
    path : Path
        ``.rpl`` (its ``.raw`` is written beside it) or ``.hspy``.
    counts : ndarray
        (row, col, channel).
    energy : EnergyAxis or None
        None writes no axis, as many acquisition programs do.
    record_by, byte_order : str
        Layout of a ripple file.

    Raises
    ------
    DataError
        If the suffix is another one.
    """
    suffix = path.suffix.lower()
    if suffix == ".hspy":
        axes = (Axis("y", ""), Axis("x", ""), _hspy_axis(energy))
        write_signal1d(path, counts, axes, title="EDX", metadata={"Signal": {"signal_type": "EDS_TEM"}})
    elif suffix == ".rpl":
        extra = {} if energy is None else _ripple_keys(energy)
        write_ripple(path, counts, record_by=record_by, byte_order=byte_order, extra=extra)
    else:
        raise DataError(path, f"EDX maps are not written as {path.suffix!r}", "give a name ending in .rpl or .hspy")


def _hspy_axis(energy: EnergyAxis | None) -> Axis:
    return Axis("Energy", "") if energy is None else Axis("Energy", "keV", energy.channel_kev, energy.offset_kev)


def _ripple_keys(energy: EnergyAxis) -> dict[str, str]:
    return {
        "ev-per-chan": f"{energy.channel_kev / _PER_KEV['ev']:.12g}",
        "depth-name": "Energy",
        "depth-scale": f"{energy.channel_kev:.12g}",
        "depth-origin": f"{energy.offset_kev:.12g}",
        "depth-units": "keV",
    }
