"""How far each data set of a session has come: what the session page and ``stemcal status`` both say.

Files are looked at in one place (`look`); what follows from them is pure (`judge`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from stemcal.errors import DataError
from stemcal.records.atomic import read_record
from stemcal.records.base import Record, Verdict
from stemcal.records.failure import FailureRecord, failure_path
from stemcal.records.manifest import Dataset, Manifest
from stemcal.stages import digest, parameter

StageState = Literal["done", "failed", "waiting", "absent"]
DatasetState = Literal["done", "waiting", "failed", "held", "growing", "incomplete", "rejected", "archived", "ignored"]

DATASET_STAGES = ("convert", "gold", "gain", "geometry", "calibration", "polar")
"""Steps that work on one data set, in the order they run."""

STATES: tuple[DatasetState, ...] = (
    "failed", "held", "rejected", "incomplete", "growing", "waiting", "done", "archived", "ignored"
)  # fmt: skip
"""Every state, what needs a person first."""

_NEXT: dict[str, str] = {
    "data": "it is held until the file, its settings or the step change",
    "environment": "it is tried again at the next run",
    "bug": "this is a fault of stemcal, not of the data: please report it with this message",
}


class StageProgress(Record):
    """One step on one data set.

    ``done``: its record is there and is still that of this input with these settings; ``failed``: it refused the data,
    or its verdict is fail (a sample's geometry may fail, which leaves it a sample); ``waiting``: it will run;
    ``absent``: it is not planned.
    """

    stage: str
    state: StageState
    verdict: Verdict | None = None
    reason: str = ""


class DatasetProgress(Record):
    """One data set: the sum of its steps in a word and a sentence."""

    dataset: str
    state: DatasetState
    verdict: Verdict | None
    reason: str
    stages: tuple[StageProgress, ...]


@dataclass(frozen=True)
class Found:
    """What a step left behind for one data set.

    Attributes
    ----------
    verdict : str or None
        Verdict of its record; None where there is no record.
    messages : tuple of str
        Messages of the record's flags.
    made_by : dict
        Stage, revision, settings and source that the record was made with.
    failure : FailureRecord or None
        Why it was refused.
    problem : str
        Why the record cannot be read, or empty.
    """

    verdict: Verdict | None = None
    messages: tuple[str, ...] = ()
    made_by: Mapping[str, object] = field(default_factory=dict)
    failure: FailureRecord | None = None
    problem: str = ""


def dataset_progress(manifest: Manifest, processing: Path) -> tuple[DatasetProgress, ...]:
    """Return the progress of every data set of ``manifest``, in its order.

    Parameters
    ----------
    manifest : Manifest
        The frozen manifest.
    processing : Path
        The folder with the outputs of the session.
    """
    return tuple(
        judge(dataset, {stage: look(processing, dataset.id, stage) for stage in DATASET_STAGES}, manifest.settings)
        for dataset in manifest.datasets.values()
    )


def count_states(progress: Sequence[DatasetProgress]) -> dict[DatasetState, int]:
    """Return how many data sets are in each state, in the order of `STATES`, without the empty ones."""
    counts = Counter(one.state for one in progress)
    return {state: counts[state] for state in STATES if counts[state]}


def look(processing: Path, dataset: str, stage: str) -> Found:
    """Return what ``stage`` left for ``dataset`` below ``processing``; unreadable files are part of the finding."""
    return look_at(processing / f"{dataset}_{stage}.json")


def look_at(record: Path) -> Found:
    """Return what a step left at ``record`` and beside it; unreadable files are part of the finding."""
    failure = read_failure(failure_path(record))
    if not record.is_file():
        return Found(failure=failure)
    try:
        values = json.loads(record.read_text(encoding="utf-8"))
        quality, made_by = values["quality"], values["provenance"]
        messages = tuple(str(flag["message"]) for flag in quality["flags"])
        return Found(quality["verdict"], messages, _identity(made_by), failure)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Found(failure=failure, problem=f"its record cannot be read ({type(error).__name__}: {error})")


def read_failure(path: Path) -> FailureRecord | None:
    """Return the failure record at ``path``, or None if there is none that this version can read."""
    if not path.is_file():
        return None
    try:
        return read_record(path, FailureRecord)
    except DataError:
        return None  # of another version: it no longer decides anything


def _identity(made_by: Mapping[str, Any]) -> dict[str, object]:
    return {key: made_by[key] for key in ("stage", "revision", "settings", "source")}


def judge(
    dataset: Dataset, found: Mapping[str, Found], settings: Mapping[str, Mapping[str, object]]
) -> DatasetProgress:
    """Return the progress of ``dataset`` from what its steps left behind.

    Parameters
    ----------
    dataset : Dataset
        Its entry in the manifest.
    found : mapping
        `Found` by stage.
    settings : mapping
        The settings of every step, by name.
    """
    stages = tuple(_judge_stage(stage, dataset, found.get(stage, Found()), settings) for stage in DATASET_STAGES)
    verdicts = [_weight(stage) for stage in stages if stage.verdict is not None]
    state, reason = _sum_up(dataset, stages)
    order: tuple[Verdict, ...] = ("pass", "warn", "fail")
    verdict = max(verdicts, key=order.index) if verdicts else None
    return DatasetProgress(dataset=dataset.id, state=state, verdict=verdict, reason=reason, stages=stages)


def _weight(stage: StageProgress) -> Verdict:
    """Return what the verdict of a step means for its data set: one that is not the data set's purpose only warns."""
    assert stage.verdict is not None
    return "warn" if stage.state == "done" and stage.verdict == "fail" else stage.verdict


def _judge_stage(
    stage: str, dataset: Dataset, found: Found, settings: Mapping[str, Mapping[str, object]]
) -> StageProgress:
    wanted = _wanted(stage, dataset, settings)
    planned = stage in dataset.stages
    if found.failure is not None and (wanted is None or found.failure.parameter_sha256 == digest(wanted)):
        reason = f"{found.failure.message}; {_NEXT[found.failure.category]}"
        return StageProgress(stage=stage, state="failed", reason=reason)
    if planned and (found.failure is not None or _is_stale(found, wanted)):
        return StageProgress(stage=stage, state="waiting", reason="its input or settings changed: it will run again")
    if found.problem:
        return StageProgress(stage=stage, state="waiting" if planned else "absent", reason=found.problem)
    if found.verdict is None:
        return StageProgress(stage=stage, state="waiting" if planned else "absent")
    return StageProgress(
        stage=stage,
        state="failed" if found.verdict == "fail" and not _is_extra(stage, dataset) else "done",
        verdict=found.verdict,
        reason="; ".join(found.messages),
    )


def _is_extra(stage: str, dataset: Dataset) -> bool:
    """Tell whether a step is not what the data set is for: a sample need not show its geometry."""
    return stage == "geometry" and dataset.role == "sample"


def _wanted(stage: str, dataset: Dataset, settings: Mapping[str, Mapping[str, object]]) -> str | None:
    """Return the parameter of ``stage`` for ``dataset``, or None where the manifest does not say enough."""
    try:
        return parameter(stage, settings, dataset.source)
    except KeyError:
        return None


def _is_stale(found: Found, wanted: str | None) -> bool:
    # As values, not as text: 1 and 1.0 are the same setting.
    return bool(found.made_by) and wanted is not None and found.made_by != json.loads(wanted)


def _sum_up(dataset: Dataset, stages: Sequence[StageProgress]) -> tuple[DatasetState, str]:
    # The first step that failed is the cause; what the steps behind it say follows from it.
    failed = next((f"{stage.stage}: {stage.reason}" for stage in stages if stage.state == "failed"), None)
    if dataset.verdict == "held":
        return "held", failed or dataset.reason
    if dataset.verdict != "ready" and dataset.verdict != "archived":
        return dataset.verdict, dataset.reason
    if failed is not None:
        return "failed", failed
    if dataset.verdict == "archived":
        return "archived", dataset.reason
    waiting = [stage.stage for stage in stages if stage.state == "waiting"]
    if waiting:
        return "waiting", f"still to do: {', '.join(waiting)}"
    return "done", dataset.reason
