"""Events that mark the lines of a scan: frames exposed for long, and pauses between frames. Pure.

Both are outliers of a distribution whose own width is unknown (from exact to a few per cent), so both are judged by
median and median absolute deviation. Whether they mark lines is not decided here: a spike is an event like a fly-back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

LONG = 1.5
"""A long exposure is at least this many times the dwell: the shortest fly-back seen is twice the dwell."""
DEVIATIONS = 6.0
"""... and lies this many standard deviations above it."""
PAUSE_NS = 1000
"""A pause is at least this long: time stamps are rounded to 10 ns, real pauses at line ends are 20 us and more."""
COMMON = 0.25
"""Outliers are a smaller fraction than this; more, and the values have no ordinary level."""

Limit = Callable[[float, float], float]
"""(level, standard deviation) -> limit of the ordinary."""


@dataclass(frozen=True)
class Events:
    """Slots with an event.

    Attributes
    ----------
    at : ndarray
        (n_slots,) bool.
    known : ndarray
        (n_slots,) bool, False where a missing frame leaves nothing to be said.
    ordinary_ns, event_ns : float
        Median of the ordinary values and of the events; ``event_ns`` is 0 without events.
    """

    at: NDArray[np.bool_]
    known: NDArray[np.bool_]
    ordinary_ns: float
    event_ns: float

    @cached_property
    def n_events(self) -> int:
        """Number of events."""
        return int(np.count_nonzero(self.at))

    @cached_property
    def n_known(self) -> int:
        """Number of slots of which something is known."""
        return int(np.count_nonzero(self.known))

    @cached_property
    def slots(self) -> NDArray[np.int64]:
        """Slots of the events, ascending."""
        return np.flatnonzero(self.at).astype(np.int64)


def long_exposures(exposure_ns: NDArray[np.int64]) -> Events | None:
    """Return the frames that were exposed for much longer than usual.

    Parameters
    ----------
    exposure_ns : ndarray
        (n_slots,) int64, -1 where unknown or missing.

    Returns
    -------
    Events or None
        None where fewer than two exposures are known or they have no ordinary level.
    """
    return _outliers(exposure_ns, exposure_ns >= 0, lambda level, sigma: max(LONG * level, level + DEVIATIONS * sigma))


def pauses(time_ns: NDArray[np.int64]) -> Events | None:
    """Return the frames that begin later after the one before than usual.

    Parameters
    ----------
    time_ns : ndarray
        (n_slots,) int64 time stamps, -1 where unknown or missing.

    Returns
    -------
    Events or None
        ``at[i]`` says that there is a pause between slots i - 1 and i. None where fewer than two intervals are known.
    """
    interval = np.diff(time_ns, prepend=time_ns[:1])
    known = time_ns >= 0
    known[1:] &= time_ns[:-1] >= 0
    known[:1] = False
    return _outliers(interval, known, lambda level, sigma: level + max(DEVIATIONS * sigma, PAUSE_NS))


def _outliers(values: NDArray[np.int64], known: NDArray[np.bool_], limit: Limit) -> Events | None:
    found = values[known].astype(np.float64)
    if found.size < 2:
        return None
    level = float(np.median(found))
    sigma = 1.4826 * float(np.median(np.abs(found - level)))
    at = known & (values > limit(level, sigma))
    n_events = np.count_nonzero(at)
    if n_events > COMMON * found.size:
        return None
    return Events(at, known, level, float(np.median(values[at])) if n_events else 0.0)
