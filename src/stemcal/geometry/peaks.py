"""Peaks of the scan spectrum: which frequencies of the scan carry contrast.

The pixels of the disk are added up to channels, coarse ones (24 segments) and finer ones. Each channel is transformed
over the scan and divided by its own shot noise, so that power is in units of noise. Coarse channels have the least
noise; where defocus turns the phase across a segment the contrast cancels there, and finer ones see it. Every frequency
takes the channels that show it best.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from stemcal.geometry.aperture import Aperture
from stemcal.geometry.bright_field import BrightField
from stemcal.geometry.disk_pixels import DiskPixels, segment_weights
from stemcal.geometry.preparation import Preparation
from stemcal.geometry.slices import Weighted

Array = NDArray[np.float64]

_FINE_SIDES = (5.0, 12.0)
"""Sides of the finer channels: that part of the radius of the disk."""
_SIGMAS = 8.0
_LEAST_POWER_OF_NOISE = 3.0
_NEAREST_BINS = 4.0
_NEIGHBOURS_BINS = 5
_PER_BIN, _LOBE_REACH = 4, 2
"""The response of the window is known on quarters of a bin, and its largest value within two of them is taken."""
_LOBE_MARGIN = 3.0
_SKIRT, _SKIRT_BINS = 3e-3, 7.0
"""What jitter and drift of the scan spread around a strong peak."""
_STREAK_MARGIN = 10.0
"""Times the median along its row and its column: jitter of lines spreads a peak along one axis, all channels alike."""


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
    response : WindowResponse
        What the window makes of a peak.
    """

    sets: tuple[Channels, ...]
    power: Array
    response: WindowResponse

    @property
    def energy(self) -> Array:
        """(n_sets, scan_row, scan_col) energy of a wave over the variance of shot noise."""
        return np.asarray((self.power / self._floor - 1) * self._counts)

    @property
    def sigmas(self) -> Array:
        """(n_sets, scan_row, scan_col) power over its mean, in standard deviations of noise."""
        return np.asarray(self.energy / np.sqrt(self._counts))

    @property
    def streaks(self) -> Array:
        """(n_sets, scan_row, scan_col) energy that is spread along the row or the column of a frequency."""
        energy = self.energy
        along = [ndimage.maximum_filter1d(np.median(energy, axis=axis), 3, axis=1, mode="wrap") for axis in (1, 2)]
        return np.asarray(np.maximum(np.maximum(along[0][:, None, :], along[1][:, :, None]), 0.0))

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
    power = np.stack([_mean_power(field, weighted, one) for one in sets])
    return ScanSpectrum(sets, power, WindowResponse.of(weighted.window))


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
    clear = np.take_along_axis(energy > _STREAK_MARGIN * spectrum.streaks, best[None], 0)[0]
    chosen = local & half & (np.hypot(row, col) >= _NEAREST_BINS) & (top > sigmas) & (loud > _LEAST_POWER_OF_NOISE)
    chosen &= clear
    places = np.argwhere(chosen)
    channels = best[chosen]
    power = energy[channels, places[:, 0], places[:, 1]]
    order = np.argsort(-power, kind="stable")
    places, channels, power = places[order], channels[order], power[order]
    offsets = [_vertex(spectrum.power[c], place) for c, place in zip(channels, places, strict=True)]
    bins = places - shape // 2 + np.array(offsets).reshape(-1, 2)
    kept = _without_lobes(bins, power, spectrum.response)[:most_peaks]
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


def _without_lobes(bins: Array, power: Array, response: WindowResponse) -> NDArray[np.intp]:
    """Return which peaks are explained neither by the window nor by the skirt of stronger ones."""
    kept: list[int] = []
    for one in range(len(bins)):
        apart = np.concatenate([bins[one] - bins[kept], bins[one] + bins[kept]])
        stronger = np.tile(power[kept], 2)
        near = np.hypot(*response.wrapped(apart).T)
        hidden = (power[one] < _SKIRT * stronger) & (near < _SKIRT_BINS)
        if not hidden.any() and power[one] > _LOBE_MARGIN * float(stronger @ response.at(apart)):
            kept.append(one)
    return np.array(kept, dtype=np.intp)


@dataclass(frozen=True)
class WindowResponse:
    """What the window, with the holes that unusable positions leave in it, makes of a peak.

    Attributes
    ----------
    power : ndarray of float64
        Largest power within a good half of a bin, over that of the peak, on quarters of a bin; 0 first.
    """

    power: Array

    @classmethod
    def of(cls, window: Array) -> WindowResponse:
        """Transform a window (scan_row, scan_col)."""
        size = tuple(_PER_BIN * n for n in window.shape)
        whole = _whole_plane(np.abs(fft.rfft2(window, s=size)) ** 2, (size[0], size[1]))
        near = ndimage.maximum_filter(np.fft.ifftshift(whole), 2 * _LOBE_REACH + 1, mode="wrap")
        return cls(near / max(float(window.sum()) ** 2, 1e-300))

    def wrapped(self, apart_bins: Array) -> Array:
        """Return distances (n, 2) in bins, as they are on the periodic spectrum."""
        period = np.array(self.power.shape) / _PER_BIN
        return np.asarray((apart_bins + period / 2) % period - period / 2)

    def at(self, apart_bins: Array) -> Array:
        """Return the response at distances (n, 2) in bins."""
        place = np.rint(apart_bins * _PER_BIN).astype(np.intp) % np.array(self.power.shape)
        return np.asarray(self.power[place[:, 0], place[:, 1]])
