"""``<id>_<stage>.failure.json``: why a step refused a data set, so that it is not tried again at every tick."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from stemcal.records.base import Record


class FailureRecord(Record):
    """A refusal.

    ``category`` decides what happens next: ``data`` and ``bug`` hold the data set until the parameter of the step (and
    with it ``parameter_sha256``) changes; ``environment`` (a full disk, a dead node) is tried again at the next tick.
    """

    schema_id: Literal["stemcal/failure/1"] = Field(default="stemcal/failure/1", alias="schema")
    dataset: str
    stage: str
    category: Literal["data", "environment", "bug"]
    message: str
    parameter_sha256: str


def failure_path(record: Path) -> Path:
    """Return where the failure of the step that writes ``record`` is kept."""
    return record.with_name(f"{record.stem}.failure.json")
