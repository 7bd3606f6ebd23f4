"""Which data sets may be factorised together, and on which radial axis."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stemcal.formats.hspy import Axis
from stemcal.nmf.rebin import Rebinning
from stemcal.nmf.settings import NmfSettings
from stemcal.records.polar import PolarResult

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
        Radial axis of its profiles, 1/angstrom.
    disk_radius_per_angstrom : float or None
        Radius of the bright disk, where the conversion measured one.
    rebinning : Rebinning or None
        The way to the common axis, where that is another one.
    """

    dataset: str
    prefix: Path
    polar: PolarResult
    axis: Axis
    disk_radius_per_angstrom: float | None = None
    rebinning: Rebinning | None = None

    @property
    def end_per_angstrom(self) -> float:
        """Outer edge of the last ring."""
        return self.axis.offset + (self.polar.n_radial_bins - 0.5) * self.axis.scale


@dataclass(frozen=True)
class LeftOut:
    """A data set that takes no part, and why."""

    dataset: str
    prefix: Path
    reason: str
    scan_shape: tuple[int, int] | None = None


@dataclass(frozen=True)
class Selection:
    """What is factorised together.

    Attributes
    ----------
    used : tuple of Member
        In the order given.
    left_out : tuple of LeftOut
        The others.
    axis : Axis
        Common radial axis, 1/angstrom.
    n_bins : int
        Number of its bins.
    pixel_size_per_angstrom : float
        Of the pixels that intensities are per.
    """

    used: tuple[Member, ...]
    left_out: tuple[LeftOut, ...]
    axis: Axis
    n_bins: int
    pixel_size_per_angstrom: float


def select(members: Sequence[Member], settings: NmfSettings) -> Selection:
    """Return the members that share the radial axis of the majority or can be brought to one, and the others.

    Of two equally large groups the one with the first member wins: the choice depends on nothing but the order given.
    """
    if not members:
        return Selection((), (), Axis("q", "1/Å"), 0, 1.0)
    kinds = [(one.polar.calibration_group, one.polar.n_radial_bins) for one in members]
    calibration = Counter(kind[0] for kind in kinds).most_common(1)[0][0]
    n_bins = Counter(n for group, n in kinds if group == calibration).most_common(1)[0][0]
    reference = members[kinds.index((calibration, n_bins))]
    difference = _obstacle if settings.rebin else _difference
    reasons = [difference(member, reference, settings) for member in members]
    used = tuple(member for member, reason in zip(members, reasons, strict=True) if not reason)
    left_out = tuple(
        LeftOut(member.dataset, member.prefix, reason, member.polar.scan_shape)
        for member, reason in zip(members, reasons, strict=True)
        if reason
    )
    pixel_size = reference.polar.q_pixel_size_per_angstrom
    if all(_same_axis(one, reference) for one in used):
        return Selection(used, left_out, reference.axis, n_bins, pixel_size)
    axis, n_bins = _common_axis(used)
    return Selection(tuple(_brought_to(one, axis, n_bins) for one in used), left_out, axis, n_bins, pixel_size)


def _common_axis(members: Sequence[Member]) -> tuple[Axis, int]:
    """Return the axis of the widest bins, as far out as all reach: nothing is divided more finely than measured."""
    widest = max(members, key=lambda one: one.axis.scale).axis
    end = min(one.end_per_angstrom for one in members)
    return widest, int((end - widest.offset) / widest.scale + 0.5 + _AXIS_TOLERANCE)


def _brought_to(member: Member, axis: Axis, n_bins: int) -> Member:
    return replace(member, rebinning=Rebinning.between(member.axis, member.polar.n_radial_bins, axis, n_bins))


def _obstacle(member: Member, reference: Member, settings: NmfSettings) -> str:
    """Return in words what keeps ``member`` from being brought to one axis with ``reference``, or nothing."""
    ratio = member.axis.scale / reference.axis.scale
    if max(ratio, 1 / ratio) > settings.max_bin_ratio:
        return (
            f"its radial bins ({member.axis.scale:.6g} 1/angstrom) are {max(ratio, 1 / ratio):.3g} times as "
            f"{'wide' if ratio > 1 else 'narrow'} as those of the majority ({reference.axis.scale:.6g} 1/angstrom); "
            f"max_bin_ratio allows {settings.max_bin_ratio:g}"
        )
    begin = settings.q_min_per_angstrom
    end = min(reference.end_per_angstrom, settings.q_max_per_angstrom or math.inf)
    covered = (min(end, member.end_per_angstrom) - begin) / (end - begin) if end > begin else 1.0
    if covered < settings.min_q_overlap:
        return (
            f"its profiles end at {member.end_per_angstrom:.4g} 1/angstrom, those of the majority are used from "
            f"{begin:.4g} to {end:.4g} 1/angstrom; min_q_overlap asks for {settings.min_q_overlap:g} of that"
        )
    return ""


def _difference(member: Member, reference: Member, _settings: NmfSettings) -> str:
    """Return in words what keeps ``member`` from sharing components with ``reference`` as it is, or nothing."""
    ours, theirs = member.polar, reference.polar
    if ours.calibration_group != theirs.calibration_group:
        return (
            f"its calibration ({ours.q_pixel_size_per_angstrom:.6g} 1/angstrom per pixel, from {ours.calibration}) is "
            f"not that of the majority ({theirs.q_pixel_size_per_angstrom:.6g} 1/angstrom per pixel)"
        )
    if not _same_axis(member, reference):
        return (
            f"its radial axis ({ours.n_radial_bins} bins of {member.axis.scale:.6g} 1/angstrom) is not that of the "
            f"majority ({theirs.n_radial_bins} bins of {reference.axis.scale:.6g} 1/angstrom)"
        )
    return ""


def _same_axis(first: Member, second: Member) -> bool:
    scale = second.axis.scale
    return (
        first.polar.n_radial_bins == second.polar.n_radial_bins
        and math.isclose(first.axis.scale, scale, rel_tol=_AXIS_TOLERANCE)
        and math.isclose(first.axis.offset, second.axis.offset, rel_tol=1e-9, abs_tol=_AXIS_TOLERANCE * abs(scale))
    )
