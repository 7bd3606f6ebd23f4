"""The mean powder pattern of a data set, its descan taken out, in one pass over the frames.

Counts are never interpolated: every frame is added at the whole-pixel shift that a polynomial through a sample of
frames predicts, and the detector's valid pixels are counted along with it. The fraction of a pixel that is left is
kept as a moment: where, on average, the electrons of a pixel came down in the frame of reference of the beam. Without
it every grain, which only some frames have seen, would stand off its ring by its own mean fraction. The sums are kept
per tile of the scan for the resampling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.frames.plan import Block, evenly_spaced
from stemcal.frames.ranks import World
from stemcal.frames.source import FrameSource
from stemcal.frames.stream import stream_blocks
from stemcal.gold.faults import stray_pixels
from stemcal.gold.sum_kernels import add_frames
from stemcal.optics.descan import DescanFit, fit_descan, middle_sigma
from stemcal.optics.disk import BrightDisk, NoDisk, find_bright_disk, window_centroid

Array = NDArray[np.float64]

_SAMPLE, _LEAST_SAMPLE, _SAMPLE_BYTES = 256, 64, 64 * 2**20
_MOST_FRAMES = 0.5
_COUNTER_CEILINGS = tuple(2**bits - 1 for bits in (6, 8, 12, 16, 24))


@dataclass(frozen=True)
class Sums:
    """Sums over frames, per pixel.

    Attributes
    ----------
    counts, exposure : numpy.ndarray
        (det_row, det_col) counts, and in how many frames the pixel was valid.
    moment_px : numpy.ndarray
        (2, det_row, det_col) counts times what was left to move of their frame (row, col).
    """

    counts: Array
    exposure: Array
    moment_px: Array

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> Sums:
        """Return sums of nothing."""
        return cls(np.zeros(shape), np.zeros(shape), np.zeros((2, *shape)))

    def add(self, other: Sums) -> None:
        """Add ``other`` in place."""
        np.add(self.counts, other.counts, out=self.counts)
        np.add(self.exposure, other.exposure, out=self.exposure)
        np.add(self.moment_px, other.moment_px, out=self.moment_px)

    def without(self, other: Sums) -> Sums:
        """Return these sums less ``other``."""
        return Sums(self.counts - other.counts, self.exposure - other.exposure, self.moment_px - other.moment_px)

    @property
    def mean(self) -> Array:
        """Mean counts per frame, 0 where no frame was valid."""
        return np.asarray(self.counts / np.maximum(self.exposure, 1.0))

    def places(self, index: NDArray[np.intp], expected_px: Array) -> Array:
        """Return where the electrons of pixels came down on average, (2, n) (row, col) px.

        Parameters
        ----------
        index : numpy.ndarray
            (n,) flat indices of pixels; one without counts stands at its middle.
        expected_px : numpy.ndarray
            (2, n) how far off the middle they come down in a pattern that is the same in all frames: toward where it
            is brighter, for the frames that bring that into the pixel count more.
        """
        middle = np.stack(np.divmod(index, self.counts.shape[1])).astype(np.float64)
        counts = self.counts.ravel()[index]
        moment = self.moment_px.reshape(2, -1)[:, index]
        return np.asarray(middle + np.where(counts > 0, moment / np.maximum(counts, 1.0) - expected_px, 0.0))


@dataclass(frozen=True)
class Powder:
    """A mean powder pattern and what is needed to read it.

    Attributes
    ----------
    sums : Sums
        Of all frames, in a frame of reference in which the beam stands still.
    tiles : tuple of Sums
        The same per tile of the scan, empty tiles left out; () for a single pattern.
    disk : BrightDisk or NoDisk
        Bright disk in that frame of reference.
    to_detector : tuple of float
        (row, col) to add to a position there for the detector position in the middle of the scan.
    offset_variance : ndarray
        (2, 2) covariance of what the whole-pixel shifts leave to move, over the frames, px^2.
    tile_drift : tuple of ndarray
        (2,) per tile: how far the beam lies from ``disk`` without that tile, (row, col) px: what the descan of all
        frames adds to that of the sample. The jackknife of the centre must not take it for noise.
    middle_sigma_px : float
        Standard deviation of ``to_detector`` along one axis.
    descan : DescanFit or None
        The polynomial through the bright disks.
    n_frames, n_frames_total : int
        Frames added up, and frames in the scan.
    n_stray_pixels : int
        Dead and hot pixels of the detector that its mask does not know; they were left out.
    saturated_fraction : float
        Part of the frames whose bright disk reaches a ceiling of the counter.
    """

    sums: Sums
    tiles: tuple[Sums, ...]
    offset_variance: Array
    tile_drift: tuple[Array, ...]
    disk: BrightDisk | NoDisk
    to_detector: tuple[float, float]
    middle_sigma_px: float
    descan: DescanFit | None
    n_frames: int
    n_frames_total: int
    n_stray_pixels: int
    saturated_fraction: float

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(det_row, det_col) pixels that were valid in most frames and do not stand out from all their neighbours."""
        return (self.sums.exposure > _MOST_FRAMES * self.n_frames) & ~stray_pixels(
            self.sums.counts, self.sums.exposure > 0
        )


