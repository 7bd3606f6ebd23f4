"""Scans of crystalline islands on an amorphous film with vacuum beside it: known profiles, maps, texture and dose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.optics.rings import cubic_rings
from stemcal.phantoms.mixtures import N_BINS, radial_axis, ring_pixels

FloatArray = NDArray[np.float64]

CRYSTALS = {"Au": (4.0782, "F"), "Si": (5.431, "F"), "Fe": (2.866, "I")}
"""Lattice constant in angstrom and centring, in the order in which phases are added; Si is diamond."""

RING_WIDTH_PER_ANGSTROM = 0.012
GRAIN_PX = 3
_MAX_INDEX_SQUARE = {"Au": 20, "Si": 40, "Fe": 12}
_RANGE = (0.2, 1.0)


@dataclass(frozen=True)
class PhaseScan:
    """A scan and its truth, all on the bins of ``radial_axis`` between 0.2 and 1.0 1/angstrom.

    Attributes
    ----------
    counts : ndarray
        (scan_row, scan_col, n_bins) counts on each ring.
    pixels : ndarray
        (n_bins,) pixels of each ring.
    profiles : ndarray
        (n_phases, n_bins) mean intensity per pixel, sum 1; the last is the amorphous film.
    maps : ndarray
        (n_phases, scan_row, scan_col) amount of each.
    """

    counts: FloatArray
    pixels: FloatArray
    profiles: FloatArray
    maps: FloatArray

    @property
    def mean(self) -> FloatArray:
        """Mean counts per pixel, (scan_row, scan_col, n_bins)."""
        mean: FloatArray = self.counts / self.pixels
        return mean


def in_range() -> NDArray[np.bool_]:
    """Return which bins of the phantoms' axis a `PhaseScan` has."""
    q = radial_axis().values(N_BINS)
    inside: NDArray[np.bool_] = (q >= _RANGE[0]) & (q <= _RANGE[1])
    return inside


def crystal_rings(name: str) -> tuple[tuple[float, float], ...]:
    """Return the rings of one of `CRYSTALS`: q in 1/angstrom and strength."""
    constant, centring = CRYSTALS[name]
    rings = []
    for hkl, q, multiplicity in cubic_rings(constant, centring, max_index_square=_MAX_INDEX_SQUARE[name]):
        odd, diamond = hkl[0] % 2 == 1, name == "Si"
        if not diamond or odd or sum(hkl) % 4 == 0:
            rings.append((q, multiplicity * np.exp(-2 * q) / q * (0.5 if diamond and odd else 1.0)))
    return tuple(rings)


def phase_scan(
    n_phases: int,
    counts_per_ring: float,
    *,
    shape: tuple[int, int] = (40, 40),
    texture: float = 0.3,
    seed: int = 0,
    crystals: Sequence[str] = tuple(CRYSTALS),
) -> PhaseScan:
    """Return a scan of ``n_phases``, the last of them amorphous; every crystal is somewhere pure.

    Parameters
    ----------
    n_phases : int
        From 1 (the film alone).
    counts_per_ring : float
        Mean counts of a ring where there is matter.
    shape : tuple of int
        (scan_row, scan_col).
    texture : float
        Standard deviation of the logarithm of the strength of each ring from grain to grain.
    seed : int
        Of islands, texture and counts.
    crystals : sequence of str
        The crystals to take, in turn.
    """
    generator = np.random.default_rng(seed)
    inside, q = in_range(), radial_axis().values(N_BINS)
    halos = np.exp(-0.5 * ((q - 0.42) / 0.06) ** 2) + 0.4 * np.exp(-0.5 * ((q - 0.8) / 0.1) ** 2)
    film = halos + 0.8 * np.exp(-3.2 * q)
    names = crystals[: n_phases - 1]
    pure = [_diffuse(_lines(q, crystal_rings(name)), q) for name in names]
    sums = [profile[inside].sum() for profile in (*pure, film)]
    profiles = np.stack([profile / total for profile, total in zip((*pure, film), sums, strict=True)])
    maps = _maps(len(names), shape, generator)
    clean = np.tensordot(maps, profiles, axes=(0, 0))
    for name, amount, total in zip(names, maps[:-1], sums[:-1], strict=True):
        for ring in crystal_rings(name):
            clean += (amount * _grains(shape, texture, generator))[..., None] * _lines(q, [ring]) / total
    pixels = ring_pixels(N_BINS)
    expected = (clean * pixels)[..., inside]
    expected *= counts_per_ring / expected[maps.sum(axis=0) > 0.2].mean()
    counts = generator.poisson(expected).astype(np.float64)
    return PhaseScan(counts, pixels[inside], profiles[:, inside], maps)


def _lines(q: FloatArray, rings: Sequence[tuple[float, float]]) -> FloatArray:
    lines: FloatArray = sum(
        (strength * np.exp(-0.5 * ((q - centre) / RING_WIDTH_PER_ANGSTROM) ** 2) for centre, strength in rings),
        np.zeros_like(q),
    )
    return lines


def _diffuse(lines: FloatArray, q: FloatArray) -> FloatArray:
    diffuse: FloatArray = lines + 0.3 * lines.max() * np.exp(-3.2 * q)
    return diffuse


def _grains(shape: tuple[int, int], texture: float, generator: np.random.Generator) -> FloatArray:
    """Return how much stronger than in the powder a ring is, (scan_row, scan_col), mean 0, constant in each grain."""
    coarse = generator.normal(-(texture**2) / 2, texture, tuple(-(-side // GRAIN_PX) for side in shape))
    strength: FloatArray = np.exp(np.kron(coarse, np.ones((GRAIN_PX, GRAIN_PX)))[: shape[0], : shape[1]]) - 1
    return strength


def _maps(n_crystals: int, shape: tuple[int, int], generator: np.random.Generator) -> FloatArray:
    """Return soft islands of each crystal, and a film that they displace; on the left there is nothing."""
    rows, cols = (np.mgrid[: shape[0], : shape[1]] + 0.5) / np.array(shape)[:, None, None]
    maps = np.zeros((n_crystals + 1, *shape))
    for index in range(n_crystals):
        for _ in range(3):
            row, col, radius = (generator.uniform(*limits) for limits in ((0.1, 0.9), (0.25, 0.95), (0.08, 0.2)))
            island = 1 / (1 + np.exp((np.hypot(rows - row, cols - col) - radius) / 0.02))
            maps[index] = np.maximum(maps[index], island)
    film = 0.5 + 0.2 * np.sin(3 * rows)
    maps[-1] = film * (1 - maps[:-1].max(axis=0)) if n_crystals else film
    matter: FloatArray = maps / (1 + np.exp((0.15 - cols) / 0.015))
    return matter
