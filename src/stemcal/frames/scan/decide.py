"""Decide where the rows and columns of a scan lie, or say that it cannot be decided. Pure; nothing is read here.

No raw file states its scan reliably, so every source is heard: a person, the ``.hdr``, the microscope's file, the
exposures and time stamps of the frames, the number of frames, and, after a pass over the data, the total intensity.
Each says how likely it is under each layout (`stemcal.frames.scan.witnesses`), the products are compared with each
other and with "no scan at all" (`stemcal.frames.scan.score`). A layout is certain if its probability reaches `CERTAIN`,
at least one source beyond the bare number of frames supports it, and nothing contradicts it that outweighs what the
frames themselves show. Otherwise the frames stay one line: a wrong shape would shear every map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.frames.scan.events import long_exposures, pauses
from stemcal.frames.scan.fly_back import fly_back_cols, spikes
from stemcal.frames.scan.intensity import log_intensity
from stemcal.frames.scan.layout import Layout
from stemcal.frames.scan.person import DoesNotFit, place_stated
from stemcal.frames.scan.placement import Slots
from stemcal.frames.scan.proposals import propose
from stemcal.frames.scan.score import Heard, Scored, score
from stemcal.frames.scan.statements import (
    contradicted_flag,
    evidence_of,
    overruled_flags,
    rows_flag,
    uncertain_flag,
    user_said,
)
from stemcal.frames.scan.support import contradictions, doubts, shown, supports
from stemcal.records.base import Flag
from stemcal.records.scan import ScanCandidate, ScanEvidence

CERTAIN = 0.99
"""Probability from which the columns of a layout, and where its lines begin, are believed."""
CERTAIN_ROWS = 0.5
"""Probability from which its first and last row are believed with them; below `CERTAIN` a flag says so. A line too many
or too few displaces nothing: all frames are kept, those outside the scan too."""
STATED = 0.5
"""Probability from which a layout is believed that ScanX and ScanY of the ``.hdr`` state with that very product."""
LISTED = 0.01
"""Less probable layouts are not listed."""
_MOST = 5


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
    totals: NDArray[np.float64] | None = None,
    hdr_scan: tuple[int, int] | None = None,
    frames_per_trigger: int | None = None,
    scan_size_px: int | None = None,
    restarts: tuple[int, ...] = (),
    user: tuple[int, int] | None = None,
) -> ScanLayout | DoesNotFit:
    """Decide the layout of an acquisition of ``n_slots`` slots.

    Parameters
    ----------
    n_slots : int
        Slots, the missing frames included, >= 1.
    exposure_ns, time_ns : ndarray or None
        (n_slots,) int64, exposure and time stamp of every frame, -1 where unknown or missing.
    totals : ndarray or None
        (n_slots,) total intensity of every frame, NaN where it is missing; None before a pass over the data.
    hdr_scan : tuple of int or None
        (ScanY, ScanX) of the ``.hdr``.
    frames_per_trigger : int or None
        Of the ``.hdr``; 1 and ``n_slots`` say nothing of lines.
    scan_size_px : int or None
        The microscope's scan size.
    restarts : tuple of int
        Where the numbering starts again (`Slots.restarts`): two scans in one file are never taken for one.
    user : tuple of int or None
        (rows, cols) as a person states them; decides alone.

    Returns
    -------
    ScanLayout or DoesNotFit
        The latter only where ``user`` has no place in the acquisition, see `stemcal.frames.scan.person`.
    """
    heard = Heard(
        n_slots=n_slots,
        exposures=None if exposure_ns is None else long_exposures(exposure_ns),
        times=None if time_ns is None else pauses(time_ns),
        hdr_scan=hdr_scan,
        frames_per_trigger=_telling(frames_per_trigger, n_slots),
        scan_size_px=scan_size_px,
        intensity=None if totals is None else log_intensity(totals),
    )
    ranked = _merge(score(heard, propose(heard, user)))
    best = next((item for item in ranked if item.layout is not None), None)
    if user is not None:
        return _as_stated(heard, user, ranked, best)
    if n_slots == 1:
        return ScanLayout((1, 1), 0, (), spikes(heard.exposures, None, ()), 1.0, certain=True)
    against = [] if best is None else doubts(heard, best, restarts)
    if best is None or best.layout is None or against or not _is_certain(heard, best, ranked):
        return _one_line(heard, ranked, best, against)
    flags = overruled_flags(contradictions(heard, best))
    if best.probability < CERTAIN:
        flags = (*flags, rows_flag(best.layout, best.probability))
    return _placed(heard, best.layout, best.probability, ranked, evidence_of(heard, best), flags)


def _is_certain(heard: Heard, best: Scored, ranked: list[Scored]) -> bool:
    """Whether a layout can be built on; the acquisition's own ``.hdr`` that states it to the frame asks for less."""
    layout = best.layout
    if layout == Layout(*(heard.hdr_scan or (0, 0))) and layout is not None and not layout.excess(heard.n_slots):
        return best.probability >= STATED
    alike = sum(item.probability for item in ranked if item.layout is not None and item.alignment == best.alignment)
    return alike >= CERTAIN and best.probability >= CERTAIN_ROWS


def _one_line(heard: Heard, ranked: list[Scored], best: Scored | None, against: list[str]) -> ScanLayout:
    candidates = _candidates(heard, ranked)
    return ScanLayout(
        (1, heard.n_slots),
        0,
        (),
        spikes(heard.exposures, None, ()),
        next(item.probability for item in ranked if item.layout is None),
        certain=False,
        candidates=candidates,
        evidence=evidence_of(heard, best),
        flags=(uncertain_flag(heard.n_slots, candidates, against),),
    )


def _as_stated(
    heard: Heard, user: tuple[int, int], ranked: list[Scored], best: Scored | None
) -> ScanLayout | DoesNotFit:
    seen = next((item.layout for item in ranked if item.layout and item.layout.cols == user[1] and shown(item)), None)
    stated = place_stated(user, heard.n_slots, None if seen is None else seen.first_slot)
    if isinstance(stated, DoesNotFit):
        return stated
    flags = stated.flags
    if best is not None and best.layout is not None and shown(best) and best.layout.cols != user[1]:
        flags = (*flags, contradicted_flag(user, best.layout))
    evidence = (user_said(user), *evidence_of(heard, best))
    return _placed(heard, stated.layout, 1.0, ranked, evidence, flags)


def _placed(
    heard: Heard,
    layout: Layout,
    probability: float,
    ranked: list[Scored],
    evidence: tuple[ScanEvidence, ...],
    flags: tuple[Flag, ...],
) -> ScanLayout:
    fly_back = fly_back_cols(heard.exposures, layout)
    return ScanLayout(
        (layout.rows, layout.cols),
        layout.first_slot,
        fly_back,
        spikes(heard.exposures, layout, fly_back),
        probability,
        certain=True,
        candidates=_candidates(heard, ranked),
        evidence=evidence,
        flags=flags,
    )


def _candidates(heard: Heard, ranked: list[Scored]) -> tuple[ScanCandidate, ...]:
    possible = [item for item in ranked if item.layout is not None and item.probability >= LISTED]
    return tuple(_candidate(heard, item) for item in possible[:_MOST])


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


def _candidate(heard: Heard, item: Scored) -> ScanCandidate:
    layout = item.layout
    assert layout is not None
    return ScanCandidate(
        scan_shape=(layout.rows, layout.cols),
        first_slot=layout.first_slot,
        fly_back_cols=fly_back_cols(heard.exposures, layout),
        probability=round(min(item.probability, 1.0), 6),
        sources=supports(heard, item),
    )
