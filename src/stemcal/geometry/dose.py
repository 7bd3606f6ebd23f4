"""The dose of every position, from the counts of the whole frame, where the detector catches the dose.

Under a beam that varies, the counts of a frame vary and the shares of its parts do not: given the total, electrons fall
on the parts as if the beam were steady. Contrast of the specimen that the detector loses comes with other shares. So
what of the variation of the total can be predicted from the shares (24 segments of the disk, dark field) is the
specimen's, and the rest is the beam's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry.bright_field import FrameSums

Array = NDArray[np.float64]

_LEAST_RMS = 0.003
_OBJECT_SHARE = 0.25
_FEWEST_POSITIONS = 200
_NOISE_MARGIN = 6.0
_CHANCE_SIGMAS = 3.0
_RIDGE = 1e-9


@dataclass(frozen=True)
class Dose:
    """The dose over the scan.

    Attributes
    ----------
    relative : ndarray of float64
        (scan_row, scan_col) dose over its mean; 1 where it is not known.
    beam_rms : float
        Root mean square of what is known to vary.
    specimen_rms : float
        Relative contrast of the specimen in the counts of whole frames: what the detector does not catch.
    caught : bool
        Whether the counts of single frames stand for the dose.
    """

    relative: Array
    beam_rms: float
    specimen_rms: float
    caught: bool


def measure_dose(sums: FrameSums, usable: NDArray[np.bool_]) -> Dose:
    """Return the dose of every position.

    Lines first: their mean counts, less what chance gives them. Then, where the detector catches the dose, what
    varies within lines: the total in order of time is transformed, and frequencies are kept as far as they stand out
    of the noise (Wiener's filter), so that few electrons per frame do not add noise.

    Parameters
    ----------
    sums : FrameSums
        Sums of the frames.
    usable : ndarray of bool
        (scan_row, scan_col) positions that may be used.
    """
    steady = np.ones(usable.shape)
    if np.count_nonzero(usable) < _FEWEST_POSITIONS:
        return Dose(steady, 0.0, 0.0, caught=False)
    variation = np.where(usable, sums.total / sums.total[usable].mean() - 1, 0.0)
    excess, specimen = _variances(sums, variation, usable)
    lines = _line_variation(variation, usable, excess[1])
    within = np.where(usable, (1 + variation) / (1 + lines[:, None]) - 1, 0.0)
    caught = specimen < max(_LEAST_RMS**2, _OBJECT_SHARE * excess[0])
    relative = steady
    if caught or float(lines.var()) > specimen / _OBJECT_SHARE:
        relative = relative * (1 + lines)[:, None]
    if caught:
        relative = relative * (1 + _above_noise(within, usable))
    relative = np.maximum(relative / relative[usable].mean(), 0.05)
    rms = float(relative[usable].std())
    if rms < _LEAST_RMS:
        relative, rms = steady, 0.0
    return Dose(relative, rms, float(np.sqrt(max(specimen, 0.0))), caught)


def _variances(sums: FrameSums, variation: Array, usable: NDArray[np.bool_]) -> tuple[tuple[float, float], float]:
    """Return (variance of the total beyond noise, variance of noise) of a frame, and the specimen's part of the first.

    Differences of neighbouring positions, because slow changes of dose and of shares may go together by chance.
    """
    shares = np.concatenate([sums.segments, sums.adf[None]]) / np.maximum(sums.total, 1)
    pairs = usable[:, 1:] & usable[:, :-1]
    step = np.diff(variation, axis=1)[pairs]
    shot = float(1 / sums.total[usable].mean())
    explained = _predicted_variance(np.diff(shares, axis=2)[:, pairs].T.astype(np.float64), step)
    return (max(float(step.var()) / 2 - shot, 0.0), shot), explained / 2


def _predicted_variance(shares: Array, step: Array) -> float:
    """Return the variance of ``step`` that linear regression on ``shares`` explains, less that by chance."""
    spread = shares.std(axis=0)
    design = (shares - shares.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    normal = design.T @ design
    normal += _RIDGE * np.trace(normal) * np.eye(len(normal))
    centred = step - step.mean()
    explained = float(centred @ (design @ np.linalg.solve(normal, design.T @ centred)))
    n, k = design.shape
    left = (float(centred @ centred) - explained) / max(n - k - 1, 1)
    return float((explained - k * left) / n)


def _line_variation(variation: Array, usable: NDArray[np.bool_], shot: float) -> Array:
    """Return the mean variation of each line, shrunk by the part of its variance that is shot noise."""
    count = usable.sum(axis=1)
    mean = (variation * usable).sum(axis=1) / np.maximum(count, 1)
    seen = count > 0
    if seen.sum() < 2:
        return np.zeros(len(count))
    noise = shot / np.maximum(count, 1)
    total, middle = float(mean[seen].var()), float(mean[seen].mean())
    chance = float(noise[seen].mean()) * (1 + _CHANCE_SIGMAS * np.sqrt(2 / seen.sum()))
    kept = np.clip(1 - noise / total, 0, 1) if total > chance else np.zeros(len(count))
    return np.asarray(np.where(seen, middle + kept * (mean - middle), middle))


def _above_noise(variation: Array, usable: NDArray[np.bool_]) -> Array:
    """Return the variation in order of time, frequency by frequency as far as it is above the noise."""
    series = np.where(usable, variation, 0.0).ravel()
    wave = np.fft.rfft(series)
    power = np.abs(wave) ** 2
    noise = float(np.median(power[1:])) / np.log(2)
    # the largest of n powers of noise is about ln n times their mean
    clear = power > (np.log(len(power)) + _NOISE_MARGIN) * noise
    clear[0] = False
    kept = np.where(clear, 1 - noise / np.maximum(power, 1e-300), 0.0)
    return np.asarray(np.fft.irfft(wave * kept, len(series)).reshape(variation.shape))
