"""Everything that the page shows, read once; what cannot be read becomes a remark and never stops the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from stemcal.errors import DataError
from stemcal.records.atomic import read_record
from stemcal.records.base import Measurement
from stemcal.records.calibration import CalibrationRecord
from stemcal.records.convert import ConvertRecord
from stemcal.records.gain import GainRecord
from stemcal.records.geometry import GeometryRecord
from stemcal.records.gold import GoldRecord
from stemcal.records.manifest import Manifest
from stemcal.records.nmf import NmfRecord
from stemcal.records.polar import PolarRecord
from stemcal.records.progress import DatasetProgress, Found, dataset_progress, look_at
from stemcal.records.session import Remark, SessionFigure

MeasurementT = TypeVar("MeasurementT", bound=Measurement)

FIGURES: Mapping[str, tuple[str, str]] = {
    "convert": ("overview.png", "Virtual images and mean pattern"),
    "gold": ("gold.png", "Powder rings and the fit to them"),
    "gain": ("gain.png", "Gain of the detector's pixels"),
    "geometry": ("geometry.png", "Scan and camera, and the phase of the sample"),
    "calibration": ("calibration.png", "Position of the beam over the scan"),
    "polar": ("polar.png", "Azimuthal statistics"),
}
"""File name (after the prefix) and caption of each step's figure."""

NMF_FIGURES = (
    ("nmf_maps.png", "Where each component is"),
    ("nmf_components.png", "Components"),
    ("nmf_ranks.png", "How many components"),
    ("nmf_classes.png", "Classes and clusters"),
)
EDX_FIGURE = (("nmf_edx.png", "Elements and components"),)


@dataclass(frozen=True)
class Records:
    """The records of one data set, as far as they exist and can be read."""

    progress: DatasetProgress
    convert: ConvertRecord | None = None
    gold: GoldRecord | None = None
    gain: GainRecord | None = None
    geometry: GeometryRecord | None = None
    calibration: CalibrationRecord | None = None
    polar: PolarRecord | None = None
    problems: tuple[Remark, ...] = ()
    figures: tuple[SessionFigure, ...] = ()


@dataclass(frozen=True)
class Group:
    """One factorisation: its record, what else lies there, and its figures."""

    name: str
    path: str
    record: NmfRecord | None
    found: Found
    problem: str = ""
    figures: tuple[SessionFigure, ...] = ()


@dataclass(frozen=True)
class Collected:
    """A session as its files tell it."""

    session: str
    manifest: Manifest
    records: Mapping[str, Records]
    groups: tuple[Group, ...]


def collect(manifest: Manifest, processing: Path) -> Collected:
    """Read all records and look for all figures of ``manifest`` below ``processing``."""
    records = {one.dataset: _records(one, processing) for one in dataset_progress(manifest, processing)}
    names = {dataset.group for dataset in manifest.datasets.values() if dataset.group}
    names |= {path.parent.name for path in processing.glob("nmf/*/nmf.json")}
    session = (processing / manifest.session).resolve().name
    return Collected(session, manifest, records, tuple(_group(name, processing) for name in sorted(names)))


def _records(progress: DatasetProgress, processing: Path) -> Records:
    problems: list[Remark] = []

    def read(stage: str, model: type[MeasurementT]) -> MeasurementT | None:
        record, problem = _read(processing / f"{progress.dataset}_{stage}.json", model)
        if problem:
            problems.append(Remark(stage=stage, message=problem))
        return record

    return Records(
        progress=progress,
        convert=read("convert", ConvertRecord),
        gold=read("gold", GoldRecord),
        gain=read("gain", GainRecord),
        geometry=read("geometry", GeometryRecord),
        calibration=read("calibration", CalibrationRecord),
        polar=read("polar", PolarRecord),
        problems=tuple(problems),
        figures=tuple(
            SessionFigure(stage=stage, path=f"{progress.dataset}_{name}", caption=caption)
            for stage, (name, caption) in FIGURES.items()
            if (processing / f"{progress.dataset}_{name}").is_file()
        ),
    )


def _read(path: Path, model: type[MeasurementT]) -> tuple[MeasurementT | None, str]:
    if not path.is_file():
        return None, ""
    try:
        return read_record(path, model), ""
    except DataError as error:
        return None, f"{path.name} {error.problem}; {error.remedy}"


def _group(name: str, processing: Path) -> Group:
    folder = processing / "nmf" / name
    record, problem = _read(folder / "nmf.json", NmfRecord)
    figures = tuple(
        SessionFigure(stage="nmf", path=f"nmf/{name}/{file}", caption=caption)
        for file, caption in (*NMF_FIGURES, *(EDX_FIGURE if record and record.edx else ()))
        if (folder / file).is_file()
    )
    return Group(name, f"nmf/{name}/nmf.json", record, look_at(folder / "nmf.json"), problem, figures)
