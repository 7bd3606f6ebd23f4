"""One table per fraction of a pixel serves every origin.

What a pixel does depends only on where it lies from the origin. So a table is built for a detector that is as much
larger as the origins are apart, and the whole pixels between origins only say where in it the detector is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

Key = tuple[int, int]
"""An origin (row, col) in whole steps."""
Shape = tuple[int, int]
Build = Callable[[Shape, tuple[float, float]], NDArray[Any]]


class FractionTables:
    """Tables by fraction of a pixel, built on demand. Thread-safe.

    Parameters
    ----------
    build : callable
        Returns the table (row, col, ...) of an array of pixels of a shape with the origin at (row, col) px.
    frame_shape : tuple of int
        (det_row, det_col).
    keys : ndarray of int64
        (n, 2) origins (row, col) in steps; only these are asked for.
    steps_per_px : int
        Steps to a pixel.
    max_bytes : int
        The tables used least recently are dropped beyond it.
    """

    def __init__(
        self, build: Build, frame_shape: Shape, keys: NDArray[np.int64], steps_per_px: int, max_bytes: int
    ) -> None:
        self._build = build
        self._steps = steps_per_px
        whole = keys // steps_per_px
        self._last = whole.max(axis=0, initial=0)
        reach = self._last - whole.min(axis=0, initial=0)
        self._shape = (frame_shape[0] + int(reach[0]), frame_shape[1] + int(reach[1]))
        self._max_bytes = max_bytes
        self._tables: OrderedDict[Key, NDArray[Any]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        """Return the number of tables that are held."""
        return len(self._tables)

    def get(self, key: Key) -> tuple[NDArray[Any], Shape]:
        """Return the table for an origin, and where in it pixel (0, 0) of the detector is."""
        whole, fraction = zip(*(divmod(part, self._steps) for part in key), strict=True)
        shift = (int(self._last[0]) - whole[0], int(self._last[1]) - whole[1])
        return self._table((fraction[0], fraction[1])), shift

    def _table(self, fraction: Key) -> NDArray[Any]:
        with self._lock:
            if fraction in self._tables:
                self._tables.move_to_end(fraction)
                return self._tables[fraction]
        # Built outside the lock: two threads may build the same table, which costs time and changes nothing.
        row, col = (int(last) + part / self._steps for last, part in zip(self._last, fraction, strict=True))
        table = self._build(self._shape, (row, col))
        with self._lock:
            self._tables[fraction] = table
            while sum(one.nbytes for one in self._tables.values()) > self._max_bytes and len(self._tables) > 1:
                self._tables.popitem(last=False)
        return table
