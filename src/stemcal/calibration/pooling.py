"""The geometry of several scans as one: a weighted mean, outliers left out by name. Pure.

A geometry is four numbers: the directions of the fast and the slow axis in degrees, the logarithm of the step ratio,
and the logarithm of the measured over the commanded step. The first three belong to the instrument, the fourth to one
magnification of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stemcal.optics.scan_affine import ScanAxes, scan_axes, scan_matrix

Array = NDArray[np.float64]

FAST, SLOW, RATIO, SCALE = range(4)
_DIRECTION = 3
"""How many of the numbers belong to the instrument."""
_STEP = 1e-6
_FLOOR = np.array([1e-3, 1e-3, 1e-5, 1e-5])
"""Uncertainties below this are those of a constraint (a lattice that is exactly square), not of a measurement."""
_OUTLIER_SQUARED = 21.1
"""A true member is further away than this in one case of ten thousand (chi-square, three degrees of freedom)."""
_FEWEST = 3
"""Of two that disagree nobody knows which is wrong."""


@dataclass(frozen=True)
class Member:
    """The geometry of one scan.

    Attributes
    ----------
    name : str
        What it is called; no two have the same name.
    values : ndarray
        (4,) the numbers of this module; the scale is 0 where ``has_scale`` is False.
    covariance : ndarray
        (4, 4) their covariance.
    flip : bool
        Whether the camera's row axis is inverted relative to the scan's.
    half_turn_resolved : bool
        Whether it is known which of the geometry and its opposite it is.
    has_scale : bool
        Whether the step was measured, and is not the commanded one.
    """

    name: str
    values: Array
    covariance: Array
    flip: bool
    half_turn_resolved: bool
    has_scale: bool


@dataclass(frozen=True)
class Pool:
    """What the members say together.

    Attributes
    ----------
    values : ndarray
        (3,) directions and ratio.
    covariance : ndarray
        (3, 3) widened by ``chi_square`` where that exceeds 1.
    flip, half_turn_resolved : bool
        As of `Member`.
    members : tuple of Member
        Those that agree, turned by half a turn where need be.
    refused : dict
        Why a member is left out, by name.
    chi_square : float or None
        Per degree of freedom; None for one member.
    degrees_of_freedom : int
        Of ``chi_square``.
    """

    values: Array
    covariance: Array
    flip: bool
    half_turn_resolved: bool
    members: tuple[Member, ...]
    refused: dict[str, str]
    chi_square: float | None
    degrees_of_freedom: int


@dataclass(frozen=True)
class NoPool:
    """The members say nothing together, and why each was left out."""

    reason: str
    refused: dict[str, str]


def member_of(
    name: str,
    matrix: ArrayLike,
    covariance: ArrayLike,
    *,
    half_turn_resolved: bool,
    commanded_step: float | None,
) -> Member:
    """Return the geometry of a scan matrix S in angstrom per step.

    Parameters
    ----------
    name : str
        What it is called.
    matrix : array_like
        (2, 2) S.
    covariance : array_like
        (4, 4) covariance of S in row-major order.
    half_turn_resolved : bool
        Whether the sign of S is known.
    commanded_step : float or None
        In angstrom; None where S says nothing of it.
    """
    s = np.asarray(matrix, dtype=np.float64)
    scale = commanded_step or 1.0

    values = _numbers(scan_axes(s), scale)

    def numbers(flat: Array) -> Array:
        return _near(_numbers(scan_axes(flat.reshape(2, 2)), scale), float(values[FAST]))

    jacobian = _jacobian(numbers, s.ravel(), _STEP * float(np.abs(s).max()))
    spread = jacobian @ np.asarray(covariance, dtype=np.float64) @ jacobian.T + np.diag(_FLOOR**2)
    values[SCALE] = values[SCALE] if commanded_step else 0.0
    return Member(name, values, spread, scan_axes(s).flip, half_turn_resolved, commanded_step is not None)


def pool(members: Sequence[Member]) -> Pool | NoPool:
    """Return the mean of the geometries with the inverse of their covariances as weights.

    Flip and half turn are those of the majority; one without a known half turn takes the others'. A member that
    disagrees with all others together, who agree among themselves, is left out by name; where all scatter alike, none
    is, and the uncertainty of the mean is widened (Birge, Phys. Rev. 40 (1932) 207).
    """
    if not members:
        return NoPool("no geometry was offered that could be pooled", {})
    kept, refused = _of_one_flip(members)
    if not kept:
        return NoPool("the geometries contradict each other: as many have the camera flipped as not", refused)
    aligned, resolved, turned_away = _of_one_half_turn(kept)
    agreeing, outliers = _without_outliers(aligned)
    values, covariance = _mean(agreeing)
    degrees = _DIRECTION * (len(agreeing) - 1)
    chi_square = _chi_square(agreeing, values) / degrees if degrees else None
    return Pool(
        values=values,
        covariance=covariance * max(1.0, chi_square or 0.0),
        flip=agreeing[0].flip,
        half_turn_resolved=resolved,
        members=tuple(agreeing),
        refused=refused | turned_away | outliers,
        chi_square=chi_square,
        degrees_of_freedom=degrees,
    )


def pooled_scale(members: Sequence[Member]) -> tuple[float, float] | None:
    """Return the logarithm of measured over commanded step and its variance; None where none of them measured it."""
    known = [member for member in members if member.has_scale]
    if not known:
        return None
    weights = np.array([1 / member.covariance[SCALE, SCALE] for member in known])
    values = np.array([member.values[SCALE] for member in known])
    mean = float(np.average(values, weights=weights))
    birge = float((weights * (values - mean) ** 2).sum()) / (len(known) - 1) if len(known) > 1 else 0.0
    return mean, max(1.0, birge) / float(weights.sum())


def matrix_of(values: Array, covariance: Array, *, flip: bool, step: float) -> tuple[Array, Array]:
    """Return S and its (4, 4) covariance, the inverse of `member_of`.

    Parameters
    ----------
    values, covariance : ndarray
        (4,) and (4, 4), the numbers of this module.
    flip : bool
        Whether the camera's row axis is inverted.
    step : float
        Commanded step; S is in its unit.
    """

    def flat(numbers: Array) -> Array:
        return scan_matrix(_axes(numbers, step, flip=flip)).ravel()

    jacobian = _jacobian(flat, values, _STEP)
    return flat(values).reshape(2, 2), np.asarray(jacobian @ covariance @ jacobian.T)


def _numbers(axes: ScanAxes, scale: float) -> Array:
    step = math.sqrt(axes.step_fast * axes.step_slow)
    return np.array([axes.theta_fast_deg, axes.theta_slow_deg, math.log(axes.step_ratio), math.log(step / scale)])


def _axes(numbers: Array, step: float, *, flip: bool) -> ScanAxes:
    length, root = step * math.exp(numbers[SCALE]), math.exp(numbers[RATIO] / 2)
    return ScanAxes(float(numbers[FAST]), float(numbers[SLOW]), length / root, length * root, flip)


def _jacobian(function: Callable[[Array], Array], at: Array, step: float) -> Array:
    """Return the derivative by central differences."""
    steps = step * np.eye(at.size)
    return np.stack([(function(at + one) - function(at - one)) / (2 * step) for one in steps], axis=1)


def _of_one_flip(members: Sequence[Member]) -> tuple[list[Member], dict[str, str]]:
    flipped = [member for member in members if member.flip]
    straight = [member for member in members if not member.flip]
    if len(flipped) == len(straight):
        return [], {
            member.name: "contradicts others: half of the geometries have the camera flipped, half have not"
            for member in members
        }
    kept, left = (flipped, straight) if len(flipped) > len(straight) else (straight, flipped)
    word = "not flipped" if left and not left[0].flip else "flipped"
    return kept, {one.name: f"contradicts the {len(kept)} others: the camera is {word} in it" for one in left}


def _of_one_half_turn(members: Sequence[Member]) -> tuple[list[Member], bool, dict[str, str]]:
    """Turn every member to the side of most of those that know it; return also whether any does, and who is refused."""
    first = members[0].values[FAST]
    sides = [1 if abs(_wrapped(member.values[FAST] - first)) <= 90 else -1 for member in members]
    votes = sum(side for side, member in zip(sides, members, strict=True) if member.half_turn_resolved)
    chosen = 1 if votes >= 0 else -1
    aligned, refused = [], {}
    for side, member in zip(sides, members, strict=True):
        if side != chosen and member.half_turn_resolved and votes != 0:
            refused[member.name] = "contradicts the others by half a turn"
            continue
        half_turn = np.array([0.0, 0.0, 0.0, 0.0] if side == chosen else [180.0, 180.0, 0.0, 0.0])
        towards = first if chosen > 0 else first + 180.0
        aligned.append(replace(member, values=_near(member.values + half_turn, towards)))
    return aligned, votes != 0, refused


def _near(values: Array, angle_deg: float) -> Array:
    """Return the numbers with both angles written so that they lie within half a turn of ``angle_deg``."""
    angles = [angle_deg + _wrapped(float(value) - angle_deg) for value in values[:2]]
    return np.array([*angles, *values[2:]])


def _wrapped(angle_deg: float) -> float:
    return (angle_deg + 180.0) % 360.0 - 180.0


def _without_outliers(members: list[Member]) -> tuple[list[Member], dict[str, str]]:
    kept, refused = list(members), {}
    while len(kept) >= _FEWEST:
        distances = [_distance_squared(one, [other for other in kept if other is not one]) for one in kept]
        worst = int(np.argmax(distances))
        if distances[worst] <= _OUTLIER_SQUARED:
            break
        one = kept.pop(worst)
        refused[one.name] = _apart(one, _mean(kept)[0], math.sqrt(distances[worst]))
    return kept, refused


def _distance_squared(one: Member, others: Sequence[Member]) -> float:
    """Return how far ``one`` is from the mean of the others, in units of what both, and the others' scatter, allow."""
    mean, covariance = _mean(others)
    degrees = _DIRECTION * (len(others) - 1)
    scatter = max(1.0, _chi_square(others, mean) / degrees)
    apart = one.values[:_DIRECTION] - mean
    together = one.covariance[:_DIRECTION, :_DIRECTION] + covariance
    return float(apart @ np.linalg.solve(scatter * together, apart))


def _apart(one: Member, mean: Array, sigmas: float) -> str:
    fast, slow, ratio = one.values[:_DIRECTION] - mean
    by = f"{fast:+.2g} deg (fast axis), {slow:+.2g} deg (slow axis), {100 * ratio:+.2g} % (step ratio)"
    return f"disagrees with the others by {by}, {sigmas:.0f} times the uncertainty"


def _mean(members: Sequence[Member]) -> tuple[Array, Array]:
    inverses = [np.linalg.inv(member.covariance[:_DIRECTION, :_DIRECTION]) for member in members]
    covariance = np.linalg.inv(np.sum(inverses, axis=0))
    weighted = [inverse @ member.values[:_DIRECTION] for inverse, member in zip(inverses, members, strict=True)]
    return np.asarray(covariance @ np.sum(weighted, axis=0)), np.asarray(covariance)


def _chi_square(members: Sequence[Member], mean: Array) -> float:
    apart = [(member.values[:_DIRECTION] - mean, member.covariance[:_DIRECTION, :_DIRECTION]) for member in members]
    return float(sum(offset @ np.linalg.solve(covariance, offset) for offset, covariance in apart))
