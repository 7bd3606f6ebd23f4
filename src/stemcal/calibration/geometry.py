"""Which geometry a data set is read with: its own, or that of the instrument pooled over others. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stemcal.calibration.pooling import (
    FAST,
    RATIO,
    SCALE,
    Array,
    Member,
    NoPool,
    Pool,
    matrix_of,
    member_of,
    pool,
    pooled_scale,
)
from stemcal.calibration.settings import CalibrationSettings
from stemcal.optics.scan_affine import scan_axes
from stemcal.records.agreement import Scan, disagreement, shape_text
from stemcal.records.base import Finding, Flag, Quantity
from stemcal.records.calibration import BoundAberrations, BoundScanToCamera, Candidate
from stemcal.records.geometry import GeometryRecord, Matrix

_SAME_ROTATION_DEG = 0.1
_SAME_PERCENT = 0.1
"""Commanded values are typed: what differs by more is another setting."""
_CONSISTENT = 3.0
"""Chi-square per degree of freedom beyond which the sources of a pool do not agree within their uncertainties."""


@dataclass(frozen=True)
class ScanSettings:
    """What a geometry has to agree with; None where the data set does not say."""

    scan: Scan
    scan_rotation_deg: float | None
    magnification: float | None
    nominal_step_angstrom: float | None
    identity: dict[str, int | float | str | None]


@dataclass(frozen=True)
class GeometryOffer:
    """A geometry that might serve: name of its data set, path of its record (which is unique), and the record."""

    name: str
    path: str
    record: GeometryRecord | None
    problem: str | None = None


@dataclass(frozen=True)
class GeometryChoice:
    """The decision.

    Attributes
    ----------
    scan_to_camera : BoundScanToCamera or None
        The geometry; None where there is none.
    aberrations : BoundAberrations or None
        Those of the data set itself.
    candidates : tuple of Candidate
        Every offer and what was decided of it.
    findings : tuple of Finding
        What there is to say of it.
    """

    scan_to_camera: BoundScanToCamera | None = None
    aberrations: BoundAberrations | None = None
    candidates: tuple[Candidate, ...] = ()
    findings: tuple[Finding, ...] = field(default=())


def choose_geometry(
    wanted: ScanSettings, offers: Sequence[GeometryOffer], settings: CalibrationSettings
) -> GeometryChoice:
    """Bind a scan's own geometry, or where it has none that is good, the one pooled over all that fit.

    A geometry fits if it was measured at the same high tension, nominal camera length, scan rotation and detector
    shape. Directions and ratio of the axes are pooled over all of them, the length of a step over those of the same
    magnification. A half turn that the scan itself does not tell is taken from the others, and turns the sign of its
    aberrations with it. No geometry at all is no fault: most scans need none.

    Parameters
    ----------
    wanted : ScanSettings
        The data set.
    offers : sequence of GeometryOffer
        In order of preference.
    settings : CalibrationSettings
        Tolerances.
    """
    if not offers:
        return GeometryChoice()
    refusals = {offer.path: _refusal(wanted, offer, settings) for offer in offers}
    fitting = [offer for offer in offers if refusals[offer.path] is None]
    pooled = pool([_member(offer) for offer in fitting])
    own = next((offer for offer in fitting if _is_own(wanted, offer)), None)
    reasons = {path: reason for path, reason in (refusals | pooled.refused).items() if reason is not None}
    bound: BoundScanToCamera | None
    if own is not None:
        bound, aberrations = _own(own, pooled, {offer.path: offer.name for offer in fitting})
        chosen = {own.path}
    else:
        bound, aberrations = _pooled(wanted, fitting, pooled), None
        chosen = {member.name for member in pooled.members} if isinstance(pooled, Pool) else set()
    told = [f"{offer.name}: {reasons[offer.path]}" for offer in offers if offer.path in reasons]
    findings = _findings(own, bound, pooled, "; ".join(told))
    return GeometryChoice(bound, aberrations, _candidates(offers, chosen, reasons, bound), tuple(findings))


def _is_own(wanted: ScanSettings, offer: GeometryOffer) -> bool:
    inputs = offer.record.inputs if offer.record and wanted.identity else ()
    return any(one.role == "data" and one.identity == wanted.identity for one in inputs)


def _refusal(wanted: ScanSettings, offer: GeometryOffer, settings: CalibrationSettings) -> str | None:
    """Return the first reason why an offer cannot serve, or None."""
    record, scan = offer.record, wanted.scan
    if record is None:
        return f"unreadable: {offer.problem}"
    if record.quality.verdict == "fail" or record.result is None:
        first = record.quality.flags[0].message if record.quality.flags else "no reason is given"
        return f"the geometry was not measured: {first}"
    if record.result.scan_to_camera.covariance is None:
        return "it does not say how certain it is"
    if record.frame_shape != scan.frame_shape:
        return f"wrong frame shape: {shape_text(record.frame_shape)}, the data have {shape_text(scan.frame_shape)}"
    if _is_own(wanted, offer):
        return None
    return (
        disagreement("voltage", "kV", record.voltage_kv, scan.voltage_kv, settings.voltage_tolerance_percent)
        or disagreement(
            "nominal camera length",
            "m",
            record.nominal_camera_length_m,
            scan.nominal_camera_length_m,
            settings.camera_length_tolerance_percent,
        )
        or _rotation_refusal(record.scan_rotation_deg, wanted.scan_rotation_deg)
    )


def _rotation_refusal(theirs: float | None, ours: float | None) -> str | None:
    if theirs is None and ours is None:
        return None
    if theirs is None or ours is None:
        who = "the data set" if ours is None else "the reference"
        return f"{who} does not say its scan rotation"
    if abs((theirs - ours + 180) % 360 - 180) <= _SAME_ROTATION_DEG:
        return None
    return f"wrong scan rotation: {theirs:g} deg, the data have {ours:g} deg"


def _member(offer: GeometryOffer) -> Member:
    record = offer.record
    assert record is not None
    assert record.result is not None
    measured = record.result.scan_to_camera
    has_scale = measured.scale_source == "semi_angle" and measured.unit == "angstrom"
    return member_of(
        offer.path,
        measured.matrix,
        measured.covariance or np.zeros((4, 4)),
        half_turn_resolved=measured.half_turn_resolved,
        commanded_step=record.nominal_step_angstrom if has_scale else None,
    )


def _own(
    offer: GeometryOffer, pooled: Pool | NoPool, names: Mapping[str, str]
) -> tuple[BoundScanToCamera, BoundAberrations]:
    """Return a scan's own geometry, turned to the side of the pool where it does not know its own."""
    record = offer.record
    assert record is not None
    assert record.result is not None
    measured, quality = record.result.scan_to_camera, record.quality.verdict
    why = f"measured on this data set ({'with remarks' if quality == 'warn' else 'passed'})"
    sign, resolved = 1.0, measured.half_turn_resolved
    if not resolved and isinstance(pooled, Pool) and pooled.half_turn_resolved and pooled.flip == measured.flip:
        apart = (measured.theta_fast_deg.value - float(pooled.values[FAST]) + 180) % 360 - 180
        sign, resolved = (1.0 if abs(apart) <= 90 else -1.0), True
        others = ", ".join(names[one.name] for one in pooled.members if one.half_turn_resolved)
        why += f"; which of it and its half turn it is was taken from {others}"
    matrix = sign * np.array(measured.matrix)
    axes = scan_axes(matrix)
    agreement = pooled if isinstance(pooled, Pool) and offer.path not in pooled.refused else None
    bound = BoundScanToCamera(
        geometry_source="own",
        matrix=_pairs(matrix),
        covariance=measured.covariance,
        unit=measured.unit,
        theta_fast_deg=measured.theta_fast_deg.model_copy(update={"value": axes.theta_fast_deg}),
        theta_slow_deg=measured.theta_slow_deg.model_copy(update={"value": axes.theta_slow_deg}),
        step_ratio=measured.step_ratio,
        step_fast_angstrom=measured.step_fast_angstrom,
        step_slow_angstrom=measured.step_slow_angstrom,
        flip=measured.flip,
        half_turn_resolved=resolved,
        scale_source="measured" if measured.scale_source == "semi_angle" else measured.scale_source,
        sources=(offer.path,),
        chi_square=agreement.chi_square if agreement else None,
        degrees_of_freedom=agreement.degrees_of_freedom if agreement else 0,
        why=why,
    )
    coefficients = {
        name: one.model_copy(update={"value": sign * one.value}) for name, one in record.result.aberrations.items()
    }
    of = "measured with the geometry" if sign > 0 else "measured with the geometry, signs turned with it"
    return bound, BoundAberrations(coefficients=coefficients, source=offer.path, why=of)


