"""What the spectra of an EDX map say, read one row at a time: maps of lines, spectra of components and classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from stemcal.formats.edx import EdxMap, EnergyAxis
from stemcal.nmf.edx_lines import LineWindows

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_RANK_TOLERANCE = 1e-10


@dataclass(frozen=True)
class LineMaps:
    """Counts of an EDX map on its own positions.

    Attributes
    ----------
    total : ndarray
        (row, col) counts above the electronic zero.
    net : ndarray
        (line, row, col) net counts of each line.
    """

    total: FloatArray
    net: FloatArray


def line_maps(edx: EdxMap, axis: EnergyAxis, windows: tuple[LineWindows, ...], min_energy_kev: float) -> LineMaps:
    """Read ``edx`` once and return its total counts and the net counts of each line."""
    counted = axis.channels(min_energy_kev, np.inf, edx.n_channels)
    weights = np.zeros((edx.n_channels, 1 + len(windows)))
    weights[counted, 0] = 1.0
    for index, one in enumerate(windows):
        weights[:, index + 1] = one.weights
    sums = np.stack([np.asarray(row, np.float64) @ weights for row in edx.counts])
    return LineMaps(sums[:, :, 0], np.moveaxis(sums[:, :, 1:], 2, 0))


@dataclass(frozen=True)
class Spectra:
    """Spectra of the compared positions, (n_channels,) counts per position each.

    Attributes
    ----------
    total : ndarray
        (n_channels,) sum over the positions, counts.
    components : ndarray
        (component, n_channels): what each component adds to the mean spectrum; together they are near it.
    classes : ndarray
        (component, n_channels): mean over the class of the component; NaN where it has no position.
    """

    total: FloatArray
    components: FloatArray
    classes: FloatArray


def spectra(
    edx: EdxMap, offset: tuple[int, int], loadings: FloatArray, classes: BoolArray, valid: BoolArray
) -> Spectra:
    """Return the spectra of components and classes.

    The spectrum at a position is the sum over components of loading times spectrum; the spectra are those of least
    squares that are nowhere negative (Lawson and Hanson, Solving Least Squares Problems (1974), ch. 23).

    Parameters
    ----------
    edx : EdxMap
        The map.
    offset : tuple of int
        Scan position (r, c) is (r + offset[0], c + offset[1]) of the map.
    loadings : ndarray
        (component, scan_row, scan_col).
    classes : ndarray of bool
        (component, scan_row, scan_col).
    valid : ndarray of bool
        (scan_row, scan_col) positions to use; the map covers all of them.
    """
    n = len(loadings)
    total = np.zeros(edx.n_channels)
    cross, members = np.zeros((n, edx.n_channels)), np.zeros((n, edx.n_channels))
    for row in np.flatnonzero(valid.any(axis=1)):
        cols = np.flatnonzero(valid[row])
        counts = np.asarray(edx.counts[row + offset[0]], np.float64)[cols + offset[1]]
        total += counts.sum(axis=0)
        cross += loadings[:, row, cols] @ counts
        members += classes[:, row, cols].astype(np.float64) @ counts
    used = loadings[:, valid]
    per_loading = _unmixed(used @ used.T, cross)
    n_members = (classes & valid).sum(axis=(1, 2))
    mean = np.where(n_members[:, None] > 0, members / np.maximum(n_members, 1)[:, None], np.nan)
    return Spectra(total, per_loading * used.mean(axis=1)[:, None], mean)


def _unmixed(gram: FloatArray, cross: FloatArray) -> FloatArray:
    """Return the non-negative spectra (component, channel) that fit best, from the normal equations."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > _RANK_TOLERANCE * max(values[-1], np.finfo(float).tiny)
    root = np.sqrt(values[kept])
    matrix = root[:, None] * vectors[:, kept].T
    targets = (vectors[:, kept].T @ cross) / root[:, None]
    return np.stack([nnls(matrix, target)[0] for target in targets.T], axis=1)
