"""Thick crystals: what each way of measuring says of the geometry, and which of them is believed.

Where the interference of two beams alone does not describe the data, three things still know the crystal's axes on the
camera: the mean pattern inside the disk (``bulk``), its Kikuchi bands outside (``kikuchi``), and the achromatic lines
of the slices (``line``). Mirrors leave a choice: they do not tell the crystal's axes from the diagonals, nor a flip.
The lines tell, unless the centre of mass is plainly against it. Each is a vote; votes that contradict each other are
no result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry.achromatic import LineFit, NoLine, fit_lines
from stemcal.geometry.aperture import Aperture
from stemcal.geometry.bulk import MirrorFit, NoMirrors, fit_mirrors
from stemcal.geometry.kikuchi import KikuchiFit, NoKikuchi, fit_kikuchi
from stemcal.geometry.lattice import ScanLattice
from stemcal.geometry.mean_pattern import pattern_points
from stemcal.geometry.metric import FloatArray, NoMetric, ZoneMetric, zone_metric
from stemcal.geometry.slices import Slices

LEAST_EXPLAINED_ENERGY = 0.95
"""Part of the energy above noise that the thin model must explain: 0.98 in weak objects, 0.7 at 5 nm of SrTiO3."""
LARGEST_SIGMA_DEG = 0.1
LARGEST_TILT_SIGMA_MRAD = 0.25
DISAGREEMENT_SIGMAS = 3.0

_LEAST_SIGNIFICANCE = 5.0
_LARGEST_ASYMMETRY = 0.3
_LARGEST_AXIS_SIGMA_OF_TILT_DEG = 0.2
_COM_DOUBT = 0.5

Method = Literal["thin", "bulk", "kikuchi", "line"]


@dataclass(frozen=True)
class Vote:
    """What one way of measuring says.

    Attributes
    ----------
    method : str
        ``thin``, ``bulk``, ``kikuchi`` or ``line``.
    disk_shift_px : ndarray or None
        (2, 2) B up to its sign, with the scale of the nominal step; None if there is none.
    sigma_deg : float or None
        Standard uncertainty of its direction.
    usable : bool
        Whether it may be the result.
    reason : str
        Why it is not usable, or what it stands on.
    """

    method: Method
    disk_shift_px: FloatArray | None
    sigma_deg: float | None
    usable: bool
    reason: str


@dataclass(frozen=True)
class Tilt:
    """The crystal's zone axis on the camera, from the beam, in mrad; ``sigma_mrad`` is along one axis."""

    row_mrad: float
    col_mrad: float
    sigma_mrad: float
    source: str


@dataclass(frozen=True)
class NoTilt:
    """The tilt is not known, and why."""

    reason: str


@dataclass(frozen=True)
class ThickResult:
    """All votes but the thin one, and the tilt."""

    votes: tuple[Vote, ...]
    tilt: Tilt | NoTilt


@dataclass(frozen=True)
class Decision:
    """Which way of measuring is believed, if any.

    Attributes
    ----------
    mode : str or None
        Method of the vote that is the result; None if the geometry is refused.
    vote : Vote or None
        That vote.
    reason : str
        Why this one, or why none.
    """

    mode: Method | None
    vote: Vote | None
    reason: str


@dataclass(frozen=True)
class _Choice:
    """One of the equivalent geometries: roughly the direction of the lattice's first disk, and the flip."""

    angle_rad: float
    flip: bool


def thick_votes(
    mean: FloatArray,
    n_frames: int,
    valid: NDArray[np.bool_],
    aperture: Aperture,
    lattice: ScanLattice,
    slices: Slices | None,
    com_direction: FloatArray | None,
    unit_px: float,
    semi_angle_mrad: float | None,
) -> ThickResult:
    """Return what the mean pattern and the slices of a crystal seen along a zone axis say of the geometry.

    Parameters
    ----------
    mean : ndarray
        (det_row, det_col) counts per frame, the whole camera.
    n_frames : int
        Frames that the mean is of.
    valid : ndarray of bool
        (det_row, det_col) True = valid.
    aperture : Aperture
        The undiffracted disk.
    lattice : ScanLattice
        Lattice of the scan spectrum.
    slices : Slices or None
        Slices at the peaks.
    com_direction : ndarray or None
        (2, 2) B as the centre of mass has it, up to scale and sign.
    unit_px : float
        px per cycle per step that the nominal step gives; the scale of the votes.
    semi_angle_mrad : float or None
        Semi-angle of the aperture, which gives the tilt its unit.
    """
    metric = zone_metric(lattice.vectors)
    if isinstance(metric, NoMetric):
        methods: tuple[Method, ...] = ("bulk", "kikuchi", "line")
        votes = tuple(Vote(method, None, None, usable=False, reason=metric.reason) for method in methods)
        return ThickResult(votes, NoTilt(metric.reason))
    points = pattern_points(mean, n_frames, valid, aperture)
    kikuchi = fit_kikuchi(points, metric.fold)
    mirrors = fit_mirrors(points, metric.fold)
    lines = NoLine("there are no slices") if slices is None else fit_lines(slices, metric, unit_px / aperture.radius_px)
    choice = _chosen(metric, lines, com_direction)
    return ThickResult(
        (
            _bulk_vote(mirrors, metric, choice, unit_px),
            _kikuchi_vote(kikuchi, metric, choice, unit_px),
            _line_vote(lines, metric, unit_px),
        ),
        _tilt(kikuchi, semi_angle_mrad),
    )


