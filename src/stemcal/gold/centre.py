"""The centre of a pattern without a bright disk: the point through which it is most symmetric."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

_FLATTEN_PX = 6.0
_MIN_PART = 0.25


def symmetric_centre(pattern: NDArray[np.float64], usable: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the (row, col) about which a half turn maps the pattern best onto itself.

    The masked self-convolution of the flattened logarithm, normalised by the number of pixel pairs (D. Padfield, IEEE
    Trans. Image Process. 21, 2706 (2012), for the masks); at least a quarter of the pixels have to find their mate.

    Parameters
    ----------
    pattern : numpy.ndarray
        (det_row, det_col) mean counts.
    usable : numpy.ndarray
        (det_row, det_col), True = valid.
    """
    weight = usable.astype(np.float64)
    floor = max(float(np.median(pattern[usable])) * 0.25, 1e-12) if usable.any() else 1.0
    logs = np.where(usable, np.log(pattern + floor), 0.0)
    smooth = ndimage.gaussian_filter(logs, _FLATTEN_PX)
    seen = np.maximum(ndimage.gaussian_filter(weight, _FLATTEN_PX), 1e-3)
    flat = np.where(usable, logs - smooth / seen, 0.0)
    shape = [fft.next_fast_len(2 * n - 1, real=True) for n in pattern.shape]
    signal, pairs = (fft.irfft2(fft.rfft2(image, shape) ** 2, shape) for image in (flat, weight))
    score = np.where(pairs >= _MIN_PART * weight.sum(), signal / np.maximum(pairs, 1.0), -np.inf)
    row, col = np.unravel_index(int(score.argmax()), score.shape)
    return float(row) / 2, float(col) / 2
