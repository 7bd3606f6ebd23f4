"""Whether the even and the odd frames were counted alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.gain.pixels import Mask
from stemcal.gain.settings import GainSettings


@dataclass(frozen=True)
class ParityTest:
    """Chi-square test of even against odd frames.

    Attributes
    ----------
    reduced_chi_square : float
        1 where both have one gain pattern; 1 + (variance of the difference over that of counting) where they do not.
    sigmas : float
        How far above chance that is, in standard deviations.
    level_ratio : float
        Counts per even frame over counts per odd frame.
    """

    reduced_chi_square: float
    sigmas: float
    level_ratio: float

    def is_significant(self, settings: GainSettings) -> bool:
        """Return whether the patterns differ beyond chance."""
        return self.sigmas > settings.parity_sigma

    def is_worth_it(self, settings: GainSettings) -> bool:
        """Return whether factors of their own bring more than half the counts cost."""
        return self.is_significant(settings) and self.reduced_chi_square > settings.parity_chi_square


def compare_parities(counts: NDArray[np.int64], frames: NDArray[np.int64], good: Mask) -> ParityTest | None:
    """Compare the patterns of even and odd frames.

    Given the n counts of a pixel, those of the even frames are binomial with the same share f at every pixel if both
    counters have one gain pattern; chi-square = sum (even - f n)^2 / (f (1 - f) n) over N pixels has N - 1 degrees of
    freedom and a scatter of sqrt(2 (N - 1)). For a relative difference d of the two gains its expectation per degree
    is 1 + n var(d) / 4, where var(d) / 4 is the error of a common factor and 1 / n that of its counting. A common
    factor is off by both, a factor of its own by 2 / n: it pays from 2 on. f is free, so that a beam that flickers
    says nothing of the pattern.

    Parameters
    ----------
    counts : ndarray of int64
        (2, det_row, det_col) counts of even and odd frames.
    frames : ndarray of int64
        (2,) how many frames that were.
    good : ndarray of bool
        (det_row, det_col), True = valid.

    Returns
    -------
    ParityTest or None
        None where there are no frames, or no counts, of one kind.
    """
    counting = good & (counts.sum(axis=0) > 0)
    even, odd = (side[counting].astype(np.float64) for side in counts)
    if frames.min() == 0 or even.sum() == 0 or odd.sum() == 0 or even.size < 2:
        return None
    total = even + odd
    share = even.sum() / total.sum()
    chi_square = float(((even - share * total) ** 2 / (share * (1 - share) * total)).sum())
    degrees = even.size - 1
    level = float(even.sum() / frames[0] / (odd.sum() / frames[1]))
    return ParityTest(chi_square / degrees, (chi_square / degrees - 1) * float(np.sqrt(degrees / 2)), level)
