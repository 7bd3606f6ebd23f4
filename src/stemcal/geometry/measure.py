"""From what was read to a geometry, or to the reason why there is none. Pure, on one rank."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry.com_curl import ComCurl, NoRotation, com_curl
from stemcal.geometry.half_turn import HalfTurn, half_turn
from stemcal.geometry.j_matrix import JMatrix, NoJMatrix, j_matrix
from stemcal.geometry.lattice import ScanLattice
from stemcal.geometry.optics import Optics
from stemcal.geometry.preparation import Preparation
from stemcal.geometry.probe import Probe
from stemcal.geometry.reading import Reading
from stemcal.geometry.settings import GeometrySettings
from stemcal.geometry.slices import Slices, Weighted
from stemcal.geometry.spectrum import Measured, NoPeaks, measure_spectrum
from stemcal.geometry.thin import NoFit, ThinFit, ThinStart, fit_thin
from stemcal.optics.scan_affine import scan_axes
from stemcal.records.base import Finding, Flag
from stemcal.records.geometry import Mode, Vote

Array = NDArray[np.float64]

_CONTRAST, _CONTRAST_SIGMAS = 0.02, 6.0
"""Excess of the variance of segments over that of shot noise that is contrast: a part, and standard deviations."""


@dataclass(frozen=True)
class Geometry:
    """What decided, turned to the side that the half turn says.

    Attributes
    ----------
    mode : str
        Which way of measuring it was.
    disk_shift_px : ndarray of float64
        (2, 2) B in px of the full frame per cycle per step.
    covariance : ndarray of float64
        (4, 4) of B in row-major order.
    aberrations_rad, sigma_rad : dict
        Phases at the edge of the aperture and their standard uncertainties; empty where the thin model does not hold.
    centre_shift_px : tuple of float
        Optic axis from the centre of the aperture, px of the full frame.
    amplitudes : ndarray of complex128 or None
        (K, 2) O_Q and O_-Q* of the peaks.
    by_symmetry : bool
        Whether the symmetry of the lattice was used.
    """

    mode: Mode
    disk_shift_px: Array
    covariance: Array
    aberrations_rad: dict[str, float]
    sigma_rad: dict[str, float]
    centre_shift_px: tuple[float, float]
    amplitudes: NDArray[np.complex128] | None
    by_symmetry: bool


@dataclass(frozen=True)
class Attempt:
    """How far it came; what was not reached is None."""

    reading: Reading
    preparation: Preparation
    spectrum: Measured | None = None
    thin: ThinFit | NoFit | None = None
    votes: tuple[Vote, ...] = ()
    half_turn: HalfTurn | None = None
    com_curl: ComCurl | NoRotation | None = None
    j_matrix: JMatrix | NoJMatrix | None = None
    geometry: Geometry | None = None
    refusals: tuple[Finding, ...] = ()


def measure(reading: Reading, preparation: Preparation, optics: Optics, settings: GeometrySettings) -> Attempt:
    """Measure the geometry of a scan.

    Parameters
    ----------
    reading : Reading
        The bright field and the sums of all frames.
    preparation : Preparation
        How the positions of the scan are used.
    optics : Optics
        What is known.
    settings : GeometrySettings
        What is tried and required.
    """
    attempt = Attempt(reading, preparation)
    spectrum = measure_spectrum(
        reading.bright_field,
        preparation,
        reading.aperture,
        most_peaks=settings.max_peaks,
        fewest_peaks=settings.min_peaks,
        tiles_per_axis=settings.resampling_tiles,
    )
    if isinstance(spectrum, NoPeaks):
        return replace(attempt, refusals=(_without_peaks(attempt), spectrum.finding))
    attempt = replace(attempt, spectrum=spectrum)
    refusals = tuple(finding for finding in spectrum.findings if finding.severity == "fail")
    if refusals:
        return replace(attempt, refusals=refusals)
    attempt = _with_centre_of_mass(attempt, spectrum, settings)
    return _decided(attempt, spectrum, _fitted(attempt, spectrum, optics, settings), settings)


def _without_peaks(attempt: Attempt) -> Finding:
    """Say whether there is nothing to see, or contrast without a lattice."""
    segments, weights = attempt.reading.sums.segments, attempt.preparation.weights
    used = weights > 0
    counts = segments[:, used].astype(np.float64) * weights[used]
    means = counts.mean(axis=1)
    lit = means > 0
    fano = float(np.mean(counts[lit].var(axis=1) / means[lit])) if lit.any() else 1.0
    most = 1 + _CONTRAST + _CONTRAST_SIGMAS * math.sqrt(2 / max(1, counts[lit].size))
    if fano > most:
        message = "the scan has contrast but its spectrum no peaks, as that of an amorphous sample"
        return refused("amorphous", message, fano)
    return refused("vacuum", "the disk does not change over the scan beyond shot noise: there is no sample", fano)


def _with_centre_of_mass(attempt: Attempt, spectrum: Measured, settings: GeometrySettings) -> Attempt:
    """Add what the centre of mass of the disk says."""
    sums, frequencies = attempt.reading.sums, spectrum.slices.frequencies
    position = np.stack([sums.disk_row, sums.disk_col])
    window, tiles = Weighted.of(attempt.preparation).window, settings.resampling_tiles
    return replace(
        attempt,
        com_curl=com_curl(position, window, frequencies, tiles),
        j_matrix=j_matrix(position, window, frequencies, tiles),
    )


def _fitted(attempt: Attempt, spectrum: Measured, optics: Optics, settings: GeometrySettings) -> ThinFit | NoFit:
    """Return the fit of the thin model."""
    reading, moments, lattice = attempt.reading, attempt.j_matrix, spectrum.lattice
    start = ThinStart(
        unit_px=optics.unit_px(spectrum.slices.radius_px),
        com_direction=moments.disk_shift if isinstance(moments, JMatrix) else None,
        lattice=lattice if isinstance(lattice, ScanLattice) else None,
        sigma_radius_px=reading.aperture.sigma_radius_px / reading.bright_field.binning,
    )
    return fit_thin(spectrum.slices, start, settings)


def _decided(attempt: Attempt, spectrum: Measured, thin: ThinFit | NoFit, settings: GeometrySettings) -> Attempt:
    """Add which way of measuring decides, and which of the geometry and its opposite it is."""
    attempt = replace(attempt, thin=thin)
    if isinstance(thin, NoFit):
        vote = Vote(method="thin", usable=False, used=False, reason=thin.reason)
        return replace(attempt, votes=(vote,), refusals=(refused("no_fit", thin.reason),))
    binning, least = attempt.reading.bright_field.binning, settings.min_explained_energy
    if thin.explained < least:
        reason = f"the thin model explains {thin.explained:.0%} of the interference, {least:.0%} are required"
        vote = _thin_vote(thin, binning, usable=False, reason=reason)
        return replace(attempt, votes=(vote,), refusals=(refused("thick", reason, thin.explained),))
    vote = _thin_vote(thin, binning, usable=True, reason=f"explains {thin.explained:.1%} of the interference")
    return _turned(replace(attempt, votes=(vote,)), spectrum.slices, thin, settings)


def _thin_vote(thin: ThinFit, binning: int, *, usable: bool, reason: str) -> Vote:
    (a, b), (c, d) = (thin.b * binning).tolist()
    scan = scan_axes(np.linalg.inv(thin.b).T)
    turn = np.array([[0.0, -1.0], [1.0, 0.0]]) @ thin.b
    along = float(turn.ravel() @ thin.covariance_b @ turn.ravel()) / float((turn**2).sum()) ** 2
    return Vote(
        method="thin",
        usable=usable,
        used=usable,
        reason=reason,
        disk_shift_px=((a, b), (c, d)),
        axis_deg=scan.theta_fast_deg,
        sigma_deg=math.degrees(math.sqrt(along)),
    )


def _turned(attempt: Attempt, slices: Slices, thin: ThinFit, settings: GeometrySettings) -> Attempt:
    """Add the geometry of the thin fit, on the side that the dark field tells."""
    symmetry = thin.symmetry if settings.symmetry == "auto" else None
    b, covariance = (symmetry.b, symmetry.covariance_b) if symmetry else (thin.b, thin.covariance_b)
    found = half_turn(
        attempt.reading.sums.adf,
        Weighted.of(attempt.preparation).window,
        slices.frequencies,
        thin.amplitudes,
        b,
        Probe(slices.radius_px, slices.edge_px, thin.aberrations_rad),
        min_z=settings.half_turn_min_z,
        min_correlation=settings.half_turn_min_correlation,
    )
    binning = attempt.reading.bright_field.binning
    sigmas = np.sqrt(np.diag(thin.covariance))
    geometry = Geometry(
        mode="thin",
        disk_shift_px=found.sign * binning * b,
        covariance=binning**2 * covariance,
        aberrations_rad={name: found.sign * value for name, value in thin.aberrations_rad.items()},
        sigma_rad={name: float(sigmas[thin.names.index(name)]) for name in thin.aberrations_rad},
        centre_shift_px=(float(binning * thin.centre_shift_px[0]), float(binning * thin.centre_shift_px[1])),
        amplitudes=thin.amplitudes if found.sign > 0 else thin.amplitudes[:, ::-1],
        by_symmetry=symmetry is not None,
    )
    return replace(attempt, half_turn=found, geometry=geometry)


def refused(name: str, message: str, value: float | None = None) -> Finding:
    """Return the finding that nothing can be measured."""
    return Finding(Flag(name=name, value=value, message=message), "fail")
