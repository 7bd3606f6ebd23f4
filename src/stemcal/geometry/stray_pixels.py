"""Detector pixels in and around the disk that do not count like their neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from stemcal.geometry.aperture import Aperture
from stemcal.geometry.bright_field import BrightField

Array = NDArray[np.float64]

_RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.bool_)
_FROM_EXTREME = 1
"""A pixel is compared with the second of its neighbours in order, so that two bad ones side by side are both found."""
_INSIDE = 0.4
_BRIGHTER, _DIMMER, _BRIGHTER_OUTSIDE = 1.3, 0.7, 3.0
_SIGMAS = 6.0
_STEADIEST, _WILDEST = 0.5, 2.0
_MOST_PAIRS = 20000
_FEWEST_PAIRS = 200
_LEAST_COUNTS = 0.02


def stray_pixels(
    mean_pattern: NDArray[np.floating[Any]], valid: NDArray[np.bool_], aperture: Aperture, n_frames: int
) -> NDArray[np.bool_]:
    """Return the valid pixels that are far brighter or dimmer than their neighbours.

    The disk is divided by the profile of its edge first. Inside, a pixel is stray above 1.3 times the second brightest
    or below 0.7 times the second dimmest of its neighbours, which no step of the pattern does; outside, above three
    times the second brightest. In each case by more than six standard deviations of shot noise.

    Parameters
    ----------
    mean_pattern : ndarray
        (det_row, det_col) mean counts per frame.
    valid : ndarray of bool
        (det_row, det_col), True = valid.
    aperture : Aperture
        The disk.
    n_frames : int
        Number of frames that the mean was taken of.

    Returns
    -------
    ndarray of bool
        (det_row, det_col), True = stray.
    """
    rows, cols = np.indices(mean_pattern.shape, dtype=np.float64)
    distance = np.hypot(*aperture.round_offsets(rows, cols))
    profile: Array = special.ndtr((aperture.radius_px - distance) / aperture.edge_px)
    inside = profile > _INSIDE
    counts = np.where(valid, mean_pattern, 0.0)
    scale: Array = np.where(inside, profile, 1.0)
    stray = _unlike(counts / scale, inside & valid, scale * n_frames, _BRIGHTER, _DIMMER) & inside
    stray |= _unlike(counts, valid, np.full(valid.shape, float(n_frames)), _BRIGHTER_OUTSIDE, 0.0) & ~inside
    return stray


def _unlike(level: Array, seen: NDArray[np.bool_], frames: Array, brighter: float, dimmer: float) -> NDArray[np.bool_]:
    """Return which of the pixels seen stand out of those of their neighbours that are seen."""
    high = ndimage.rank_filter(np.where(seen, level, -np.inf), -1 - _FROM_EXTREME, footprint=_RING, mode="nearest")
    low = ndimage.rank_filter(np.where(seen, level, np.inf), _FROM_EXTREME, footprint=_RING, mode="nearest")
    known = seen & np.isfinite(high) & np.isfinite(low)
    high, low = np.where(known, high, 0.0), np.where(known, low, 0.0)
    hot = (level > brighter * high) & _significant(level - high, high, frames)
    dead = (level < dimmer * low) & _significant(low - level, low, frames)
    return np.asarray(known & (hot | dead))


def _significant(excess: Array, level: Array, frames: Array) -> NDArray[np.bool_]:
    # plus 1: a single count among empty pixels is chance
    return np.asarray(excess * frames > _SIGMAS * np.sqrt(np.maximum(level, 0) * frames + 1))


def unsteady_pixels(bright_field: BrightField) -> NDArray[np.bool_]:
    """Return the pixels whose counts vary in time far more or far less than those of the others.

    The variance of the differences of neighbouring positions, over the mean (Fano factor), leaves out the slow contrast
    of the specimen. It is compared with its median: twice as much is a flickering pixel, half of it a stuck one.

    Parameters
    ----------
    bright_field : BrightField
        The disk.

    Returns
    -------
    ndarray of bool
        (n_pix,) True = unsteady; none where the scan is too small or the counts too few to tell.
    """
    n_rows, n_cols = bright_field.scan_shape
    every = max(1, n_rows * n_cols // _MOST_PAIRS)
    sample = bright_field.counts[:, every // 2 :: every]
    unsteady = np.zeros(len(sample), np.bool_)
    # where the window jumps by a pixel, a pixel at the edge changes for good reason
    still = (np.diff(bright_field.shift_px[:, every // 2 :: every], axis=2) == 0).all(axis=0)
    if np.count_nonzero(still) < _FEWEST_PAIRS:
        return unsteady
    mean = sample.mean(axis=(1, 2), dtype=np.float64)
    variance = np.array([np.square(np.diff(one.astype(np.float64), axis=1))[still].mean() / 2 for one in sample])
    counting = bright_field.valid & (mean > _LEAST_COUNTS)
    if not counting.any():
        return unsteady
    fano = variance / np.maximum(mean, _LEAST_COUNTS)
    typical = float(np.median(fano[counting]))
    spread = 1.4826 * float(np.median(np.abs(fano[counting] - typical)))
    wild = fano > np.maximum(_WILDEST * typical, typical + _SIGMAS * spread)
    stuck = fano < np.minimum(_STEADIEST * typical, typical - _SIGMAS * spread)
    return np.asarray(counting & (wild | stuck))
