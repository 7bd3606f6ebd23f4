"""What follows the factorisation: classes and EDX are added to its record, their file and figures written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stemcal.formats.hdf5 import create_hdf5
from stemcal.nmf.class_figures import draw_classes, draw_edx
from stemcal.nmf.classify import Classified, Conditions, Scan, classify
from stemcal.nmf.figures import draw_nothing
from stemcal.nmf.files import polar_record_path, profiles_path
from stemcal.nmf.settings import NmfSettings
from stemcal.records.base import Quality
from stemcal.records.nmf import NmfRecord

_MOST_DRAWN = 5
"""A data set takes two rows, and its arrays stay in memory until it is drawn."""


@dataclass(frozen=True)
class ClassOutputs:
    """Where classes and EDX are written."""

    folder: Path

    @property
    def data(self) -> Path:
        """Classes, clusters, mean patterns, EDX maps and spectra of every data set."""
        return self.folder / "nmf_classes.hdf5"

    @property
    def classes(self) -> Path:
        """Figure of the classes."""
        return self.folder / "nmf_classes.png"

    @property
    def edx(self) -> Path:
        """Figure of the comparison with EDX."""
        return self.folder / "nmf_edx.png"


def with_classes(
    record: NmfRecord,
    factors: Path,
    settings: NmfSettings,
    *,
    edx: Mapping[Path, Path],
    threads: int,
    tick: Callable[[object], object],
) -> NmfRecord:
    """Return ``record`` with classes and EDX, and write what belongs to them.

    Parameters
    ----------
    record : NmfRecord
        Of the factorisation.
    factors : Path
        ``nmf.hdf5``; the other files are written beside it.
    settings : NmfSettings
        Of the step.
    edx : mapping of Path
        EDX map of each data set that has one, by its prefix.
    threads : int
        For the pass over the frames.
    tick : callable
        Called after each data set.
    """
    outputs = ClassOutputs(factors.parent)
    if record.result is None:
        with create_hdf5(outputs.data):
            pass
        draw_nothing((outputs.classes, outputs.edx), "; ".join(flag.message for flag in record.quality.flags))
        return record
    scans = _scans(record, outputs.folder, edx)
    how = Conditions(
        record=outputs.folder / "nmf.json",
        classes=settings.classes,
        edx=settings.edx,
        seed=settings.random_seed,
        n_drawn=min(settings.scans_in_figure, _MOST_DRAWN),
        threads=threads,
    )
    found = classify(factors, outputs.data, scans, how, tick)
    draw_classes(outputs.classes, found.drawn, len(scans), found.thresholds)
    draw_edx(outputs.edx, found.drawn_edx, len(found.edx))
    return _added(record, found)


def _scans(record: NmfRecord, folder: Path, edx: Mapping[Path, Path]) -> tuple[Scan, ...]:
    maps = {prefix.resolve(): path for prefix, path in edx.items()}
    prefixes = {one.dataset: folder / one.path for one in record.members if one.used}
    return tuple(
        Scan(name, polar_record_path(prefix), profiles_path(prefix, "mean"), maps.get(prefix.resolve()))
        for name, prefix in prefixes.items()
    )


def _added(record: NmfRecord, found: Classified) -> NmfRecord:
    flags = (*record.quality.flags, *found.flags)
    inputs = (*record.inputs, *found.inputs)
    return record.model_copy(
        update={
            "quality": Quality(verdict="warn" if flags else record.quality.verdict, flags=flags),
            "inputs": tuple(sorted(inputs, key=lambda file: (file.path, file.role))),
            "class_thresholds": found.thresholds,
            "classes": found.classes,
            "edx": found.edx,
        }
    )
