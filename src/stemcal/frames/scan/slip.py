"""Frames that were lost without a hole in the numbers: the events of the lines move to another column. Pure."""

from __future__ import annotations

import numpy as np

from stemcal.frames.scan.events import Events
from stemcal.frames.scan.layout import Layout

NEAR = 3
"""Columns within which the event of a line that shows none in its place is looked for."""


def slip(events: Events, layout: Layout, col: int) -> int | None:
    """Return the first row whose event is not in column ``col`` but beside it, or beside another line's; else None.

    A line may show no event, and a spike may be anywhere; a line that shows none in its place and one a few columns
    off, or several lines that agree on another column, are displaced.
    """
    slots = layout.column(col, events.at.size)
    rows = np.flatnonzero(events.known[slots] & ~events.at[slots])
    if not rows.size:
        return None
    offset = np.arange(-NEAR, NEAR + 1)
    near = slots[rows][:, None] + offset[offset != 0]
    inside = (near >= 0) & (near < events.at.size)
    beside = (events.at[np.clip(near, 0, events.at.size - 1)] & inside).any(axis=1)
    if beside.any():
        return int(rows[np.argmax(beside)])
    place = events.slots - layout.first_slot
    lines, cols = np.divmod(place, layout.cols)
    displaced = np.isin(lines, rows)
    if not displaced.any():
        return None
    agreeing = np.bincount(cols[displaced], minlength=layout.cols)
    if agreeing.max() >= max(2, rows.size / 2):
        return int(lines[displaced & (cols == agreeing.argmax())][0])
    return None
