"""A data set that a step refused is held until something that decides the outcome changes."""

from __future__ import annotations

from pathlib import Path

from stemcal.records.failure import failure_path
from stemcal.records.manifest import Dataset
from stemcal.records.progress import read_failure
from stemcal.stages import OUTPUTS, STAGES, digest, parameter


def hold(dataset: Dataset, settings: dict[str, dict[str, object]], processing: Path) -> Dataset:
    """Return ``dataset`` without the steps that refused it and those behind them.

    Parameters
    ----------
    dataset : Dataset
        A data set with its steps and its source.
    settings : dict
        The settings of every step by name.
    processing : Path
        Where the failure records are.
    """
    for position, stage in enumerate(dataset.stages):
        path = failure_path(processing / f"{dataset.id}_{stage}.json")
        failure = read_failure(path)
        if (
            failure is None
            or failure.category == "environment"
            or _inputs_are_younger(dataset, stage, path, processing)
        ):
            continue
        if failure.parameter_sha256 == digest(parameter(stage, settings, dataset.source)):
            reason = f"{stage} refused it: {failure.message}"
            return dataset.model_copy(update={"verdict": "held", "reason": reason, "stages": dataset.stages[:position]})
    return dataset


def _inputs_are_younger(dataset: Dataset, stage: str, failure: Path, processing: Path) -> bool:
    """Tell whether what the step reads was made again after it refused: a damaged file may have been the cause."""
    endings = [ending for before in STAGES[stage].upstream for ending in OUTPUTS[before]]
    step = STAGES[stage]
    references = [f"{gold}_gold.json" for gold in dataset.gold_candidates if "gold" in step.reads]
    references += [f"{gain}_gain.json" for gain in dataset.gain_candidates if "gain" in step.may_read]
    references += [f"{one}_geometry.json" for one in dataset.geometry_candidates if "geometry" in step.may_read]
    files = [processing / name for name in (*(f"{dataset.id}_{ending}" for ending in endings), *references)]
    refused = failure.stat().st_mtime_ns
    return any(file.stat().st_mtime_ns > refused for file in files if file.is_file())
