"""One pass over the frames: the bright-field disk pixel by pixel, and the sums that judge the frames.

Memory: n_scan * n_pix * 2 B for the disk (4 B where the counts do not fit 16 bit), n_scan * (24 + 7) * 4 B for the
sums, and per thread a few times a block of frames. The data set itself is never held.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.formats.extras import FrameStatus
from stemcal.frames.plan import Block
from stemcal.frames.ranks import SERIAL, World
from stemcal.frames.source import FrameSource
from stemcal.frames.stream import stream_blocks
from stemcal.geometry.aperture import Aperture
from stemcal.geometry.disk_pixels import N_SEGMENTS, DiskPixels, disk_pixels, segment_weights

Array = NDArray[np.float64]

_ADF_FROM = 1.25
_LARGEST_UINT16 = 2**16 - 1
_SUB_BLOCK_BYTES = 2**23


@dataclass(frozen=True)
class BrightField:
    """The pixels of the bright-field disk and a rim around it, each as an image of the scan.

    Attributes
    ----------
    counts : ndarray
        (n_pix, scan_row, scan_col) uint16, or float32 where the counts are no integers or do not fit.
    det_row, det_col : ndarray of float64
        (n_pix,) position in px of the full frame; of a binned pixel, its centre.
    valid : ndarray of bool
        (n_pix,) True = every pixel that it is the sum of is valid.
    binning : int
        Side in px of the squares that were added up.
    shift_px : ndarray of int16
        (2, scan_row, scan_col) whole pixels by which each frame's window was moved along with the beam.
    """

    counts: NDArray[Any]
    det_row: NDArray[np.float64]
    det_col: NDArray[np.float64]
    valid: NDArray[np.bool_]
    binning: int
    shift_px: NDArray[np.int16]

    @property
    def scan_shape(self) -> tuple[int, int]:
        """(scan_row, scan_col)."""
        rows, cols = self.counts.shape[1:]
        return rows, cols


@dataclass(frozen=True)
class FrameSums:
    """Sums of every frame over its valid pixels.

    Attributes
    ----------
    total : ndarray of float64
        (scan_row, scan_col) counts of the whole frame.
    com_row, com_col : ndarray of float64
        (scan_row, scan_col) centre of mass of the whole frame in px; NaN where there are no counts.
    adf : ndarray of float64
        (scan_row, scan_col) counts outside 1.25 radii of the disk.
    segments : ndarray of float32
        (n_seg, scan_row, scan_col) counts in the segments of the disk: three rings of eight.
    segment_mean : ndarray of float64
        (n_seg,) mean counts of a segment per frame.
    disk_total : ndarray of float64
        (scan_row, scan_col) counts of the disk and its rim.
    disk_row, disk_col : ndarray of float64
        (scan_row, scan_col) centre of mass of the disk and its rim in px of the full frame; NaN where there are no
        counts.
    mean_pattern : ndarray of float64
        (det_row, det_col) mean counts of the frames with status ok, whole pixels of descan removed; NaN where no frame
        has the pixel.
    """

    total: NDArray[np.float64]
    com_row: NDArray[np.float64]
    com_col: NDArray[np.float64]
    adf: NDArray[np.float64]
    segments: NDArray[np.float32]
    segment_mean: NDArray[np.float64]
    disk_total: NDArray[np.float64]
    disk_row: NDArray[np.float64]
    disk_col: NDArray[np.float64]
    mean_pattern: NDArray[np.float64]


@dataclass(frozen=True)
class _Part:
    """What comes of one block: pixels first, frames last."""

    counts: NDArray[Any]
    disk: NDArray[np.float32]
    frame: NDArray[np.float32]
    pattern: Array
    seen: Array


class _Worker:
    """Takes the pixels and the sums of one block; a pure function of the block."""

    def __init__(
        self,
        aperture: Aperture,
        pixels: DiskPixels,
        valid: NDArray[np.bool_],
        shift_px: NDArray[np.int16],
        ok: NDArray[np.bool_],
    ) -> None:
        self._pixels = pixels
        self._ok = ok
        self._valid = valid
        self._shift = shift_px.reshape(2, -1)
        row, col = np.indices(valid.shape, dtype=np.float64)
        row_offset, col_offset = aperture.round_offsets(row, col)
        far = np.hypot(row_offset, col_offset) > _ADF_FROM * aperture.radius_px
        masks = np.stack(
            [np.ones(valid.shape), far, row - aperture.centre_row_px, col - aperture.centre_col_px], axis=2
        )
        self._frame_weights = np.where(valid[:, :, None], masks, 0).reshape(-1, 4).astype(np.float32)
        moments = np.stack(
            [
                np.ones(pixels.row.shape),
                pixels.centre_row - aperture.centre_row_px,
                pixels.centre_col - aperture.centre_col_px,
            ],
            axis=1,
        )
        moments = np.where(pixels.valid[:, None], moments, 0).astype(np.float32)
        self._disk_weights = np.concatenate([segment_weights(aperture, pixels), moments], axis=1)

    def __call__(self, frames: NDArray[Any], block: Block) -> _Part:
        shift, ok = self._shift[:, block.start : block.stop], self._ok[block.start : block.stop]
        flat = frames.reshape(len(frames), -1)
        counts = self._cut(flat, shift)
        disk = np.empty((self._disk_weights.shape[1], len(flat)), np.float32)
        frame = np.empty((self._frame_weights.shape[1], len(flat)), np.float32)
        pattern, seen = np.zeros(self._valid.shape), np.zeros(self._valid.shape)
        step = max(1, _SUB_BLOCK_BYTES // (4 * flat.shape[1]))
        for start in range(0, len(flat), step):
            chosen = slice(start, start + step)
            real = flat[chosen].astype(np.float32)
            frame[:, chosen] = (real @ self._frame_weights).T
            disk[:, chosen] = (counts[chosen].astype(np.float32) @ self._disk_weights).T
            self._add_pattern(real[ok[chosen]], shift[:, chosen][:, ok[chosen]], pattern, seen)
        return _Part(_smallest(np.ascontiguousarray(counts.T), frames.dtype), disk, frame, pattern, seen)

    def _cut(self, flat: NDArray[Any], shift: NDArray[np.int16]) -> NDArray[Any]:
        """Return (n, n_pix) counts of the window, which moves with the beam."""
        n_cols = self._valid.shape[1]
        place = self._pixels.row * n_cols + self._pixels.col
        offset = shift[0].astype(np.intp) * n_cols + shift[1]
        binning = self._pixels.binning
        exact = np.dtype(np.uint32) if flat.dtype.kind == "u" and flat.dtype.itemsize <= 4 else np.dtype(np.float64)
        kind = flat.dtype if binning == 1 else exact
        cut = np.zeros((len(flat), len(place)), kind)
        for one in np.unique(offset):
            moved = offset == one
            rows = flat if moved.all() else flat[moved]
            total = np.zeros((len(rows), len(place)), kind)
            for i, j in np.ndindex(binning, binning):
                taken = np.take(rows, place + one + i * n_cols + j, axis=1)
                total = taken if binning == 1 else total + taken
            cut[moved] = total
        return cut

    def _add_pattern(self, real: NDArray[np.float32], shift: NDArray[np.int16], pattern: Array, seen: Array) -> None:
        """Add up frames, each moved back by its shift."""
        shape = pattern.shape
        for down, right in np.unique(shift, axis=1).T:
            moved = (shift[0] == down) & (shift[1] == right)
            total = moved.astype(np.float32) @ real
            source, target = _overlap(shape, int(down), int(right))
            pattern[target] += total.reshape(shape)[source]
            seen[target] += self._valid[source] * np.count_nonzero(moved)


def _overlap(shape: tuple[int, ...], down: int, right: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the part of a frame that stays on it when it is moved back, before and after."""
    source = tuple(slice(max(s, 0), n + min(s, 0)) for s, n in zip((down, right), shape, strict=True))
    target = tuple(slice(max(-s, 0), n + min(-s, 0)) for s, n in zip((down, right), shape, strict=True))
    return (source[0], source[1]), (target[0], target[1])


