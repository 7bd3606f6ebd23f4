"""The bright disk of a scan, frame by frame, in one stream."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.calibration.settings import CalibrationSettings
from stemcal.frames.plan import Block, evenly_spaced
from stemcal.frames.ranks import World
from stemcal.frames.source import FrameSource
from stemcal.frames.stream import stream_blocks
from stemcal.optics.disk import BrightDisk, NoDisk, find_bright_disk, window_centroid

_WINDOW_PIXELS = 2**20
"""Pixels of all windows that are gathered at once: 8 MiB per array, whatever the disk's radius."""


@dataclass(frozen=True)
class DiskTrack:
    """Where the bright disk was.

    Attributes
    ----------
    mean_pattern : ndarray
        (det_row, det_col) mean counts of the sampled frames.
    disk : BrightDisk or NoDisk
        In the mean pattern.
    positions_px : ndarray
        (n_frames, 2) centroid (row, col); NaN where the frame has none or is not usable. Empty on ranks other than 0.
    """

    mean_pattern: NDArray[np.float64]
    disk: BrightDisk | NoDisk
    positions_px: NDArray[np.float64]


def track_disk(
    source: FrameSource,
    settings: CalibrationSettings,
    *,
    threads: int,
    world: World,
    progress: Callable[[int, int], None] | None,
) -> DiskTrack:
    """Find the disk in a mean pattern, then its centroid in every frame.

    The window about the mean centre is re-centred on each frame's own first result (two passes over a frame in one
    reading), so that the disk may move by its own radius over the scan.

    Parameters
    ----------
    source : FrameSource
        The data.
    settings : CalibrationSettings
        Frames to sample, darkness.
    threads, world, progress :
        See ``stemcal.frames.stream.stream_blocks``.
    """
    mean_pattern = sample_mean(source, settings.sample_frames)
    disk = find_bright_disk(mean_pattern, source.valid)
    if isinstance(disk, NoDisk):
        return DiskTrack(mean_pattern, disk, np.full((source.n_frames, 2), np.nan))
    results = stream_blocks(source, _centroids(source, disk), threads=threads, world=world, progress=progress)
    parts = [part for _, part in results]
    if not parts:
        return DiskTrack(mean_pattern, disk, np.empty((0, 2)))
    measured = np.concatenate(parts)
    usable = (source.frame_status == 0) & _bright(measured[:, 2], source.frame_status == 0, settings)
    positions = np.where(usable[:, None], measured[:, :2], np.nan)
    return DiskTrack(mean_pattern, disk, positions)


def sample_mean(source: FrameSource, n_sample: int) -> NDArray[np.float64]:
    """Return the mean of at most ``n_sample`` evenly spaced usable frames, (det_row, det_col); 0 without any."""
    usable = np.flatnonzero(source.frame_status == 0)
    chosen = usable[list(evenly_spaced(len(usable), n_sample))] if usable.size else usable
    total = np.zeros(source.frame_shape)
    for index in chosen:
        total += source.read(int(index), int(index) + 1)[0]
    return total / max(1, len(chosen))


def _centroids(source: FrameSource, disk: BrightDisk) -> Callable[[NDArray[Any], Block], NDArray[np.float64]]:
    """Return the function of a block that gives (n, 3): centroid row and col, counts in the frame."""
    window = (2 * (math.ceil(1.5 * disk.radius_px) + 3) + 1) ** 2
    batch = max(1, _WINDOW_PIXELS // window)

    def measure(frames: NDArray[Any], _block: Block) -> NDArray[np.float64]:
        parts = [
            window_centroid(frames[start : start + batch], disk.centre_px, disk.radius_px, source.valid)
            for start in range(0, len(frames), batch)
        ]
        counts = frames.sum(axis=(1, 2), where=source.valid, dtype=np.float64)
        return np.column_stack([np.concatenate(parts), counts])

    return measure


def _bright(counts: NDArray[np.float64], usable: NDArray[np.bool_], settings: CalibrationSettings) -> NDArray[np.bool_]:
    level = settings.min_counts_fraction * np.median(counts[usable]) if usable.any() else 0.0
    return np.asarray(counts >= level)
