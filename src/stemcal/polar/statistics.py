"""Mean and variance on rings, with the effective number of pixels."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from stemcal.polar.operator import Key, OperatorCache, RingOperator

_BATCH_FRAMES = 16
"""Frames that go through the operator together: enough to use each weight often, few enough for the caches."""


@dataclass(frozen=True)
class RingStatistics:
    """Azimuthal statistics of n frames, each (n, n_bins) float32; NaN = missing.

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
    """

    mean: NDArray[np.float32]
    variance: NDArray[np.float32]
    n_effective: NDArray[np.float32]
    area: NDArray[np.float32]

    @classmethod
    def missing(cls, n_frames: int, n_bins: int) -> RingStatistics:
        """Return statistics of frames of which nothing is known."""
        nothing = [np.full((n_frames, n_bins), np.nan, np.float32) for _ in range(2)]
        zero = [np.zeros((n_frames, n_bins), np.float32) for _ in range(2)]
        return cls(*nothing, *zero)

    def __getitem__(self, frames: slice) -> RingStatistics:
        return RingStatistics(*(getattr(self, column.name)[frames] for column in fields(self)))


def ring_statistics(
    pixels: NDArray[np.float64], operator: RingOperator, min_effective_pixels: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and variance of every ring in every frame.

    mean = W I / W 1 and m2 = W I^2 / W 1. For independent pixels of one distribution E[m2 - mean^2] =
    var (1 - 1/n_eff) with n_eff = (W 1)^2 / (W^2 1), so (m2 - mean^2) n_eff / (n_eff - 1) is unbiased, and the
    variance over the mean of flat Poisson counts is 1 at every radius. Interpolating onto a polar grid first would
    average pixels and lose that.

    Parameters
    ----------
    pixels : ndarray
        (n_pixels, n_frames) counts, float64: in float32 the difference of the two moments loses the shot noise of a
        bright disk. Overwritten with its square.
    operator : RingOperator
        Rings about the origin of these frames.
    min_effective_pixels : float
        Below it a variance is NaN.

    Returns
    -------
    mean, variance : ndarray
        (n_frames, n_bins) float64; NaN where there is no valid pixel, or too few.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (operator.weights @ pixels) / operator.area[:, None]
        np.square(pixels, out=pixels)
        second = (operator.weights @ pixels) / operator.area[:, None]
        n = np.where(operator.n_effective >= min_effective_pixels, operator.n_effective, np.nan)
        # Rounding can take the variance of a constant ring a hair below zero.
        variance = np.maximum(second - mean**2, 0.0) * (n / (n - 1))[:, None]
    return mean.T, variance.T


def block_statistics(
    frames: NDArray[np.generic],
    usable: NDArray[np.bool_],
    keys: NDArray[np.int64],
    cache: OperatorCache,
    n_bins: int,
    min_effective_pixels: float,
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
    cache : OperatorCache
        Operators by quantised origin.
    n_bins : int
        Number of radial bins.
    min_effective_pixels : float
        See :func:`ring_statistics`.

    Returns
    -------
    RingStatistics
        In the order of ``frames``; missing where a frame is not usable.
    """
    result = RingStatistics.missing(len(frames), n_bins)
    flat = frames.reshape(len(frames), -1)
    for key in sorted({(int(row), int(col)) for row, col in keys[usable]}):
        operator = cache.get(key)
        members = np.flatnonzero(usable & (keys == key).all(axis=1))
        for start in range(0, len(members), _BATCH_FRAMES):
            chosen = members[start : start + _BATCH_FRAMES]
            _fill(result, chosen, flat, operator, min_effective_pixels)
    return result


def _fill(
    result: RingStatistics,
    chosen: NDArray[np.intp],
    flat: NDArray[np.generic],
    operator: RingOperator,
    min_effective_pixels: float,
) -> None:
    pixels = np.ascontiguousarray(flat[chosen].T, dtype=np.float64)
    result.mean[chosen], result.variance[chosen] = ring_statistics(pixels, operator, min_effective_pixels)
    result.n_effective[chosen] = operator.n_effective
    result.area[chosen] = operator.area


def quantise(origins_px: NDArray[np.float64], step_px: float) -> NDArray[np.int64]:
    """Return origins (n, 2) as whole numbers of ``step_px``."""
    return np.asarray(np.rint(origins_px / step_px), dtype=np.int64)


def key_centre(key: Key, step_px: float) -> tuple[float, float]:
    """Return the origin (row, col) in px that a quantised ``key`` stands for."""
    return key[0] * step_px, key[1] * step_px


def joined(parts: list[RingStatistics]) -> RingStatistics:
    """Return the statistics of ``parts`` one after the other."""
    columns = [np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(RingStatistics)]
    return RingStatistics(*columns)
