"""Frames that were lost without a hole in the numbers: the events of the lines move to another column. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stemcal.frames.scan.events import Events
from stemcal.frames.scan.layout import Layout

NEAR = 3
"""Columns within which a displaced event is looked for."""
_LINES = 3


def slip(events: Events, layout: Layout, col: int, *, between: bool = False) -> int | None:
    """Return a row near which the events of the lines leave column ``col``; None if they stay.

    A line may show no event, and a spike may be anywhere. But a line that shows none in its place and one a few columns
    off is displaced, so are several lines that agree on another column, and so are the lines from which on a
    neighbouring column has events too, or has none any more. ``between`` is for events that lie between frames: of the
    pause before the first line nothing is expected.
    """
    slots = layout.column(col, events.at.size)
    if between and col == 0:
        slots = slots[1:]
    lacking = np.flatnonzero(events.known[slots] & ~events.at[slots])
    offsets = np.arange(-NEAR, NEAR + 1)
    near = slots[:, None] + offsets[offsets != 0]
    inside = (near >= layout.first_slot) & (near < events.at.size)
    beside = events.at[np.clip(near, 0, events.at.size - 1)] & inside
    first = layout.rows - slots.size if between else 0
    if _line_before(events, layout, int(slots[0])):
        return 0
    if beside[lacking].any():
        return first + int(lacking[np.argmax(beside[lacking].any(axis=1))])
    changes = [_change(column) for column in beside.T]
    found = [change for change in changes if change is not None]
    return first + min(found) if found else _agreeing(events, layout, lacking)


def goes_on(events: Events, layout: Layout) -> bool:
    """Whether events lie a line apart outside the scan too: it has more lines, or they are displaced there."""
    place = events.slots - layout.first_slot
    outside = events.at.copy()
    outside[events.slots[(place >= 0) & (place <= layout.rows * layout.cols)]] = False
    return int(np.count_nonzero(outside[: -layout.cols] & outside[layout.cols :])) >= 2


def _line_before(events: Events, layout: Layout, first_event: int) -> bool:
    """Whether a whole line before the first one has its event a few columns off: what was lost, was lost there."""
    expected = first_event - layout.cols
    if layout.first_slot < layout.cols - NEAR or expected < 0 or events.at[expected]:
        return False
    return bool(events.at[max(expected - NEAR, 0) : expected + NEAR + 1].any())


def _change(column: NDArray[np.bool_]) -> int | None:
    """Return where events begin in a column, or end, if they fill the lines on one side of it only."""
    steps = np.flatnonzero(np.diff(column.astype(np.int8)))
    if steps.size != 1 or min(steps[0] + 1, column.size - steps[0] - 1) < _LINES:
        return None
    return int(steps[0]) + 1


def _agreeing(events: Events, layout: Layout, lacking: NDArray[np.int64]) -> int | None:
    """Return the first of the lines without an event in its place, if most of them have one in the same other place."""
    lines, cols = np.divmod(events.slots - layout.first_slot, layout.cols)
    displaced = np.isin(lines, lacking)
    if not displaced.any():
        return None
    counts = np.bincount(cols[displaced], minlength=layout.cols)
    if counts.max() < max(2, lacking.size / 2):
        return None
    return int(lines[displaced & (cols == counts.argmax())][0])
