"""A data set that a step refused is held until something that decides the outcome changes."""

from __future__ import annotations

from pathlib import Path

from stemcal.records.failure import failure_path
from stemcal.records.manifest import Dataset
from stemcal.records.progress import read_failure
from stemcal.stages import digest, parameter


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
        failure = read_failure(failure_path(processing / f"{dataset.id}_{stage}.json"))
        if failure is None or failure.category == "environment":
            continue
        if failure.parameter_sha256 == digest(parameter(stage, settings, dataset.source)):
            reason = f"{stage} refused it: {failure.message}"
            return dataset.model_copy(update={"verdict": "held", "reason": reason, "stages": dataset.stages[:position]})
    return dataset
