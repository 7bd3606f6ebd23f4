"""Where on the scale the rings are: a comb search that knows nothing but the crystal.

The logarithm of the pattern is averaged per sector of azimuth and radius. For every elliptical strain on a grid the
sectors are brought to the round radius and averaged; what a smooth background cannot follow of that profile is
correlated with what it cannot follow of the comb of rings at every scale. The score is that correlation: 1 is a
perfect comb, patterns without gold reach 0.6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from stemcal.optics.ellipse import correction_matrix
from stemcal.optics.rings import CubicRing

Array = NDArray[np.float64]

_SECTORS = 24
_LOG_STEP = 0.004
_KNOT = 0.3
"""Knots of the smooth background in ln r: 111 and 200 are 0.144 apart, so the background cannot follow a ring."""
_STRAIN_STEP = 0.01
_SAME_COMB = 0.04
"""Scales closer than this (ln) are one comb: the joint fit converges to the same place from either."""
_THIRD_RING = 2
_FADE = 1.3
"""1/angstrom; the contrast of a ring falls with its scattering factor, and the comb leaves the dark outside alone."""


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
        Correlation with the radial profile, at most 1.
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
    rings: tuple[CubicRing, ...],
    detector_q: Array,
    ring_width_px: float,
    scale_range: tuple[float, float],
    largest_strain: float,
) -> Search | None:
    """Return the comb that explains the profiles best, and its runner-up.

    Parameters
    ----------
    profiles : SectorProfiles
        The pattern.
    rings : tuple of CubicRing
        Their multiplicities set the height of the teeth.
    detector_q : numpy.ndarray
        (n_rings,) q at which a flat detector sees them, 1/angstrom.
    ring_width_px : float
        Standard deviation of a tooth.
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
    first = max(scale_range[0], (profiles.inner_px + ring_width_px) / detector_q[0])
    last = min(scale_range[1], (outer - ring_width_px) / detector_q[_THIRD_RING])
    if not last > first:
        return None
    log_radius = np.arange(np.log(profiles.inner_px), np.log(outer), _LOG_STEP)
    scales = np.exp(np.arange(np.log(first), np.log(last) + _LOG_STEP, _LOG_STEP))
    smooth = _smooth_basis(log_radius)
    teeth = _residual(_teeth(log_radius, rings, detector_q, ring_width_px, scales), smooth)
    teeth /= np.linalg.norm(teeth, axis=0)
    return _best_of(_combs(profiles, log_radius, smooth, teeth, scales, largest_strain))


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


def _teeth(log_radius: Array, rings: tuple[CubicRing, ...], detector_q: Array, width: float, scales: Array) -> Array:
    radius = np.exp(log_radius)[:, None]
    comb = np.zeros((log_radius.size, scales.size))
    for ring, q in zip(rings, detector_q, strict=True):
        comb += (
            np.sqrt(ring.multiplicity)
            / q
            * np.exp(-((ring.q_per_angstrom / _FADE) ** 2))
            * np.exp(-0.5 * ((radius - q * scales) / width) ** 2)
        )
    return comb


def _combs(
    profiles: SectorProfiles, log_radius: Array, smooth: Array, teeth: Array, scales: Array, largest_strain: float
) -> list[tuple[tuple[float, float], Array, Array]]:
    """Return (strain, scores over the scales, scales) for every strain inside the circle."""
    n = round(largest_strain / _STRAIN_STEP)
    steps = np.arange(-n, n + 1) * _STRAIN_STEP
    found = []
    for e1 in steps:
        for e2 in steps:
            if np.hypot(e1, e2) > largest_strain + 1e-9:
                continue
            profile = _residual(_round_profile(profiles, log_radius, float(e1), float(e2)), smooth)
            norm = float(np.linalg.norm(profile))
            scores = teeth.T @ profile / norm if norm > 0 else np.zeros(scales.size)
            found.append(((float(e1), float(e2)), scores, scales))
    return found


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


def _best_of(found: list[tuple[tuple[float, float], Array, Array]]) -> Search:
    strain, scores, scales = max(found, key=lambda one: float(one[1].max()))
    place = int(scores.argmax())
    best = Comb(float(scales[place]), strain, float(scores[place]))
    elsewhere = np.abs(np.log(scales / best.scale)) > _SAME_COMB
    if not elsewhere.any():
        return Search(best, None)
    strain, others = max(((one[0], one[1][elsewhere]) for one in found), key=lambda one: float(one[1].max()))
    place = int(others.argmax())
    return Search(best, Comb(float(scales[elsewhere][place]), strain, float(others[place])))
