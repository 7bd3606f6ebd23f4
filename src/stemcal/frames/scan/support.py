"""What supports a layout and what stands against it. Pure."""

from __future__ import annotations

from stemcal.frames.scan.layout import Layout, is_usual
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
from stemcal.frames.scan.slip import goes_on, slip
from stemcal.frames.scan.witnesses import agrees_with_hdr, agrees_with_microscope, agrees_with_trigger

SUPPORT = 3.0
"""A source supports a layout that it makes e^3 = 20 times likelier than no scan."""
SHOWN = 10.0
"""The frames themselves outweigh one setting that contradicts them if they make the layout e^10 times likelier ..."""
SHOWN_LINES = 8
"""... and that in at least so many lines."""


def supports(heard: Heard, item: Scored) -> tuple[str, ...]:
    """Return the sources that support a layout."""
    layout = item.layout
    assert layout is not None
    found = [source for source in (EXPOSURES, TIMESTAMPS) if item.weights.get(source, 0.0) >= SUPPORT]
    if heard.hdr_scan and agrees_with_hdr(layout, heard.hdr_scan, heard.n_slots):
        found.append(HDR_SCAN)
    if heard.frames_per_trigger and agrees_with_trigger(layout, heard.frames_per_trigger):
        found.append(HDR_TRIGGER)
    if heard.scan_size_px and agrees_with_microscope(layout, heard.scan_size_px, heard.n_slots):
        found.append(MICROSCOPE)
    if item.weights.get(INTENSITY, 0.0) >= SUPPORT:
        found.append(INTENSITY)
    if layout.first_slot == 0 and layout.excess(heard.n_slots) == 0:
        found.append(FRAME_COUNT)
    return tuple(found)


def _count_is_telling(layout: Layout, n_slots: int) -> bool:
    """Whether the number of frames is X (X - 1) for a usual X: see `stemcal.frames.scan.prior` for why it suffices."""
    return layout == Layout(layout.cols - 1, layout.cols) and is_usual(layout.cols) and layout.excess(n_slots) == 0


def contradictions(heard: Heard, item: Scored) -> tuple[str, ...]:
    """Return the settings that contradict a layout."""
    layout = item.layout
    assert layout is not None
    found = []
    if heard.hdr_scan and not agrees_with_hdr(layout, heard.hdr_scan, heard.n_slots):
        found.append(HDR_SCAN)
    if heard.frames_per_trigger and not agrees_with_trigger(layout, heard.frames_per_trigger):
        found.append(HDR_TRIGGER)
    if heard.scan_size_px and not agrees_with_microscope(layout, heard.scan_size_px, heard.n_slots):
        found.append(MICROSCOPE)
    return tuple(found)


def shown(item: Scored) -> bool:
    """Whether the frames themselves show the layout so clearly that a single setting does not count against it."""
    return any(
        item.weights.get(source, 0.0) >= SHOWN and seen.n_with_event >= SHOWN_LINES
        for source, seen in item.lines.items()
    )


def doubts(heard: Heard, best: Scored, restarts: tuple[int, ...]) -> list[str]:
    """Return why the best layout is not believed, whatever its probability; empty if nothing stands against it."""
    layout = best.layout
    assert layout is not None
    found = []
    if restarts:
        found.append(f"the frame numbers start again at frame {restarts[0]}: there is more than one scan in it")
    if not set(supports(heard, best)) - {FRAME_COUNT} and not _count_is_telling(layout, heard.n_slots):
        found.append("nothing but the number of frames speaks for it")
    against = contradictions(heard, best)
    if len(against) > 1 or (against and not shown(best)):
        found.append(f"contradicted by {', '.join(against)}")
    for source, events in ((EXPOSURES, heard.exposures), (TIMESTAMPS, heard.times)):
        seen = best.lines.get(source)
        if events is not None and seen is not None and seen.log_ratio >= SUPPORT:
            row = slip(events, layout, seen.col, between=source == TIMESTAMPS)
            if row is not None:
                found.append(f"{source} show that frames were lost without a number near row {row}")
            if goes_on(events, layout):
                found.append(f"{source} show more lines outside of it")
    return found