def _pooled(wanted: ScanSettings, fitting: Sequence[GeometryOffer], pooled: Pool | NoPool) -> BoundScanToCamera | None:
    if isinstance(pooled, NoPool):
        return None
    step = wanted.nominal_step_angstrom
    alike = {offer.path for offer in fitting if _is_of_same_magnification(wanted, offer)}
    scale = pooled_scale([member for member in pooled.members if member.name in alike]) if step else None
    values = np.array([*pooled.values, scale[0] if scale else 0.0])
    covariance = np.zeros((4, 4))
    covariance[:SCALE, :SCALE] = pooled.covariance
    covariance[SCALE, SCALE] = scale[1] if scale else 0.0
    matrix, spread = matrix_of(values, covariance, flip=pooled.flip, step=step or 1.0)
    known_as = {offer.path: offer.name for offer in fitting}
    names = ", ".join(known_as[member.name] for member in pooled.members)
    steps = _steps(values, covariance, step, known=scale is not None)
    return BoundScanToCamera(
        geometry_source="pooled",
        matrix=_pairs(matrix),
        covariance=_rows(spread),
        unit="angstrom" if step else "1",
        theta_fast_deg=_quantity(scan_axes(matrix).theta_fast_deg, covariance[0, 0], "deg"),
        theta_slow_deg=_quantity(scan_axes(matrix).theta_slow_deg, covariance[1, 1], "deg"),
        step_ratio=_quantity(math.exp(values[RATIO]), math.exp(2 * values[RATIO]) * covariance[RATIO, RATIO], "1"),
        step_fast_angstrom=steps[0],
        step_slow_angstrom=steps[1],
        flip=pooled.flip,
        half_turn_resolved=pooled.half_turn_resolved,
        scale_source="measured" if scale else ("nominal_step" if step else None),
        sources=tuple(member.name for member in pooled.members),
        chi_square=pooled.chi_square,
        degrees_of_freedom=pooled.degrees_of_freedom,
        why=f"not measured on this data set; from {names}, at the same settings{_scale_words(scale, step)}",
    )


