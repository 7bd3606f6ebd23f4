"""From slots and layout to the frame of every scan position. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.formats.extras import FrameStatus
from stemcal.frames.scan.decide import ScanLayout
from stemcal.frames.scan.placement import Slots


@dataclass(frozen=True)
class ScanMap:
    """Which frame of the file belongs to which scan position.

    Attributes
    ----------
    places : ndarray of int64
        (n_positions,) index of the frame in the file, -1 where it is missing.
    outside : ndarray of int64
        (k,) frames of the file that have no scan position, ascending: lead-in, what came behind the scan, frames that
        came twice or whose header has no number.
    status : ndarray of uint8
        (n_positions,) values of `stemcal.formats.extras.FrameStatus`.
    """

    places: NDArray[np.int64]
    outside: NDArray[np.int64]
    status: NDArray[np.uint8]

    def positions(self, n_frames: int) -> NDArray[np.int64]:
        """Return, for each of ``n_frames`` frames of the file, its scan position, -1 for those outside the scan."""
        found = np.full(n_frames, -1, np.int64)
        placed = np.flatnonzero(self.places >= 0)
        found[self.places[placed]] = placed
        return found


def map_scan(slots: Slots, layout: ScanLayout, n_frames: int) -> ScanMap:
    """Return the frame of every position of ``layout``.

    Parameters
    ----------
    slots : Slots
        The acquisition with its holes.
    layout : ScanLayout
        The scan; positions behind the last slot are missing.
    n_frames : int
        Frames in the file.
    """
    rows, cols = layout.scan_shape
    n_positions = rows * cols
    places = np.full(n_positions, -1, np.int64)
    inside = slots.file_index[layout.first_slot : layout.first_slot + n_positions]
    places[: inside.size] = inside
    status = np.full(n_positions, FrameStatus.OK, np.uint8)
    spikes = layout.spikes - layout.first_slot
    status[spikes[(spikes >= 0) & (spikes < n_positions)]] = FrameStatus.SPIKE
    status.reshape(rows, cols)[:, list(layout.fly_back_cols)] = FrameStatus.FLY_BACK
    status[places < 0] = FrameStatus.MISSING
    placed = np.zeros(n_frames, np.bool_)
    placed[places[places >= 0]] = True
    return ScanMap(places, np.flatnonzero(~placed).astype(np.int64), status)
