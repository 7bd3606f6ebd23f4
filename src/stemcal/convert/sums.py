"""Every sum that one pass over the frames gives for little: exact integers until the very end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.convert.detectors import Apertures
from stemcal.formats.extras import Sum
from stemcal.frames.plan import Block

_LOW = np.uint64(0xFFFFFFFF)
_HIGH = np.uint64(32)
_LARGEST = {np.dtype(f"u{size}"): 2 ** (8 * size) - 1 for size in (1, 2, 4, 8)}


@dataclass(frozen=True)
class BlockSums:
    """Sums of one block of frames.

    Attributes
    ----------
    total, maximum : ndarray of uint64
        (det_row, det_col).
    squares_low, squares_high : ndarray of uint64
        (det_row, det_col) sum of squares = low + 2^32 high: 64 bits do not hold a saturated 24-bit pixel over a scan.
    images : dict of str to ndarray
        One value per frame, (n,) uint64.
    """

    total: NDArray[np.uint64]
    maximum: NDArray[np.uint64]
    squares_low: NDArray[np.uint64]
    squares_high: NDArray[np.uint64]
    images: dict[str, NDArray[np.uint64]]


def reduce_block(frames: NDArray[Any], apertures: Apertures | None, valid: NDArray[np.bool_] | None) -> BlockSums:
    """Add up one block of frames.

    Parameters
    ----------
    frames : ndarray of unsigned integers
        (n, det_row, det_col), at least one frame.
    apertures : Apertures or None
        Pixels of the virtual detectors; without them there is no bright or dark field.
    valid : ndarray of bool or None
        (det_row, det_col); invalid pixels count in the patterns but not in the images. None means all are valid.
    """
    maximum = frames.max(axis=0)
    peak = int(maximum.max())
    total = frames.sum(axis=0, dtype=_holding(peak * len(frames), frames.dtype)).astype(np.uint64)
    low, high = _squares(frames, peak)
    counted = frames if valid is None else frames * valid
    return BlockSums(total, maximum.astype(np.uint64), low, high, _images(counted, peak, apertures))


def _holding(largest: int, at_least: np.dtype[Any]) -> np.dtype[Any]:
    """Return the smallest unsigned type, not below ``at_least``, that holds ``largest``: narrow sums are quick ones."""
    types = [kind for kind in _LARGEST if kind.itemsize >= at_least.itemsize]
    return next((kind for kind in types if largest <= _LARGEST[kind]), types[-1])


def _squares(frames: NDArray[Any], peak: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the sum of squares over the block as (low, high), frame by frame so that each stays in the cache."""
    shape = frames.shape[1:]
    low, high = np.zeros(shape, np.uint64), np.zeros(shape, np.uint64)
    wide = _holding(peak * peak * len(frames), frames.dtype)
    square, running = np.empty(shape, wide), np.zeros(shape, wide)
    fits = peak * peak * len(frames) <= _LARGEST[wide]
    for frame in frames:
        np.copyto(square, frame)
        np.multiply(square, square, out=square)
        if fits:
            np.add(running, square, out=running)
        else:
            low += square & _LOW
            high += square >> _HIGH
    if fits:
        exact = running.astype(np.uint64)
        low, high = exact & _LOW, exact >> _HIGH
    return low, high


def _images(frames: NDArray[Any], peak: int, apertures: Apertures | None) -> dict[str, NDArray[np.uint64]]:
    n, n_rows, n_cols = frames.shape
    by_row = frames.sum(axis=2, dtype=_holding(peak * n_cols, frames.dtype)).astype(np.uint64)
    by_col = frames.sum(axis=1, dtype=_holding(peak * n_rows, frames.dtype)).astype(np.uint64)
    total = by_row.sum(axis=1)
    images = {
        "total_counts": total,
        "moment_row": by_row @ np.arange(n_rows, dtype=np.uint64),
        "moment_col": by_col @ np.arange(n_cols, dtype=np.uint64),
    }
    if apertures is not None:
        flat = frames.reshape(n, n_rows * n_cols)
        images["bright_field"] = _pick(flat, apertures.bright_field)
        images["annular_bright_field"] = _pick(flat, apertures.annular_bright_field)
        images["annular_dark_field"] = total - _pick(flat, apertures.inside_dark_field)
    return images


