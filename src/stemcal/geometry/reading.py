"""From a stack of frames to the bright field: a thin pass that finds the disk and its descan, then the full pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from stemcal.formats.extras import FrameStatus
from stemcal.frames.plan import Block, plan_blocks
from stemcal.frames.ranks import SERIAL, World
from stemcal.frames.source import FrameSource
from stemcal.frames.stream import stream_plan
from stemcal.geometry.aperture import Aperture, NoAperture, find_aperture
from stemcal.geometry.bright_field import BrightField, FrameSums, read_bright_field
from stemcal.geometry.stray_pixels import stray_pixels, unsteady_pixels
from stemcal.optics.descan import fit_descan
from stemcal.stages import BLOCK_BYTES

Array = NDArray[np.float64]

_SAMPLE_FRAMES = 8192
_LARGEST_UNMOVED_PX = 1.0
_TRACKED = 1.5
"""Radius, in radii of the disk, of the window whose centre of mass follows the disk."""


@dataclass(frozen=True)
class Reading:
    """What one pass over the frames gave.

    Attributes
    ----------
    aperture : Aperture
        From the mean of all frames, whole pixels of descan removed.
    bright_field : BrightField
        The pixels of the disk.
    sums : FrameSums
        The sums of every frame.
    valid : ndarray of bool
        (det_row, det_col), True = valid: the source's mask less the stray pixels.
    n_stray : int
        Stray pixels of the mean pattern, and (binned) pixels of the disk that are not steady.
    """

    aperture: Aperture
    bright_field: BrightField
    sums: FrameSums
    valid: NDArray[np.bool_]
    n_stray: int


def read_scan(
    source: FrameSource,
    *,
    max_disk_radius_px: float = 32.0,
    threads: int = 1,
    world: World = SERIAL,
    progress: Callable[[int, int], None] | None = None,
) -> Reading | NoAperture | None:
    """Find the disk in some of the frames, then read its pixels and the sums of all frames.

    Parameters
    ----------
    source : FrameSource
        The frames; gain corrected where there is a reference.
    max_disk_radius_px : float
        The disk is binned to a radius below this.
    threads, world, progress
        As `stemcal.frames.stream.stream_blocks`; progress is that of the full pass.

    Returns
    -------
    Reading, NoAperture or None
        On rank 0; an expected failure is a value with its reason. None on the other ranks.
    """
    # as in `stemcal.geometry.run`, for those who call this by itself
    with threadpool_limits(limits=1):
        sample = sample_plan(source)
        aperture, valid = world.bcast(_first_look(source, sample, threads, world))
        if isinstance(aperture, NoAperture):
            return aperture if world.rank == 0 else None
        shift = world.bcast(_whole_pixels_of_descan(source, sample, aperture, valid, threads, world))
        read = read_bright_field(
            source, aperture, valid, shift, max_disk_radius_px=max_disk_radius_px, threads=threads, world=world,
            progress=progress,
        )  # fmt: skip
        if read is None:
            return None
        return _judged(source, *read, valid)


def sample_plan(source: FrameSource) -> tuple[Block, ...]:
    """Return evenly spaced blocks of the plan with about 8192 frames, or all of them."""
    frame_bytes = source.frame_shape[0] * source.frame_shape[1] * source.dtype.itemsize
    # smaller blocks than the full pass has, so that they spread over the scan
    plan = plan_blocks(source.n_frames, frame_bytes, BLOCK_BYTES // 8)
    every = max(1, source.n_frames // _SAMPLE_FRAMES)
    return plan[every // 2 :: every]


def _first_look(
    source: FrameSource, sample: tuple[Block, ...], threads: int, world: World
) -> tuple[Aperture | NoAperture, NDArray[np.bool_]]:
    """Return the disk and the valid pixels of the mean of the sample; on rank 0."""
    ok = source.frame_status == FrameStatus.OK

    def add(block: Block) -> tuple[Array, int]:
        good = ok[block.start : block.stop]
        return source.read(block.start, block.stop)[good].sum(axis=0, dtype=np.float64), int(good.sum())

    total, n_frames = np.zeros(source.frame_shape), 0
    for _, (part, count) in stream_plan(sample, add, threads=threads, world=world):
        total += part
        n_frames += count
    if world.rank != 0:
        return NoAperture("rank 0 looks"), source.valid
    if n_frames == 0:
        return NoAperture("no frame of the sample has the status ok"), source.valid
    return find_disk(total / n_frames, source.valid, n_frames)


def find_disk(
    mean_pattern: NDArray[Any], valid: NDArray[np.bool_], n_frames: int
) -> tuple[Aperture | NoAperture, NDArray[np.bool_]]:
    """Fit the aperture, take out the stray pixels that it shows, and fit again.

    Parameters
    ----------
    mean_pattern : ndarray
        (det_row, det_col) mean counts per frame.
    valid : ndarray of bool
        (det_row, det_col), True = valid.
    n_frames : int
        Number of frames of the mean.

    Returns
    -------
    tuple
        The aperture or why there is none, and the valid pixels.
    """
    aperture = find_aperture(mean_pattern, valid)
    if isinstance(aperture, NoAperture):
        return aperture, valid
    stray = stray_pixels(mean_pattern, valid, aperture, n_frames)
    if not stray.any():
        return aperture, valid
    good = valid & ~stray
    return find_aperture(mean_pattern, good), good


def _whole_pixels_of_descan(
    source: FrameSource,
    sample: tuple[Block, ...],
    aperture: Aperture,
    valid: NDArray[np.bool_],
    threads: int,
    world: World,
) -> NDArray[np.int16]:
    """Return (2, scan_row, scan_col) by how many whole pixels the disk is displaced; 0 if it moves by one or less."""
    still = np.zeros((2, *source.scan_shape), np.int16)
    weights = _moments(aperture, valid)

    def track(block: Block) -> Array:
        frames = source.read(block.start, block.stop)
        total, row, col = (frames.reshape(len(frames), -1).astype(np.float32) @ weights).astype(np.float64).T
        return np.where(total[:, None] > 0, np.stack([row, col], axis=1) / np.maximum(total, 1)[:, None], np.nan)

    positions = np.full((source.n_frames, 2), np.nan)
    for block, part in stream_plan(sample, track, threads=threads, world=world):
        positions[block.start : block.stop] = part
    if world.rank != 0:
        return still
    positions[source.frame_status != FrameStatus.OK] = np.nan
    fit = fit_descan(positions, source.scan_shape, 1)
    if fit is None or np.ptp(fit.fitted_px, axis=0).max() <= _LARGEST_UNMOVED_PX:
        return still
    moved = np.rint(fit.fitted_px - fit.fitted_px.mean(axis=0)).astype(np.int16)
    return np.ascontiguousarray(moved.T).reshape(still.shape)


def _moments(aperture: Aperture, valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return (n_pixels of the detector, 3) weights of the counts and of the moments of a wide window on the disk."""
    row, col = np.indices(valid.shape, dtype=np.float64)
    near = valid & (np.hypot(*aperture.round_offsets(row, col)) < _TRACKED * aperture.radius_px)
    moments = [np.ones(valid.shape), row - aperture.centre_row_px, col - aperture.centre_col_px]
    return np.where(near[:, :, None], np.stack(moments, axis=2), 0).reshape(-1, 3).astype(np.float32)


def _judged(source: FrameSource, field: BrightField, sums: FrameSums, valid: NDArray[np.bool_]) -> Reading | NoAperture:
    """Fit the aperture again, to the mean of all frames, and leave out the pixels that are not steady."""
    seen = valid & np.isfinite(sums.mean_pattern)
    aperture, good = find_disk(np.nan_to_num(sums.mean_pattern), seen, source.n_frames)
    if isinstance(aperture, NoAperture):
        return aperture
    stray = seen & ~good
    bad = unsteady_pixels(field) | _touches(field, stray)
    n_stray = int((source.valid & ~valid).sum()) + int((bad & field.valid).sum())
    return Reading(aperture, replace(field, valid=field.valid & ~bad), sums, valid & ~stray, n_stray)


def _touches(field: BrightField, stray: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which (binned) pixels hold a stray one."""
    first_row = np.rint(field.det_row - (field.binning - 1) / 2).astype(np.intp)
    first_col = np.rint(field.det_col - (field.binning - 1) / 2).astype(np.intp)
    touched = np.zeros(len(first_row), np.bool_)
    for i, j in np.ndindex(field.binning, field.binning):
        touched |= stray[first_row + i, first_col + j]
    return touched
