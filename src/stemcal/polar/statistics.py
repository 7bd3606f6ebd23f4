"""Mean and variance on rings, with the effective number of pixels."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.polar import ring_kernels
from stemcal.polar.operator import RingOperator, RingOperators
from stemcal.polar.symmetry import SymmetryOperators, symmetries

_EXACT_BYTES = 2
"""Counts of as many bytes are added up as whole numbers."""


@dataclass(frozen=True)
class RingStatistics:
    """Azimuthal statistics of n frames, each (n, n_bins) float32, of symmetry (n, n_orders, n_bins); NaN = missing.

    Attributes
    ----------
    mean : ndarray
        Weighted mean of the counts per pixel.
    variance : ndarray
        Unbiased variance of the counts per pixel around the ring, counts^2.
    n_effective : ndarray
        Effective number of valid pixels, 0 where there is none.
    area : ndarray
        Valid area of the ring in px, 0 where there is none.
    symmetry_amplitude, symmetry_power, symmetry_angle : ndarray
        See `stemcal.polar.symmetry.Symmetries`; no orders where none are asked for.
    """

    mean: NDArray[np.float32]
    variance: NDArray[np.float32]
    n_effective: NDArray[np.float32]
    area: NDArray[np.float32]
    symmetry_amplitude: NDArray[np.float32]
    symmetry_power: NDArray[np.float32]
    symmetry_angle: NDArray[np.float32]

    @classmethod
    def missing(cls, n_frames: int, n_bins: int, n_orders: int = 0) -> RingStatistics:
        """Return statistics of frames of which nothing is known."""
        nothing = [np.full((n_frames, n_bins), np.nan, np.float32) for _ in range(2)]
        zero = [np.zeros((n_frames, n_bins), np.float32) for _ in range(2)]
        unknown = [np.full((n_frames, n_orders, n_bins), np.nan, np.float32) for _ in range(3)]
        return cls(*nothing, *zero, *unknown)

    def __getitem__(self, frames: slice) -> RingStatistics:
        return RingStatistics(*(getattr(self, column.name)[frames] for column in fields(self)))


def ring_statistics(
    frames: NDArray[Any], operator: RingOperator, min_effective_pixels: float, members: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and variance of every ring in some frames.

    mean = W I / W 1 and m2 = W I^2 / W 1. For independent pixels of one distribution E[m2 - mean^2] =
    var (1 - 1/n_eff) with n_eff = (W 1)^2 / (W^2 1), so (m2 - mean^2) n_eff / (n_eff - 1) is unbiased, and the
    variance over the mean of flat Poisson counts is 1 at every radius. Interpolating onto a polar grid first would
    average pixels and lose that.

    Parameters
    ----------
    frames : ndarray
        (n, det_row, det_col) counts, or counts with their gain. Invalid pixels may hold anything.
    operator : RingOperator
        Rings about the origin of these frames.
    min_effective_pixels : float
        Below it a variance is NaN.
    members : ndarray of int64, optional
        (m,) the frames; all of them if None.

    Returns
    -------
    mean, variance : ndarray
        (m, n_bins) float64; NaN where there is no valid pixel, or too few.
    """
    chosen = np.arange(len(frames)) if members is None else members
    sums, squares = _ring_sums(frames, operator, chosen)
    n_bins = operator.points.size
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums[:, :n_bins] / operator.points
        second = squares[:, :n_bins] / operator.points
        n = np.where(operator.n_effective >= min_effective_pixels, operator.n_effective, np.nan)
        # Rounding can take the variance of a constant ring a hair below zero.
        variance = np.maximum(second - mean**2, 0.0) * (n / (n - 1))
    return mean, variance


def _ring_sums(
    frames: NDArray[Any], operator: RingOperator, members: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return W I and W I^2, (m, bins): exact for counts of 16 bits, else in float64."""
    shape = (len(members), operator.n_sums)
    frames = np.ascontiguousarray(frames)
    if frames.dtype.kind == "u" and frames.itemsize <= _EXACT_BYTES:
        exact = np.empty(shape, np.uint64), np.empty(shape, np.uint64)
        most = int(operator.points.max(initial=0))
        ring_kernels.add_counts(frames, members, operator.table, operator.valid, operator.shift, most, *exact)
        return exact
    reals = np.empty(shape), np.empty(shape)
    ring_kernels.add_reals(frames, members, operator.table, operator.valid, operator.shift, *reals)
    return reals


def block_statistics(
    frames: NDArray[Any],
    usable: NDArray[np.bool_],
    keys: NDArray[np.int64],
    operators: RingOperators,
    n_bins: int,
    min_effective_pixels: float,
    symmetry: SymmetryOperators | None = None,
) -> RingStatistics:
    """Return the statistics of one block of frames, grouped by quantised origin; order and values do not depend on it.

    Parameters
    ----------
    frames : ndarray
        (n, det_row, det_col) raw counts.
    usable : ndarray
        (n,) False for a frame whose position or exposure is not that of the scan.
    keys : ndarray
        (n, 2) quantised origin (row, col) in steps.
    operators : RingOperators
        Operators by quantised origin.
    n_bins : int
        Number of radial bins.
    min_effective_pixels : float
        See :func:`ring_statistics`.
    symmetry : SymmetryOperators, optional
        Fits of the symmetry orders about the same origins.

    Returns
    -------
    RingStatistics
        In the order of ``frames``; missing where a frame is not usable.
    """
    result = RingStatistics.missing(len(frames), n_bins, len(symmetry.orders) if symmetry else 0)
    for key in sorted({(int(row), int(col)) for row, col in keys[usable]}):
        operator = operators.get(key)
        members = np.flatnonzero(usable & (keys == key).all(axis=1))
        statistics = ring_statistics(frames, operator, min_effective_pixels, members)
        result.mean[members], result.variance[members] = statistics
        result.n_effective[members] = operator.n_effective
        result.area[members] = operator.area
        if symmetry is not None:
            found = symmetries(frames, symmetry.get(key), symmetry.orders, symmetry.counts_per_electron, members)
            result.symmetry_amplitude[members] = found.amplitude
            result.symmetry_power[members] = found.power
            result.symmetry_angle[members] = found.angle_deg
    return result


def quantise(origins_px: NDArray[np.float64], step_px: float) -> NDArray[np.int64]:
    """Return origins (n, 2) as whole numbers of ``step_px``."""
    return np.asarray(np.rint(origins_px / step_px), dtype=np.int64)


def joined(parts: list[RingStatistics]) -> RingStatistics:
    """Return the statistics of ``parts`` one after the other."""
    columns = [np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(RingStatistics)]
    return RingStatistics(*columns)
