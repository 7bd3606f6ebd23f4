"""Which layouts are worth a score: everything that some source suggests. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from stemcal.frames.scan.events import Events
from stemcal.frames.scan.layout import Layout
from stemcal.frames.scan.prior import SIZES
from stemcal.frames.scan.score import Heard

FEW = 4
"""Extra triggers before or behind a scan that need no other reason."""
LEAD_IN = 600
"""Frames of lead-in that are looked for where nothing else points to the first row."""
LEAST = 0.5
"""Fraction of the slots that a scan fills at least."""
PERIODS = 10
"""Distances between events that are tried."""
_NEIGHBOURS = 6
_EMPTY_LINES = 3


def propose(heard: Heard, user: tuple[int, int] | None = None) -> tuple[Layout, ...]:
    """Return every layout with at least two rows and two columns that a source suggests, or a factor of the count."""
    n_slots, size = heard.n_slots, heard.scan_size_px
    stated = [shape for shape in (heard.hdr_scan, user) if shape is not None]
    cols = _near_squares(n_slots) | {shape[1] + extra for shape in stated for extra in (0, 1)}
    if heard.frames_per_trigger:
        cols.add(heard.frames_per_trigger)
    if size:
        cols |= {size, size + 1}
    for events in (heard.exposures, heard.times):
        cols |= _periods(events) if events else set()
    wanted = {shape[0] for shape in stated} | ({size, size - 1} if size else set())
    layouts = {Layout(n_slots // factor, factor) for factor in _factors(n_slots)}
    for width in cols:
        if 2 <= width <= n_slots // 2 + 1:
            rows = wanted | {width - 1, width, width + 1}
            layouts |= _with_width(n_slots, width, rows, _phases(width, heard.exposures, heard.times))
    return tuple(sorted(layouts))


def _factors(n_slots: int) -> list[int]:
    low = [factor for factor in range(2, math.isqrt(n_slots) + 1) if n_slots % factor == 0]
    return low + [n_slots // factor for factor in low]


def _near_squares(n_slots: int) -> set[int]:
    """Return X where n is X^2, X (X - 1) or X (X + 1), or X^2 and a few; usual sizes with a lead-in besides."""
    side = math.isqrt(n_slots)
    found = {side, side + 1} if n_slots in (side * side, side * (side + 1)) else set()
    if 0 < n_slots - side * side <= FEW:
        found.add(side)
    return found | {size for size in SIZES if 0 < n_slots - size * size <= LEAD_IN}


def _periods(events: Events) -> set[int]:
    """Return the distances that are most frequent among neighbouring events, spikes between them tolerated."""
    at = events.slots
    if at.size < 2:
        return set()
    lags = np.concatenate([at[order:] - at[:-order] for order in range(1, min(_NEIGHBOURS, at.size - 1) + 1)])
    values, counts = np.unique(lags, return_counts=True)
    best = np.argsort(-counts, kind="stable")[:PERIODS]
    return {int(value) for value in values[best]}


def _phases(width: int, exposures: Events | None, times: Events | None) -> set[int]:
    """Return slots at which a first row may begin: behind a long exposure or at it, and behind a pause."""
    starts: set[int] = set()
    for events, offsets in ((exposures, (0, 1)), (times, (0, -1))):
        if events is None or not events.slots.size:
            continue
        counts = np.bincount(events.slots % width, minlength=width)
        for phase in np.argsort(-counts, kind="stable")[:2]:
            if counts[phase] > 0:
                starts |= {(int(phase) + offset) % width for offset in offsets}
    return starts


def _with_width(n_slots: int, cols: int, rows: Iterable[int], phases: set[int]) -> set[Layout]:
    wanted = set(rows)
    firsts = set(range(FEW + 1)) | {n_slots - row * cols for row in wanted if n_slots - row * cols <= LEAD_IN}
    firsts |= {phase + line * cols for phase in phases for line in range(_EMPTY_LINES + 1)}
    firsts |= {n_slots - row * cols for row in wanted if (n_slots - row * cols) % cols in phases}
    layouts = set()
    for first in firsts:
        if not 0 <= first < n_slots - cols:
            continue
        full, rest = divmod(n_slots - first, cols)
        fitting = {row for row in wanted if row <= full} | {full if rest <= FEW else full + 1}
        layouts |= {Layout(row, cols, first) for row in fitting if row >= 2 and row * cols >= LEAST * n_slots}
    return layouts
