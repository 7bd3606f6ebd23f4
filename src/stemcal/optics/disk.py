"""The bright-field disk: where it is in a mean pattern, and in every frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

_REACHES_PX = (0.7, 1.4, 2.8)
"""Smoothing; the larger ones are for pixels that no valid one is near enough to."""
_LEAST_WEIGHT = 0.05
_LEVEL = 0.5
_CONTRAST = 3.0
_SMALLEST_AREA_PX = 4
_LARGEST_PART = 0.3
_ATTEMPTS = 20
_DARK_MIDDLE = 0.3
_LEAST_FILLED = 0.25
"""A disk drawn out by the descan to three times its width still fills 0.4 of the circle around it."""
_LEAST_PASSES = 2
_MOST_PASSES = 12
_STAYS_PX = 1e-3


@dataclass(frozen=True)
class BrightDisk:
    """Centre (row, col) and radius in px of the bright-field disk of a pattern."""

    centre_row_px: float
    centre_col_px: float
    radius_px: float

    @property
    def centre_px(self) -> tuple[float, float]:
        """(row, col) in px."""
        return self.centre_row_px, self.centre_col_px


@dataclass(frozen=True)
class NoDisk:
    """There is no usable bright-field disk, and why."""

    reason: str


def find_bright_disk(
    mean_pattern: NDArray[np.floating[Any]], valid: NDArray[np.bool_] | None = None
) -> BrightDisk | NoDisk:
    """Find the bright-field disk of a mean pattern.

    The brightest connected patch above half its own level, larger than a hot pixel, not hollow, clear of the frame
    edge and at least three times as bright as the median of the pattern. The radius is that of a circle of the same
    area, the centre a centroid over the disk and its surroundings.

    Parameters
    ----------
    mean_pattern : numpy.ndarray
        (det_row, det_col) mean counts.
    valid : numpy.ndarray, optional
        (det_row, det_col), True = valid.

    Returns
    -------
    BrightDisk or NoDisk
        An expected failure is a value with its reason.
    """
    usable = np.isfinite(mean_pattern) if valid is None else valid & np.isfinite(mean_pattern)
    if not usable.any():
        return NoDisk("no pixel of the pattern is valid")
    smooth = _smoothed(mean_pattern, usable)
    floor = float(np.median(smooth[usable]))
    for _ in range(_ATTEMPTS):
        level = float(smooth.max())
        if level <= max(floor, 0.0) * _CONTRAST:
            return NoDisk(
                f"the brightest patch ({level:.3g} counts) is not {_CONTRAST:g} times the median ({floor:.3g})"
            )
        patch = _patch_at_maximum(smooth, level)
        if np.count_nonzero(patch & usable) >= _SMALLEST_AREA_PX:
            return _hollow(smooth, patch, level) or _measured(mean_pattern, usable, patch)
        smooth = np.where(ndimage.binary_dilation(patch, iterations=2), floor, smooth)
    return NoDisk(f"{_ATTEMPTS} bright patches are all smaller than {_SMALLEST_AREA_PX} px: hot pixels, no disk")


def _smoothed(pattern: NDArray[np.floating[Any]], usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Smooth over the valid pixels only, and fill the invalid ones from their neighbours (a dead cross, say).

    What is too wide for the smoothing itself, the gap between chips and the edge pixels on either side of it, is filled
    from farther away: it would cut the disk into quarters. A beam stop is wider and stays dark.
    """
    filled = np.where(usable, pattern, 0.0)
    smooth, dark = np.zeros(pattern.shape), np.ones(pattern.shape, np.bool_)
    for reach in _REACHES_PX:
        weight = ndimage.gaussian_filter(usable.astype(np.float64), reach, mode="nearest")
        total = ndimage.gaussian_filter(filled, reach, mode="nearest")
        near = dark & (weight > _LEAST_WEIGHT)
        smooth[near] = total[near] / weight[near]
        dark &= ~near
    return smooth


def _patch_at_maximum(smooth: NDArray[np.float64], level: float) -> NDArray[np.bool_]:
    labels, _ = ndimage.label(smooth > _LEVEL * level)
    return np.asarray(labels == labels[np.unravel_index(int(smooth.argmax()), smooth.shape)])


def _hollow(smooth: NDArray[np.float64], patch: NDArray[np.bool_], level: float) -> NoDisk | None:
    """Refuse what shines around a beam stop: its middle is dark, or it is a crescent far from filling its circle."""
    rows, cols = np.nonzero(patch)
    row, col = rows.mean(), cols.mean()
    middle = float(smooth[round(float(row)), round(float(col))])
    reach = float(np.hypot(rows - row, cols - col).max()) + 0.5
    if middle < _DARK_MIDDLE * level or rows.size < _LEAST_FILLED * math.pi * reach**2:
        return NoDisk("the brightest patch is hollow or a crescent: a beam stop hides the disk")
    return None


def _measured(
    pattern: NDArray[np.floating[Any]], usable: NDArray[np.bool_], patch: NDArray[np.bool_]
) -> BrightDisk | NoDisk:
    rows, cols = np.nonzero(patch)
    if rows.size > _LARGEST_PART * patch.size:
        return NoDisk(
            f"the bright patch covers {rows.size / patch.size:.0%} of the frame, more than {_LARGEST_PART:.0%}"
        )
    if rows.min() == 0 or cols.min() == 0 or rows.max() == patch.shape[0] - 1 or cols.max() == patch.shape[1] - 1:
        return NoDisk("the bright patch touches the edge of the frame")
    radius = math.sqrt(rows.size / math.pi)
    guess = np.array([rows.mean(), cols.mean()])
    centre = window_centroid(pattern[None], guess, radius, usable)[0]
    row, col = centre if np.isfinite(centre).all() else guess
    return BrightDisk(float(row), float(col), radius)


