"""Which pixels of a frame make up the disk, how they are binned, and the segments they belong to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry.aperture import Aperture

Array = NDArray[np.float64]

RIM = 1.1
"""Radius of the crop in radii of the disk: the rim outside tells the background."""
_RING_EDGES = (0.0, 0.5, 0.85, RIM)
_PER_RING = 8
N_SEGMENTS = _PER_RING * (len(_RING_EDGES) - 1)


@dataclass(frozen=True)
class DiskPixels:
    """Which pixels of a frame are taken.

    Attributes
    ----------
    row, col : ndarray of intp
        (n_pix,) first detector row and column of each (binned) pixel.
    binning : int
        Side of a binned pixel in px.
    valid : ndarray of bool
        (n_pix,) True where all that is added up is valid, wherever the window moves.
    """

    row: NDArray[np.intp]
    col: NDArray[np.intp]
    binning: int
    valid: NDArray[np.bool_]

    @property
    def centre_row(self) -> Array:
        """(n_pix,) row of the centres in px."""
        return self.row + (self.binning - 1) / 2

    @property
    def centre_col(self) -> Array:
        """(n_pix,) column of the centres in px."""
        return self.col + (self.binning - 1) / 2


def disk_pixels(
    aperture: Aperture, valid: NDArray[np.bool_], shift_px: NDArray[np.int16], *, max_disk_radius_px: float = 32.0
) -> DiskPixels:
    """Choose the pixels within 1.1 radii, binned by the integer that brings the radius under its limit.

    Parameters
    ----------
    aperture : Aperture
        The disk.
    valid : ndarray of bool
        (det_row, det_col), True = valid.
    shift_px : ndarray of int16
        (2, scan_row, scan_col) by how many whole pixels the window moves; a pixel that leaves the frame is dropped.
    max_disk_radius_px : float
        Largest radius of the disk in binned pixels.
    """
    binning = max(1, math.ceil(aperture.radius_px / max_disk_radius_px))
    grid = np.meshgrid(*(np.arange(0, n - binning + 1, binning) for n in valid.shape), indexing="ij")
    row, col = (axis.ravel() for axis in grid)
    middle = (binning - 1) / 2
    near = np.hypot(*aperture.round_offsets(row + middle, col + middle)) < RIM * aperture.radius_px + binning / 2
    row, col = row[near], col[near]
    shifts = np.unique(shift_px.reshape(2, -1), axis=1)
    inside = np.ones(row.shape, np.bool_)
    for down, right in shifts.T:
        inside &= (row + down >= 0) & (row + down + binning <= valid.shape[0])
        inside &= (col + right >= 0) & (col + right + binning <= valid.shape[1])
    row, col = row[inside], col[inside]
    good = np.ones(row.shape, np.bool_)
    for down, right in shifts.T:
        for i, j in np.ndindex(binning, binning):
            good &= valid[row + down + i, col + right + j]
    return DiskPixels(row, col, binning, good)


def segment_weights(aperture: Aperture, pixels: DiskPixels) -> NDArray[np.float32]:
    """Return (n_pix, n_seg) 1 where a valid pixel belongs to a segment: three rings of eight."""
    row, col = aperture.round_offsets(pixels.centre_row, pixels.centre_col)
    distance, turn = np.hypot(row, col) / aperture.radius_px, np.arctan2(row, col) / (2 * np.pi) + 0.5
    sector = np.minimum((turn * _PER_RING).astype(np.intp), _PER_RING - 1)
    ring = np.clip(np.searchsorted(_RING_EDGES, distance, side="right") - 1, 0, len(_RING_EDGES) - 2)
    weights = np.zeros((len(distance), N_SEGMENTS), np.float32)
    chosen = np.flatnonzero(pixels.valid)
    weights[chosen, (ring * _PER_RING + sector)[chosen]] = 1
    return weights