def decide(
    votes: Sequence[Vote], explained_energy: float | None, *, least_explained_energy: float = LEAST_EXPLAINED_ENERGY
) -> Decision:
    """Return which vote is the geometry.

    The thin vote is, where the thin model holds. Otherwise it is the usable vote with the smallest uncertainty, unless
    two votes, usable or only too uncertain, differ by more than three standard deviations.

    Parameters
    ----------
    votes : sequence of Vote
        At most one of each method.
    explained_energy : float or None
        Part of the energy above noise that the thin model explains; None where it was not fitted.
    least_explained_energy : float
        Part from which the thin model holds.
    """
    holds = explained_energy is not None and explained_energy >= least_explained_energy
    thin = next((vote for vote in votes if vote.method == "thin" and vote.usable), None)
    if thin is not None and holds:
        return Decision("thin", thin, f"the thin model explains {explained_energy:.3f} of the energy")
    thick = [vote for vote in votes if vote.method != "thin"]
    clash = _contradiction(thick)
    if clash is not None:
        return Decision(None, None, clash)
    usable = [vote for vote in thick if vote.usable]
    if not usable:
        return Decision(None, None, "; ".join(f"{vote.method}: {vote.reason}" for vote in thick) or "no votes")
    best = min(usable, key=lambda vote: math.inf if vote.sigma_deg is None else vote.sigma_deg)
    return Decision(best.method, best, best.reason)


def disk_shift_angle_deg(first: FloatArray, second: FloatArray) -> float | None:
    """Return the angle in deg by which B is turned from another B, up to the sign of either; None if one is flipped."""
    if np.linalg.det(first) * np.linalg.det(second) < 0:
        return None
    turn = first @ np.linalg.inv(second)
    angle = math.degrees(math.atan2(turn[0, 1] - turn[1, 0], turn[0, 0] + turn[1, 1]))
    return (angle + 90) % 180 - 90


def _contradiction(votes: Sequence[Vote]) -> str | None:
    for first, second in combinations(votes, 2):
        if first.disk_shift_px is None or second.disk_shift_px is None:
            continue
        angle = disk_shift_angle_deg(first.disk_shift_px, second.disk_shift_px)
        names = f"{first.method} and {second.method}"
        if angle is None:
            return f"{names} disagree on the flip"
        sigma = math.hypot(first.sigma_deg or 0.0, second.sigma_deg or 0.0)
        if abs(angle) > DISAGREEMENT_SIGMAS * sigma:
            return f"{names} disagree by {abs(angle):.2f} deg, which is {abs(angle) / sigma:.1f} standard deviations"
    return None


def _chosen(metric: ZoneMetric, lines: LineFit | NoLine, com: FloatArray | None) -> _Choice | str:
    """Return which of the equivalent geometries it is, or why that cannot be told.

    The centre of mass has a veto only: an astigmatism of 2 nm makes it sure of the wrong flip.
    """
    untold = "which of the crystal's mirrors is which cannot be told"
    if isinstance(lines, NoLine):
        return f"{untold}: {lines.reason}"
    if DISAGREEMENT_SIGMAS * lines.sigma_rad > math.pi / metric.fold / 2:
        return f"{untold}: the lines are uncertain by {math.degrees(lines.sigma_rad):.1f} deg"
    if com is not None:
        agreement, angle = _mass_agreement(metric, com, lines.flip)
        away = abs((angle - lines.angle_rad + math.pi / 2) % math.pi - math.pi / 2)
        if agreement > _COM_DOUBT and away > math.pi / 4:
            return f"{untold}: achromatic lines and centre of mass are {math.degrees(away):.0f} deg apart"
    return _Choice(lines.angle_rad, lines.flip)


def _mass_agreement(metric: ZoneMetric, com: FloatArray, flip: bool) -> tuple[float, float]:
    """Return how well the centre of mass agrees with a flip, 0 to 1, and the direction in rad where it does best."""
    quarter_turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    matrix = metric.disk_shift(0.0, flip, 1.0)
    norm = float(np.linalg.norm(matrix) * np.linalg.norm(com))
    along, across = float(np.sum(matrix * com)) / norm, float(np.sum(quarter_turn @ matrix * com)) / norm
    return math.hypot(along, across), math.atan2(across, along)


