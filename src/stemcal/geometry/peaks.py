"""Peaks of the scan spectrum: which frequencies of the scan carry contrast.

The pixels of the disk are added up to channels, coarse ones (24 segments) and finer ones. Each channel is transformed
over the scan and divided by its own shot noise, so that power is in units of noise. Coarse channels have the least
noise; where defocus turns the phase across a segment the contrast cancels there, and finer ones see it. Every frequency
takes the channels that show it best.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from stemcal.geometry.aperture import Aperture
from stemcal.geometry.bright_field import BrightField
from stemcal.geometry.disk_pixels import DiskPixels, segment_weights
from stemcal.geometry.preparation import Preparation
from stemcal.geometry.scan_window import taper
from stemcal.geometry.slices import Weighted

Array = NDArray[np.float64]

_FINE_SIDES = (5.0, 12.0)
"""Sides of the finer channels: that part of the radius of the disk."""
_SIGMAS = 8.0
_LEAST_POWER_OF_NOISE = 3.0
_NEAREST_BINS = 4.0
_NEIGHBOURS_BINS = 5
_LOBE_MARGIN = 3.0
_LOBE_REACH_BINS = 0.6
_SKIRT, _SKIRT_BINS = 3e-3, 7.0
_STREAK, _STREAK_BINS, _STREAK_WIDTH_BINS = 1e-3, 16.0, 1.5
"""What jitter, drift and noise of the scan spread around a strong peak, and along the slow axis."""


@dataclass(frozen=True)
class Peaks:
    """The peaks of the power spectrum of a scan.

    Attributes
    ----------
    frequencies : ndarray of float64
        (K, 2) cycles per step (row, col), one of each pair of opposite frequencies, strongest first.
    power : ndarray of float64
        (K,) energy of the wave over the variance of shot noise, summed over the disk.
    sigma : ndarray of float64
        (K, 2) standard uncertainty of the frequencies, cycles per step.
    power_spectrum : ndarray of float64
        (scan_row, scan_col) power over that of shot noise, zero frequency in the middle (numpy's fftshift).
    """

    frequencies: NDArray[np.float64]
    power: NDArray[np.float64]
    sigma: NDArray[np.float64]
    power_spectrum: NDArray[np.float64]


@dataclass(frozen=True)
class Channels:
    """Pixels added up to groups.

    Attributes
    ----------
    label : ndarray of intp
        (n_pix,) group of each pixel, -1 for none.
    n_groups : int
        Number of groups.
    """

    label: NDArray[np.intp]
    n_groups: int

    def add(self, values: NDArray[np.number[Any]]) -> NDArray[np.number[Any]]:
        """Return (..., n_groups) sums over the groups of values (..., n_pix)."""
        member = np.zeros((len(self.label), self.n_groups), np.float32)
        chosen = np.flatnonzero(self.label >= 0)
        member[chosen, self.label[chosen]] = 1
        return np.asarray(values @ member)


@dataclass(frozen=True)
class Candidates:
    """Peaks to the nearest bin and a little better, strongest first.

    Attributes
    ----------
    frequencies : ndarray
        (K, 2) cycles per step.
    power : ndarray
        (K,) energy over the variance of shot noise.
    channels : ndarray of intp
        (K,) which of the sets of channels shows the peak best.
    """

    frequencies: Array
    power: Array
    channels: NDArray[np.intp]


@dataclass(frozen=True)
class ScanSpectrum:
    """The power of the scan in several sets of channels.

    Attributes
    ----------
    sets : tuple of Channels
        From coarse to fine.
    power : ndarray of float64
        (n_sets, scan_row, scan_col) mean power over shot noise, fftshifted.
    """

    sets: tuple[Channels, ...]
    power: Array

    @property
    def energy(self) -> Array:
        """(n_sets, scan_row, scan_col) energy of a wave over the variance of shot noise."""
        return np.asarray((self.power / self._floor - 1) * self._counts)

    @property
    def sigmas(self) -> Array:
        """(n_sets, scan_row, scan_col) power over its mean, in standard deviations of noise."""
        return np.asarray(self.energy / np.sqrt(self._counts))

    @property
    def _floor(self) -> Array:
        # the median of all frequencies is the noise as it is, whatever the gain of the counter
        return np.asarray(np.median(self.power, axis=(1, 2))[:, None, None])

    @property
    def _counts(self) -> Array:
        return np.array([float(one.n_groups) for one in self.sets])[:, None, None]


def channel_sets(field: BrightField, aperture: Aperture, usable: NDArray[np.bool_]) -> tuple[Channels, ...]:
    """Return sets of channels from coarse to fine: the segments, and squares of a part of the radius."""
    pixels = DiskPixels(np.rint(field.det_row).astype(np.intp), np.rint(field.det_col).astype(np.intp), 1, usable)
    weights = segment_weights(aperture, pixels)
    coarse = np.where(weights.any(axis=1), weights.argmax(axis=1), -1)
    sets = [_numbered(coarse)]
    inside = usable & (np.hypot(*aperture.round_offsets(field.det_row, field.det_col)) < aperture.radius_px)
    sides = {max(1, round(aperture.radius_px / field.binning / part)) for part in _FINE_SIDES}
    for side in sorted(sides, reverse=True):
        size = side * field.binning
        square = (field.det_row // size).astype(np.intp) * 2**20 + (field.det_col // size).astype(np.intp)
        sets.append(_numbered(np.where(inside, square, -1)))
    return tuple(sets)


def _numbered(label: NDArray[np.intp]) -> Channels:
    names, number = np.unique(label[label >= 0], return_inverse=True)
    full = np.full(label.shape, -1, np.intp)
    full[label >= 0] = number
    return Channels(full, len(names))


def scan_spectrum(
    field: BrightField, preparation: Preparation, aperture: Aperture, usable: NDArray[np.bool_]
) -> ScanSpectrum:
    """Transform the channels over the scan.

    Parameters
    ----------
    field : BrightField
        The pixels of the disk.
    preparation : Preparation
        Weights of the positions.
    aperture : Aperture
        The disk.
    usable : ndarray of bool
        (n_pix,) pixels to use.
    """
    sets = channel_sets(field, aperture, usable)
    weighted = Weighted.of(preparation)
    return ScanSpectrum(sets, np.stack([_mean_power(field, weighted, one) for one in sets]))


def _mean_power(field: BrightField, weighted: Weighted, channels: Channels) -> Array:
    """Return the mean power of channels over their shot noise, (scan_row, scan_col), fftshifted."""
    factor, window = weighted.factor, weighted.window
    total = np.zeros((field.scan_shape[0], field.scan_shape[1] // 2 + 1))
    count = 0
    for one in range(channels.n_groups):
        counts = field.counts[channels.label == one].sum(axis=0, dtype=np.float64)
        noise = float((counts * factor**2).sum())
        if noise <= 0:
            continue
        flat = float((counts * factor).sum() / window.sum())
        wave = fft.rfft2((counts * factor - flat * window).astype(np.float32))
        total += (wave.real**2 + wave.imag**2) / noise
        count += 1
    return _whole_plane(total / max(count, 1), field.scan_shape)


def _whole_plane(half: Array, scan_shape: tuple[int, int]) -> Array:
    """Return the power of all frequencies, fftshifted, of that of the half plane of a real transform."""
    rows, cols = scan_shape
    whole = np.empty(scan_shape)
    whole[:, : cols // 2 + 1] = half
    mirror = np.arange(cols // 2 + 1, cols)
    whole[:, mirror] = half[(-np.arange(rows)) % rows][:, cols - mirror]
    return np.asarray(np.fft.fftshift(whole))


def find_candidates(spectrum: ScanSpectrum, *, most_peaks: int = 36, sigmas: float = _SIGMAS) -> Candidates:
    """Find the peaks that stand out of the noise and are no lobes of stronger ones.

    Parameters
    ----------
    spectrum : ScanSpectrum
        Power of the scan.
    most_peaks : int
        No more than these are returned.
    sigmas : float
        By how many standard deviations of the noise a peak stands out.
    """
    height, energy = spectrum.sigmas, spectrum.energy
    best = height.argmax(axis=0)
    top = height.max(axis=0)
    shape = np.array(top.shape)
    row, col = (axis - n // 2 for axis, n in zip(np.indices(top.shape), top.shape, strict=True))
    local = top == ndimage.maximum_filter(top, _NEIGHBOURS_BINS, mode="wrap")
    half = (col > 0) | ((col == 0) & (row > 0))
    loud = np.take_along_axis(spectrum.power / np.median(spectrum.power, axis=(1, 2))[:, None, None], best[None], 0)[0]
    chosen = local & half & (np.hypot(row, col) >= _NEAREST_BINS) & (top > sigmas) & (loud > _LEAST_POWER_OF_NOISE)
    places = np.argwhere(chosen)
    channels = best[chosen]
    power = energy[channels, places[:, 0], places[:, 1]]
    order = np.argsort(-power, kind="stable")
    places, channels, power = places[order], channels[order], power[order]
    offsets = [_vertex(spectrum.power[c], place) for c, place in zip(channels, places, strict=True)]
    bins = places - shape // 2 + np.array(offsets).reshape(-1, 2)
    kept = _without_lobes(bins, power, (top.shape[0], top.shape[1]))[:most_peaks]
    return Candidates(bins[kept] / shape, power[kept], channels[kept])


def _vertex(power: Array, place: NDArray[np.intp]) -> Array:
    """Return how far the top of a peak is from its bin, by parabolas through the logarithm of its neighbours."""
    offset = np.zeros(2)
    for axis in range(2):
        step = np.eye(2, dtype=np.intp)[axis]
        low, high = (power[tuple((place + sign * step) % power.shape)] for sign in (-1, 1))
        a, b, c = np.log(np.maximum([low, power[tuple(place)], high], 1e-12))
        curvature = a - 2 * b + c
        offset[axis] = float(np.clip(0.5 * (a - c) / curvature, -0.5, 0.5)) if curvature < 0 else 0.0
    return offset


def _without_lobes(bins: Array, power: Array, scan_shape: tuple[int, int]) -> NDArray[np.intp]:
    """Return which peaks are not explained by the window, by the skirt or by the streak of stronger ones."""
    kept: list[int] = []
    for one in range(len(bins)):
        expected = 0.0
        hidden = False
        for other in kept:
            for sign in (-1, 1):
                apart = np.abs(bins[one] - sign * bins[other])
                apart = np.minimum(apart, np.array(scan_shape) - apart)
                ratio = power[one] / power[other]
                near = float(np.hypot(*apart))
                hidden |= ratio < _SKIRT and near < _SKIRT_BINS
                hidden |= ratio < _STREAK and apart.min() < _STREAK_WIDTH_BINS and near < _STREAK_BINS
                lobe = _lobe(float(apart[0]), scan_shape[0]) * _lobe(float(apart[1]), scan_shape[1])
                expected += float(power[other]) * lobe**2
        if not hidden and power[one] > _LOBE_MARGIN * expected:
            kept.append(one)
    return np.array(kept, dtype=np.intp)


def _lobe(apart_bins: float, n_steps: int) -> float:
    """Return the largest response of the window near a distance in bins, over that at 0."""
    window = taper(n_steps)
    near = apart_bins + np.linspace(-_LOBE_REACH_BINS, _LOBE_REACH_BINS, 7)
    phase = np.exp(-2j * math.pi / n_steps * np.outer(near, np.arange(n_steps)))
    return float(np.abs(phase @ window).max() / window.sum())