def _is_of_same_magnification(wanted: ScanSettings, offer: GeometryOffer) -> bool:
    """Tell whether the steps of both are made alike: by the magnification, or the step where that is not stated."""
    record = offer.record
    assert record is not None
    theirs, ours = record.magnification, wanted.magnification
    if theirs is None or ours is None:
        theirs, ours = record.nominal_step_angstrom, wanted.nominal_step_angstrom
    return disagreement("magnification", "", theirs, ours, _SAME_PERCENT) is None


def _scale_words(scale: tuple[float, float] | None, step: float | None) -> str:
    if scale is not None:
        return f"; the step is {math.exp(scale[0]):.4f} of the commanded one at this magnification"
    return "; the step is the commanded one, none was measured at this magnification" if step else "; no step is known"


def _steps(values: Array, covariance: Array, step: float | None, *, known: bool) -> tuple[Quantity | None, ...]:
    """Return the lengths of the fast and the slow step, without uncertainty where they are the commanded ones."""
    if step is None:
        return None, None
    found = []
    for half in (-0.5, 0.5):
        length = step * math.exp(values[SCALE] + half * values[RATIO])
        variance = length**2 * (covariance[SCALE, SCALE] + half**2 * covariance[RATIO, RATIO])
        found.append(_quantity(length, variance if known else None, "angstrom"))
    return tuple(found)


def _quantity(value: float, variance: float | None, unit: str) -> Quantity:
    return Quantity(value=float(value), sigma=None if variance is None else math.sqrt(variance), unit=unit)


def _pairs(matrix: Array) -> Matrix:
    return (float(matrix[0, 0]), float(matrix[0, 1])), (float(matrix[1, 0]), float(matrix[1, 1]))


def _rows(covariance: Array) -> tuple[tuple[float, float, float, float], ...]:
    return tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in covariance)


def _findings(
    own: GeometryOffer | None, bound: BoundScanToCamera | None, pooled: Pool | NoPool, refusals: str
) -> list[Finding]:
    findings = []
    if bound is None:
        findings.append(Finding(Flag(name="no_geometry", message=f"no geometry is known: {refusals}"), "note"))
    elif not bound.half_turn_resolved:
        text = "the geometry is known but for a half turn: phases and aberrations may have the opposite sign"
        findings.append(Finding(Flag(name="half_turn", message=text), "note"))
    if own is not None and own.path in pooled.refused:
        text = f"the geometry of this data set is used, but {pooled.refused[own.path]}"
        findings.append(Finding(Flag(name="geometry_contradicts", message=text), "warn"))
    if bound is not None and bound.chi_square is not None and bound.chi_square > _CONSISTENT:
        value = round(bound.chi_square, 2)
        text = f"the geometries of this session scatter by {math.sqrt(value):.1f} times their uncertainties"
        flag = Flag(name="geometry_scatter", value=value, limit=_CONSISTENT, message=text)
        findings.append(Finding(flag, "warn" if bound.geometry_source == "pooled" else "note"))
    return findings


def _candidates(
    offers: Sequence[GeometryOffer], chosen: set[str], reasons: dict[str, str], bound: BoundScanToCamera | None
) -> tuple[Candidate, ...]:
    own = bound is not None and bound.geometry_source == "own"

    def reason(offer: GeometryOffer) -> str:
        if offer.path in chosen and bound is not None:
            return bound.why if own else "pooled with the others that agree with it"
        return reasons.get(offer.path) or "agrees with this data set's own, which is used"

    return tuple(
        Candidate(dataset=offer.name, path=offer.path, chosen=offer.path in chosen, reason=reason(offer))
        for offer in offers
    )
