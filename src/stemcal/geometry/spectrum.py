"""From prepared pixels to slices: peaks of the scan spectrum, their lattice, their frequencies, their slices."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry.aperture import Aperture
from stemcal.geometry.bright_field import BrightField
from stemcal.geometry.lattice import NoLattice, ScanLattice, fit_lattice
from stemcal.geometry.peaks import Candidates, Peaks, ScanSpectrum, find_candidates, scan_spectrum
from stemcal.geometry.preparation import Preparation
from stemcal.geometry.refine import Tone, refine_lattice, refine_one
from stemcal.geometry.scan_window import Tiling
from stemcal.geometry.slices import TILES_PER_AXIS, Slices, Weighted, cut_slices
from stemcal.records.base import Finding, Flag

Array = NDArray[np.float64]

_NEAREST_BINS = 4.0
_WEAK_SIGMAS = 4.0
_LEAST_SINE = 0.1


@dataclass(frozen=True)
class Measured:
    """What the scan spectrum gave.

    Attributes
    ----------
    peaks : Peaks
        Refined one by one. Where there is a lattice, only those that belong to it, weak ones at its points included.
    lattice : ScanLattice or NoLattice
        What they have in common.
    slices : Slices
        At the lattice's frequencies where there is one, else at those of the peaks.
    findings : tuple of Finding
        What is wrong with the peaks.
    """

    peaks: Peaks
    lattice: ScanLattice | NoLattice
    slices: Slices
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class NoPeaks:
    """The scan spectrum has no peaks, and why nothing can be measured."""

    finding: Finding


def measure_spectrum(
    field: BrightField,
    preparation: Preparation,
    aperture: Aperture,
    *,
    most_peaks: int = 36,
    fewest_peaks: int = 4,
    tiles_per_axis: int = TILES_PER_AXIS,
) -> Measured | NoPeaks:
    """Find the peaks of the scan spectrum and cut slices at their frequencies.

    Parameters
    ----------
    field : BrightField
        The pixels of the disk.
    preparation : Preparation
        Weights and descan.
    aperture : Aperture
        The disk.
    most_peaks : int
        The strongest peaks are taken up to that number.
    fewest_peaks : int
        With fewer the findings say so.
    tiles_per_axis : int
        The slices are cut into the square of that number of tiles.

    Returns
    -------
    Measured or NoPeaks
        An expected failure is a value with its reason.
    """
    spectrum = scan_spectrum(field, preparation, aperture, field.valid)
    found = find_candidates(spectrum, most_peaks=most_peaks)
    if len(found.frequencies) == 0:
        return NoPeaks(_too_few(0, fewest_peaks))
    cutter = _Cutter(field, preparation, aperture, spectrum, tiles_per_axis)
    peaks = _refined(cutter, found)
    lattice = fit_lattice(peaks.frequencies, peaks.sigma, peaks.power, field.scan_shape)
    if isinstance(lattice, NoLattice):
        return _one_by_one(cutter, found, peaks, lattice, fewest_peaks)
    belongs = (lattice.indices != 0).any(axis=1)
    found = _with_weak_ones(spectrum, _chosen(found, belongs), lattice, most_peaks)
    return _together(cutter, found, lattice, fewest_peaks)


class _Cutter:
    """Cuts slices of one scan and makes tones of them."""

    def __init__(
        self,
        field: BrightField,
        preparation: Preparation,
        aperture: Aperture,
        spectrum: ScanSpectrum,
        tiles_per_axis: int,
    ) -> None:
        self._scan = (field, preparation, aperture)
        self._tiles = tiles_per_axis
        self.spectrum = spectrum
        window = Weighted.of(preparation).window
        middle = Tiling.of(field.scan_shape, (tiles_per_axis, tiles_per_axis)).centres(window)
        self.middle = middle - (np.array(field.scan_shape) - 1) / 2
        self.bin_width = 1 / np.array(field.scan_shape, dtype=np.float64)

    def slices(self, frequencies: Array, tile_frequencies: Array | None = None) -> Slices:
        return cut_slices(*self._scan, frequencies, tile_frequencies=tile_frequencies, tiles_per_axis=self._tiles)

    def tones(self, slices: Slices, channels: NDArray[np.intp]) -> list[Tone]:
        variance = np.where(slices.usable, slices.variance.sum(axis=0), 0.0)
        tones = []
        for peak, chosen in enumerate(channels):
            group = self.spectrum.sets[chosen]
            noise = np.asarray(group.add(variance), np.float64)
            seen = noise > 0
            values = np.asarray(group.add(np.where(slices.usable, slices.values[:, peak], 0)), np.complex128)
            tones.append(Tone(values[:, seen] / np.sqrt(noise[seen]), self.middle))
        return tones


def _chosen(found: Candidates, kept: NDArray[np.bool_]) -> Candidates:
    return Candidates(found.frequencies[kept], found.power[kept], found.channels[kept])


def _refined(cutter: _Cutter, found: Candidates) -> Peaks:
    """Refine every peak by itself."""
    tones = cutter.tones(cutter.slices(found.frequencies), found.channels)
    return _as_peaks(cutter, found, found.frequencies, tones)


def _as_peaks(cutter: _Cutter, found: Candidates, cut_at: Array, tones: list[Tone]) -> Peaks:
    refined = [refine_one(tone, cutter.bin_width) for tone in tones]
    frequencies = cut_at + np.array([delta for delta, _ in refined])
    sigma = np.array([one for _, one in refined])
    strongest = int(np.bincount(found.channels).argmax())
    return Peaks(frequencies, found.power, sigma, cutter.spectrum.power[strongest])


def _with_weak_ones(spectrum: ScanSpectrum, found: Candidates, lattice: ScanLattice, most_peaks: int) -> Candidates:
    """Add the points of the lattice at which there is some power, too little to be called a peak without it."""
    scan_shape = np.array(spectrum.power.shape[1:])
    reach = np.ceil(0.5 / np.maximum(np.abs(lattice.vectors).max(axis=1), 1e-6)).astype(int) + 1
    index = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 2)
    points = index @ lattice.vectors
    half = (points[:, 1] > 0) | ((points[:, 1] == 0) & (points[:, 0] > 0))
    bins = points * scan_shape
    points = points[half & (np.abs(points) < 0.5).all(axis=1) & (np.hypot(*bins.T) >= _NEAREST_BINS)]
    # a peak on the border of the half plane is there as its opposite
    known = np.concatenate([found.frequencies, -found.frequencies]) * scan_shape
    new = [p for p in points if np.hypot(*(known - p * scan_shape).T).min() > 2]
    if not new:
        return found
    places = np.rint(np.array(new) * scan_shape).astype(np.intp) + scan_shape // 2
    places = np.minimum(places, scan_shape - 1)
    height = spectrum.sigmas[:, places[:, 0], places[:, 1]]
    best = height.argmax(axis=0)
    energy = np.take_along_axis(spectrum.energy[:, places[:, 0], places[:, 1]], best[None], 0)[0]
    streak = np.take_along_axis(spectrum.streaks[:, places[:, 0], places[:, 1]], best[None], 0)[0]
    seen = (height.max(axis=0) > _WEAK_SIGMAS) & (energy > _WEAK_SIGMAS * streak)
    power = np.concatenate([found.power, energy[seen]])
    frequencies = np.concatenate([found.frequencies, np.array(new)[seen]])
    channels = np.concatenate([found.channels, best[seen]])
    order = np.argsort(-power, kind="stable")[:most_peaks]
    return Candidates(frequencies[order], power[order], channels[order])


def _together(cutter: _Cutter, found: Candidates, lattice: ScanLattice, fewest: int) -> Measured:
    """Refine the lattice with all peaks at once, and once more without each tile."""
    indices = np.rint(found.frequencies @ np.linalg.inv(lattice.vectors)).astype(np.int64)
    start = indices @ lattice.vectors
    tones = cutter.tones(cutter.slices(start), found.channels)
    peaks = _as_peaks(cutter, found, start, tones)
    vectors, _ = refine_lattice(tones, start, indices, lattice.vectors, cutter.bin_width)
    left_out = []
    for tile in range(len(cutter.middle)):
        rest = [tone.without(tile) for tone in tones]
        left_out.append(refine_lattice(rest, start, indices, vectors, cutter.bin_width)[0])
    n_tiles = len(left_out)
    spread = np.array(left_out) - np.mean(left_out, axis=0)
    tile_frequencies = np.array([indices @ one for one in left_out])
    joint = indices @ vectors
    off = (peaks.frequencies - joint) / cutter.bin_width
    certain = 1 / (peaks.sigma / cutter.bin_width) ** 2
    final = ScanLattice(
        vectors=vectors,
        indices=indices,
        sigma=np.sqrt((n_tiles - 1) / n_tiles * (spread**2).sum(axis=0)),
        rms_bins=float(np.sqrt(2 * (certain * off**2).sum() / certain.sum())),
        n_indexed=len(indices),
        frequencies=joint,
    )
    slices = cutter.slices(joint, tile_frequencies)
    return Measured(peaks, final, slices, judge_peaks(peaks, fewest))


def _one_by_one(cutter: _Cutter, found: Candidates, peaks: Peaks, lattice: NoLattice, fewest: int) -> Measured:
    """Keep the frequency of each peak, and find it again without each tile."""
    tones = cutter.tones(cutter.slices(peaks.frequencies), found.channels)
    delta = np.array([refine_one(tone, cutter.bin_width)[0] for tone in tones])
    left_out = [
        [refine_one(tone.without(tile), cutter.bin_width)[0] for tone in tones] for tile in range(len(cutter.middle))
    ]
    refined = replace(peaks, frequencies=peaks.frequencies + delta)
    slices = cutter.slices(refined.frequencies, peaks.frequencies + np.array(left_out))
    flag = Flag(
        name="no_scan_lattice", message=f"the peaks of the scan spectrum have no lattice in common: {lattice.reason}"
    )
    return Measured(refined, lattice, slices, (Finding(flag, "warn"), *judge_peaks(refined, fewest)))


def judge_peaks(peaks: Peaks, fewest_peaks: int) -> tuple[Finding, ...]:
    """Return what keeps the peaks from determining the geometry: too few of them, or all along one direction."""
    findings = []
    n_peaks = len(peaks.frequencies)
    if n_peaks < fewest_peaks:
        findings.append(_too_few(n_peaks, fewest_peaks))
    spread = np.linalg.svd(peaks.frequencies, compute_uv=False)
    if n_peaks > 1 and spread[-1] < _LEAST_SINE * spread[0]:
        message = "all peaks of the scan spectrum lie along one direction; it takes two to fix the geometry"
        findings.append(
            Finding(
                Flag(
                    name="peaks_in_one_direction",
                    value=float(spread[-1] / spread[0]),
                    limit=_LEAST_SINE,
                    message=message,
                ),
                "fail",
            )
        )
    return tuple(findings)


def _too_few(n_peaks: int, fewest: int) -> Finding:
    message = (
        f"the scan spectrum has {n_peaks} peaks, fewer than {fewest}: no lattice is resolved; scan a thin "
        "crystal in focus with steps below a third of its spacing"
    )
    return Finding(Flag(name="too_few_peaks", value=n_peaks, limit=fewest, message=message), "fail")
