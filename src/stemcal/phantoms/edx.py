"""EDX maps of known composition over known maps, with the counting noise and the faults of a real acquisition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stemcal.formats.edx import EnergyAxis

FloatArray = NDArray[np.float64]

AXIS = EnergyAxis(offset_kev=-0.2, channel_kev=0.01)
N_CHANNELS = 1100
LINES_KEV: Mapping[str, float] = {
    "C K": 0.277,
    "O K": 0.525,
    "Al K": 1.487,
    "Si K": 1.740,
    "Ti K": 4.511,
    "Fe K": 6.404,
    "Cu K": 8.048,
}
_BACKGROUND = 0.35
"""Part of the counts that is bremsstrahlung."""


def spectrum(lines: Mapping[str, float]) -> FloatArray:
    """Return a spectrum of sum 1, (n_channels,): Gaussian lines of the given weights on bremsstrahlung."""
    energy = AXIS.values(N_CHANNELS)
    peaks = np.zeros(N_CHANNELS)
    for name, weight in lines.items():
        sigma = np.sqrt(max(0.13**2 + 2.5e-3 * (LINES_KEV[name] - 5.895), 0.04**2)) / 2.355
        peaks += weight * np.exp(-0.5 * ((energy - LINES_KEV[name]) / sigma) ** 2) / sigma
    continuum = np.where(energy > 0.1, np.exp(-np.maximum(energy, 0.1) / 3.0), 0.0)
    whole: FloatArray = (1 - _BACKGROUND) * peaks / peaks.sum() + _BACKGROUND * continuum / continuum.sum()
    return whole


def edx_counts(
    maps: FloatArray, compositions: Sequence[Mapping[str, float]], *, counts_per_position: float, seed: int
) -> NDArray[np.uint16]:
    """Return counts (row, col, channel) of materials in known amounts.

    Parameters
    ----------
    maps : ndarray
        (material, row, col) amount of each, 1 where it is pure.
    compositions : sequence of mapping
        Weight of each line in each material.
    counts_per_position : float
        Mean counts where the amounts add up to 1.
    seed : int
        Of the counting noise.
    """
    spectra = np.stack([spectrum(lines) for lines in compositions])
    clean = counts_per_position * np.tensordot(maps, spectra, axes=(0, 0))
    return np.random.default_rng(seed).poisson(clean).astype(np.uint16)


def late(counts: NDArray[np.uint16], n_frames: int) -> NDArray[np.uint16]:
    """Return ``counts`` as if the detector had begun ``n_frames`` positions too early: the map is late by as many."""
    flat = counts.reshape(-1, counts.shape[2])
    return np.roll(flat, n_frames, axis=0).reshape(counts.shape)


def dwelt(counts: NDArray[np.uint16], positions: Sequence[tuple[int, int]], factor: int) -> NDArray[np.uint16]:
    """Return ``counts`` with ``factor`` times the counts at ``positions`` (row, col)."""
    longer = counts.copy()
    for row, col in positions:
        longer[row, col] *= np.uint16(factor)
    return longer
