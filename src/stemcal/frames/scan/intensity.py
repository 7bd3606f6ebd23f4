"""What the total intensity of the frames says of a number of columns: neighbouring lines of an image are alike. Pure.

Of the differences between frames that follow each other (drift of the beam is gone, noise and edges remain) every line
is compared with the one below it, shifted by a few columns either way. Where the number of columns is right, the lines
are most alike without a shift; one column too many or too few, and they are most alike one column off. Where half as
many columns make lines more alike, a line is half as long. The comparison counts lines rather than intensity, so that
one bright particle, or a long exposure, does not speak for the whole scan. A picture without structure says nothing;
nor does a lattice, which is alike at every period, in a line as well as below it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Opinion = Literal["agrees", "contradicts", "silent"]

SHIFT = 6
"""Columns either way by which lines are shifted."""
ALIKE = 4.0
"""Lines are alike if so many more than half are that chance would need this many standard deviations."""
OTHERWISE = 6.0
"""Lines that are alike only with a shift contradict from here."""
WEIGHT = 6.0
"""Natural logarithm of how much an opinion weighs: it may be wrong once in 400 times."""
_CLIP = 4.0
_MARGIN = 1.05
_PARTS = (2, 3, 4)
_LATTICE = 40
_REPEATED = 0.7


def intensity_agrees(
    totals: NDArray[np.float64], scan_shape: tuple[int, int], first_slot: int = 0, fly_back_cols: tuple[int, ...] = ()
) -> Opinion:
    """Say whether neighbouring lines of a layout are alike.

    Parameters
    ----------
    totals : ndarray
        (n_slots,) total intensity of every frame, NaN where it is missing.
    scan_shape : tuple of int
        (rows, cols) of the layout, fly-back columns included.
    first_slot : int
        Slot of position (0, 0).
    fly_back_cols : tuple of int
        Columns that are left out: a long exposure shows the line, but nothing of the image.

    Returns
    -------
    str
        ``agrees``, ``contradicts``, or ``silent`` where the intensity has no structure, or too few lines, to tell.
    """
    rows, cols = scan_shape
    inside = np.array(totals[first_slot : first_slot + rows * cols], np.float64)
    for col in fly_back_cols:
        inside[col::cols] = np.nan
    return _opinion(_differences(inside), cols)


def log_intensity(totals: NDArray[np.float64]) -> Callable[[int], float]:
    """Return a function: number of columns -> logarithm of how much likelier it makes the intensity than no scan."""
    differences = _differences(np.asarray(totals, np.float64))
    weights: dict[Opinion, float] = {"agrees": WEIGHT, "silent": 0.0, "contradicts": -WEIGHT}
    return lambda cols: weights[_opinion(differences, cols)]


def _opinion(differences: NDArray[np.float32], cols: int) -> Opinion:
    if cols < 2 * SHIFT or differences.size < 2 * cols:
        return "silent"
    found = [_alike(differences, cols + shift, cols) for shift in range(-SHIFT, SHIFT + 1)]
    opinion = _by_shift(found)
    if opinion == "agrees":
        opinion = _by_parts(differences, cols, found[SHIFT][0])
    if opinion != "silent" and _is_lattice(differences, cols, max(item[0] for item in found)):
        return "silent"
    return opinion


def _by_shift(found: list[tuple[float, float]]) -> Opinion:
    """Return what the lines below say, shifted by -SHIFT to SHIFT: (strength, standard deviations) of each."""
    strength, deviations = found[SHIFT]
    if deviations >= ALIKE and strength == max(item[0] for item in found):
        return "agrees"
    otherwise = max(item[1] for item in found)
    return "contradicts" if deviations < ALIKE / 2 and otherwise >= OTHERWISE else "silent"


def _by_parts(differences: NDArray[np.float32], cols: int, strength: float) -> Opinion:
    """Return what is left of the agreement if a line may be a half, a third, a quarter as long."""
    nearer = [_alike(differences, cols // part, cols) for part in _PARTS if cols % part == 0]
    rival = max((item[0] for item in nearer if item[1] >= ALIKE), default=0.0)
    if rival * _MARGIN < strength:
        return "agrees"
    return "contradicts" if rival > strength * _MARGIN else "silent"


def _is_lattice(differences: NDArray[np.float32], cols: int, strength: float) -> bool:
    """Whether the picture repeats within a line nearly as strongly as from line to line."""
    strengths = [_alike(differences, lag, cols)[0] for lag in range(1, min(_LATTICE, cols // 4))]
    beyond = next((lag for lag, found in enumerate(strengths) if found <= 0), len(strengths))
    return max(strengths[beyond:], default=0.0) >= _REPEATED * strength


def _differences(totals: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return differences of neighbours, clipped to a few times their ordinary size, 0 where one is missing."""
    found = np.diff(totals)
    known = np.isfinite(found)
    if not known.any():
        return np.zeros(found.size, np.float32)
    ordinary = 1.4826 * float(np.median(np.abs(found[known])))
    clipped = np.clip(found, -_CLIP * ordinary, _CLIP * ordinary) if ordinary > 0 else found
    return np.where(known, clipped, 0.0).astype(np.float32)


def _alike(differences: NDArray[np.float32], lag: int, cols: int) -> tuple[float, float]:
    """Return (mean product at ``lag``, standard deviations by which lines with a positive one exceed one half)."""
    product = differences[:-lag] * differences[lag:]
    lines = product[: product.size // cols * cols].reshape(-1, cols).sum(axis=1)
    told = int(np.count_nonzero(lines))
    if not told:
        return 0.0, 0.0
    surplus = 2 * int(np.count_nonzero(lines > 0)) - told
    return float(lines.sum()) / (told * cols), surplus / math.sqrt(told)