def _mirror_vote(
    method: Method, axis_deg: float, sigma_deg: float, metric: ZoneMetric, choice: _Choice | str, unit_px: float
) -> Vote:
    if isinstance(choice, str):
        return Vote(method, None, sigma_deg, usable=False, reason=choice)
    spacing = math.pi / metric.fold
    axis = math.radians(axis_deg)
    angle = axis + round((choice.angle_rad - axis) / spacing) * spacing
    shift = metric.disk_shift(angle, choice.flip, unit_px)
    if sigma_deg > LARGEST_SIGMA_DEG:
        return Vote(
            method,
            shift,
            sigma_deg,
            usable=False,
            reason=f"uncertain by {sigma_deg:.2f} deg, more than {LARGEST_SIGMA_DEG}",
        )
    return Vote(
        method,
        shift,
        sigma_deg,
        usable=True,
        reason=f"{metric.fold}-fold mirrors; achromatic lines tell which is which",
    )


def _bulk_vote(fit: MirrorFit | NoMirrors, metric: ZoneMetric, choice: _Choice | str, unit_px: float) -> Vote:
    if isinstance(fit, NoMirrors):
        return Vote("bulk", None, None, usable=False, reason=fit.reason)
    if fit.significance < _LEAST_SIGNIFICANCE:
        return Vote("bulk", None, None, usable=False, reason=f"no {metric.fold}-fold pattern in the disk")
    if fit.asymmetry > _LARGEST_ASYMMETRY:
        reason = (
            f"{fit.asymmetry:.2f} of the pattern in the disk is not {metric.fold}-fold, more than "
            f"{_LARGEST_ASYMMETRY}: the crystal is tilted, or has no such axis"
        )
        return Vote("bulk", None, None, usable=False, reason=reason)
    return _mirror_vote("bulk", fit.axis_deg, fit.sigma_axis_deg, metric, choice, unit_px)


def _kikuchi_vote(fit: KikuchiFit | NoKikuchi, metric: ZoneMetric, choice: _Choice | str, unit_px: float) -> Vote:
    problem = _no_bands(fit)
    if problem is not None or isinstance(fit, NoKikuchi):
        return Vote("kikuchi", None, None, usable=False, reason=problem or "")
    return _mirror_vote("kikuchi", fit.axis_deg, fit.sigma_axis_deg, metric, choice, unit_px)


def _no_bands(fit: KikuchiFit | NoKikuchi) -> str | None:
    if isinstance(fit, NoKikuchi):
        return fit.reason
    if fit.significance < _LEAST_SIGNIFICANCE:
        return "no Kikuchi bands outside the disk"
    if fit.sigma_axis_deg > _LARGEST_AXIS_SIGMA_OF_TILT_DEG:
        return (
            "what is outside the disk is no pattern of Kikuchi bands: its axes are uncertain by "
            f"{fit.sigma_axis_deg:.2f} deg, more than {_LARGEST_AXIS_SIGMA_OF_TILT_DEG}"
        )
    return None


def _line_vote(fit: LineFit | NoLine, metric: ZoneMetric, unit_px: float) -> Vote:
    if isinstance(fit, NoLine):
        return Vote("line", None, None, usable=False, reason=fit.reason)
    sigma = math.degrees(fit.sigma_rad)
    shift = metric.disk_shift(fit.angle_rad, fit.flip, unit_px)
    if sigma > LARGEST_SIGMA_DEG:
        return Vote(
            "line", shift, sigma, usable=False, reason=f"uncertain by {sigma:.2f} deg, more than {LARGEST_SIGMA_DEG}"
        )
    return Vote("line", shift, sigma, usable=True, reason=f"achromatic lines of {fit.n_slices} slices")


def _tilt(fit: KikuchiFit | NoKikuchi, semi_angle_mrad: float | None) -> Tilt | NoTilt:
    problem = _no_bands(fit)
    if problem is not None or isinstance(fit, NoKikuchi):
        return NoTilt(problem or "")
    if semi_angle_mrad is None:
        return NoTilt("the semi-angle of the aperture is not known, and with it the angle of a pixel")
    sigma = fit.sigma_tilt * semi_angle_mrad
    if sigma > LARGEST_TILT_SIGMA_MRAD:
        return NoTilt(f"the zone axis is uncertain by {sigma:.2f} mrad, more than {LARGEST_TILT_SIGMA_MRAD}")
    row, col = (fit.tilt * semi_angle_mrad).tolist()
    return Tilt(row, col, sigma, "Kikuchi bands")
