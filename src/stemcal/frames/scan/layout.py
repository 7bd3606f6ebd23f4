"""A layout: where the rows and columns of a scan lie in the slots of an acquisition. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, order=True)
class Layout:
    """Position (row, col) is slot ``first_slot`` + row * cols + col; fly-back columns are columns like any other."""

    rows: int
    cols: int
    first_slot: int = 0

    def excess(self, n_slots: int) -> int:
        """Return the slots behind the scan; negative if the last row is cut short by so many."""
        return n_slots - self.first_slot - self.rows * self.cols

    def column(self, col: int, n_slots: int) -> NDArray[np.int64]:
        """Return the slots of column ``col``, those beyond the end left out."""
        slots = self.first_slot + col + np.arange(self.rows, dtype=np.int64) * self.cols
        return slots[slots < n_slots]


def is_usual(cols: int) -> bool:
    """Whether ``cols`` is a scan size that microscopes offer: a power of two from 64 to 2048."""
    return 64 <= cols <= 2048 and cols & (cols - 1) == 0
