"""The passes over the profiles of the data sets, a block of positions in memory at a time.

Sums, completeness, sample and loadings each go through the files once. What stays is the sample, bounded by
``max_profiles_in_fit``, and per data set one truth value per position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from stemcal.nmf.estimate import Sample, express
from stemcal.nmf.factorise import relative_residual
from stemcal.nmf.files import own_ring_areas, read_blocks
from stemcal.nmf.members import Member, Selection
from stemcal.nmf.profiles import (
    Block,
    Census,
    FloatArray,
    Grid,
    census,
    choose_grid,
    complete_positions,
    counts,
    draw,
    q_range,
    shares,
    spectrum_scale,
)
from stemcal.nmf.resample import regions
from stemcal.nmf.settings import NmfSettings


@dataclass(frozen=True)
class Survey:
    """A member whose profiles have been looked through.

    Attributes
    ----------
    member : Member
        The data set.
    dose : float
        Its mean counts per frame, direct beam included.
    scale : float
        What its profiles are divided by.
    census : Census
        Sums over its profiles on the common axis, scaled.
    complete : ndarray of bool
        (n_positions,) which positions have every bin that is factorised; empty before the bins are chosen.
    """

    member: Member
    dose: float
    scale: float
    census: Census
    complete: NDArray[np.bool_]

    @property
    def lit(self) -> bool:
        """Whether any electron arrived."""
        return self.dose > 0


@dataclass(frozen=True)
class ScanMaps:
    """Maps of one data set: ``loadings`` (component, scan_row, scan_col), ``residual`` (scan_row, scan_col)."""

    dataset: str
    loadings: NDArray[np.float32]
    residual: NDArray[np.float32]


def survey(member: Member, pixel_size_per_angstrom: float, settings: NmfSettings) -> Survey:
    """Return the dose and the sums of ``member``; intensities are per pixel of ``pixel_size_per_angstrom``."""
    areas = own_ring_areas(member)
    sums = [counts(block.values, areas) for block in read_blocks(member, "mean")]
    n_frames = sum(n for _, n in sums)
    dose = sum(total for total, _ in sums) / n_frames if n_frames else 0.0
    whole = reduce(add, (census(block.values) for block in _on_common_axis(member, settings)))
    solid_angle = (member.polar.q_pixel_size_per_angstrom / pixel_size_per_angstrom) ** 2
    scale = solid_angle * (dose if settings.dose_scaling and dose > 0 else 1.0)
    scale = scale if settings.quantity == "mean" else scale**2
    return Survey(member, dose, scale, whole.over(scale), np.zeros(0, dtype=np.bool_))


def _on_common_axis(member: Member, settings: NmfSettings) -> Iterator[Block]:
    way = member.rebinning
    for block in read_blocks(member, settings.quantity):
        yield Block(block.first, way.means(block.values), way.effective(block.n_effective)) if way else block


def grid_of(surveys: Sequence[Survey], selection: Selection, settings: NmfSettings) -> Grid:
    """Return the bins that are factorised."""
    if not surveys:
        return Grid(np.zeros(selection.n_bins, dtype=np.bool_), np.zeros(0), np.zeros(0), 0.0, 0)
    disks = [one.member.disk_radius_per_angstrom for one in surveys]
    limits = q_range(settings, [radius for radius in disks if radius is not None])
    return choose_grid(selection.axis.values(selection.n_bins), [one.census for one in surveys], limits, settings)


def completed(one: Survey, grid: Grid, settings: NmfSettings) -> Survey:
    """Return ``one`` with the positions that have every bin."""
    blocks = _on_common_axis(one.member, settings)
    return replace(one, complete=np.concatenate([complete_positions(block.values, grid) for block in blocks]))


def take_sample(surveys: Sequence[Survey], grid: Grid, settings: NmfSettings) -> Sample:
    """Return the profiles that components are fitted to: all of them, or a seeded share of every data set."""
    wanted = shares([int(one.complete.sum()) for one in surveys], settings.max_profiles_in_fit)
    n_bins = len(grid.q_per_angstrom)
    parts = [Sample(np.zeros((0, n_bins)), np.zeros((0, n_bins)), grid.weight, np.zeros(0, dtype=np.int64))]
    n_regions = 0
    for one, n_wanted in zip(surveys, wanted, strict=True):
        drawn = draw(one.member.dataset, int(one.complete.sum()), n_wanted, settings.random_seed)
        chosen = np.zeros(len(one.complete), dtype=np.bool_)
        chosen[np.flatnonzero(one.complete)[drawn]] = True
        region = n_regions + regions(one.member.polar.scan_shape, settings.resampling_block_px)
        n_regions = int(region.max()) + 1
        for block in _on_common_axis(one.member, settings):
            part = chosen[block.first : block.first + len(block.values)]
            rows = _prepared(block, part, one.scale, grid, settings)
            parts.append(replace(rows, region=region[block.first : block.first + len(block.values)][part]))
    return Sample(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.exposure for part in parts]),
        grid.weight,
        np.concatenate([part.region for part in parts]),
    )


def _prepared(block: Block, rows: NDArray[np.bool_], scale: float, grid: Grid, settings: NmfSettings) -> Sample:
    """Return the chosen rows of ``block`` as they are factorised; regions are not set."""
    values: FloatArray = np.maximum(block.values[rows][:, grid.used] / scale, 0.0)
    exposure: FloatArray = block.n_effective[rows][:, grid.used] * scale
    if settings.spectrum_scaling:
        seen = (values * exposure).sum(axis=1) if settings.quantity == "mean" else np.zeros(len(values))
        divisor = spectrum_scale(values.sum(axis=1), seen, grid.mean_sum, settings)[:, None]
        values, exposure = values / divisor, exposure * divisor
    return Sample(values, exposure, grid.weight, np.zeros(len(values), dtype=np.int64))


def maps_of(one: Survey, components: FloatArray, grid: Grid, settings: NmfSettings) -> ScanMaps:
    """Return the maps of one data set: every complete position expressed in ``components`` (n_components, n_bins)."""
    shape = one.member.polar.scan_shape
    loadings = np.full((len(one.complete), len(components)), np.nan, dtype=np.float32)
    residual = np.full(len(one.complete), np.nan, dtype=np.float32)
    for block in _on_common_axis(one.member, settings):
        complete = one.complete[block.first : block.first + len(block.values)]
        rows = _prepared(block, complete, one.scale, grid, settings)
        found = express(rows, components, settings)
        where = block.first + np.flatnonzero(complete)
        loadings[where] = found
        residual[where] = relative_residual(rows.weighted, found, components * grid.weight)
    return ScanMaps(one.member.dataset, loadings.T.reshape(-1, *shape), residual.reshape(shape))
