"""Where an EDX map lies on the scan, and which of its positions were dwelt on for too long. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import rank_filter

from stemcal.nmf.edx_settings import EdxSettings
from stemcal.nmf.surrogates import correlate

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_BLOCKS_PER_SIDE = 4
_LEAST_POSITIONS = 50
_SPIKE_SIGMA = 6.0
_COLUMNS_BESIDE = 3
_SEED = 1
_LARGEST = 1 - 1e-12


@dataclass(frozen=True)
class Score:
    """Correlation of total X-ray counts with the scattering if scan position (r, c) is (r + rows, c + cols)."""

    rows: int
    cols: int
    correlation: float


@dataclass(frozen=True)
class Placement:
    """Where the map lies: scan position (r, c) is its position (r + rows, c + cols).

    Attributes
    ----------
    rows, cols : int
        The offset.
    by_correlation : bool
        Whether the counts decided it; else the shapes did.
    certain : bool
        False where the shapes leave more than one offset and the counts do not tell them apart.
    scores : tuple of Score
        Every offset that was tried, best first.
    margin_sigma : float
        By how many standard errors the best correlation exceeds the next.
    p_value : float
        Of the best correlation, against maps without relation.
    """

    rows: int
    cols: int
    by_correlation: bool
    certain: bool
    scores: tuple[Score, ...]
    margin_sigma: float
    p_value: float


def shapes_differ_too_much(edx: tuple[int, int], scan: tuple[int, int], settings: EdxSettings) -> str | None:
    """Return why a map of shape ``edx`` cannot belong to a scan of shape ``scan``, or None."""
    differences = [abs(a - b) for a, b in zip(edx, scan, strict=True)]
    if max(differences) <= settings.max_shape_difference:
        return None
    return (
        f"the EDX map has {edx[0]} x {edx[1]} positions and the scan {scan[0]} x {scan[1]}: they differ by more than "
        f"{settings.max_shape_difference} rows or columns, so that the positions of one are not those of the other"
    )


def place(total: FloatArray, scattering: FloatArray, settings: EdxSettings) -> Placement:
    """Decide where an EDX map lies on the scan.

    The shapes state where it ought to lie: at the first position, or behind a first column that the scan marks as
    fly-back and the map does not have. Another offset is taken if the total counts say so: related to the scattering
    at all, and more so than at every other offset. Standard errors are those of a jackknife over blocks of the scan
    (Kunsch, Ann. Statist. 17, 1217 (1989)), because neighbouring positions are alike.

    Parameters
    ----------
    total : ndarray
        (row, col) X-ray counts of the map; NaN = left out.
    scattering : ndarray
        (scan_row, scan_col) scattered electrons, a virtual dark field; NaN = no data.
    settings : EdxSettings
        How far to look, and what to believe.
    """
    expected = _expected(total.shape, scattering)
    offsets = _offsets(total.shape, scattering.shape, settings.max_offset)
    interior = _interior(offsets, total.shape, scattering.shape)
    stacked = np.stack([onto_scan(total, one, scattering.shape)[interior] for one in offsets])
    reference = scattering[interior]
    valid = np.isfinite(reference) & np.isfinite(stacked).all(axis=0)
    if valid.sum() < _LEAST_POSITIONS:
        same = total.shape == scattering.shape
        return Placement(*expected, by_correlation=False, certain=same, scores=(), margin_sigma=0.0, p_value=1.0)
    whole, partial = _jackknifed(stacked, reference, valid)
    order = np.argsort(-np.abs(whole), kind="stable")
    best, runner_up = order[0], order[min(1, len(order) - 1)]
    margin = _margin(whole, partial, best, runner_up)
    tested = correlate(
        np.nan_to_num(reference)[None], np.nan_to_num(stacked[best])[None], valid, settings.n_surrogates, [_SEED]
    )
    p_value = float(tested.p_value[0, 0])
    decided = p_value <= settings.offset_p_value and margin >= settings.offset_sigma
    rows, cols = offsets[best] if decided else expected
    return Placement(
        rows=rows,
        cols=cols,
        by_correlation=decided,
        certain=decided or total.shape == scattering.shape,
        scores=tuple(Score(offsets[one][0], offsets[one][1], float(whole[one])) for one in order),
        margin_sigma=margin,
        p_value=p_value,
    )


def _expected(edx_shape: tuple[int, ...], scattering: FloatArray) -> tuple[int, int]:
    missing = ~np.isfinite(scattering).any(axis=0)
    fewer_columns = edx_shape[1] == scattering.shape[1] - 1
    return (0, -1) if fewer_columns and missing[0] and not missing[-1] else (0, 0)


def _offsets(edx: tuple[int, ...], scan: tuple[int, ...], reach: int) -> list[tuple[int, int]]:
    rows, cols = (
        range(min(0, a - b) - reach, max(0, a - b) + reach + 1) if b > 1 else range(1)
        for a, b in zip(edx, scan, strict=True)
    )
    return list(product(rows, cols))


def _interior(offsets: list[tuple[int, int]], edx: tuple[int, ...], scan: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the scan positions that the map covers at every offset, so that all are compared on the same ones."""
    bounds = []
    for axis in (0, 1):
        shifts = [one[axis] for one in offsets]
        bounds.append(slice(max(0, -min(shifts)), max(0, min(scan[axis], edx[axis] - max(shifts)))))
    return bounds[0], bounds[1]


