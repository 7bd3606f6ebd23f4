"""The gap between the chips of a 2 x 2 assembly: what the arrays of a detector look like with and without it. Pure.

Four Medipix3 chips of 256 x 256 pixels do not touch. The detector's software writes 512 x 512 pixels as if they did;
ePSIC's converter puts a cross of 3 empty pixels between them (515 x 515), others 2 (514 x 514). The angles on the
detector are right only where the gap is kept, so a frame and a mask must say which they are: this module takes either
to the other. The cross is ``gap_px`` rows and columns wide, exactly in the middle, and is never valid.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


def gapped_shape(shape: tuple[int, int], gap_px: int) -> tuple[int, int]:
    """Return the (det_row, det_col) of a frame of ``shape`` with a gap of ``gap_px`` pixels put in.

    Raises
    ------
    ValueError
        If ``gap_px`` is negative, or positive and a side of ``shape`` is no even number >= 2.
    """
    _check(shape, gap_px)
    return shape[0] + gap_px, shape[1] + gap_px


def insert_gap(frames: NDArray[T], gap_px: int) -> NDArray[T]:
    """Put the gap into frames as they were read out.

    Parameters
    ----------
    frames : ndarray
        (..., det_row, det_col) with even sides.
    gap_px : int
        Width of the gap in pixels; 0 gives ``frames`` itself.

    Returns
    -------
    ndarray
        (..., det_row + gap_px, det_col + gap_px), C-contiguous; the pixels of the gap are 0.

    Raises
    ------
    ValueError
        As `gapped_shape`.
    """
    rows, cols = frames.shape[-2:]
    with_gap = gapped_shape((rows, cols), gap_px)
    if gap_px == 0:
        return frames
    wide = np.empty((*frames.shape[:-2], *with_gap), frames.dtype)
    for to_rows, from_rows in _halves(rows, gap_px):
        for to_cols, from_cols in _halves(cols, gap_px):
            wide[..., to_rows, to_cols] = frames[..., from_rows, from_cols]
    wide[..., rows // 2 : rows // 2 + gap_px, :] = 0
    wide[..., :, cols // 2 : cols // 2 + gap_px] = 0
    return wide


def remove_gap(frames: NDArray[T], gap_px: int) -> NDArray[T]:
    """Take the gap out again: (..., det_row, det_col) with it to (..., det_row - gap_px, det_col - gap_px) without.

    Raises
    ------
    ValueError
        If what remains has a side that is no even number >= 2.
    """
    rows, cols = frames.shape[-2] - gap_px, frames.shape[-1] - gap_px
    _check((rows, cols), gap_px)
    if gap_px == 0:
        return frames
    narrow = np.empty((*frames.shape[:-2], rows, cols), frames.dtype)
    for from_rows, to_rows in _halves(rows, gap_px):
        for from_cols, to_cols in _halves(cols, gap_px):
            narrow[..., to_rows, to_cols] = frames[..., from_rows, from_cols]
    return narrow


def gap_valid(shape: tuple[int, int], gap_px: int) -> NDArray[np.bool_]:
    """Return what of a detector with a gap exists.

    Parameters
    ----------
    shape : tuple of int
        (det_row, det_col) without the gap.
    gap_px : int
        Width of the gap in pixels.

    Returns
    -------
    ndarray of bool
        (det_row + gap_px, det_col + gap_px), True = valid: False in the gap alone.

    Raises
    ------
    ValueError
        As `gapped_shape`.
    """
    return insert_gap(np.ones(shape, np.bool_), gap_px)


def _halves(length: int, gap_px: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return for both halves of an axis (where it is with the gap, where it is without)."""
    half = length // 2
    return (slice(0, half), slice(0, half)), (slice(half + gap_px, length + gap_px), slice(half, length))


def _check(shape: tuple[Any, ...], gap_px: int) -> None:
    if gap_px < 0:
        raise ValueError(f"a gap of {gap_px} pixels is impossible: give 0 (none) or its width, 3 at ePSIC")
    if gap_px and any(side < 2 or side % 2 for side in shape):
        raise ValueError(f"a detector of {shape[0]} x {shape[1]} pixels is no 2 x 2 assembly: its sides must be even")
