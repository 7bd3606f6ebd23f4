"""The frozen manifest of a session: what there is, what is complete, what each data set is for.

The manifest is also the Snakemake configuration (``--configfile``): its keys are the configuration's keys, and
``settings`` holds the resolved sections of every step.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stemcal.records.base import Record
from stemcal.records.history import HistoryEntry
from stemcal.records.microscope import Microscope

FileVerdict = Literal["ready", "growing", "incomplete", "rejected", "held", "archived", "ignored"]
Role = Literal["gold", "sample", "overfocus", "vacuum", "gain", "geometry"]


class RawIdentity(Record):
    """What makes an acquisition the same one: size, first header and sidecars, never mtime or path.

    Of an acquisition in several files the sizes are summed and the first header of each counts.
    """

    size_bytes: int
    n_frames: int
    first_header_sha256: str
    first_timestamp: str | None
    hdr_sha256: str | None
    microscope_sha256: str | None


class EdxFile(Record):
    """An EDX map: its path in the session, and what makes it the same one (never its time)."""

    file: str
    size_bytes: int
    beginning_sha256: str


class Dataset(Record):
    """One acquisition.

    ``id`` is the output prefix relative to the processing folder, in the alphabet ``[A-Za-z0-9._+-/]``; paths of raw
    files are relative to the session.
    """

    id: str
    label: str
    role: Role
    role_reason: str
    verdict: FileVerdict
    reason: str
    mib: str = Field(description="its raw file, or the .hdr of an acquisition in several files")
    grows: bool = Field(default=False, description="its frames so far are converted although more are to come")
    parts: tuple[str, ...] = Field(default=(), description="its raw files where there are several, ordered by path")
    hdr: str | None
    microscope_file: str | None
    identity: RawIdentity | None
    n_frames_expected: int | None
    frame_shape: tuple[int, int] | None
    itemsize: int | None
    counter_depth_bit: int | None = None
    acquired_at: str | None
    microscope: Microscope | None
    scan_shape: tuple[int, int] | None = Field(default=None, description="given by the user in session.yaml")
    gold_candidates: tuple[str, ...] = ()
    binding_reason: str | None = None
    gain_candidates: tuple[str, ...] = ()
    gain_reason: str | None = None
    geometry_reason: str | None = Field(default=None, description="why its geometry is measured, or why not")
    geometry_candidates: tuple[str, ...] = Field(
        default=(), description="scans whose geometry may serve it, its own among them where it is measured"
    )
    edx: EdxFile | None = Field(default=None, description="EDX map that was taken with it")
    edx_reason: str | None = None
    group: str | None = Field(default=None, description="data sets of one group may be factorised together")
    stages: tuple[str, ...] = ()
    source: dict[str, object] = Field(
        default_factory=dict, description="what enters the parameters of its rules, see stemcal.stages.parameter"
    )


class Manifest(Record):
    """A session as it was found, with everything that decides what will be computed."""

    schema_id: Literal["stemcal/manifest/1"] = Field(default="stemcal/manifest/1", alias="schema")
    path: str = Field(description="of this file, relative to the processing folder")
    session: str = Field(description="of the session, relative to the processing folder")
    instrument: str
    settings: dict[str, dict[str, object]]
    datasets: dict[str, Dataset]
    gold_history: tuple[HistoryEntry, ...] = Field(
        default=(), description="calibrations of the instrument before this session, with its settings"
    )
    warnings: tuple[str, ...] = ()