def onto_scan(edx: FloatArray, offset: tuple[int, int], scan_shape: tuple[int, ...]) -> FloatArray:
    """Return ``edx`` (..., row, col) on the positions of the scan, NaN where the map does not reach."""
    placed = np.full((*edx.shape[:-2], *scan_shape), np.nan)
    rows, cols = (
        slice(max(0, -shift), max(0, min(n_scan, n_edx - shift)))
        for shift, n_scan, n_edx in zip(offset, scan_shape, edx.shape[-2:], strict=True)
    )
    source = edx[..., rows.start + offset[0] : rows.stop + offset[0], cols.start + offset[1] : cols.stop + offset[1]]
    placed[..., rows, cols] = source
    return placed


def _jackknifed(stacked: FloatArray, reference: FloatArray, valid: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Return the correlation at each offset, (n,), and that without each block in turn, (block, n)."""
    block = _blocks(reference.shape)[valid]
    x, y = reference[valid] - reference[valid].mean(), stacked[:, valid]
    y = y - y.mean(axis=1, keepdims=True)
    n_blocks = int(block.max()) + 1
    terms = np.stack([np.ones_like(y), np.broadcast_to(x, y.shape), y, np.broadcast_to(x**2, y.shape), y**2, x * y])
    sums = np.stack([terms[:, :, block == one].sum(axis=2) for one in range(n_blocks)])
    used = sums[:, 0, 0] > 0
    total = sums.sum(axis=0)
    return _pearson(total), np.stack([_pearson(total - one) for one in sums[used]])


def _blocks(shape: tuple[int, ...]) -> NDArray[np.int64]:
    rows, cols = (np.arange(size) * min(_BLOCKS_PER_SIDE, size) // size for size in shape)
    return rows[:, None] * _BLOCKS_PER_SIDE + cols[None, :]


def _pearson(sums: FloatArray) -> FloatArray:
    """Return correlations from the sums of (1, x, y, x^2, y^2, x y), each (n,)."""
    n, x, y, xx, yy, xy = sums
    spread = np.sqrt(np.maximum(xx - x * x / n, 0) * np.maximum(yy - y * y / n, 0))
    found: FloatArray = np.where(spread > 0, (xy - x * y / n) / np.where(spread > 0, spread, 1.0), 0.0)
    return found


def _margin(whole: FloatArray, partial: FloatArray, best: int, runner_up: int) -> float:
    """Return by how many standard errors the correlation at ``best`` is further from 0 than that at ``runner_up``."""
    if best == runner_up or len(partial) < 2:
        return 0.0
    ahead = _fisher(partial[:, best] * np.sign(whole[best])) - _fisher(np.abs(partial[:, runner_up]))
    error = float(np.sqrt((len(ahead) - 1) * ahead.var()))
    lead = float(_fisher(np.abs(whole[best])) - _fisher(np.abs(whole[runner_up])))
    return lead / error if error > 0 else 0.0


def _fisher(correlation: FloatArray) -> FloatArray:
    """Return correlations on Fisher's scale, where their errors are alike."""
    scaled: FloatArray = np.arctanh(np.clip(correlation, -_LARGEST, _LARGEST))
    return scaled


def spikes(total: FloatArray, factor: float) -> tuple[BoolArray, BoolArray]:
    """Return which columns and which single positions of an EDX map were dwelt on for too long.

    A position is one if it has ``factor`` times the counts of all but one of its eight neighbours, and clearly so for
    counting; a column if its median is ``factor`` times the medians of the columns on either side. The edge of a
    bright grain is neither: it has bright neighbours.

    Parameters
    ----------
    total : ndarray
        (row, col) counts.
    factor : float
        Greater than 1.

    Returns
    -------
    columns : ndarray of bool
        (col,).
    positions : ndarray of bool
        (row, col), those in ``columns`` not among them.
    """
    median = np.median(total, axis=0)
    columns = np.zeros(len(median), dtype=np.bool_)
    for index in range(len(median)):
        sides = (median[max(0, index - _COLUMNS_BESIDE) : index], median[index + 1 : index + 1 + _COLUMNS_BESIDE])
        highest = max((float(np.median(side)) for side in sides if len(side)), default=np.inf)
        columns[index] = _stands_out(median[index] * len(total), highest * len(total), factor)
    if min(total.shape) < 3:
        return columns, np.zeros(total.shape, dtype=np.bool_)
    ring = np.ones((3, 3), dtype=np.bool_)
    ring[1, 1] = False
    second = rank_filter(total, rank=-2, footprint=ring, mode="mirror")
    return columns, _stands_out(total, second, factor) & ~columns[None, :]


def _stands_out(counts: FloatArray, beside: FloatArray | float, factor: float) -> BoolArray:
    clearly: BoolArray = (counts > factor * np.asarray(beside)) & (
        counts - beside > _SPIKE_SIGMA * np.sqrt(np.asarray(beside) + 1)
    )
    return clearly
