"""After the factorisation: classes, clusters, mean patterns and EDX of one scan after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats.hdf5 import create_hdf5
from stemcal.formats.hspy import open_signal
from stemcal.frames.source import open_source
from stemcal.nmf.class_settings import ClassSettings
from stemcal.nmf.classes import BoolArray, Cluster, Loadings, Threshold, class_maps, clusters, threshold
from stemcal.nmf.edx import EdxComparison, ScanAmounts, compare, edx_flags, write_comparison
from stemcal.nmf.edx_settings import EdxSettings
from stemcal.nmf.patterns import PatternSums, class_patterns, whole_shifts
from stemcal.optics.descan import evaluate
from stemcal.records.atomic import read_record
from stemcal.records.base import Flag, InputFile
from stemcal.records.calibration import CalibrationRecord
from stemcal.records.classes import ClassEntry, ClassThreshold, ClusterEntry, DatasetClasses
from stemcal.records.edx import EdxEntry
from stemcal.records.polar import PolarRecord
from stemcal.records.provenance import relative_to_record

_OPTIONS = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
_TABLE = ("component", "number", "n_positions", "centre_row", "centre_col", "mean_loading")


@dataclass(frozen=True)
class Scan:
    """A factorised data set and the files that its profiles came from.

    Attributes
    ----------
    dataset : str
        Name in ``nmf.hdf5``.
    polar_record, profiles : Path
        Record of the polar step, and its azimuthal means, for the scan step.
    edx : Path or None
        Its EDX map.
    """

    dataset: str
    polar_record: Path
    profiles: Path
    edx: Path | None = None


@dataclass(frozen=True)
class Classified:
    """What was found.

    Attributes
    ----------
    thresholds, classes, edx : tuple
        For the record.
    flags : tuple of Flag
        Maps that were not compared, patterns that could not be made.
    inputs : tuple of InputFile
        Files that were read besides the profiles.
    drawn, drawn_edx : tuple of DrawnScan
        What the figures show: of the first data sets, and of the first with an EDX map.
    """

    thresholds: tuple[ClassThreshold, ...] = ()
    classes: tuple[DatasetClasses, ...] = ()
    edx: tuple[EdxEntry, ...] = ()
    flags: tuple[Flag, ...] = ()
    inputs: tuple[InputFile, ...] = ()
    drawn: tuple[DrawnScan, ...] = ()
    drawn_edx: tuple[DrawnScan, ...] = ()


@dataclass(frozen=True)
class DrawnScan:
    """Arrays of one data set for the figures; axes as in `ScanAmounts`."""

    amounts: ScanAmounts
    numbers: NDArray[np.int32]
    patterns: NDArray[np.float64] | None
    edx: EdxComparison | EdxEntry | None


@dataclass(frozen=True)
class Conditions:
    """How to go about it.

    Attributes
    ----------
    record : Path
        The record that paths are relative to.
    classes : ClassSettings
        Thresholds, clusters, patterns.
    edx : EdxSettings
        Comparison with EDX.
    seed : int
        Of the surrogates.
    n_drawn : int
        Data sets to keep for each figure.
    threads : int
        For the pass over the frames; no effect on results.
    """

    record: Path
    classes: ClassSettings
    edx: EdxSettings
    seed: int
    n_drawn: int
    threads: int = 1


def classify(
    factors: Path, path: Path, scans: Sequence[Scan], how: Conditions, tick: Callable[[object], object]
) -> Classified:
    """Find classes and clusters of every scan, average their patterns, compare them with EDX; write all to ``path``.

    Parameters
    ----------
    factors : Path
        ``nmf.hdf5`` with the loadings of every scan.
    path : Path
        The HDF5 file to write: one group per data set.
    scans : sequence of Scan
        The data sets, one in memory at a time.
    how : Conditions
        Settings and the like.
    tick : callable
        Called after each data set.
    """
    whole = Classified()
    with h5py.File(factors, "r") as file, create_hdf5(path) as out:
        thresholds = _thresholds(file, scans, how.classes)
        out.attrs["schema"] = "stemcal/nmf-classes/1"
        for one in scans:
            found = _Found.of(one, file[f"datasets/{one.dataset}/loadings"][...], thresholds, how)
            found.write(out.create_group(f"datasets/{one.dataset}"))
            whole = _with(whole, found, how)
            tick(found.entry)
    entries = tuple(
        ClassThreshold(component=index, criterion=how.classes.threshold, value=one.value, separability=one.separability)
        for index, one in enumerate(thresholds, start=1)
    )
    return replace(whole, thresholds=entries, flags=(*whole.flags, *edx_flags(whole.edx)))


def _thresholds(file: h5py.File, scans: Sequence[Scan], settings: ClassSettings) -> tuple[Threshold, ...]:
    """Return one threshold per component, from all data sets together: a class means the same in each of them."""
    maps = [file[f"datasets/{one.dataset}/loadings"] for one in scans]
    complete = [np.isfinite(data[0]) for data in maps]
    sums = np.concatenate([np.asarray(data[...].sum(axis=0))[here] for data, here in zip(maps, complete, strict=True)])
    return tuple(
        threshold(
            np.concatenate([data[index][here] for data, here in zip(maps, complete, strict=True)]), sums, settings
        )
        for index in range(maps[0].shape[0])
    )


def _with(whole: Classified, found: _Found, how: Conditions) -> Classified:
    edx = found.edx.entry if isinstance(found.edx, EdxComparison) else found.edx
    flags = whole.flags
    if found.patterns_are_missed:
        message = f"{found.entry.dataset} has no mean patterns of its classes: {found.entry.no_patterns}"
        flags = (*flags, Flag(name="no_class_patterns", value=found.entry.dataset, message=message))
    return Classified(
        classes=(*whole.classes, found.entry),
        edx=whole.edx if edx is None else (*whole.edx, edx),
        flags=flags,
        inputs=(*whole.inputs, *found.inputs),
        drawn=(*whole.drawn, found.drawn)[: how.n_drawn],
        drawn_edx=whole.drawn_edx if edx is None else (*whole.drawn_edx, found.drawn)[: how.n_drawn],
    )


@dataclass(frozen=True)
class _NoPatterns:
    """Why there are no mean patterns, and whether somebody will miss them."""

    reason: str
    missed: bool = False


@dataclass(frozen=True)
class _Patterns:
    """Mean patterns, where the beam is in them, and the file they were made from."""

    sums: PatternSums
    centre_px: tuple[float, float]
    data: InputFile


@dataclass(frozen=True)
class _Found:
    """Everything about one data set."""

    entry: DatasetClasses
    amounts: ScanAmounts
    numbers: NDArray[np.int32]
    table: tuple[tuple[int, int, Cluster], ...]
    patterns: _Patterns | _NoPatterns
    edx: EdxComparison | EdxEntry | None
    inputs: tuple[InputFile, ...] = field(default=())

    @property
    def patterns_are_missed(self) -> bool:
        """Whether patterns were asked for, and data that should be there are not."""
        return isinstance(self.patterns, _NoPatterns) and self.patterns.missed

    @classmethod
    def of(cls, scan: Scan, loadings: Loadings, thresholds: Sequence[Threshold], how: Conditions) -> _Found:
        present = class_maps(loadings, thresholds, how.classes)
        grouped = [clusters(*pair, how.classes) for pair in zip(present, loadings, strict=True)]
        step, no_area = _scan_step(scan.profiles)
        area = None if step is None else step[0] * step[1]
        patterns = _patterns(scan, present, how)
        entry = DatasetClasses(
            dataset=scan.dataset,
            scan_step_nm=step,
            no_area=no_area,
            classes=tuple(
                _class_entry(index, present[index], numbers, found, area, how.classes)
                for index, (numbers, found) in enumerate(grouped)
            ),
            pattern_centre_px=patterns.centre_px if isinstance(patterns, _Patterns) else None,
            no_patterns=patterns.reason if isinstance(patterns, _NoPatterns) else None,
        )
        amounts = ScanAmounts(scan.dataset, loadings, present)
        edx, inputs = None, (patterns.data,) if isinstance(patterns, _Patterns) else ()
        if scan.edx is not None:
            name = relative_to_record(scan.edx, how.record)
            edx = compare(amounts, scan.edx, name, how.edx, how.seed)
            size = scan.edx.stat().st_size if scan.edx.is_file() else None
            inputs = (*inputs, InputFile(role="edx", path=name, identity={"size_bytes": size}))
        table = tuple(
            (component, number, one)
            for component, (_, found) in enumerate(grouped, start=1)
            for number, one in enumerate(found, start=1)
        )
        numbers = np.stack([numbers for numbers, _ in grouped])
        return cls(entry, amounts, numbers, table, patterns, edx, inputs)

    @property
    def drawn(self) -> DrawnScan:
        """What the figures show of it."""
        mean = self.patterns.sums.mean if isinstance(self.patterns, _Patterns) else None
        return DrawnScan(self.amounts, self.numbers, mean, self.edx)

    def write(self, group: h5py.Group) -> None:
        """Write all arrays; classes are (component, scan_row, scan_col), patterns (component, det_row, det_col)."""
        scan, pattern = ["component", "scan_row", "scan_col"], ["component", "det_row", "det_col"]
        _write(group, "present", self.amounts.classes, scan, "True where the component is present")
        _write(group, "clusters", self.numbers, scan, "number of the cluster, 0 = none")
        table = np.array(
            [
                (component, number, one.n_positions, *one.centre, one.mean_loading)
                for component, number, one in self.table
            ],
            dtype=np.float64,
        ).reshape(-1, len(_TABLE))
        group.create_dataset("cluster_table", data=table).attrs["columns"] = list(_TABLE)
        if isinstance(self.patterns, _Patterns):
            sums = self.patterns.sums
            mean = sums.mean.astype(np.float32)
            _write(group, "mean_patterns", mean, pattern, "raw counts per frame, moved by whole pixels; NaN = missing")
            _write(group, "pattern_exposure", sums.exposure, pattern, "frames with a valid pixel there")
        if isinstance(self.edx, EdxComparison):
            write_comparison(group, self.edx)


def _write(group: h5py.Group, name: str, values: NDArray[Any], axes: list[str], meaning: str) -> None:
    data = group.create_dataset(name, data=values, **_OPTIONS)
    data.attrs["axes"] = axes
    data.attrs["meaning"] = meaning


def _class_entry(
    index: int,
    present: BoolArray,
    numbers: NDArray[np.int32],
    found: Sequence[Cluster],
    area: float | None,
    settings: ClassSettings,
) -> ClassEntry:
    listed = tuple(
        ClusterEntry(
            number=number,
            n_positions=one.n_positions,
            area_nm2=None if area is None else one.n_positions * area,
            centre=one.centre,
            mean_loading=one.mean_loading,
        )
        for number, one in enumerate(found[: settings.clusters_in_record], start=1)
    )
    n_positions = int(present.sum())
    return ClassEntry(
        component=index + 1,
        n_positions=n_positions,
        area_nm2=None if area is None else n_positions * area,
        n_clusters=len(found),
        n_positions_in_no_cluster=n_positions - int((numbers > 0).sum()),
        clusters=listed,
    )


def _scan_step(profiles: Path) -> tuple[tuple[float, float] | None, str | None]:
    with open_signal(profiles) as (_, head):
        row, col = head.axes[:2]
    if row.units == col.units == "nm":
        return (row.scale, col.scale), None
    return None, f"the scan step is not known: the scan axes are in {row.units or 'no unit'}"


def _patterns(scan: Scan, present: BoolArray, how: Conditions) -> _Patterns | _NoPatterns:
    if not how.classes.patterns:
        return _NoPatterns("they were not asked for (classes.patterns)")
    if not present.any():
        return _NoPatterns("no position is in any class")
    inputs = {one.role: one.path for one in read_record(scan.polar_record, PolarRecord).inputs}
    if not {"data", "calibration"} <= inputs.keys():
        return _NoPatterns("the record of its profiles does not name data and calibration")
    data, calibration = (scan.polar_record.parent / inputs[role] for role in ("data", "calibration"))
    try:
        origin = read_record(calibration, CalibrationRecord).origin
        if origin is None:
            return _NoPatterns(f"{calibration.name} holds no origin", missed=True)
        scan_shape = (present.shape[1], present.shape[2])
        with open_source(data, scan_shape=scan_shape) as source:
            positions = evaluate(origin.coefficients_row_px, origin.coefficients_col_px, origin.degree, scan_shape)
            shifts, centre = whole_shifts(positions)
            sums = class_patterns(source, present.reshape(len(present), -1), shifts, threads=how.threads)
            read = InputFile(role="data", path=relative_to_record(data, how.record), identity=source.identity)
            return _Patterns(sums, centre, read)
    except DataError as error:
        return _NoPatterns(f"{error.path.name}: {error.problem}", missed=True)