def single_pattern(pattern: Array) -> Powder:
    """Wrap one 2-D pattern (det_row, det_col); NaN, negative pixels and whole lines of zeros are invalid."""
    with np.errstate(invalid="ignore"):
        valid = np.isfinite(pattern) & (pattern >= 0)
        lit = pattern != 0
    valid &= lit.any(axis=1)[:, None] & lit.any(axis=0)
    sums = Sums(np.where(valid, pattern, 0.0), valid.astype(np.float64), np.zeros((2, *pattern.shape)))
    return Powder(
        sums, (), np.zeros((2, 2)), (), find_bright_disk(sums.counts, valid), (0.0, 0.0), 0.0, None, 1, 1, 0, 0.0
    )


@dataclass(frozen=True)
class _Plan:
    """What is known before the pass: where the beam is expected, and where each frame is added.

    ``offset`` is what the whole-pixel ``shift`` leaves to move of a frame; its mean over the frames is 0.
    """

    disk: BrightDisk | NoDisk
    expected: Array
    shift: NDArray[np.intp]
    offset: Array
    tile: NDArray[np.intp]
    used: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    n_stray_pixels: int


def tile_numbers(scan_shape: tuple[int, int], tiles: int) -> NDArray[np.intp]:
    """Return the tile of every scan position, (n_frames,): n x n tiles, n^2 pieces where the scan is one line."""
    per_axis = [min(n, tiles) for n in scan_shape]
    if 1 in scan_shape:
        per_axis = [1 if n == 1 else min(n, tiles * tiles) for n in scan_shape]
    row, col = (np.arange(n) * pieces // n for n, pieces in zip(scan_shape, per_axis, strict=True))
    return np.asarray((row[:, None] * per_axis[1] + col).ravel(), dtype=np.intp)


def accumulate(
    source: FrameSource,
    *,
    descan_degree: int,
    tiles: int,
    threads: int,
    world: World,
    progress: Callable[[int, int], None] | None,
) -> Powder | None:
    """Add up the frames of a data set; ``None`` on every rank but the first.

    Parameters
    ----------
    source : FrameSource
        The frames; those whose status is not 0 are left out.
    descan_degree : int
        Degree of the polynomial.
    tiles : int
        The scan is cut into tiles x tiles.
    threads, world, progress
        As for ``stemcal.frames.stream.stream_blocks``.
    """
    plan = world.bcast(_plan(source, descan_degree, tiles) if world.rank == 0 else None)
    positions = np.full((source.n_frames, 2), np.nan)
    saturated = np.zeros(source.n_frames, np.bool_)
    per_tile = [Sums.empty(source.frame_shape) for _ in range(int(plan.tile.max()) + 1)]

    def work(frames: NDArray[Any], block: Block) -> tuple[Array, NDArray[np.bool_], dict[int, Sums]]:
        return _add_block(frames, block, plan)

    for block, (centroids, full, sums) in stream_blocks(source, work, threads=threads, world=world, progress=progress):
        positions[block.start : block.stop] = centroids
        saturated[block.start : block.stop] = full
        for tile, added in sums.items():
            per_tile[tile].add(added)
    return _finished(source, plan, positions, saturated, per_tile, descan_degree) if world.rank == 0 else None


def _plan(source: FrameSource, descan_degree: int, tiles: int) -> _Plan:
    used = source.frame_status == 0
    sample = [place for place in evenly_spaced(source.n_frames, _sample_size(source)) if used[place]]
    tile = tile_numbers(source.scan_shape, tiles)
    still = np.zeros((source.n_frames, 2))
    nothing = _Plan(
        NoDisk("no frame of the data set is whole"), still, still.astype(np.intp), still, tile, used, source.valid, 0
    )
    if not sample:
        return nothing
    frames = np.concatenate([source.read(place, place + 1) for place in sample])
    together = frames.sum(axis=0, dtype=np.float64)
    # on the detector, before anything is moved: afterwards a hot pixel is a small cloud
    stray = stray_pixels(together, source.valid)
    valid = source.valid & ~stray
    plan = replace(nothing, valid=valid, n_stray_pixels=int(stray.sum()), disk=find_bright_disk(together, valid))
    if isinstance(plan.disk, NoDisk):
        return plan
    positions = np.full_like(still, np.nan)
    positions[sample] = window_centroid(frames, plan.disk.centre_px, plan.disk.radius_px, valid)
    descan = fit_descan(positions, source.scan_shape, descan_degree)
    expected = still + plan.disk.centre_px if descan is None else descan.fitted_px
    shift = np.rint(expected - np.rint(expected.mean(axis=0))).astype(np.intp)
    offset = shift - expected
    offset -= offset[used].mean(axis=0)
    plan = replace(plan, expected=expected, shift=shift, offset=offset)
    aligned = _added(frames, plan, np.array(sample), np.zeros(len(sample), np.int64), 1)[0]
    # the mean of the raw frames is smeared by the descan: only the aligned one knows the radius
    sharp = find_bright_disk(aligned.mean, aligned.exposure > 0)
    return replace(plan, disk=sharp if isinstance(sharp, BrightDisk) else plan.disk)


def _sample_size(source: FrameSource) -> int:
    frame_bytes = source.frame_shape[0] * source.frame_shape[1] * source.dtype.itemsize
    return max(_LEAST_SAMPLE, min(_SAMPLE, _SAMPLE_BYTES // frame_bytes))


def _added(
    frames: NDArray[Any], plan: _Plan, places: NDArray[np.intp], slot: NDArray[np.int64], n_slots: int
) -> list[Sums]:
    """Add frames at scan ``places`` (n,) to ``n_slots`` sums, each to that of its ``slot`` (n,), none if negative."""
    counts, exposure = np.zeros((2, n_slots, *plan.valid.shape))
    moment = np.zeros((n_slots, 2, *plan.valid.shape))
    shift = plan.shift[places]
    add_frames(frames, slot, shift, plan.offset[places], plan.valid, counts, moment)
    for number in range(n_slots):
        for moved, n in zip(*np.unique(shift[slot == number], axis=0, return_counts=True), strict=True):
            down, right = (_overlap(size, int(by)) for size, by in zip(plan.valid.shape, moved, strict=True))
            exposure[number, down[0], right[0]] += n * plan.valid[down[1], right[1]]
    return [Sums(*parts) for parts in zip(counts, exposure, moment, strict=True)]


def _overlap(size: int, shift: int) -> tuple[slice, slice]:
    return slice(max(0, -shift), max(0, min(size, size - shift))), slice(max(0, shift), max(0, min(size, size + shift)))


def _add_block(frames: NDArray[Any], block: Block, plan: _Plan) -> tuple[Array, NDArray[np.bool_], dict[int, Sums]]:
    part = slice(block.start, block.stop)
    used, tile = plan.used[part], plan.tile[part]
    positions = np.full((len(frames), 2), np.nan)
    saturated = np.zeros(len(frames), np.bool_)
    if isinstance(plan.disk, BrightDisk):
        expected = plan.expected[part]
        positions[used] = window_centroid(frames[used], expected[used], plan.disk.radius_px, plan.valid)
        saturated = used & _reaches_ceiling(frames, expected.mean(axis=0), plan.disk.radius_px)
    here = np.unique(tile[used])
    slot = np.where(used, np.searchsorted(here, tile), -1)
    added = _added(frames, plan, np.arange(block.start, block.stop), slot, here.size)
    return positions, saturated, dict(zip(here.tolist(), added, strict=True))


def _reaches_ceiling(frames: NDArray[Any], centre: Array, radius: float) -> NDArray[np.bool_]:
    """Return in which frames the middle of the disk holds a value at which some counter of the detector stops."""
    half = max(1, int(radius))
    row, col = (max(half, round(float(c))) for c in centre)
    top = frames[:, row - half : row + half + 1, col - half : col + half + 1].max(axis=(1, 2), initial=0)
    return np.asarray(np.isin(top, _COUNTER_CEILINGS))


def _finished(
    source: FrameSource,
    plan: _Plan,
    positions: Array,
    saturated: NDArray[np.bool_],
    per_tile: list[Sums],
    descan_degree: int,
) -> Powder:
    total = Sums.empty(source.frame_shape)
    for sums in per_tile:
        total.add(sums)
    kept = [number for number, sums in enumerate(per_tile) if sums.exposure.any()]
    tiles = tuple(per_tile[number] for number in kept)
    n_used = int(plan.used.sum())
    variance = np.cov(plan.offset[plan.used].T, bias=True) if n_used else np.zeros((2, 2))
    part = float(saturated.sum() / max(n_used, 1))
    descan = fit_descan(positions, source.scan_shape, descan_degree) if isinstance(plan.disk, BrightDisk) else None
    if descan is None or isinstance(plan.disk, NoDisk):
        reason = plan.disk if isinstance(plan.disk, NoDisk) else NoDisk("too few frames have a bright disk")
        still = tuple(np.zeros(2) for _ in kept)
        return Powder(
            sums=total,
            tiles=tiles,
            offset_variance=variance,
            tile_drift=still,
            disk=reason,
            to_detector=(0.0, 0.0),
            middle_sigma_px=0.0,
            descan=None,
            n_frames=n_used,
            n_frames_total=source.n_frames,
            n_stray_pixels=plan.n_stray_pixels,
            saturated_fraction=part,
        )
    there = (descan.fitted_px - plan.shift)[plan.used].mean(axis=0)
    left = descan.fitted_px - plan.shift + plan.offset
    middle = np.array([descan.coefficients_row_px[0], descan.coefficients_col_px[0]])
    return Powder(
        sums=total,
        tiles=tiles,
        offset_variance=variance,
        tile_drift=tuple(_mean_or_zero(left[plan.used & (plan.tile != number)] - there) for number in kept),
        disk=BrightDisk(float(there[0]), float(there[1]), plan.disk.radius_px),
        to_detector=(float(middle[0] - there[0]), float(middle[1] - there[1])),
        middle_sigma_px=middle_sigma(descan, source.scan_shape),
        descan=descan,
        n_frames=n_used,
        n_frames_total=source.n_frames,
        n_stray_pixels=plan.n_stray_pixels,
        saturated_fraction=part,
    )


def _mean_or_zero(values: Array) -> Array:
    return np.asarray(values.mean(axis=0)) if len(values) else np.zeros(2)
