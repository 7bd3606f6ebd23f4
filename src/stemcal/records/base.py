"""The vocabulary that every JSON file of the project is written in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Verdict = Literal["pass", "warn", "fail"]


class Record(BaseModel):
    """A frozen record that refuses unknown keys and non-finite numbers.

    A number that is missing is ``null``, never NaN: JSON has no NaN, and a reader must not have to guess.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True, serialize_by_alias=True
    )


class Settings(Record):
    """Base of the settings of a step: one section of ``config/config.yaml``, the unit in each name."""


class Quantity(Record):
    """A measured number with its standard uncertainty.

    ``sigma`` comes from block resampling of the data, not from a model covariance; it is ``null`` where no
    resampling is possible (a single pattern), and the record's flags then say so.
    """

    value: float
    sigma: float | None = Field(default=None, ge=0)
    unit: str


class Flag(Record):
    """One quality check that did not pass, in words a scientist understands."""

    name: str
    value: float | str | None = None
    limit: float | str | None = None
    message: str


class Quality(Record):
    """The verdict on a measurement and the flags that led to it."""

    verdict: Verdict
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True)
class Finding:
    """What a check found: a flag, and what it does to the verdict; a note leaves it alone."""

    flag: Flag
    severity: Literal["note", "warn", "fail"]


class InputFile(Record):
    """A file that a measurement stands on.

    ``path`` is relative to the folder of the record, so that a session can be moved; ``identity`` is what
    discovery knows of a raw file (size, first header, frame count), ``sha256`` the digest of a small file.
    """

    role: str
    path: str
    sha256: str | None = None
    identity: dict[str, int | float | str | None] | None = None


class Provenance(Record):
    """How the record came to be. No time and no host name: a rerun must give the same bytes."""

    stemcal_version: str
    commit: str | None
    lock_sha256: str | None
    stage: str
    revision: int
    settings: dict[str, object]
    source: dict[str, object]


class Measurement(Record):
    """The frame of every step's JSON; a step derives from it and adds ``result``.

    ``result`` is ``null`` when the verdict is ``fail`` and nothing could be measured: a failed fit never leaves a
    plausible number behind.
    """

    schema_id: str = Field(alias="schema")
    method: str
    inputs: tuple[InputFile, ...]
    quality: Quality
    provenance: Provenance


def worst(verdicts: list[Verdict]) -> Verdict:
    """Return the most severe of ``verdicts``; ``pass`` for an empty list."""
    order: tuple[Verdict, ...] = ("pass", "warn", "fail")
    return max(verdicts, key=order.index, default="pass")


def judged(findings: Sequence[Finding]) -> Quality:
    """Return the verdict that ``findings`` lead to, with all their flags."""
    verdicts: list[Verdict] = [finding.severity for finding in findings if finding.severity != "note"]
    return Quality(verdict=worst(verdicts), flags=tuple(finding.flag for finding in findings))
