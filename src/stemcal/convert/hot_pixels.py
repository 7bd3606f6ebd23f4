"""Which detector pixels are hot: they count far more than everything around them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_NEIGHBOURS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.bool_)
_BEAM_RADII = 2.0


def find_hot_pixels(
    sum_pattern: NDArray[Any],
    *,
    min_counts: int,
    factor: float,
    beam: tuple[float, float, float] | None,
) -> NDArray[np.bool_]:
    """Find single pixels that count ``factor`` times as much as the brightest of their eight neighbours.

    No diffraction feature is that sharp: a spot with a standard deviation of half a pixel, narrower than any charge
    cloud, still gives its nearest neighbour a seventh. The undiffracted beam is spared all the same, because a beam
    focused on the detector may come close. Neighbouring hot pixels hide each other: give a mask file for those.

    Parameters
    ----------
    sum_pattern : ndarray of integers
        (det_row, det_col) counts of the whole scan.
    min_counts : int
        Least counts of a hot pixel; below, chance alone may do it.
    factor : float
        How much brighter it is than its brightest neighbour.
    beam : tuple of float or None
        Row, column and radius in px of the undiffracted beam; without it nothing is called hot.

    Returns
    -------
    ndarray of bool
        (det_row, det_col), True = hot.
    """
    if beam is None:
        return np.zeros(sum_pattern.shape, np.bool_)
    level = sum_pattern.astype(np.float64)
    brightest = ndimage.maximum_filter(level, footprint=_NEIGHBOURS, mode="constant", cval=0.0)
    rows, cols = np.indices(level.shape)
    far = np.hypot(rows - beam[0], cols - beam[1]) > _BEAM_RADII * beam[2]
    hot: NDArray[np.bool_] = far & (level >= min_counts) & (level > factor * np.maximum(brightest, 1.0))
    return hot
