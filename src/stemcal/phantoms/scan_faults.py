"""What goes wrong with a scan, done to noiseless frames (scan_row, scan_col, det_row, det_col) or to its steps.

Functions of frames return new frames; functions called ``..._steps`` return a warp of positions for
``stemcal.phantoms.weak_phase.expected_frames``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift

from stemcal.phantoms.weak_phase import Warp

Frames = NDArray[np.float32]


def descanned(frames: Frames, px_per_step: NDArray[np.float64]) -> Frames:
    """Return frames that move on the detector by ``px_per_step`` (2, 2), [det axis, scan axis], about the middle.

    Fractions of a pixel are shared out linearly: counts are kept, and edges do not ring.
    """
    rows, cols = frames.shape[:2]
    moved = np.empty_like(frames)
    for position in np.ndindex(rows, cols):
        step = np.array(position) - (np.array([rows, cols]) - 1) / 2
        moved[position] = shift(frames[position], px_per_step @ step, order=1, mode="constant")
    return moved


def blanked(frames: Frames, lines: Sequence[int]) -> Frames:
    """Return frames without any counts in the scan ``lines``."""
    blank = frames.copy()
    blank[list(lines)] = 0
    return blank


def unsteady(frames: Frames, *, drop: float, ripple: float, seed: int = 0) -> Frames:
    """Return frames under a beam that falls by the fraction ``drop`` and jumps from line to line by ``ripple`` rms."""
    rows = len(frames)
    random = np.random.default_rng(seed)
    beam = (1 - drop * np.arange(rows) / rows) * (1 + ripple * random.standard_normal(rows))
    return np.asarray(frames * beam[:, None, None, None].astype(np.float32))


def half_vacuum(frames: Frames, vacuum: Frames) -> Frames:
    """Return ``frames`` whose right half of the scan is the frame ``vacuum`` (det_row, det_col)."""
    half = frames.copy()
    half[:, frames.shape[1] // 2 :] = vacuum
    return half


def faulty_pixels(frames: Frames, hot: Sequence[tuple[int, int]], dead: Sequence[tuple[int, int]]) -> Frames:
    """Return frames with ``hot`` pixels at twenty times the mean of the brightest pixel, and ``dead`` ones at 0."""
    faulty = frames.copy()
    level = 20 * float(frames.mean(axis=(0, 1)).max())
    for pixel in hot:
        faulty[:, :, *pixel] = level
    for pixel in dead:
        faulty[:, :, *pixel] = 0
    return faulty


def jittered_steps(rows: int, rms_steps: float, seed: int = 0) -> Warp:
    """Return a warp in which each scan line is off by ``rms_steps`` along itself."""
    offset = rms_steps * np.random.default_rng(seed).standard_normal(rows)

    def warp(steps: NDArray[np.float64]) -> NDArray[np.float64]:
        return _along_fast(steps, offset[steps[:, 0].astype(np.intp)])

    return warp


def drifting_steps(rows: int, largest_steps: float) -> Warp:
    """Return a warp by a drift that grows with the square of time to ``largest_steps`` along the fast axis."""

    def warp(steps: NDArray[np.float64]) -> NDArray[np.float64]:
        drift = largest_steps * (steps[:, 0] / rows) ** 2
        return _along_fast(steps, drift)

    return warp


def fly_back_steps(columns: int, n_columns: int) -> Warp:
    """Return a warp in which the beam is still on its way back in the first ``n_columns`` of ``columns``."""

    def warp(steps: NDArray[np.float64]) -> NDArray[np.float64]:
        back = np.maximum(n_columns - steps[:, 1], 0) * columns / (2 * max(n_columns, 1))
        return _along_fast(steps, back)

    return warp


def _along_fast(steps: NDArray[np.float64], offset: NDArray[np.float64]) -> NDArray[np.float64]:
    moved = steps.copy()
    moved[:, 1] += offset
    return moved
