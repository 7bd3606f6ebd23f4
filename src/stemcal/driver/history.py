"""What a session adds to the history of its instrument."""

from __future__ import annotations

from collections.abc import Callable

from stemcal.discover.history import history_path, identity_of
from stemcal.discover.run import Request
from stemcal.errors import DataError
from stemcal.history.entries import entry_of
from stemcal.history.file import merge_history
from stemcal.records.atomic import read_record
from stemcal.records.gold import GoldRecord
from stemcal.records.history import HistoryEntry
from stemcal.records.manifest import Manifest


def remember_calibrations(request: Request, manifest: Manifest, say: Callable[[str], None]) -> None:
    """Put the gold calibrations of a session into the history; one that cannot be used is said and left alone.

    Done by the driver and not by a job: a line in a shared file is no output that a rerun could be made to repeat.
    """
    path = history_path(request.processing, request.discover.history_file)
    try:
        merge_history(path, entries_of(request, manifest))
    except (DataError, OSError) as error:
        say(f"the calibrations of this session are not in the history: {error}")


def entries_of(request: Request, manifest: Manifest) -> tuple[HistoryEntry, ...]:
    """Return the lines of the gold data sets of a session whose records can be read."""
    found = []
    for one in manifest.datasets.values():
        if "gold" not in one.stages:
            continue
        try:
            record = read_record(request.processing / f"{one.id}_gold.json", GoldRecord)
        except DataError:
            continue
        label = f"{request.session.name}/{one.label}"
        found.append(entry_of(record, identity_of(one), label, manifest.instrument))
    return tuple(one for one in found if one is not None)
