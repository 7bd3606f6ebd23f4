"""Decide where the rows and columns of a scan lie, or say that it cannot be decided. Pure; nothing is read here.

No raw file states its scan reliably, so every source is heard: a person, the ``.hdr``, the microscope's file, the
exposures and time stamps of the frames, the number of frames, and, after a pass over the data, the total intensity.
Each says how likely it is under each layout (`stemcal.frames.scan.witnesses`), the products are compared with each
other and with "no scan at all" (`stemcal.frames.scan.score`). A layout is certain if its probability reaches `CERTAIN`,
at least one source beyond the bare number of frames supports it, and nothing contradicts it that outweighs what the
frames themselves show. Otherwise the frames stay one line: a wrong shape would shear every map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.frames.scan.events import Events, long_exposures, pauses
from stemcal.frames.scan.layout import Layout, is_usual
from stemcal.frames.scan.placement import Slots
from stemcal.frames.scan.proposals import propose
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
    score,
)
from stemcal.frames.scan.slip import slip
from stemcal.frames.scan.statements import evidence_of, uncertain_flag
from stemcal.frames.scan.witnesses import (
    agrees_with_hdr,
    agrees_with_microscope,
    agrees_with_trigger,
)
from stemcal.records.base import Flag
from stemcal.records.scan import ScanCandidate, ScanEvidence

CERTAIN = 0.99
"""Probability from which a layout is believed."""
SUPPORT = 3.0
"""A source supports a layout that it makes e^3 = 20 times likelier than no scan."""
SHOWN = 10.0
"""The frames themselves outweigh a setting that contradicts them if they make the layout e^10 times likelier ..."""
SHOWN_LINES = 8
"""... and that in at least so many lines."""
FLY_BACK_LINES = 0.8
"""A column is fly-back if so many of its frames are exposed for long."""
_LISTED = 5


@dataclass(frozen=True)
class ScanLayout:
    """A decision.

    Attributes
    ----------
    scan_shape : tuple of int
        (rows, cols), fly-back columns included; (1, n_slots) where nothing is certain.
    first_slot : int
        Slot of position (0, 0); the slots before are lead-in.
    fly_back_cols : tuple of int
        Columns whose frames were exposed while the beam flew back.
    spikes : ndarray
        (k,) int64, slots with a long exposure that are in no fly-back column.
    probability : float
        Of this layout; of "no scan" where the frames are kept as one line.
    certain : bool
        Whether it can be built on.
    candidates : tuple of ScanCandidate
        The most probable layouts.
    evidence : tuple of ScanEvidence
        What every source says.
    flags : tuple of Flag
        Doubts, in words.
    """

    scan_shape: tuple[int, int]
    first_slot: int
    fly_back_cols: tuple[int, ...]
    spikes: NDArray[np.int64]
    probability: float
    certain: bool
    candidates: tuple[ScanCandidate, ...] = ()
    evidence: tuple[ScanEvidence, ...] = ()
    flags: tuple[Flag, ...] = ()


def by_slot(slots: Slots, values: NDArray[np.int64], missing: int = -1) -> NDArray[np.int64]:
    """Return per-frame ``values`` (n_frames,) in the order of the slots (n_slots,), ``missing`` where none is."""
    found = np.full(slots.n_slots, missing, np.int64)
    at = slots.file_index >= 0
    found[at] = values[slots.file_index[at]]
    return found


def decide(
    n_slots: int,
    *,
    exposure_ns: NDArray[np.int64] | None = None,
    time_ns: NDArray[np.int64] | None = None,
    hdr_scan: tuple[int, int] | None = None,
    frames_per_trigger: int | None = None,
    scan_size_px: int | None = None,
    restarts: tuple[int, ...] = (),
    intensity: Callable[[int], float] | None = None,
) -> ScanLayout:
    """Decide the layout of an acquisition of ``n_slots`` slots from its files.

    Parameters
    ----------
    n_slots : int
        Slots, the missing frames included, >= 1.
    exposure_ns, time_ns : ndarray or None
        (n_slots,) int64, exposure and time stamp of every frame, -1 where unknown or missing.
    hdr_scan : tuple of int or None
        (ScanY, ScanX) of the ``.hdr``.
    frames_per_trigger : int or None
        Of the ``.hdr``; 1 and ``n_slots`` say nothing of lines.
    scan_size_px : int or None
        The microscope's scan size.
    restarts : tuple of int
        Where the numbering starts again (`Slots.restarts`): two scans in one file are never taken for one.
    intensity : callable or None
        Number of columns -> logarithm of the likelihood ratio, see `stemcal.frames.scan.intensity`.
    """
    heard = Heard(
        n_slots=n_slots,
        exposures=None if exposure_ns is None else long_exposures(exposure_ns),
        times=None if time_ns is None else pauses(time_ns),
        hdr_scan=hdr_scan,
        frames_per_trigger=_telling(frames_per_trigger, n_slots),
        scan_size_px=scan_size_px,
        intensity=intensity,
    )
    if n_slots == 1:
        return ScanLayout((1, 1), 0, (), _spikes(heard.exposures, None, ()), 1.0, certain=True)
    layouts = propose(
        n_slots,
        exposures=heard.exposures,
        times=heard.times,
        hdr_scan=hdr_scan,
        frames_per_trigger=heard.frames_per_trigger,
        scan_size_px=scan_size_px,
    )
    ranked = _merge(score(heard, layouts))
    best = next((item for item in ranked if item.layout is not None), None)
    candidates = tuple(_candidate(heard, item) for item in ranked[: _LISTED + 1] if item.layout is not None)
    evidence = evidence_of(heard, best)
    doubts = [] if best is None else _doubts(heard, best, restarts)
    if best is None or best.layout is None or best.probability < CERTAIN or doubts:
        no_scan = next(item.probability for item in ranked if item.layout is None)
        flag = uncertain_flag(n_slots, candidates, doubts)
        spikes = _spikes(heard.exposures, None, ())
        return ScanLayout((1, n_slots), 0, (), spikes, no_scan, False, candidates, evidence, (flag,))
    layout = best.layout
    fly_back = _fly_back(heard.exposures, layout)
    return ScanLayout(
        (layout.rows, layout.cols),
        layout.first_slot,
        fly_back,
        _spikes(heard.exposures, layout, fly_back),
        best.probability,
        True,
        candidates,
        evidence,
        _overruled(heard, best),
    )


def _telling(frames_per_trigger: int | None, n_slots: int) -> int | None:
    return frames_per_trigger if frames_per_trigger is not None and 1 < frames_per_trigger < n_slots else None


def _merge(scored: tuple[Scored, ...]) -> list[Scored]:
    """Add up layouts that show the same pixels and differ only in the side on which the fly-back column stands."""
    kept: dict[tuple[int, int, int] | None, Scored] = {}
    for item in scored:
        key = None if item.layout is None else item.start
        if key in kept:
            other = kept[key]
            kept[key] = Scored(other.layout, other.probability + item.probability, other.weights, other.lines)
        else:
            kept[key] = item
    return sorted(kept.values(), key=lambda item: -item.probability)


def _supports(heard: Heard, item: Scored) -> tuple[str, ...]:
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


def _contradictions(heard: Heard, item: Scored) -> tuple[str, ...]:
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


def _shown(item: Scored) -> bool:
    """Whether the frames themselves show the layout so clearly that no setting counts against it."""
    return any(
        item.weights.get(source, 0.0) >= SHOWN and seen.n_with_event >= SHOWN_LINES
        for source, seen in item.lines.items()
    )


def _doubts(heard: Heard, best: Scored, restarts: tuple[int, ...]) -> list[str]:
    """Return why the best layout is not believed, whatever its probability; empty if nothing stands against it."""
    layout = best.layout
    assert layout is not None
    doubts = []
    if restarts:
        doubts.append(f"the frame numbers start again at frame {restarts[0]}: there is more than one scan in it")
    supports = set(_supports(heard, best)) - {FRAME_COUNT}
    if not supports and not _count_is_telling(layout, heard.n_slots):
        doubts.append("nothing but the number of frames speaks for it")
    against = _contradictions(heard, best)
    if against and not _shown(best):
        doubts.append(f"contradicted by {', '.join(against)}")
    for source, events in ((EXPOSURES, heard.exposures), (TIMESTAMPS, heard.times)):
        seen = best.lines.get(source)
        if events is not None and seen is not None and seen.log_ratio >= SUPPORT:
            row = slip(events, layout, seen.col)
            if row is not None:
                doubts.append(f"{source} show that frames were lost without a number near row {row}")
    return doubts


def _overruled(heard: Heard, best: Scored) -> tuple[Flag, ...]:
    against = _contradictions(heard, best)
    if not against:
        return ()
    message = f"{', '.join(against)} state another scan than the frames themselves show; the frames were believed"
    return (Flag(name="scan_setting_overruled", value=", ".join(against), message=message),)


def _fly_back(exposures: Events | None, layout: Layout) -> tuple[int, ...]:
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


def _spikes(exposures: Events | None, layout: Layout | None, fly_back: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the slots of long exposures that are in no fly-back column."""
    if exposures is None:
        return np.empty(0, np.int64)
    at = exposures.slots
    if layout is None or not fly_back:
        return at
    place = at - layout.first_slot
    inside = (place >= 0) & (place < layout.rows * layout.cols)
    return at[~(inside & np.isin(place % layout.cols, fly_back))]


def _candidate(heard: Heard, item: Scored) -> ScanCandidate:
    layout = item.layout
    assert layout is not None
    return ScanCandidate(
        scan_shape=(layout.rows, layout.cols),
        first_slot=layout.first_slot,
        fly_back_cols=_fly_back(heard.exposures, layout),
        probability=round(min(item.probability, 1.0), 6),
        sources=_supports(heard, item),
    )