def window_centroid(
    frames: NDArray[np.generic],
    centre_px: ArrayLike,
    radius_px: float,
    valid: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Return the centroid of the bright disk in every frame.

    A square window of 1.5 radii + 3 px about the last estimate, less the mean of its border; a second pass re-centres
    it on the first result. A pixel that is invalid or off the frame takes the counts of its mirror image in the
    estimated centre, and is left out together with it where that is invalid too; the passes then go on until the
    centre stays, so that a dead line across the disk does not push the centroid aside.

    Parameters
    ----------
    frames : numpy.ndarray
        (n, det_row, det_col) counts.
    centre_px : array_like
        (2,) or (n, 2) first estimate (row, col).
    radius_px : float
        Radius of the disk in px.
    valid : numpy.ndarray, optional
        (det_row, det_col), True = valid.

    Returns
    -------
    numpy.ndarray
        (n, 2) (row, col) in px; NaN where the window holds no counts above its border, or the result leaves it.
    """
    half = math.ceil(1.5 * radius_px) + 3
    usable = np.ones(frames.shape[1:], bool) if valid is None else valid
    padded_valid = np.pad(usable, half, constant_values=False)
    estimate = np.broadcast_to(np.asarray(centre_px, dtype=np.float64), (len(frames), 2)).copy()
    for done in range(1, _MOST_PASSES + 1):
        window = _Window.around(estimate, half, frames.shape[1:])
        use = padded_valid[window.rows[:, :, None] + half, window.cols[:, None, :] + half]
        counts = np.where(use, window.cut(frames), 0).astype(np.float64)
        whole = bool(use.all())
        if not whole:
            counts, use = _filled_from_mirror(counts, use, estimate - window.corner)
        last, estimate = estimate, window.corner + _centroid(counts, use, np.isfinite(estimate).all(axis=1))
        moved = float(np.nanmax(np.abs(estimate - last), initial=0.0)) if np.isfinite(estimate).any() else 0.0
        if done >= _LEAST_PASSES and (whole or moved < _STAYS_PX):
            break
    return estimate


@dataclass(frozen=True)
class _Window:
    """A square window of 2 half + 1 px on every frame, its middle pixel at ``corner`` (n, 2)."""

    corner: NDArray[np.intp]
    rows: NDArray[np.intp]
    cols: NDArray[np.intp]

    @classmethod
    def around(cls, estimate: NDArray[np.float64], half: int, shape: tuple[int, ...]) -> _Window:
        known = np.where(np.isfinite(estimate), estimate, 0.0)
        corner = np.clip(np.rint(known).astype(np.intp), 0, np.array(shape) - 1)
        offset = np.arange(-half, half + 1)
        return cls(corner, corner[:, 0, None] + offset, corner[:, 1, None] + offset)

    def cut(self, frames: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return the windows (n, 2 half + 1, 2 half + 1); pixels off the frame repeat its edge."""
        rows = np.clip(self.rows, 0, frames.shape[1] - 1)[:, :, None]
        cols = np.clip(self.cols, 0, frames.shape[2] - 1)[:, None, :]
        return np.asarray(frames[np.arange(len(frames))[:, None, None], rows, cols])


def _filled_from_mirror(
    counts: NDArray[np.float64], use: NDArray[np.bool_], centre: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Fill unusable pixels from their mirror images in ``centre`` (n, 2), offsets from the middle pixel.

    The mirror of pixel o is 2 c - o: the reversed window, moved by a fraction of a pixel (bilinear).
    """
    shift = 2 * np.nan_to_num(centre)
    whole = np.floor(shift).astype(np.intp)
    part = shift - whole
    size = counts.shape[1]
    place = np.arange(size - 1, -1, -1)
    index = np.arange(len(counts))[:, None, None]
    mirrored, seen = np.zeros_like(counts), np.ones_like(use)
    for up in (0, 1):
        for right in (0, 1):
            rows, cols = place + whole[:, 0, None] + up, place + whole[:, 1, None] + right
            inside = ((rows >= 0) & (rows < size))[:, :, None] & ((cols >= 0) & (cols < size))[:, None, :]
            rows, cols = np.clip(rows, 0, size - 1)[:, :, None], np.clip(cols, 0, size - 1)[:, None, :]
            weight = np.abs(1 - up - part[:, 0]) * np.abs(1 - right - part[:, 1])
            mirrored += weight[:, None, None] * counts[index, rows, cols]
            seen &= (inside & use[index, rows, cols]) | (weight == 0)[:, None, None]
    filled = np.where(use, counts, np.where(seen, mirrored, 0.0))
    # a good pixel whose mate is dead stays, for the mate is filled from it; only a pair of dead pixels goes
    return filled, use | seen


def _centroid(counts: NDArray[np.float64], use: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the centroid (n, 2) of the windows relative to their middle pixel; NaN where there is none."""
    half = counts.shape[1] // 2
    offset = np.arange(-half, half + 1)
    border = use.copy()
    border[:, 1:-1, 1:-1] = False
    background = counts.sum(axis=(1, 2), where=border) / np.maximum(border.sum(axis=(1, 2)), 1)
    signal = np.where(use, counts - background[:, None, None], 0.0)
    total = signal.sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        shift = np.stack([signal.sum(axis=2) @ offset, signal.sum(axis=1) @ offset], axis=1) / total[:, None]
    good = known & (total > 0) & (np.abs(np.nan_to_num(shift, nan=np.inf)) <= half).all(axis=1)
    return np.where(good[:, None], shift, np.nan)
