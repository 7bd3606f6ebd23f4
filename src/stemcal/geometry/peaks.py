"""Peaks of the scan spectrum: which frequencies of the scan carry contrast, to a fraction of a bin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Peaks:
    """The peaks of the power spectrum of a scan.

    Attributes
    ----------
    frequencies : ndarray of float64
        (K, 2) cycles per step (row, col), one of each pair of opposite frequencies, strongest first.
    power : ndarray of float64
        (K,) power over that of the noise.
    sigma : ndarray of float64
        (K, 2) standard uncertainty of the frequencies, cycles per step.
    power_spectrum : ndarray of float64
        (scan_row, scan_col) power over that of shot noise, zero frequency in the middle (numpy's fftshift).
    """

    frequencies: NDArray[np.float64]
    power: NDArray[np.float64]
    sigma: NDArray[np.float64]
    power_spectrum: NDArray[np.float64]
