"""Whether a reference and a data set were taken at the same settings, and how far apart in time, in words. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

_PERCENT = 100.0


@dataclass(frozen=True)
class Scan:
    """What a reference has to agree with; None where the data set does not say."""

    voltage_kv: float | None
    nominal_camera_length_m: float | None
    frame_shape: tuple[int, int]
    acquired_at: str | None


def disagreement(name: str, unit: str, theirs: float | None, ours: float | None, percent: float) -> str | None:
    """Return in words why two settings of the microscope are not the same within ``percent``, or None if they are."""
    if ours is None:
        return f"the data set does not say its {name}"
    if theirs is None:
        return f"the reference does not say its {name}"
    apart = abs(theirs - ours) / max(abs(theirs), abs(ours)) * _PERCENT
    if apart <= percent:
        return None
    bound = f"{apart:.2g} % apart, at most {percent:g} %"
    return f"wrong {name}: {theirs:g} {unit}, the data have {ours:g} {unit} ({bound})"


def shape_text(shape: tuple[int, int] | None) -> str:
    """Return a frame shape in words."""
    return f"{shape[0]} x {shape[1]}" if shape else "not stated"


def time_between(ours: str | None, theirs: str | None) -> timedelta | None:
    """Return how much later the reference was taken than the scan; None where a time is missing or unreadable."""
    if ours is None or theirs is None:
        return None
    try:
        return datetime.fromisoformat(theirs) - datetime.fromisoformat(ours)
    except (TypeError, ValueError):
        return None


def time_words(gap: timedelta) -> str:
    """Return a time difference in words."""
    seconds = abs(gap).total_seconds()
    side = "later" if gap > timedelta(0) else "earlier"
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} {side}"
    return f"{seconds:.0f} s {side}" if seconds else "at the same time"
