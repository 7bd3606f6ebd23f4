"""What is said of frames that were lost, came twice, or have no number."""

from __future__ import annotations

import numpy as np

from stemcal.formats.extras import FrameStatus
from stemcal.frames.mib import MibSource
from stemcal.records.base import Flag
from stemcal.records.convert import FrameCounts


def count_frames(source: MibSource) -> FrameCounts:
    """Return what became of every frame of ``source``."""
    counts = np.bincount(source.frame_status, minlength=len(FrameStatus))
    slots = source.slots
    return FrameCounts(
        in_file=source.mib.n_frames,
        positions=source.n_frames,
        ok=int(counts[FrameStatus.OK]),
        missing=int(counts[FrameStatus.MISSING]),
        fly_back=int(counts[FrameStatus.FLY_BACK]),
        spikes=int(counts[FrameStatus.SPIKE]),
        outside_scan=int(source.scan_map.outside.size),
        duplicates=int(slots.duplicates.size),
        unreadable=slots.n_unreadable,
        restarts=slots.restarts,
        first_number=slots.first_sequence,
    )


def frame_flags(counts: FrameCounts) -> tuple[Flag, ...]:
    """Return a flag for everything that is not as it should be; none for a good acquisition.

    Fly-back columns and lead-in frames are as they should be.
    """
    flags = []
    if counts.missing:
        message = f"{counts.missing} of {counts.positions} positions have no frame: they are marked and hold no counts"
        flags.append(Flag(name="frames_missing", value=counts.missing, limit=0, message=message))
    if counts.duplicates:
        message = f"{counts.duplicates} frames have a number that came before: they are kept outside the scan"
        flags.append(Flag(name="frames_twice", value=counts.duplicates, limit=0, message=message))
    if counts.unreadable:
        message = f"{counts.unreadable} frames have no readable number and were placed by their neighbours"
        flags.append(Flag(name="headers_unreadable", value=counts.unreadable, limit=0, message=message))
    if counts.restarts:
        places = ", ".join(str(place + 1) for place in counts.restarts[:3])
        message = f"the numbering begins again at frame {places}: there is more than one acquisition in the file"
        flags.append(Flag(name="numbering_restarts", value=len(counts.restarts), limit=0, message=message))
    if counts.first_number not in (None, 1):
        message = f"the first frame is number {counts.first_number}, not 1: earlier frames may be in another file"
        flags.append(Flag(name="sequence_start", value=counts.first_number, limit=1, message=message))
    if counts.spikes:
        message = f"{counts.spikes} frames were exposed for longer than the others: they are marked as spikes"
        flags.append(Flag(name="exposure_spikes", value=counts.spikes, limit=0, message=message))
    return tuple(flags)
