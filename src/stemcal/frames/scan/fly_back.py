"""Which columns hold the fly-back of the beam, and which frames were exposed for long without it. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stemcal.frames.scan.events import Events
from stemcal.frames.scan.layout import Layout

FLY_BACK_LINES = 0.8
"""A column is fly-back if so many of its frames are exposed for long."""


def fly_back_cols(exposures: Events | None, layout: Layout) -> tuple[int, ...]:
    """Return the columns of which nearly every frame was exposed for long; at least two frames of it are known."""
    if exposures is None or not exposures.event_ns:
        return ()
    at = exposures.slots - layout.first_slot
    inside = at[(at >= 0) & (at < layout.rows * layout.cols)]
    hits = np.bincount(inside % layout.cols, minlength=layout.cols)
    return tuple(int(col) for col in np.flatnonzero(hits >= 2) if _mostly_long(exposures, layout, int(col)))


def _mostly_long(exposures: Events, layout: Layout, col: int) -> bool:
    slots = layout.column(col, exposures.at.size)
    known = exposures.known[slots]
    return bool(np.count_nonzero(exposures.at[slots]) >= FLY_BACK_LINES * np.count_nonzero(known))


def spikes(exposures: Events | None, layout: Layout | None, fly_back: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the slots of long exposures that are in no fly-back column."""
    if exposures is None:
        return np.empty(0, np.int64)
    at = exposures.slots
    if layout is None or not fly_back:
        return at
    place = at - layout.first_slot
    inside = (place >= 0) & (place < layout.rows * layout.cols)
    return at[~(inside & np.isin(place % layout.cols, fly_back))]
