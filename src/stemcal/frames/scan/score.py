"""Scores of the proposed layouts: prior times what every source says, as probabilities. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.frames.scan.events import Events
from stemcal.frames.scan.layout import Layout
from stemcal.frames.scan.prior import log_no_scan, log_prior
from stemcal.frames.scan.witnesses import (
    CAP,
    LineEvents,
    line_events,
    log_events,
    log_hdr_scan,
    log_microscope,
    log_trigger,
)

EXPOSURES, TIMESTAMPS, INTENSITY = "exposures", "timestamps", "intensity"
HDR_SCAN, HDR_TRIGGER, MICROSCOPE, FRAME_COUNT = "hdr_scan", "hdr_frames_per_trigger", "microscope", "frame_count"

ASKED = 8
WORTH_ASKING = 1e-4
"""The intensity is asked of at most so many numbers of columns, and of none less probable than this."""


@dataclass(frozen=True)
class Heard:
    """All that is known of an acquisition.

    ``frames_per_trigger`` is None unless it says something: neither 1 nor all frames. ``intensity`` returns the
    logarithm of how much likelier the total intensity makes a number of columns than no scan.
    """

    n_slots: int
    exposures: Events | None = None
    times: Events | None = None
    hdr_scan: tuple[int, int] | None = None
    frames_per_trigger: int | None = None
    scan_size_px: int | None = None
    intensity: Callable[[int], float] | None = None


@dataclass(frozen=True)
class Scored:
    """A layout with what speaks for it; ``layout`` None is "no scan".

    ``weights`` is source -> logarithm of the likelihood, relative to no scan; ``lines`` holds the events of exposures
    and time stamps in the columns that fit best.
    """

    layout: Layout | None
    probability: float
    weights: dict[str, float]
    lines: dict[str, LineEvents]

    @property
    def start(self) -> tuple[int, int, int]:
        """(rows, cols, slot of the first pixel): equal where only the side of the fly-back column differs."""
        assert self.layout is not None
        before = 1 if _begins_with_fly_back(self.lines) else 0
        return self.layout.rows, self.layout.cols, self.layout.first_slot + before

    @property
    def alignment(self) -> tuple[int, int]:
        """(cols, place of the first pixel in a line): equal where only whole lines are gained or lost."""
        _, cols, first = self.start
        return cols, first % cols


def score(heard: Heard, layouts: tuple[Layout, ...]) -> tuple[Scored, ...]:
    """Return the layouts and "no scan" with their probabilities, the most probable first."""
    options: list[Layout | None] = [None, *layouts]
    rows = [_weigh(heard, layout) for layout in options]
    for source in (EXPOSURES, TIMESTAMPS):
        best = max((weights.get(source, 0.0) for weights, _ in rows), default=0.0)
        for weights, _ in rows:
            if source in weights:
                weights[source] = max(weights[source], best - CAP)
    shares = _shares([weights for weights, _ in rows])
    if heard.intensity is not None:
        _hear_intensity(heard.intensity, options, shares, [weights for weights, _ in rows])
        shares = _shares([weights for weights, _ in rows])
    none = rows[0][0]
    scored = [
        Scored(option, float(share), {key: value - none[key] for key, value in weights.items()}, lines)
        for option, share, (weights, lines) in zip(options, shares, rows, strict=True)
    ]
    return tuple(sorted(scored, key=lambda item: -item.probability))


def _shares(weights: list[dict[str, float]]) -> NDArray[np.float64]:
    logs = np.array([sum(item.values()) for item in weights])
    shares = np.exp(logs - logs.max())
    return np.asarray(shares / shares.sum(), np.float64)


def _hear_intensity(
    intensity: Callable[[int], float],
    options: list[Layout | None],
    shares: NDArray[np.float64],
    weights: list[dict[str, float]],
) -> None:
    """Add what the intensity says of the most probable numbers of columns; it is asked of no others, to save time."""
    asked: dict[int, float] = {}
    for index in np.argsort(-shares):
        option = options[index]
        if len(asked) == ASKED or shares[index] < WORTH_ASKING:
            break
        if option is not None and option.cols not in asked:
            asked[option.cols] = intensity(option.cols)
    for option, weight in zip(options, weights, strict=True):
        weight[INTENSITY] = 0.0 if option is None else asked.get(option.cols, 0.0)


def _weigh(heard: Heard, layout: Layout | None) -> tuple[dict[str, float], dict[str, LineEvents]]:
    n_slots = heard.n_slots
    prior = log_no_scan(n_slots) if layout is None else log_prior(layout, n_slots)
    weights = {FRAME_COUNT: prior}
    if heard.hdr_scan:
        weights[HDR_SCAN] = log_hdr_scan(layout, heard.hdr_scan, n_slots)
    if heard.scan_size_px:
        weights[MICROSCOPE] = log_microscope(layout, heard.scan_size_px, n_slots)
    if heard.frames_per_trigger:
        weights[HDR_TRIGGER] = log_trigger(layout, heard.frames_per_trigger)
    lines: dict[str, LineEvents] = {}
    for source, events in ((EXPOSURES, heard.exposures), (TIMESTAMPS, heard.times)):
        if events is None or not events.event_ns:
            continue
        weights[source] = 0.0
        if layout is not None:
            cols = (layout.cols - 1, 0) if source == EXPOSURES else (1 if _begins_with_fly_back(lines) else 0,)
            found = line_events(events, layout, cols, between=source == TIMESTAMPS)
            weights[source], lines[source] = log_events(found), found[0]
    return weights, lines


def _begins_with_fly_back(lines: dict[str, LineEvents]) -> bool:
    """Whether the exposures show a long frame at the start of the lines; a pause then lies behind it."""
    seen = lines.get(EXPOSURES)
    return seen is not None and seen.log_ratio > 0 and seen.col == 0
