"""A history as it is shown: each calibration with its change since the one before."""

from __future__ import annotations

from collections.abc import Iterable

from stemcal.history.drift import DriftLimits, drift_between
from stemcal.history.entries import by_time, previous_of
from stemcal.records.history import HistoryEntry
from stemcal.records.session import HistoryPoint


def history_points(entries: Iterable[HistoryEntry], limits: DriftLimits) -> tuple[HistoryPoint, ...]:
    """Return the calibrations in the order of acquisition, each compared with the last of its series before it."""
    ordered = by_time(entries)
    points = []
    for one in ordered:
        previous = previous_of(one, ordered)
        drift = drift_between(one, previous, limits) if previous is not None else None
        points.append(HistoryPoint(entry=one, of_this_session=False, drift=drift))
    return tuple(points)
