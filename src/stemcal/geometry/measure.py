"""From what was read to a geometry, or to the reason why there is none. Pure, on one rank."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry.com_curl import ComCurl, NoRotation, com_curl
from stemcal.geometry.half_turn import HalfTurn, half_turn
from stemcal.geometry.j_matrix import JMatrix, NoJMatrix, j_matrix
from stemcal.geometry.lattice import NoLattice, ScanLattice
from stemcal.geometry.optics import Optics
from stemcal.geometry.preparation import Preparation
from stemcal.geometry.probe import Probe
from stemcal.geometry.reading import Reading
from stemcal.geometry.settings import GeometrySettings
from stemcal.geometry.slices import Slices, Weighted
from stemcal.geometry.spectrum import Measured, NoPeaks, measure_spectrum
from stemcal.geometry.thick import NoTilt, ThickResult, Tilt, Vote, decide, thick_votes
from stemcal.geometry.thin import NoFit, ThinFit, ThinStart, fit_thin
from stemcal.records.base import Finding, Flag
from stemcal.records.geometry import Mode

Array = NDArray[np.float64]

_CONTRAST, _CONTRAST_SIGMAS = 0.02, 6.0
"""Excess of the variance of segments over that of shot noise that is contrast: a part, and standard deviations."""
NOT_TOLD = HalfTurn(1, False, None, None, None, 0, "the sample is too thick for its phase to tell")


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
    tilt: Tilt | NoTilt | None = None
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
    return _decided(attempt, spectrum, _fitted(attempt, spectrum, optics, settings), optics, settings)


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


def _decided(
    attempt: Attempt, spectrum: Measured, thin: ThinFit | NoFit, optics: Optics, settings: GeometrySettings
) -> Attempt:
    """Add which way of measuring decides, and which of the geometry and its opposite it is."""
    thick = _thick(attempt, spectrum, optics, settings)
    binning = attempt.reading.bright_field.binning
    votes = (_thin_vote(thin, binning), *(thick.votes if thick else ()))
    votes = tuple(vote for vote in votes if vote.method in settings.modes)
    explained = thin.explained if isinstance(thin, ThinFit) else None
    decision = decide(votes, explained, least_explained_energy=settings.min_explained_energy)
    attempt = replace(attempt, thin=thin, votes=votes, tilt=thick.tilt if thick else None)
    if isinstance(thin, ThinFit) and decision.mode == "thin":
        return _turned(attempt, spectrum.slices, thin, settings)
    if decision.vote is None:
        return replace(attempt, refusals=(_undecided(thin, decision.reason, settings),))
    return replace(attempt, half_turn=NOT_TOLD, geometry=_by_symmetry(decision.vote, spectrum))


def _thick(attempt: Attempt, spectrum: Measured, optics: Optics, settings: GeometrySettings) -> ThickResult | None:
    """Return the votes that need no thin sample; None where there is no lattice, or they are not wanted."""
    reading, moments = attempt.reading, attempt.j_matrix
    if isinstance(spectrum.lattice, NoLattice) or settings.modes == ("thin",):
        return None
    pattern = reading.sums.mean_pattern
    return thick_votes(
        np.nan_to_num(pattern),
        int(np.count_nonzero(attempt.preparation.weights)),
        reading.valid & np.isfinite(pattern),
        reading.aperture,
        spectrum.lattice,
        spectrum.slices,
        moments.disk_shift if isinstance(moments, JMatrix) else None,
        optics.unit_px(reading.aperture.radius_px) or 1.0,
        optics.semi_angle_mrad,
    )


def _undecided(thin: ThinFit | NoFit, reason: str, settings: GeometrySettings) -> Finding:
    if isinstance(thin, NoFit):
        return refused("no_fit", f"{thin.reason}; {reason}")
    least = settings.min_explained_energy
    explained = f"the thin model explains {thin.explained:.0%} of the interference, {least:.0%} are required"
    return refused("thick", f"{explained}; {reason}", thin.explained)


def _thin_vote(thin: ThinFit | NoFit, binning: int) -> Vote:
    if isinstance(thin, NoFit):
        return Vote("thin", None, None, usable=False, reason=thin.reason)
    turn = np.array([[0.0, -1.0], [1.0, 0.0]]) @ thin.b
    along = float(turn.ravel() @ thin.covariance_b @ turn.ravel()) / float((turn**2).sum()) ** 2
    reason = f"explains {thin.explained:.1%} of the interference"
    return Vote("thin", binning * thin.b, math.degrees(math.sqrt(along)), usable=True, reason=reason)


def _by_symmetry(vote: Vote, spectrum: Measured) -> Geometry:
    """Return the geometry of a vote: its direction from the pattern, its shape from the lattice, its size commanded."""
    assert vote.disk_shift_px is not None
    assert isinstance(spectrum.lattice, ScanLattice)
    b, lattice = vote.disk_shift_px, spectrum.lattice
    turn = np.array([[0.0, -1.0], [1.0, 0.0]]) @ b
    spread = math.radians(vote.sigma_deg or 0.0) ** 2 * np.outer(turn.ravel(), turn.ravel())
    inverse = np.linalg.inv(lattice.vectors).T
    for place in np.ndindex(2, 2):
        error = np.zeros((2, 2))
        error[place] = lattice.sigma[place]
        # B takes the lattice to that of the camera: B L^T stays, so that dB = -B dL^T L^-T
        change = (b @ error.T @ inverse).ravel()
        spread = spread + np.outer(change, change)
    return Geometry(vote.method, b, spread, {}, {}, (0.0, 0.0), None, by_symmetry=True)


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
