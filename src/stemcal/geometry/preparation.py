"""What is wrong with the frames, and what is done about it before anything is measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.records.base import Finding


@dataclass(frozen=True)
class Preparation:
    """How the positions of the scan are used.

    Attributes
    ----------
    weights : ndarray of float64
        (scan_row, scan_col) factor on the counts of a position: 0 where it is not usable, else the factor that
        normalises the dose, 1 where that is not done.
    normalised : bool
        Whether the dose is normalised.
    bad_lines : tuple of int
        Scan rows that are not used.
    beam_rms : float
        Relative standard deviation of the dose over the usable positions, as far as it is known.
    descan_px_per_step : ndarray of float64
        (2, 2) movement of the disk, [det axis, scan axis].
    findings : tuple of Finding
        What was found.
    """

    weights: NDArray[np.float64]
    normalised: bool
    bad_lines: tuple[int, ...]
    beam_rms: float
    descan_px_per_step: NDArray[np.float64]
    findings: tuple[Finding, ...]