def _pick(flat: NDArray[Any], pixels: NDArray[np.intp]) -> NDArray[np.uint64]:
    """Sum the given pixels of each frame; one frame at a time, because the copy of a block would be a block."""
    return np.array([frame[pixels].sum(dtype=np.uint64) for frame in flat], np.uint64)


class ScanSums:
    """Sums of a whole scan, added up block by block.

    Parameters
    ----------
    scan_shape : tuple of int
        (scan_row, scan_col).
    frame_shape : tuple of int
        (det_row, det_col).
    """

    def __init__(self, scan_shape: tuple[int, int], frame_shape: tuple[int, int]) -> None:
        self.scan_shape = scan_shape
        self.n_frames = scan_shape[0] * scan_shape[1]
        self.total = np.zeros(frame_shape, np.uint64)
        self.maximum = np.zeros(frame_shape, np.uint64)
        self._squares_low = np.zeros(frame_shape, np.uint64)
        self._squares_high = np.zeros(frame_shape, np.uint64)
        self.images: dict[str, NDArray[np.uint64]] = {}

    def add(self, block: Block, sums: BlockSums) -> None:
        """Add the sums of ``block``; the order of the blocks does not matter."""
        self.total += sums.total
        np.maximum(self.maximum, sums.maximum, out=self.maximum)
        self._squares_low += sums.squares_low
        self._squares_high += sums.squares_high
        for name, values in sums.images.items():
            if name not in self.images:
                self.images[name] = np.zeros(self.n_frames, np.uint64)
            self.images[name][block.start : block.stop] = values

    def mean(self) -> NDArray[np.float64]:
        """Return the mean pattern, (det_row, det_col) counts per frame."""
        return self.total / self.n_frames

    def variance(self) -> NDArray[np.float64]:
        """Return the variance over the scan of each pixel, (det_row, det_col) counts^2, divided by n, not n - 1.

        The difference n sum(x^2) - sum(x)^2 is taken in integers of any length: in floating point it would lose the
        variance of a bright pixel.
        """
        variance = np.empty(self.total.shape)
        rows = zip(variance, self.total, self._squares_low, self._squares_high, strict=True)
        for out, total, low, high in rows:
            squares = low.astype(object) + high.astype(object) * 2**32
            exact = self.n_frames * squares - total.astype(object) ** 2
            out[:] = exact / self.n_frames**2
        return variance

    def centre_of_mass(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (row, col) of the centre of mass per position, (n_frames,) each, NaN where there are no counts."""
        total = self.images["total_counts"]
        empty = np.where(total == 0, np.nan, 1.0)
        safe = np.maximum(total, np.uint64(1))
        return self.images["moment_row"] / safe * empty, self.images["moment_col"] / safe * empty

    def as_sums(self) -> dict[str, Sum]:
        """Return everything as it is stored: patterns (det_row, det_col) and images (scan_row, scan_col)."""
        row, col = self.centre_of_mass()
        sums = {
            "sum_pattern": Sum(self.total, "count", "sum over the scan"),
            "max_pattern": Sum(self.maximum, "count", "maximum over the scan"),
            "mean_pattern": Sum(self.mean(), "count", "mean over the scan"),
            "variance_pattern": Sum(self.variance(), "count^2", "population variance over the scan"),
            "total_counts": Sum(self._image("total_counts"), "count", "sum over the valid pixels"),
            "centre_of_mass_row": Sum(row.reshape(self.scan_shape), "px", "centre of mass over the valid pixels"),
            "centre_of_mass_col": Sum(col.reshape(self.scan_shape), "px", "centre of mass over the valid pixels"),
        }
        for name in ("bright_field", "annular_bright_field", "annular_dark_field"):
            if name in self.images:
                sums[name] = Sum(self._image(name), "count", f"virtual {name.replace('_', ' ')} detector")
        return sums

    def _image(self, name: str) -> NDArray[np.uint64]:
        return self.images[name].reshape(self.scan_shape)
