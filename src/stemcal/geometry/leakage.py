"""What the peaks of a scan leak into each other's slices, and its removal.

A wave a_l at the frequency f_l adds a_l S_t(f - f_l) to the slice of a tile t at f, where S_t is the transform of the
window over that tile, and since counts are real, its opposite adds a_l* S_t(f + f_l). Over the whole scan the window
keeps that small, over one tile it does not. The amplitudes are those of the whole scan, and are found again once the
leakage is off.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Complex = NDArray[np.complex64]

_ROUNDS = 2


def without_leakage(values: Complex, response: Complex) -> Complex:
    """Return slices without what the other peaks leak into them.

    Parameters
    ----------
    values : ndarray
        (n_tiles, K, n_pix) slices.
    response : ndarray
        (n_tiles, K, 2 K) transform of the window over each tile at f_k - f_l, then at f_k + f_l.
    """
    n_peaks = values.shape[1]
    others = response.copy()
    own = np.arange(n_peaks)
    weight = others[:, own, own].sum(axis=0).real
    others[:, own, own] = 0
    clean = values
    for _ in range(_ROUNDS):
        amplitudes = clean.sum(axis=0) / np.where(weight > 0, weight, 1.0).astype(np.float32)[:, None]
        both = np.concatenate([amplitudes, amplitudes.conj()])
        clean = values - others @ both
    return clean


def frequency_pairs(frequencies: Array) -> Array:
    """Return (2 K^2, 2): for each peak k its differences from all peaks l, then its sums with them; k slowest."""
    both = np.concatenate([frequencies, -frequencies])
    return np.asarray((frequencies[:, None] - both[None]).reshape(-1, 2))
