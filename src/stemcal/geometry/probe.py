"""The probe in the aperture: P = A exp(-i chi) at any point, exactly or from a table of nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

from stemcal.errors import UsageError
from stemcal.optics.aberrations import HIGHEST_ORDER, basis, terms

_NODES_PER_PX = 12.0
"""Dense enough for an edge blurred by 0.25 px: linear interpolation is then off by less than 0.4 % of the disk."""
_LARGEST_STEP_RAD = 0.1
"""Aberration phase between nodes; linear interpolation is then off by 0.1 %."""
_MOST_NODES = 2048
_EDGE_SIGMAS = 4.0


@dataclass(frozen=True)
class Probe:
    """The probe over the aperture.

    Attributes
    ----------
    radius_px, edge_px : float
        Radius of the disk and standard deviation of its Gaussian edge.
    aberrations_rad : mapping
        Coefficients by name, as phases at the edge of the aperture; what is absent is 0.
    """

    radius_px: float
    edge_px: float
    aberrations_rad: Mapping[str, float]

    def amplitude(self, row_px: NDArray[np.float64], col_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return A, 0 ... 1, at round offsets (row, col) from the centre: the part of a pixel that is inside."""
        distance = np.hypot(row_px, col_px) - self.radius_px
        return np.asarray(0.5 * erfc(distance / (math.sqrt(2) * self.edge_px)))

    def phase(self, row_px: NDArray[np.float64], col_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return chi in rad at round offsets (row, col) from the centre.

        Raises
        ------
        UsageError
            If a name is not that of an aberration.
        """
        known = {term.name: term for term in terms(HIGHEST_ORDER)}
        row, col = row_px / self.radius_px, col_px / self.radius_px
        chi = np.zeros(np.broadcast(row, col).shape)
        for name, value in self.aberrations_rad.items():
            if name not in known:
                raise UsageError(f"no aberration is called {name!r}; the names are {', '.join(known)}")
            chi += value * basis(known[name], row, col)
        return chi

    def wave(self, row_px: NDArray[np.float64], col_px: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return P = A exp(-i chi) at round offsets (row, col) from the centre."""
        return np.asarray(self.amplitude(row_px, col_px) * np.exp(-1j * self.phase(row_px, col_px)))

    @property
    def reach_px(self) -> float:
        """Distance from the centre behind which the probe is taken for 0."""
        return self.radius_px + _EDGE_SIGMAS * self.edge_px


def probe_table(probe: Probe) -> tuple[NDArray[np.complex64], float]:
    """Return the probe at nodes around the centre, and the density of the nodes per px.

    Returns
    -------
    table : ndarray of complex64
        (m, m), m odd, the centre at its middle; 0 in the two outermost rows and columns, behind `Probe.reach_px`.
    nodes_per_px : float
        Dense enough that the probe is linear between nodes, unless its phase turns by a third of a wave per pixel,
        which the pixels themselves would not resolve.
    """
    coarse = np.linspace(-probe.radius_px, probe.radius_px, 129)
    chi = probe.phase(*np.meshgrid(coarse, coarse, indexing="ij"))
    inside = np.hypot(coarse[:, None], coarse[None]) <= probe.radius_px
    slope = np.hypot(*np.gradient(chi, coarse[1] - coarse[0]))[inside].max()
    density = max(_NODES_PER_PX, float(slope) / _LARGEST_STEP_RAD)
    half = math.ceil(min(density * probe.reach_px, _MOST_NODES / 2))
    offsets = np.arange(-half, half + 1) * (probe.reach_px / half)
    table = probe.wave(*np.meshgrid(offsets, offsets, indexing="ij"))
    return np.pad(table, 2).astype(np.complex64), half / probe.reach_px
