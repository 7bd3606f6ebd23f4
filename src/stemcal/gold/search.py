"""Where on the scale the rings are: a comb search that knows nothing but the crystal.

The logarithm of the pattern is averaged per sector of azimuth and radius. For every elliptical strain on a grid the
sectors are brought to the round radius and averaged; what a smooth background cannot follow of that profile is
correlated with what it cannot follow of the comb of rings at every scale.

The score of a comb is c v^2: c its correlation with teeth of the heights to be expected, v the part of the variance
that teeth of free heights explain. c alone likes a comb that begins at the second ring, v alone one so dense that it
explains anything. 1 is perfect, gold reaches 0.6 to 0.98, halos and other lattices stay below 0.55.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.optimize import nnls

from stemcal.optics.ellipse import correction_matrix
from stemcal.optics.rings import PowderRing

Array = NDArray[np.float64]

_SECTORS = 24
_LOG_STEP = 0.006
_KNOT = 0.3
"""Knots of the smooth background in ln r: 111 and 200 are 0.144 apart, so the background cannot follow a ring."""
_STRAIN_STEP = 0.01
_SAME_COMB = 0.04
"""Scales closer than this (ln) are one comb: the joint fit converges to the same place from either."""
_THIRD_RING = 2
_CANDIDATES = 8


@dataclass(frozen=True)
class Comb:
    """One scale of the ring system and how well it explains the pattern.

    Attributes
    ----------
    scale : float
        px per 1/angstrom, area-preserving.
    strain : tuple of float
        (e1, e2).
    score : float
        How well it explains the radial profile, at most 1.
    """

    scale: float
    strain: tuple[float, float]
    score: float


@dataclass(frozen=True)
class Search:
    """Best comb and the best one that is not the same, if the range holds another."""

    best: Comb
    runner_up: Comb | None


@dataclass(frozen=True)
class SectorProfiles:
    """Mean log counts per sector and radius: ``log_counts`` and ``weight`` are (n_sectors, n_radii), 1 px bins."""

    log_counts: Array
    weight: Array
    inner_px: int


def sector_profiles(
    pattern: Array, usable: NDArray[np.bool_], centre: tuple[float, float], inner_px: float
) -> SectorProfiles:
    """Average a pattern per sector and pixel of radius, then take the logarithm.

    A quarter of the median is added before the logarithm, so that empty bins in the dark do not shout.
    """
    rows, cols = np.indices(pattern.shape)
    d_row, d_col = rows - centre[0], cols - centre[1]
    radius = np.rint(np.hypot(d_row, d_col)).astype(np.intp)
    sector = ((np.arctan2(d_row, d_col) % (2 * np.pi)) * (_SECTORS / (2 * np.pi))).astype(np.intp) % _SECTORS
    n_radii = int(radius.max()) + 1
    flat = (sector * n_radii + radius)[usable]
    size = _SECTORS * n_radii
    weight = np.bincount(flat, minlength=size).reshape(_SECTORS, n_radii)
    total = np.bincount(flat, pattern[usable], minlength=size).reshape(_SECTORS, n_radii)
    mean = total / np.maximum(weight, 1)
    inner = int(np.ceil(inner_px))
    # behind a beam stop there is nothing to look at
    in_view = np.flatnonzero((weight[:, inner:] > 0).sum(axis=0) >= _SECTORS / 2)
    inner += int(in_view.min(initial=n_radii)) if in_view.size else 0
    seen = mean[:, inner:][weight[:, inner:] > 0]
    floor = 0.25 * float(np.median(seen)) if seen.size else 0.0
    log_counts = np.log(np.maximum(mean + floor, 1e-12 + 1e-6 * float(mean.max(initial=0.0))))
    return SectorProfiles(log_counts, weight.astype(np.float64), inner)


def find_comb(
    profiles: SectorProfiles,
    rings: tuple[PowderRing, ...],
    detector_q: Array,
    ring_widths_px: tuple[float, ...],
    scale_range: tuple[float, float],
    largest_strain: float,
) -> Search | None:
    """Return the comb that explains the profiles best, and its runner-up.

    Parameters
    ----------
    profiles : SectorProfiles
        The pattern.
    rings : tuple of PowderRing
        Their visibilities are the heights of the teeth.
    detector_q : numpy.ndarray
        (n_rings,) q at which a flat detector sees them, 1/angstrom.
    ring_widths_px : tuple of float
        Standard deviations of a tooth to try; the one with the best comb is taken.
    scale_range : tuple of float
        Smallest and largest scale in px per 1/angstrom.
    largest_strain : float
        Half-width of the grid of e1 and e2.

    Returns
    -------
    Search or None
        ``None`` when no scale in the range puts three rings on the pattern.
    """
    outer = _outer_radius(profiles)
    narrow = min(ring_widths_px)
    first = max(scale_range[0], (profiles.inner_px + narrow) / detector_q[0])
    last = min(scale_range[1], (outer - narrow) / detector_q[_THIRD_RING])
    if not last > first:
        return None
    log_radius = np.arange(np.log(profiles.inner_px), np.log(outer), _LOG_STEP)
    scales = np.exp(np.arange(np.log(first), np.log(last) + _LOG_STEP, _LOG_STEP))
    smooth = _smooth_basis(log_radius)
    strains = _strains(largest_strain)
    rounded = [_residual(_round_profile(profiles, log_radius, *strain), smooth) for strain in strains]
    rounded = [profile / max(float(np.linalg.norm(profile)), 1e-300) for profile in rounded]
    searches = []
    for width in ring_widths_px:
        teeth = _residual(_teeth(log_radius, rings, detector_q * scales[:, None], width), smooth)
        teeth /= np.linalg.norm(teeth, axis=0)
        combs = []
        for peak in _peaks(np.stack(rounded) @ teeth, scales):
            visible = detector_q[detector_q * scales[peak.scale] < outer] * scales[peak.scale]
            explained = _explained(rounded[peak.strain], _residual(_tooth(log_radius, visible, width), smooth))
            score = max(peak.correlation, 0.0) * explained**2
            combs.append(Comb(float(scales[peak.scale]), strains[peak.strain], score))
        combs.sort(key=lambda comb: -comb.score)
        searches.append(Search(combs[0], combs[1] if len(combs) > 1 else None))
    return max(searches, key=lambda search: search.best.score)


def _outer_radius(profiles: SectorProfiles) -> float:
    """Return the largest radius that a quarter of the sectors can see."""
    seen = (profiles.weight > 0).sum(axis=0) >= _SECTORS / 4
    return float(np.flatnonzero(seen).max(initial=profiles.inner_px + 1))


def _smooth_basis(log_radius: Array) -> Array:
    """Return an orthonormal B-spline basis (n, k) over the log radius."""
    n_intervals = max(2, round((log_radius[-1] - log_radius[0]) / _KNOT))
    knots = np.linspace(log_radius[0], log_radius[-1], n_intervals + 1)
    knots = np.concatenate([np.repeat(knots[0], 3), knots, np.repeat(knots[-1], 3)])
    return np.linalg.qr(BSpline.design_matrix(log_radius, knots, 3).toarray())[0]


def _residual(columns: Array, basis: Array) -> Array:
    return np.asarray(columns - basis @ (basis.T @ columns))


def _tooth(log_radius: Array, ring_px: Array, width_px: float) -> Array:
    """Return a Gaussian of the radius about each ring, (n, n_rings)."""
    return np.asarray(np.exp(-0.5 * ((np.exp(log_radius)[:, None] - ring_px) / width_px) ** 2))


def _teeth(log_radius: Array, rings: tuple[PowderRing, ...], ring_px: Array, width_px: float) -> Array:
    """Return the combs (n, n_scales) with teeth of the heights to be expected; ``ring_px`` is (n_scales, n_rings)."""
    teeth = np.zeros((log_radius.size, len(ring_px)))
    for ring, radii in zip(rings, ring_px.T, strict=True):
        teeth += ring.visibility * _tooth(log_radius, radii, width_px)
    return teeth


def _strains(largest: float) -> list[tuple[float, float]]:
    n = round(largest / _STRAIN_STEP)
    steps = [float(step) for step in np.arange(-n, n + 1) * _STRAIN_STEP]
    return [pair for pair in itertools.product(steps, steps) if np.hypot(*pair) <= largest + 1e-9]


class _Peak(NamedTuple):
    """A comb by the indices of its scale and strain, and its correlation."""

    scale: int
    strain: int
    correlation: float


def _peaks(correlations: Array, scales: Array) -> Iterator[_Peak]:
    """Yield the best combs of (n_strains, n_scales), each apart from the ones before.

    Only maxima over the scale count: the flank of a comb with broad teeth is no comb of its own.
    """
    best = correlations.max(axis=0)
    around = np.pad(best, 1, constant_values=-np.inf)
    free = (best >= around[:-2]) & (best >= around[2:])
    for _ in range(_CANDIDATES):
        if not free.any():
            return
        place = int(np.where(free, best, -np.inf).argmax())
        yield _Peak(place, int(correlations[:, place].argmax()), float(best[place]))
        free &= np.abs(np.log(scales / scales[place])) > _SAME_COMB


def _explained(profile: Array, teeth: Array) -> float:
    """Return the part of the variance of a profile that rings of any positive height explain."""
    _, rest = nnls(teeth, profile)
    return float(1 - rest**2)


def _round_profile(profiles: SectorProfiles, log_radius: Array, e1: float, e2: float) -> Array:
    """Bring every sector to the round radius and average them, weighted by their pixels."""
    azimuth = (np.arange(_SECTORS) + 0.5) * (2 * np.pi / _SECTORS)
    drawn = 1 / np.linalg.norm(correction_matrix(e1, e2) @ np.stack([np.sin(azimuth), np.cos(azimuth)]), axis=0)
    bins = np.arange(profiles.weight.shape[1], dtype=np.float64)
    radius = np.exp(log_radius)
    total, weight = np.zeros_like(radius), np.zeros_like(radius)
    for sector in range(_SECTORS):
        has = profiles.weight[sector] > 0
        here = np.interp(radius * drawn[sector], bins, profiles.weight[sector], right=0.0)
        total += here * np.interp(radius * drawn[sector], bins[has], profiles.log_counts[sector, has])
        weight += here
    return np.asarray(total / np.maximum(weight, 1e-9))
