"""Memory between ticks: what the headers said, and since when a file has looked as it does.

Valid by path, size and time stamp of a raw file and its sidecars; a tick over an unchanged session only stats.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from pydantic import Field, ValidationError

from stemcal.discover.facts import Facts
from stemcal.records.atomic import write_text
from stemcal.records.base import Record


class CacheEntry(Record):
    """One acquisition as it was seen; ``first_seen_s`` is our clock (seconds since the epoch)."""

    signature: str
    first_seen_s: float
    facts: Facts | None


class Cache(Record):
    """All acquisitions by raw path."""

    entries: dict[str, CacheEntry] = Field(default_factory=dict)


def read_cache(path: Path) -> Cache:
    """Read the cache; one that is absent, unreadable or of another version is empty, never an error."""
    try:
        return Cache.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return Cache()


def write_cache(path: Path, cache: Cache) -> None:
    """Write the cache if it changed; a read-only processing folder is not an error here."""
    text = cache.model_dump_json()
    with contextlib.suppress(OSError):
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