def _smallest(counts: NDArray[Any], stored: np.dtype[Any]) -> NDArray[Any]:
    """Return counts as uint16 where these are integers that fit, else as float32."""
    fits = stored.kind in "ui" and (counts.size == 0 or (counts.min() >= 0 and counts.max() <= _LARGEST_UINT16))
    return counts.astype(np.uint16 if fits else np.float32, copy=False)


def read_bright_field(
    source: FrameSource,
    aperture: Aperture,
    valid: NDArray[np.bool_],
    shift_px: NDArray[np.int16] | None = None,
    *,
    max_disk_radius_px: float = 32.0,
    threads: int = 1,
    world: World = SERIAL,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[BrightField, FrameSums] | None:
    """Stream the frames once: crop to the disk, pixel by pixel, and add up what judges the frames.

    Parameters
    ----------
    source : FrameSource
        The frames.
    aperture : Aperture
        The disk, as the middle of the window.
    valid : ndarray of bool
        (det_row, det_col), True = valid.
    shift_px : ndarray of int16, optional
        (2, scan_row, scan_col) whole pixels by which the disk of each frame is displaced.
    max_disk_radius_px : float
        Binning keeps the radius of the disk below.
    threads, world, progress
        As `stemcal.frames.stream.stream_blocks`.

    Returns
    -------
    tuple of (BrightField, FrameSums) or None
        On rank 0; None on the others. Equal for any number of threads and ranks.
    """
    n_rows, n_cols = source.scan_shape
    shift = np.zeros((2, n_rows, n_cols), np.int16) if shift_px is None else shift_px
    pixels = disk_pixels(aperture, valid, shift, max_disk_radius_px=max_disk_radius_px)
    worker = _Worker(aperture, pixels, valid, shift, source.frame_status == FrameStatus.OK)
    parts = stream_blocks(source, worker, threads=threads, world=world, progress=progress)
    if world.rank != 0:
        for _ in parts:
            pass
        return None
    counts: NDArray[Any] = np.zeros((len(pixels.row), source.n_frames), np.uint16)
    disk = np.zeros((N_SEGMENTS + 3, source.n_frames), np.float32)
    frame = np.zeros((4, source.n_frames), np.float32)
    pattern, seen = np.zeros(valid.shape), np.zeros(valid.shape)
    for block, part in parts:
        if part.counts.dtype != counts.dtype:
            counts = counts.astype(np.float32, copy=False)
        chosen = slice(block.start, block.stop)
        counts[:, chosen], disk[:, chosen], frame[:, chosen] = part.counts, part.disk, part.frame
        pattern += part.pattern
        seen += part.seen
    counts[~pixels.valid] = 0
    field = BrightField(
        counts.reshape(-1, n_rows, n_cols), pixels.centre_row, pixels.centre_col, pixels.valid, pixels.binning, shift
    )
    return field, _frame_sums(disk, frame, np.where(seen > 0, pattern / np.maximum(seen, 1), np.nan), shift, aperture)


def _frame_sums(
    disk: NDArray[np.float32],
    frame: NDArray[np.float32],
    mean_pattern: Array,
    shift_px: NDArray[np.int16],
    aperture: Aperture,
) -> FrameSums:
    scan_shape = shift_px.shape[1:]
    segments = disk[:N_SEGMENTS].reshape(N_SEGMENTS, *scan_shape)
    in_disk, disk_row, disk_col = disk[N_SEGMENTS:].astype(np.float64).reshape(3, *scan_shape)
    total, adf, com_row, com_col = frame.astype(np.float64).reshape(4, *scan_shape)

    def centre(moment: Array, counts: Array, middle: float) -> Array:
        return np.where(counts > 0, moment / np.where(counts > 0, counts, 1) + middle, np.nan)

    return FrameSums(
        total=total,
        com_row=centre(com_row, total, aperture.centre_row_px),
        com_col=centre(com_col, total, aperture.centre_col_px),
        adf=adf,
        segments=segments,
        segment_mean=segments.mean(axis=(1, 2), dtype=np.float64),
        disk_total=in_disk,
        disk_row=centre(disk_row, in_disk, aperture.centre_row_px) + shift_px[0],
        disk_col=centre(disk_col, in_disk, aperture.centre_col_px) + shift_px[1],
        mean_pattern=mean_pattern,
    )


def pixel_share(n_pixels: int, rank: int, size: int) -> slice:
    """Return the pixels that belong to a rank: runs of equal length, to one."""
    return slice(rank * n_pixels // size, (rank + 1) * n_pixels // size)


def share_pixels(field: BrightField | None, world: World) -> BrightField:
    """Hand every rank its share of the pixels; ``field`` is rank 0's, and None elsewhere."""
    if world.rank != 0:
        received: BrightField = world.recv(0)
        return received
    if field is None:
        raise ValueError("rank 0 has no bright field to share")
    shares = [pixel_share(len(field.counts), rank, world.size) for rank in range(world.size)]
    for rank in range(1, world.size):
        world.send(_part_of(field, shares[rank]), rank)
    return _part_of(field, shares[0])


def _part_of(field: BrightField, chosen: slice) -> BrightField:
    return replace(
        field,
        counts=field.counts[chosen],
        det_row=field.det_row[chosen],
        det_col=field.det_col[chosen],
        valid=field.valid[chosen],
    )
