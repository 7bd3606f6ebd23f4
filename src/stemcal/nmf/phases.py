"""Which phase of a table a profile belongs to: a matched filter over its rings, blind to what is smooth.

A smoothed copy is taken from profile and rings alike, which removes background. Halos anywhere are fitted to what is
left, then halos and rings of free, non-negative strength at the places of the table. The score is the part of the rest
of the first fit that the rings explain, times how much their strengths resemble those of the table. The first factor is
low where the rings are elsewhere and for what is amorphous, the second where the table has rings that the profile has
not: a table with rings everywhere does not win.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from stemcal.nmf.settings import NmfSettings, PhaseTable
from stemcal.optics.lattice_rings import Lattice, lattice_rings
from stemcal.records.nmf import PhaseMatch, PhaseScore

FloatArray = NDArray[np.float64]

RING_WIDTHS_PER_ANGSTROM = (0.006, 0.009, 0.013, 0.019)
"""Standard deviations of a ring that are tried: bright disks of 0.5 to 2 mrad and small grains."""

SMOOTHING_PER_ANGSTROM = 0.04
"""Standard deviation of the smoothing: what is wider than a ring by some factor is background."""

HALO_WIDTH_PER_ANGSTROM = 0.045
"""Standard deviation of a halo of amorphous matter; they are sharper in no glass that electrons see."""

LEAST_SHARP = 0.02
"""Part of the power that halos leave of a glass: as much counts as unexplained, or its last ripples would be rings."""

SCALES = 11
"""Scales that are tried between the bounds."""

_FALLOFF_PER_ANGSTROM = 1.3
"""Of a lattice without a list of intensities the rings have their multiplicity times exp(-2 (q / 1.3)^2) / q."""


def identify(q: FloatArray, profile: FloatArray, weight: FloatArray, settings: NmfSettings) -> PhaseMatch:
    """Return which of ``settings.phases`` the rings of ``profile`` belong to.

    Parameters
    ----------
    q : ndarray
        (n_bins,) 1/angstrom.
    profile : ndarray
        (n_bins,) mean intensity per pixel, any unit: a component or the mean of a class.
    weight : ndarray
        (n_bins,) makes noise alike in all bins.
    settings : NmfSettings
        The tables, and the bounds on score, margin and scale.
    """
    found = [score(q, profile, weight, table, settings.phase_scale_freedom) for table in settings.phases]
    ranked = sorted(found, key=lambda one: -one.score)
    best = ranked[0] if ranked else None
    second = ranked[1] if len(ranked) > 1 else None
    reason = _doubt(best, second, settings)
    if reason or best is None:
        return PhaseMatch(phase=None, reason=reason, best=best, runner_up=second)
    return PhaseMatch(phase=best.name, reason=f"its rings are those of {best.name}", best=best, runner_up=second)


def _doubt(best: PhaseScore | None, second: PhaseScore | None, settings: NmfSettings) -> str:
    """Return in words why the best phase is not to be named, or nothing."""
    if best is None:
        return "no phases are configured"
    if best.score < settings.min_phase_score:
        return (
            f"no table fits: the best, {best.name}, scores {best.score:.3f}, "
            f"min_phase_score asks for {settings.min_phase_score:g}"
        )
    if second is not None and best.score - second.score < settings.min_phase_margin:
        return (
            f"ambiguous: {best.name} scores {best.score:.3f} and {second.name} {second.score:.3f}, "
            f"min_phase_margin asks for {settings.min_phase_margin:g} between them"
        )
    return ""


def tabulated(table: PhaseTable, q_max_per_angstrom: float) -> FloatArray:
    """Return the rings of ``table`` as (n_rings, 2): q in 1/angstrom and strength."""
    if table.rings is not None:
        return np.array([ring for ring in table.rings if ring[0] <= q_max_per_angstrom]).reshape(-1, 2)
    assert table.cell is not None
    rings = lattice_rings(Lattice(*table.cell), table.centring, q_max_per_angstrom, absent=table.absent)
    q = np.array([ring.q_per_angstrom for ring in rings])
    multiplicity = np.array([ring.multiplicity for ring in rings], dtype=np.float64)
    return np.stack([q, multiplicity * np.exp(-2 * (q / _FALLOFF_PER_ANGSTROM) ** 2) / q], axis=1)


def score(
    q: FloatArray, profile: FloatArray, weight: FloatArray, table: PhaseTable, scale_freedom: float
) -> PhaseScore:
    """Return how well the rings of ``table`` fit, at the best scale and ring width; arguments as `identify`."""
    rings = tabulated(table, q[-1] * (1 + scale_freedom))
    smoothing = _smoothing(q)
    signal = _sharp(profile * weight, smoothing)
    centres = np.arange(q[0], q[-1], HALO_WIDTH_PER_ANGSTROM)
    halos = _sharp(_bumps(q, centres, HALO_WIDTH_PER_ANGSTROM) * weight, smoothing)
    target = _Target(signal, halos, float(nnls(halos.T, signal)[1]) ** 2)

    def fit(scale: float, width: float) -> float:
        inside = (rings[:, 0] * scale >= q[0]) & (rings[:, 0] * scale <= q[-1])
        if not inside.any():
            return 0.0
        lines = _sharp(_bumps(q, rings[inside, 0] * scale, width) * weight, smoothing)
        return _resemblance(target, lines, rings[inside, 1])

    scales = [float(scale) for scale in np.linspace(1 - scale_freedom, 1 + scale_freedom, SCALES)]
    _, width = max((fit(1.0, width), width) for width in RING_WIDTHS_PER_ANGSTROM)
    _, scale = max((fit(scale, width), scale) for scale in scales)
    highest = max(fit(scale, width) for width in RING_WIDTHS_PER_ANGSTROM)
    return PhaseScore(name=table.name, score=highest, scale=scale)


def _bumps(q: FloatArray, places: FloatArray, width: float) -> FloatArray:
    bumps: FloatArray = np.exp(-0.5 * ((q - places[:, None]) / width) ** 2)
    return bumps


def _smoothing(q: FloatArray) -> FloatArray:
    """Return the matrix (n_bins, n_bins) that smooths a profile; its rows have the sum 1 also at the ends."""
    kernel = np.exp(-0.5 * ((q[:, None] - q) / SMOOTHING_PER_ANGSTROM) ** 2)
    smoothing: FloatArray = kernel / kernel.sum(axis=1, keepdims=True)
    return smoothing


def _sharp(profiles: FloatArray, smoothing: FloatArray) -> FloatArray:
    sharp: FloatArray = profiles - profiles @ smoothing.T
    return sharp


def _resemblance(target: _Target, lines: FloatArray, tabulated_strengths: FloatArray) -> float:
    """Return the part of what halos leave that ``lines`` explain, times the cosine of root strengths.

    Roots of fitted and tabulated strengths, because a few strong grains or dynamical scattering change them by factors.
    """
    solution, rest = nnls(np.concatenate([lines, target.halos]).T, target.signal)
    strengths = solution[: len(lines)]
    fitted, expected = (np.sqrt(values * np.linalg.norm(lines, axis=1)) for values in (strengths, tabulated_strengths))
    lengths = float(np.linalg.norm(fitted) * np.linalg.norm(expected))
    if lengths <= 0:
        return 0.0
    worth_explaining = target.left_by_halos + LEAST_SHARP * float(target.signal @ target.signal)
    explained = max(0.0, target.left_by_halos - float(rest) ** 2)
    return explained / worth_explaining * float(fitted @ expected) / lengths


@dataclass(frozen=True)
class _Target:
    """The sharp part of a profile (n_bins,), halos (n_halos, n_bins) and the sum of squares that they leave of it."""

    signal: FloatArray
    halos: FloatArray
    left_by_halos: float
