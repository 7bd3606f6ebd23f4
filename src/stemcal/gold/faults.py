"""Dead and hot pixels that the mask of the detector does not know, found in a sum of frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]

_HOT = 5.0
_SURE_COUNTS = 30.0
_DEPTH_PX, _BREADTH_PX = 5, 11
"""Size of what is looked at on each side: beyond a dead cross of up to four lines."""


def stray_pixels(counts: Array, valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where a pixel is hot or dead; the margins are far beyond Poisson noise.

    Hot: several times the counts of its brightest neighbour (a grain's spot is wider than a pixel). Dead: not one
    count, although on every side of it the pixels that have any have many.

    Parameters
    ----------
    counts : numpy.ndarray
        (det_row, det_col) counts added up over frames.
    valid : numpy.ndarray
        (det_row, det_col), True = valid; invalid pixels are neither looked at nor returned.
    """
    ring = np.ones((3, 3), np.bool_)
    ring[1, 1] = False
    known = np.where(valid, counts, 0.0)
    brightest = ndimage.maximum_filter(known, footprint=ring, mode="nearest")
    hot = known > _HOT * brightest + _SURE_COUNTS
    dead = (known == 0) & (_dimmest_side(known) > _SURE_COUNTS)
    return np.asarray(valid & (hot | dead))


def _dimmest_side(counts: Array) -> Array:
    """Return the smallest of the means of the lit pixels above, below, left and right of each pixel.

    The foot of a ring has a dark side; a dead line has none.
    """
    lit = (counts > 0).astype(np.float64)
    sides = []
    for size in ((_DEPTH_PX, _BREADTH_PX), (_BREADTH_PX, _DEPTH_PX)):
        for step in (-1, 1):
            origin = tuple(step * (_DEPTH_PX // 2) if n == _DEPTH_PX else 0 for n in size)
            total = ndimage.uniform_filter(counts, size, mode="nearest", origin=origin)
            share = ndimage.uniform_filter(lit, size, mode="nearest", origin=origin)
            sides.append(total / np.maximum(share, 1 / (_DEPTH_PX * _BREADTH_PX)))
    return np.asarray(np.min(sides, axis=0))
