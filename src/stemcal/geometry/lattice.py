"""The lattice of the scan spectrum: four numbers for the frequencies of all peaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ScanLattice:
    """The coarsest lattice of scan frequencies that indexes the peaks.

    Attributes
    ----------
    vectors : ndarray of float64
        (2, 2) rows are the basis in cycles per step (row, col), reduced.
    indices : ndarray of int64
        (K, 2) indices of the peaks in that basis; 0, 0 where a peak does not belong to the lattice.
    sigma : ndarray of float64
        (2, 2) standard uncertainty of ``vectors``.
    rms_bins : float
        Root mean square distance of the indexed peaks from the lattice, in bins of the scan spectrum.
    n_indexed : int
        Number of peaks that belong to the lattice.
    frequencies : ndarray of float64
        (K, 2) the lattice's own frequency of an indexed peak, else the measured one.
    """

    vectors: NDArray[np.float64]
    indices: NDArray[np.int64]
    sigma: NDArray[np.float64]
    rms_bins: float
    n_indexed: int
    frequencies: NDArray[np.float64]


@dataclass(frozen=True)
class NoLattice:
    """The peaks do not belong to one lattice, and why."""

    reason: str
