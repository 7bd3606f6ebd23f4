"""Shifts of the disk by a part of a pixel, for values on the pixels of the disk only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from stemcal.geometry.bright_field import BrightField

Array = NDArray[np.float64]

_TAPS = (-1, 0, 1, 2)
_LEAST_WEIGHT = 0.5
_LARGEST_GAP = 0.2


@dataclass(frozen=True)
class Shift:
    """One shift as a linear map.

    Attributes
    ----------
    matrix : sparse matrix of float32
        (n_pix, n_pix) values in, shifted values out.
    whole : ndarray of bool
        (n_pix,) True where nearly all that a pixel is made of was there.
    """

    matrix: sparse.csr_matrix
    whole: NDArray[np.bool_]


@dataclass(frozen=True)
class PixelGrid:
    """Where the pixels of the disk are on a regular grid.

    Attributes
    ----------
    index : ndarray of intp
        (rows, cols) number of the pixel, -1 where there is none; a margin of two all around.
    place : ndarray of intp
        (2, n_pix) row and column of each pixel in it.
    valid : ndarray of bool
        (n_pix,) True = valid.
    """

    index: NDArray[np.intp]
    place: NDArray[np.intp]
    valid: NDArray[np.bool_]

    @classmethod
    def of(cls, field: BrightField) -> PixelGrid:
        """Lay out the pixels of a bright field."""
        corners = np.stack([field.det_row, field.det_col])
        place = np.rint((corners - corners.min(axis=1, keepdims=True)) / field.binning).astype(np.intp)
        margin = len(_TAPS)
        place += margin
        index = np.full(place.max(axis=1) + 1 + margin, -1, np.intp)
        index[place[0], place[1]] = np.arange(place.shape[1])
        return cls(index, place, field.valid)

    def shift(self, move_px: Array) -> Shift:
        """Return the map that samples at ``move_px`` (row, col) from each pixel: it takes back a move by that much.

        Pixels that are not there or not valid are left out, and the weights of the others raised accordingly.
        """
        whole_px = np.floor(move_px).astype(np.intp)
        weight_row, weight_col = (_cubic(float(m - w)) for m, w in zip(move_px, whole_px, strict=True))
        limit = np.array(self.index.shape)[:, None] - 1
        sources, weights = [], []
        for i, by_row in zip(_TAPS, weight_row, strict=True):
            for j, by_col in zip(_TAPS, weight_col, strict=True):
                at = np.clip(self.place + whole_px[:, None] + np.array([[i], [j]]), 0, limit)
                source = self.index[at[0], at[1]]
                there = (source >= 0) & self.valid[source]
                sources.append(np.where(there, source, 0))
                weights.append(np.where(there, by_row * by_col, 0.0))
        taps, source = np.stack(weights, axis=1), np.stack(sources, axis=1)
        present = taps.sum(axis=1)
        scaled = np.where(present[:, None] > _LEAST_WEIGHT, taps / np.maximum(present, _LEAST_WEIGHT)[:, None], 0.0)
        n_pix, n_taps = taps.shape
        rows = np.repeat(np.arange(n_pix), n_taps)
        entries = (scaled.ravel().astype(np.float32), (rows, source.ravel()))
        return Shift(sparse.csr_matrix(entries, shape=(n_pix, n_pix)), np.abs(present - 1) < _LARGEST_GAP)


def _cubic(part: float) -> tuple[float, ...]:
    """Return the weights of the four pixels around a point: cubic convolution with a = -1/2."""
    return tuple(_kernel(abs(part - tap)) for tap in _TAPS)


def _kernel(x: float) -> float:
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0
