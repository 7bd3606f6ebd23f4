"""Which data sets may be factorised together: same bound calibration, same radial axis."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from stemcal.formats.hspy import Axis
from stemcal.records.polar import PolarResult

KeyT = TypeVar("KeyT", str, int)

_AXIS_TOLERANCE = 1e-9
"""Relative; axes of one calibration are equal to rounding, others differ by far more."""


@dataclass(frozen=True)
class Member:
    """A data set with profiles, as its files describe it before any profile is read.

    Attributes
    ----------
    dataset : str
        Name of the data set.
    prefix : Path
        Its output prefix.
    polar : PolarResult
        What the polar step says of it.
    axis : Axis
        Radial axis of the profiles, 1/angstrom.
    disk_radius_per_angstrom : float or None
        Radius of the bright disk, where the conversion measured one.
    """

    dataset: str
    prefix: Path
    polar: PolarResult
    axis: Axis
    disk_radius_per_angstrom: float | None = None


@dataclass(frozen=True)
class LeftOut:
    """A data set that takes no part, and why."""

    dataset: str
    prefix: Path
    reason: str
    scan_shape: tuple[int, int] | None = None


def select(members: Sequence[Member]) -> tuple[tuple[Member, ...], tuple[LeftOut, ...]]:
    """Return the members that share the calibration and the radial axis of the majority, and the others with a reason.

    Of two equally large groups the one with the first member wins: the choice depends on nothing but the order given.
    """
    if not members:
        return (), ()
    calibration = _majority([member.polar.calibration_group for member in members])
    n_bins = _majority([one.polar.n_radial_bins for one in members if one.polar.calibration_group == calibration])
    reference = next(
        one for one in members if one.polar.calibration_group == calibration and one.polar.n_radial_bins == n_bins
    )
    reasons = [_difference(member, reference) for member in members]
    used = tuple(member for member, reason in zip(members, reasons, strict=True) if not reason)
    left_out = tuple(
        LeftOut(member.dataset, member.prefix, reason, member.polar.scan_shape)
        for member, reason in zip(members, reasons, strict=True)
        if reason
    )
    return used, left_out


def _majority(values: Sequence[KeyT]) -> KeyT:
    return Counter(values).most_common(1)[0][0]


def _difference(member: Member, reference: Member) -> str:
    """Return in words what keeps ``member`` from sharing components with ``reference``, or nothing."""
    ours, theirs = member.polar, reference.polar
    if ours.calibration_group != theirs.calibration_group:
        return (
            f"its calibration ({ours.q_pixel_size_per_angstrom:.6g} 1/angstrom per pixel, from {ours.calibration}) is "
            f"not that of the majority ({theirs.q_pixel_size_per_angstrom:.6g} 1/angstrom per pixel)"
        )
    if ours.n_radial_bins != theirs.n_radial_bins or not _same_axis(member.axis, reference.axis):
        return (
            f"its radial axis ({ours.n_radial_bins} bins of {member.axis.scale:.6g} 1/angstrom) is not that of the "
            f"majority ({theirs.n_radial_bins} bins of {reference.axis.scale:.6g} 1/angstrom)"
        )
    return ""


def _same_axis(first: Axis, second: Axis) -> bool:
    return math.isclose(first.scale, second.scale, rel_tol=_AXIS_TOLERANCE) and math.isclose(
        first.offset, second.offset, rel_tol=_AXIS_TOLERANCE, abs_tol=_AXIS_TOLERANCE * abs(second.scale)
    )
