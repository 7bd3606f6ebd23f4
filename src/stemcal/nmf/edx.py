"""One EDX map and the components of its scan: placed, cleaned, unmixed, correlated."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats.edx import EdxMap, EnergyAxis, read_edx
from stemcal.nmf.edx_lines import LineWindows, line_sigma, line_windows
from stemcal.nmf.edx_measure import LineMaps, Spectra, line_maps, spectra
from stemcal.nmf.edx_place import Placement, onto_scan, place, shapes_differ_too_much, spikes
from stemcal.nmf.edx_settings import EdxSettings
from stemcal.nmf.surrogates import correlate, holm, ranks
from stemcal.records.base import Flag
from stemcal.records.edx import EdxEnergy, EdxEntry, EdxLine, EdxOffset, EdxPair, EdxScore

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_LEAST_POSITIONS = 30
"""Fewer positions in common say nothing about a relation."""


@dataclass(frozen=True)
class ScanAmounts:
    """What the factorisation says of one scan.

    Attributes
    ----------
    dataset : str
        Its name.
    loadings : ndarray
        (component, scan_row, scan_col), NaN = missing.
    classes : ndarray of bool
        (component, scan_row, scan_col) positions of each class.
    """

    dataset: str
    loadings: NDArray[np.float32]
    classes: BoolArray


@dataclass(frozen=True)
class EdxComparison:
    """Everything that was found, on the positions of the scan.

    Attributes
    ----------
    entry : EdxEntry
        For the record.
    total : ndarray
        (scan_row, scan_col) X-ray counts, NaN = left out or not covered.
    net : ndarray
        (line, scan_row, scan_col) net counts of each line in range, NaN likewise.
    energy : EnergyAxis
        Of the spectra.
    spectra : Spectra
        Of components and classes.
    """

    entry: EdxEntry
    total: FloatArray
    net: FloatArray
    energy: EnergyAxis
    spectra: Spectra


def compare(amounts: ScanAmounts, path: Path, name: str, settings: EdxSettings, seed: int) -> EdxComparison | EdxEntry:
    """Compare the EDX map at ``path`` with the components of its scan.

    Parameters
    ----------
    amounts : ScanAmounts
        The scan.
    path : Path
        The EDX map.
    name : str
        What the record calls it.
    settings : EdxSettings
        Lines, bounds, number of surrogates.
    seed : int
        Of the surrogates, together with the name of the data set.

    Returns
    -------
    EdxComparison or EdxEntry
        An entry alone, with its reason, where nothing can be compared.
    """
    scan_shape = (amounts.loadings.shape[1], amounts.loadings.shape[2])
    entry = EdxEntry(dataset=amounts.dataset, path=name, reason=None, scan_shape=scan_shape)
    try:
        edx = read_edx(path)
    except DataError as error:
        return entry.model_copy(update={"reason": f"{error.path.name}: {error.problem}; {error.remedy}"})
    entry = entry.model_copy(update={"map_shape": edx.shape})
    too_far = shapes_differ_too_much(edx.shape, scan_shape, settings)
    if too_far:
        return entry.model_copy(update={"reason": too_far})
    axis = _axis(edx, settings)
    if axis is None:
        reason = "the EDX map states no energy axis; state it in the settings edx.channel_kev and edx.offset_kev"
        return entry.model_copy(update={"reason": reason})
    stated = EdxEnergy(
        offset_kev=axis.offset_kev, channel_kev=axis.channel_kev, stated_by="file" if edx.energy else "settings"
    )
    return _compared(entry.model_copy(update={"energy": stated}), edx, axis, amounts, settings, seed)


def _axis(edx: EdxMap, settings: EdxSettings) -> EnergyAxis | None:
    if edx.energy is not None:
        return edx.energy
    return None if settings.channel_kev is None else EnergyAxis(settings.offset_kev, settings.channel_kev)


def _compared(
    entry: EdxEntry, edx: EdxMap, axis: EnergyAxis, amounts: ScanAmounts, settings: EdxSettings, seed: int
) -> EdxComparison | EdxEntry:
    found = {line.name: line_windows(line, axis, edx.n_channels, settings) for line in settings.lines}
    windows = tuple(one for one in found.values() if one is not None)
    maps = line_maps(edx, axis, windows, settings.min_energy_kev)
    columns, positions = spikes(maps.total, settings.spike_factor)
    clean = np.where(positions | columns, np.nan, maps.total)
    loadings = amounts.loadings.astype(np.float64)
    placed = place(clean, loadings.sum(axis=0), settings)
    offset, scan_shape = (placed.rows, placed.cols), loadings.shape[1:]
    total = onto_scan(clean, offset, scan_shape)
    valid = np.isfinite(total) & np.isfinite(loadings).all(axis=0)
    entry = entry.model_copy(
        update={
            "offset": _offset(placed),
            "spike_columns": tuple(int(one) for one in np.flatnonzero(columns)),
            "n_spike_positions": int(positions.sum()),
            "n_positions_compared": int(valid.sum()),
            "lines_out_of_range": tuple(name for name, one in found.items() if one is None),
        }
    )
    if valid.sum() < _LEAST_POSITIONS:
        reason = (
            f"the map and the scan have {int(valid.sum())} positions with data in common, fewer than {_LEAST_POSITIONS}"
        )
        return entry.model_copy(update={"reason": reason})
    return _correlated(entry, edx, (axis, windows, maps), (total, valid), amounts, (settings, seed))


def _correlated(
    entry: EdxEntry,
    edx: EdxMap,
    read: tuple[EnergyAxis, tuple[LineWindows, ...], LineMaps],
    where: tuple[FloatArray, BoolArray],
    amounts: ScanAmounts,
    how: tuple[EdxSettings, int],
) -> EdxComparison:
    (axis, windows, maps), (total, valid), (settings, seed) = read, where, how
    assert entry.offset is not None
    offset = (entry.offset.rows, entry.offset.cols)
    loadings = np.where(valid, amounts.loadings, 0.0).astype(np.float64)
    unmixed = spectra(edx, offset, loadings, amounts.classes, valid)
    net = np.where(valid, onto_scan(maps.net, offset, total.shape), np.nan)
    lines = tuple(_line(one, unmixed.total, settings) for one in windows)
    chosen = [index for index, line in enumerate(lines) if line.compared]
    pairs = _pairs(loadings, net[chosen], valid, [lines[index].name for index in chosen], entry, (settings, seed))
    count = n_surrogates(len(pairs), settings) if pairs else 0
    done = entry.model_copy(update={"lines": lines, "pairs": pairs, "n_surrogates": count})
    return EdxComparison(done, total, net, axis, unmixed)


def n_surrogates(n_pairs: int, settings: EdxSettings) -> int:
    """Return how many surrogates are drawn: so many that the smallest p-value survives the correction by half."""
    return max(settings.n_surrogates, math.ceil(2 * 2 * n_pairs / settings.significance))


def _line(windows: LineWindows, spectrum: FloatArray, settings: EdxSettings) -> EdxLine:
    sigma = line_sigma(spectrum, windows)
    return EdxLine(
        name=windows.name,
        window_kev=windows.window_kev,
        background_below_kev=windows.below_kev,
        background_above_kev=windows.above_kev,
        net_counts=float(spectrum @ windows.weights),
        sigma_above_background=sigma,
        compared=sigma >= settings.min_line_sigma,
    )


def _pairs(
    loadings: FloatArray,
    net: FloatArray,
    valid: BoolArray,
    names: list[str],
    entry: EdxEntry,
    how: tuple[EdxSettings, int],
) -> tuple[EdxPair, ...]:
    if not names:
        return ()
    settings, seed = how
    filled = np.where(valid, net, 0.0)
    seeds = [seed, zlib.crc32(entry.dataset.encode())]
    count = n_surrogates(len(loadings) * len(names), settings)
    linear = correlate(loadings, filled, valid, count, seeds)
    ranked = correlate(ranks(loadings, valid), ranks(filled, valid), valid, count, seeds)
    corrected, corrected_ranked = holm(np.stack([linear.p_value, ranked.p_value]))
    level = settings.significance
    return tuple(
        EdxPair(
            component=component + 1,
            line=name,
            pearson=float(linear.coefficient[component, index]),
            pearson_p=float(linear.p_value[component, index]),
            pearson_p_corrected=float(corrected[component, index]),
            spearman=float(ranked.coefficient[component, index]),
            spearman_p=float(ranked.p_value[component, index]),
            spearman_p_corrected=float(corrected_ranked[component, index]),
            related=bool(min(corrected[component, index], corrected_ranked[component, index]) <= level),
        )
        for component in range(len(loadings))
        for index, name in enumerate(names)
    )


def _offset(placed: Placement) -> EdxOffset:
    return EdxOffset(
        rows=placed.rows,
        cols=placed.cols,
        decided_by="counts" if placed.by_correlation else "shapes",
        certain=placed.certain,
        margin_sigma=placed.margin_sigma,
        p_value=placed.p_value,
        scores=tuple(EdxScore(rows=one.rows, cols=one.cols, correlation=one.correlation) for one in placed.scores),
    )


def edx_flags(entries: tuple[EdxEntry, ...]) -> tuple[Flag, ...]:
    """Return what a reader should know of the maps that were not compared, or not with certainty."""
    flags = []
    for one in entries:
        if one.reason is not None:
            message = f"the EDX map of {one.dataset} was not compared: {one.reason}"
            flags.append(Flag(name="edx_not_compared", value=one.dataset, message=message))
        elif one.offset is not None and not one.offset.certain:
            message = (
                f"the EDX map of {one.dataset} has {one.map_shape} positions, the scan {one.scan_shape}, and the "
                f"counts do not tell which go together: taken to begin at ({-one.offset.rows}, {-one.offset.cols})"
            )
            flags.append(Flag(name="edx_offset_uncertain", value=one.dataset, message=message))
    return tuple(flags)


def write_comparison(group: h5py.Group, found: EdxComparison) -> None:
    """Write maps and spectra into ``group`` of ``nmf.hdf5``, which is that of the data set."""
    options = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    edx = group.create_group("edx")
    scan = ["scan_row", "scan_col"]
    arrays = (
        ("total", found.total, scan, "counts"),
        ("net_counts", found.net, ["line", *scan], "counts"),
        ("component_spectra", found.spectra.components, ["component", "energy"], "counts per position"),
        ("class_spectra", found.spectra.classes, ["component", "energy"], "counts per position"),
        ("energy_kev", found.energy.values(len(found.spectra.total)), ["energy"], "keV"),
    )
    for name, values, axes, units in arrays:
        data = edx.create_dataset(name, data=values.astype(np.float32) if name != "energy_kev" else values, **options)
        data.attrs["axes"] = axes
        data.attrs["units"] = units
    edx["net_counts"].attrs["lines"] = [line.name for line in found.entry.lines]
