"""From the sums of a flat field to the gain of every pixel, or the reason why there is none. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stemcal.gain.dose import Dose, Structure, find_structure, fit_dose
from stemcal.gain.parity import ParityTest, compare_parities
from stemcal.gain.pixels import Array, Faults, Mask, find_faults, gain_spread, run_shares
from stemcal.gain.settings import GainSettings
from stemcal.gain.sums import CEILINGS, FlatSums

_DARK_PX = 5
"""A dead area that holds a square of this side is a shadow; dead lines and clusters are narrower."""
_FEWEST_FRAMES = 2
_SMALLEST_FRAME_PX = 16
_CHANCE_SIGMAS = 6.0


@dataclass(frozen=True)
class Refusal:
    """Why no gain could be measured."""

    name: str
    message: str
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Gain:
    """The gain of a detector.

    Attributes
    ----------
    factor : ndarray of float64
        (det_row, det_col), or (2, det_row, det_col) for even and odd frames: what a frame is multiplied by, with a
        median of 1 over the valid pixels; NaN where a pixel is not valid.
    sigma : ndarray of float64
        Standard uncertainty of ``factor`` from counting, same shape.
    sigma_runs : ndarray of float64 or None
        The same from the scatter between runs of frames; None with too few.
    spread : float
        Relative standard deviation of the gain over the pixels, without that of counting.
    noise : float
        Median relative uncertainty of ``factor`` from counting, and from runs where that is larger.
    """

    factor: Array
    sigma: Array
    sigma_runs: Array | None
    spread: float
    noise: float

    @property
    def parity(self) -> Literal["joint", "separate"]:
        """Whether even and odd frames have factors of their own."""
        return "separate" if self.factor.ndim == 3 else "joint"


@dataclass(frozen=True)
class Attempt:
    """What came of a flat field; each part is None where it was not reached, and ``refusal`` says why.

    ``response`` is (det_row, det_col), counts over dose, with a median of 1.
    """

    faults: Faults
    dose: Dose | None = None
    response: Array | None = None
    structure: Structure | None = None
    spread: float | None = None
    noise: float | None = None
    parity: ParityTest | None = None
    gain: Gain | None = None
    refusal: Refusal | None = None


def measure(sums: FlatSums, valid: Mask, settings: GainSettings) -> Attempt:
    """Measure the gain.

    Parameters
    ----------
    sums : FlatSums
        Sums over the frames.
    valid : ndarray of bool
        (det_row, det_col), True = valid, as the data set has it.
    settings : GainSettings
        Limits.
    """
    runs = np.asarray(sums.counts.sum(axis=1))
    faults = find_faults(runs, valid, settings)
    refusal = _check_counts(sums, faults, settings)
    if refusal is not None:
        return Attempt(faults, refusal=refusal)
    total, good = sums.total, faults.good
    rough = gain_spread(total[good] / np.median(total[good]) - 1, 1 / np.median(total[good]))
    dose = fit_dose(total, good, settings.dose_degree, rough)
    if dose is None:
        text = "the counts fall to nothing toward one side: the beam does not cover the detector"
        return Attempt(faults, refusal=Refusal("not_uniform", text))
    dose, response = _normalised(total, dose, good)
    structure = find_structure(response, good)
    noise = float(np.sqrt(max(faults.dispersion or 1.0, 1.0) / np.median(dose.counts[good])))
    spread = gain_spread(response[good] - 1, noise**2)
    test = compare_parities(sums.per_parity, np.asarray(sums.frames.sum(axis=0)), good)
    found = Attempt(faults, dose, response, structure, spread, noise, test)
    refusal = _check_uniform(structure, settings) or _check_noise(spread, noise, sums.n_frames, settings)
    if refusal is not None:
        return _with(found, refusal=refusal)
    separate = test is not None and test.is_worth_it(settings)
    return _with(found, gain=_gain(sums, dose, good, faults.dispersion, spread, separate=separate))


def _with(attempt: Attempt, *, gain: Gain | None = None, refusal: Refusal | None = None) -> Attempt:
    parts = (attempt.faults, attempt.dose, attempt.response, attempt.structure, attempt.spread, attempt.noise)
    return Attempt(*parts, attempt.parity, gain, refusal)


def _check_counts(sums: FlatSums, faults: Faults, settings: GainSettings) -> Refusal | None:
    if sums.n_frames < _FEWEST_FRAMES:
        text = f"{sums.n_frames} of {sums.n_frames_total} frames are whole: the noise of a single one cannot be told"
        return Refusal("few_frames", text, float(sums.n_frames), float(_FEWEST_FRAMES))
    if min(faults.good.shape) < _SMALLEST_FRAME_PX:
        rows, cols = faults.good.shape
        text = f"frames of {rows} x {cols} pixels are too small for a dose over the detector"
        return Refusal("small_frames", text, float(min(rows, cols)), float(_SMALLEST_FRAME_PX))
    if not faults.good.any() or not sums.total[faults.good].any():
        return Refusal("no_counts", "no valid pixel has counted anything")
    saturated = saturated_fraction(sums, faults.good)
    if saturated > settings.max_saturated_fraction:
        text = f"{saturated:.1%} of all counts stand at {sums.top}, where the counter stops: use a weaker beam"
        return Refusal("saturated", text, saturated, settings.max_saturated_fraction)
    if ndimage.binary_opening(faults.dead, np.ones((_DARK_PX, _DARK_PX), np.bool_)).any():
        text = f"{int(faults.dead.sum())} pixels in one piece are dark: an aperture or a shadow is in view"
        return Refusal("not_uniform", f"{text}; where the detector itself is dead, mask it when converting")
    fraction = faults.n_new / max(int((~faults.masked).sum()), 1)
    if fraction > settings.max_faulty_fraction:
        text = f"{fraction:.1%} of the pixels count unlike their surroundings: this is no uniform beam"
        return Refusal("many_faults", text, fraction, settings.max_faulty_fraction)
    return None


def saturated_fraction(sums: FlatSums, good: Mask) -> float:
    """Return which part of the counts of good pixels stand at a ceiling of the counter."""
    if sums.top not in CEILINGS:
        return 0.0
    return float(sums.at_top[good].sum() / (sums.n_frames * good.sum()))


def _normalised(total: NDArray[np.int64], dose: Dose, good: Mask) -> tuple[Dose, Array]:
    """Scale the dose so that the median of counts over dose is 1 over the good pixels."""
    middle = float(np.median(total[good] / dose.counts[good]))
    scaled = Dose(dose.degree, dose.coefficients * middle, dose.counts * middle)
    with np.errstate(invalid="ignore", divide="ignore"):
        return scaled, np.asarray(np.where(scaled.counts > 0, total / scaled.counts, np.nan))


def _check_uniform(structure: Structure, settings: GainSettings) -> Refusal | None:
    if structure.patch > max(settings.max_patch, _CHANCE_SIGMAS * structure.patch_sigma):
        text = f"a patch of the detector is {structure.patch:.0%} off the dose polynomial: an edge or a spot is in view"
        return Refusal("not_uniform", text, structure.patch, settings.max_patch)
    if structure.rms > max(settings.max_structure, _CHANCE_SIGMAS**0.5 * structure.sigma):
        text = f"neighbouring pixels share {structure.rms:.1%} beyond the dose polynomial: rings or a shadow in view"
        return Refusal("not_uniform", text, structure.rms, settings.max_structure)
    return None


def _check_noise(spread: float, noise: float, n_frames: int, settings: GainSettings) -> Refusal | None:
    if noise < settings.max_noise_ratio * spread:
        return None
    if spread > 0:
        needed = int(np.ceil(n_frames * (noise / (settings.warn_noise_ratio * spread)) ** 2))
        text = f"a correction would add noise: take about {needed} frames like these {n_frames}"
    else:
        text = "no difference between pixels is seen above it"
    ratio = noise / spread if spread > 0 else None
    message = f"the gain is known to {noise:.2%} only, and differs between pixels by {spread:.2%}; {text}"
    return Refusal("too_few_counts", message, ratio, settings.max_noise_ratio)


def _gain(sums: FlatSums, dose: Dose, good: Mask, dispersion: float | None, spread: float, *, separate: bool) -> Gain:
    if separate:
        sides = [
            _factor(sums.counts[:, side], dose.counts * (sums.frames[:, side].sum() / sums.n_frames), good, dispersion)
            for side in (0, 1)
        ]
        factor, sigma = np.stack([side[0] for side in sides]), np.stack([side[1] for side in sides])
        known_scatter = [side[2] for side in sides if side[2] is not None]
        scatter = np.stack(known_scatter) if known_scatter else None
    else:
        factor, sigma, scatter = _factor(np.asarray(sums.counts.sum(axis=1)), dose.counts, good, dispersion)
    known = np.isfinite(factor)
    return Gain(factor, sigma, scatter, spread, float(np.median(sigma[known] / factor[known])))


def _factor(
    runs: NDArray[np.int64], dose: Array, good: Mask, dispersion: float | None
) -> tuple[Array, Array, Array | None]:
    """Return dose over counts, its uncertainty from counting and from runs, each (det_row, det_col).

    Over-dispersed counts (``dispersion`` above 1) widen the uncertainty from counting as they widen the scatter.
    """
    total = runs.sum(axis=0).astype(np.float64)
    used = good & (total > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = np.where(used, dose / total, np.nan)
        sigma = factor * np.sqrt(max(dispersion or 1.0, 1.0) / total)
        n_runs = len(runs)
        if dispersion is None:
            return factor, sigma, None
        expected = run_shares(runs, good)[:, None, None] * total
        variance = ((runs - expected) ** 2).sum(axis=0) * n_runs / (n_runs - 1)
        return factor, sigma, factor * np.sqrt(variance) / total
