"""``<id>_growing.json``: how far a file that is still being written has been converted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stemcal.records.base import Record


class Growth(Record):
    """Frames of a growing file that are compressed and kept for the final conversion.

    ``problem`` is why nothing could be added this time, None if something could. ``n_frames_expected`` is what the
    ``.hdr`` promises, None where it does not.
    """

    schema_id: Literal["stemcal/growth/1"] = Field(default="stemcal/growth/1", alias="schema")
    raw: str
    problem: str | None = None
    n_frames: int
    n_frames_expected: int | None
    n_bytes_compressed: int = 0
