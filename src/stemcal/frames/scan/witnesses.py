"""What every source says of a layout, as a logarithm of probability. Pure; natural logarithms throughout.

A setting (``.hdr``, microscope) is right, or with a small probability left over from another scan; then it is drawn
from the same prior as a shape. The frames themselves (long exposures, pauses) are tested for a column that holds an
event in nearly every line while the rest is nearly free of them; how near is integrated over, so that no threshold
decides, and two lines say little while two hundred say all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betaln

from stemcal.frames.scan.events import Events
from stemcal.frames.scan.layout import Layout
from stemcal.frames.scan.prior import p_cols, p_shape

LEFT_OVER = 0.05
"""Probability that a setting is of another scan."""
CAP = 30.0
"""The most that the frames themselves weigh against a layout: a fault that nobody thought of is never rarer."""
IN_LINE = (20.0, 0.5)
"""Beta prior of how often a line shows its event: nearly always."""
ELSEWHERE = (0.5, 50.0)
"""Beta prior of how often an event happens anywhere else: seldom."""
FIRST, LAST = "first", "last"


@dataclass(frozen=True)
class LineEvents:
    """How the events lie in a layout.

    Attributes
    ----------
    log_ratio : float
        Logarithm of how much likelier one event per line makes the events than chance does.
    col : int
        The column of the event, 0 or the last one; for pauses the column before which it lies, 0 or 1.
    n_lines, n_with_event : int
        Lines in which an event could be seen, and those with one.
    """

    log_ratio: float
    col: int
    n_lines: int
    n_with_event: int


def line_events(
    events: Events, layout: Layout, cols: tuple[int, ...], *, between: bool = False
) -> tuple[LineEvents, ...]:
    """Return how the events lie in ``layout`` if they belong to each of ``cols``, the most likely column first.

    ``between`` says that the events lie between frames: whether there is a pause before the first line, and behind the
    last one, is then left open, for nobody knows what the beam did there.
    """
    n_slots = events.at.size
    found = []
    for col in cols:
        slots = layout.column(col, n_slots)
        n_known, n_events = events.n_known, events.n_events
        if between and col == 0:
            end = layout.first_slot + layout.rows * layout.cols
            edges = [edge for edge in (layout.first_slot, end) if edge < n_slots]
            n_known -= int(np.count_nonzero(events.known[edges]))
            n_events -= int(np.count_nonzero(events.at[edges]))
            slots = slots[1:]
        lines = int(np.count_nonzero(events.known[slots]))
        hits = int(np.count_nonzero(events.at[slots]))
        ratio = _log_beta(hits, lines, IN_LINE) + _log_beta(n_events - hits, n_known - lines, ELSEWHERE)
        found.append(LineEvents(ratio - _log_beta(n_events, n_known, ELSEWHERE), col, lines, hits))
    return tuple(sorted(found, key=lambda item: -item.log_ratio))


def log_events(found: tuple[LineEvents, ...]) -> float:
    """Return the logarithm of the ratio to chance, when each line may as well show no event (an EDX system's scan)."""
    terms = [math.log(0.5), *(math.log(0.5 / len(found)) + item.log_ratio for item in found)]
    return float(np.logaddexp.reduce(terms))


def log_hdr_scan(layout: Layout | None, stated: tuple[int, int], n_slots: int) -> float:
    """Return the logarithm of the probability that the ``.hdr`` states (rows, cols) ``stated``; None is no scan."""
    left_over = p_shape(*stated)
    if layout is None:
        return math.log(left_over)
    return math.log((1 - LEFT_OVER) * agrees_with_hdr(layout, stated, n_slots) + LEFT_OVER * left_over)


def log_microscope(layout: Layout | None, size_px: int, n_slots: int) -> float:
    """Return the logarithm of the probability that the microscope states a scan of ``size_px``; None is no scan."""
    left_over = p_cols(size_px)
    if layout is None:
        return math.log(left_over)
    return math.log((1 - LEFT_OVER) * agrees_with_microscope(layout, size_px, n_slots) + LEFT_OVER * left_over)


def log_trigger(layout: Layout | None, frames: int) -> float:
    """Return the logarithm of the probability of ``frames`` per trigger, neither 1 nor all; None is no scan.

    A series that is no scan has such a number now and then, so it weighs less than a stated shape.
    """
    any_number = 1 / (frames * 12)
    if layout is None:
        return math.log(0.2 * any_number)
    return math.log(0.4 * agrees_with_trigger(layout, frames) + 0.05 * any_number)


def agrees_with_hdr(layout: Layout, stated: tuple[int, int], n_slots: int) -> bool:
    """Whether the layout is the stated one, with or without a column of line skip, or the beginning of it."""
    rows, cols = stated
    complete = layout.rows == rows or (layout.rows < rows and layout.excess(n_slots) <= 0)
    return complete and layout.cols in (cols, cols + 1)


def agrees_with_microscope(layout: Layout, size_px: int, n_slots: int) -> bool:
    """Whether the layout is a scan of ``size_px``: as many columns (one more with line skip), and the rows to it."""
    near = abs(layout.rows - size_px) <= 1
    cut = layout.rows < size_px and layout.excess(n_slots) <= 0
    return (near or cut) and layout.cols in (size_px, size_px + 1)


def agrees_with_trigger(layout: Layout, frames: int) -> bool:
    """Whether a line, or the whole scan, is one trigger."""
    return frames in (layout.cols, layout.rows * layout.cols)


def _log_beta(hits: int, trials: int, prior: tuple[float, float]) -> float:
    return float(betaln(hits + prior[0], trials - hits + prior[1]) - betaln(*prior))
