"""Windows of characteristic lines in a spectrum, and their net counts. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.formats.edx import EnergyAxis
from stemcal.nmf.edx_settings import EdxSettings, ElementLine, Window

FloatArray = NDArray[np.float64]

_MN_K_KEV = 5.895
_BROADENING_KEV = 2.5e-3
"""Growth of the squared width per keV: (2.355)^2 times Fano factor times energy per electron-hole pair."""
_LEAST_WIDTH_KEV = 0.04


@dataclass(frozen=True)
class LineWindows:
    """The channels of one line and of its background.

    Attributes
    ----------
    name : str
        Of the line.
    window_kev, below_kev, above_kev : tuple of float
        (from, to) of each window.
    weights : ndarray
        (n_channels,): counts times weights are net counts. 1 in the window; in the background minus the part of the
        window's counts that a straight line through both background windows gives to one count there.
    """

    name: str
    window_kev: Window
    below_kev: Window
    above_kev: Window
    weights: FloatArray


def line_width(energy_kev: float, resolution_kev: float) -> float:
    """Return the full width at half maximum of a line in keV.

    Fiori and Newbury, Scanning Electron Microscopy 1978/I, 401: squares of widths grow in proportion to the energy.

    Parameters
    ----------
    energy_kev : float
        Of the line.
    resolution_kev : float
        Width of the Mn K line.
    """
    squared = resolution_kev**2 + _BROADENING_KEV * (energy_kev - _MN_K_KEV)
    return float(np.sqrt(max(squared, _LEAST_WIDTH_KEV**2)))


def line_windows(line: ElementLine, axis: EnergyAxis, n_channels: int, settings: EdxSettings) -> LineWindows | None:
    """Return the windows of ``line``, or None where the spectra do not reach all three of them."""
    width = line_width(line.energy_kev, settings.resolution_kev)
    half = 0.5 * settings.window_widths * width
    window = (line.energy_kev - half, line.energy_kev + half)
    near, far = (reach * width for reach in _reaches(settings))
    beside = ((line.energy_kev - far, line.energy_kev - near), (line.energy_kev + near, line.energy_kev + far))
    below, above = line.background_kev or beside
    channels = [axis.channels(*one, n_channels) for one in (window, below, above)]
    first, last = axis.offset_kev - axis.channel_kev / 2, axis.offset_kev + axis.channel_kev * (n_channels - 0.5)
    if below[0] < first or above[1] > last or not all(len(one) for one in channels):
        return None
    return LineWindows(line.name, window, below, above, _weights(axis, channels, n_channels))


def _reaches(settings: EdxSettings) -> tuple[float, float]:
    return settings.background_gap_widths, settings.background_gap_widths + settings.background_widths


def _weights(axis: EnergyAxis, channels: list[NDArray[np.int64]], n_channels: int) -> FloatArray:
    energy = axis.values(n_channels)
    window, below, above = channels
    middle, low, high = (float(energy[one].mean()) for one in channels)
    share_above = (middle - low) / (high - low)
    weights = np.zeros(n_channels)
    weights[below] = -(1 - share_above) * len(window) / len(below)
    weights[above] = -share_above * len(window) / len(above)
    weights[window] += 1.0
    return weights


def line_sigma(spectrum: FloatArray, windows: LineWindows) -> float:
    """Return by how many standard deviations of counting a line stands out of ``spectrum`` (n_channels, counts)."""
    variance = float(spectrum @ windows.weights**2)
    return float(spectrum @ windows.weights) / np.sqrt(variance) if variance > 0 else 0.0
