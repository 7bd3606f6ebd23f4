"""The evidence in words."""

from __future__ import annotations

from stemcal.frames.scan.events import Events
from stemcal.frames.scan.layout import Layout
from stemcal.frames.scan.score import (
    EXPOSURES,
    FRAME_COUNT,
    HDR_SCAN,
    HDR_TRIGGER,
    INTENSITY,
    MICROSCOPE,
    TIMESTAMPS,
    Heard,
    Scored,
)
from stemcal.frames.scan.witnesses import LineEvents
from stemcal.records.base import Flag
from stemcal.records.scan import ScanCandidate, ScanEvidence

USER = "user"
REMEDY = "state it with --scan-shape ROWS,COLS or in session.yaml"


def evidence_of(heard: Heard, best: Scored | None) -> tuple[ScanEvidence, ...]:
    """Return what every source says, and how much it weighs for the best layout (0 where there is none)."""
    said: list[tuple[str, str, tuple[int, int] | None]] = []
    if heard.hdr_scan:
        said.append((HDR_SCAN, f".hdr: ScanY {heard.hdr_scan[0]}, ScanX {heard.hdr_scan[1]}", heard.hdr_scan))
    if heard.frames_per_trigger:
        rows, rest = divmod(heard.n_slots, heard.frames_per_trigger)
        words = f".hdr: {heard.frames_per_trigger} frames per trigger"
        said.append((HDR_TRIGGER, words, None if rest else (rows, heard.frames_per_trigger)))
    if heard.scan_size_px:
        size = heard.scan_size_px
        said.append((MICROSCOPE, f"microscope: scan size {size} px", (size, size)))
    for source, events, words in (
        (EXPOSURES, heard.exposures, "exposed for {:.4g} ms against {:.4g} ms"),
        (TIMESTAMPS, heard.times, "begin after {:.6g} ms against {:.6g} ms"),
    ):
        if events is not None:
            seen = None if best is None else best.lines.get(source)
            said.append((source, _events(source, events, words, seen), _alone(best, seen)))
    if heard.intensity and best is not None and best.layout is not None:
        weight = best.weights[INTENSITY]
        words = "agrees with" if weight > 0 else "contradicts" if weight < 0 else "says nothing of"
        said.append((INTENSITY, f"total intensity: {words} {best.layout.cols} columns", None))
    said.append(_count(heard.n_slots, best))
    weights = {} if best is None else best.weights
    return tuple(
        ScanEvidence(source=source, statement=words, scan_shape=shape, weight=round(weights.get(source, 0.0), 3))
        for source, words, shape in said
    )


def user_said(user: tuple[int, int]) -> ScanEvidence:
    """Return what a person says; it is not weighed."""
    words = f"stated by a person: {user[0]} x {user[1]}"
    return ScanEvidence(source=USER, statement=words, scan_shape=user, weight=0.0)


def uncertain_flag(n_slots: int, candidates: tuple[ScanCandidate, ...], against: list[str]) -> Flag:
    """Return the flag of a scan shape that could not be decided."""
    kept = f"the {n_slots} frames are kept as one line"
    if not candidates:
        message = f"nothing shows a scan: {kept}; if they are one, {REMEDY}"
        return Flag(name="scan_shape_uncertain", value="none", message=message)
    named = "; ".join(
        f"{item.scan_shape[0]} x {item.scan_shape[1]} from frame {item.first_slot} (probability {item.probability:.2g})"
        for item in candidates[:3]
    )
    why = f" ({'; '.join(against)})" if against else ""
    message = f"the scan shape is not certain{why}; possible: {named}; {kept}; {REMEDY}"
    first = candidates[0].scan_shape
    return Flag(name="scan_shape_uncertain", value=f"{first[0]},{first[1]}", message=message)


def overruled_flags(against: tuple[str, ...]) -> tuple[Flag, ...]:
    """Return a flag for settings that contradict what the frames themselves show; none if there are none."""
    if not against:
        return ()
    message = f"{', '.join(against)}: another scan than the frames themselves show; the frames were believed"
    return (Flag(name="scan_setting_overruled", value=", ".join(against), message=message),)


def rows_flag(layout: Layout, probability: float) -> Flag:
    """Return the flag of a layout whose columns are certain, but not its first and last row."""
    message = f"lines of {layout.cols} are certain, but the scan may begin or end a line earlier or later; {REMEDY}"
    return Flag(name="scan_rows_uncertain", value=round(probability, 3), limit=0.99, message=message)


def contradicted_flag(user: tuple[int, int], shown: Layout) -> Flag:
    """Return the flag of a stated shape where the frames themselves show other columns."""
    stated, seen = f"{user[0]},{user[1]}", f"{shown.rows},{shown.cols}"
    message = f"{user[0]} x {user[1]} as stated, but the frames themselves show lines of {shown.cols}: check the shape"
    return Flag(name="scan_shape_contradicted", value=stated, limit=seen, message=message)


def _events(source: str, events: Events, words: str, seen: LineEvents | None) -> str:
    n_events = events.slots.size
    if not n_events:
        return f"{source}: all alike ({events.ordinary_ns / 1e6:.6g} ms)"
    text = f"{source}: {n_events} frames {words.format(events.event_ns / 1e6, events.ordinary_ns / 1e6)}"
    if seen is None:
        return text
    return f"{text}; {seen.n_with_event} of {seen.n_lines} lines have one at column {seen.col}"


def _alone(best: Scored | None, seen: LineEvents | None) -> tuple[int, int] | None:
    if best is None or best.layout is None or seen is None or seen.log_ratio < 0:
        return None
    return best.layout.rows, best.layout.cols


def _count(n_slots: int, best: Scored | None) -> tuple[str, str, tuple[int, int] | None]:
    layout = None if best is None else best.layout
    if layout is None or layout.first_slot or layout.excess(n_slots):
        return FRAME_COUNT, f"frame count: {n_slots}", None
    return FRAME_COUNT, f"frame count: {n_slots} = {layout.rows} x {layout.cols}", (layout.rows, layout.cols)
