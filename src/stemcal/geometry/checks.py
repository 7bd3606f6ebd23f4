"""What is said of a geometry besides its numbers: each check is a small generator of findings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stemcal.geometry.measure import Attempt
from stemcal.geometry.optics import Optics
from stemcal.geometry.settings import GeometrySettings
from stemcal.records.base import Finding, Flag, Quality, Quantity, judged
from stemcal.records.geometry import GeometryResult

_FEWEST_TILES = 4
_DARK_TILE = 0.2
_MOST_DARK_TILES = 0.1
"""Part of the tiles that may be without a crystal."""


@dataclass(frozen=True)
class Case:
    """Everything a check may look at."""

    attempt: Attempt
    optics: Optics
    settings: GeometrySettings
    result: GeometryResult


def judge(
    attempt: Attempt,
    optics: Optics,
    settings: GeometrySettings,
    result: GeometryResult | None,
    known: Sequence[Finding] = (),
) -> Quality:
    """Return verdict and flags of a measurement, ``known`` findings last."""
    seen = attempt.spectrum.findings if attempt.spectrum else ()
    findings = [*attempt.refusals, *(one for one in seen if one not in attempt.refusals)]
    if result is not None:
        case = Case(attempt, optics, settings, result)
        findings += [finding for check in _CHECKS for finding in check(case)]
    return judged([*findings, *attempt.preparation.findings, *known])


def _check_scan(case: Case) -> Iterator[Finding]:
    axes, settings = case.result.scan_to_camera, case.settings
    shear = (axes.theta_fast_deg.value - axes.theta_slow_deg.value + 180) % 360 - 180
    if abs(shear) > settings.max_shear_deg:
        message = f"the scan axes are {abs(shear):.1f} deg off a right angle, which no scan is"
        yield Finding(Flag(name="not_a_scan", value=shear, limit=settings.max_shear_deg, message=message), "fail")
    ratio, most = axes.step_ratio.value, settings.max_step_ratio
    if max(ratio, 1 / ratio) > most:
        message = f"the steps have the ratio {ratio:.3f}, which no scan has"
        yield Finding(Flag(name="not_a_scan", value=ratio, limit=most, message=message), "fail")


def _check_consistency(case: Case) -> Iterator[Finding]:
    ratio, most = case.result.consistency.ratio, case.settings.max_determinant_deviation
    if ratio is not None and abs(ratio - 1) > most:
        of = "what wavelength, step and semi-angle make of it"
        message = f"the disks move by {math.sqrt(ratio):.3f} of {of}: one of the three is wrong"
        yield Finding(Flag(name="inconsistent", value=ratio, limit=1 + most, message=message), "warn")


def _check_sigmas(case: Case) -> Iterator[Finding]:
    axes, settings = case.result.scan_to_camera, case.settings
    limits: tuple[tuple[str, Quantity, float], ...] = (
        ("the fast axis", axes.theta_fast_deg, settings.max_sigma_deg),
        ("the slow axis", axes.theta_slow_deg, settings.max_sigma_deg),
        ("the step ratio", axes.step_ratio, settings.max_sigma_ratio),
    )
    for name, quantity, most in limits:
        sigma = quantity.sigma or 0.0
        if sigma > most:
            unit = "" if quantity.unit == "1" else f" {quantity.unit}"
            message = f"{name} is known to {sigma:.2g}{unit} only"
            yield Finding(Flag(name="uncertain", value=sigma, limit=most, message=message), "warn")


def _check_mode(case: Case) -> Iterator[Finding]:
    result, least = case.result, case.settings.min_explained_energy
    if result.mode != "thin":
        part = "does not fit" if result.explained_energy is None else f"explains {result.explained_energy:.0%} of it"
        message = f"the sample is too thick for the thin model of its interference, which {part}: "
        message += f"the symmetry of the crystal decided ({result.mode} mode), the steps have the commanded length"
        yield Finding(Flag(name="thick", value=result.explained_energy, limit=least, message=message), "note")


def _check_half_turn(case: Case) -> Iterator[Finding]:
    found = case.result.half_turn
    if not found.resolved:
        message = f"the geometry is known but for a half turn: {found.reason}"
        yield Finding(
            Flag(name="half_turn", value=found.z, limit=case.settings.half_turn_min_z, message=message), "warn"
        )


def _check_coverage(case: Case) -> Iterator[Finding]:
    spectrum = case.attempt.spectrum
    if spectrum is None or len(spectrum.slices.variance) < _FEWEST_TILES:
        return
    slices = spectrum.slices
    noise = slices.variance.sum(axis=1)
    energy = (np.abs(slices.values) ** 2).sum(axis=(1, 2)) / np.maximum(noise, 1e-300) - len(slices.frequencies)
    dark = float(np.mean(energy < _DARK_TILE * np.median(np.sort(energy)[len(energy) // 2 :])))
    if dark > _MOST_DARK_TILES:
        message = f"{dark:.0%} of the scan has no crystal: the peaks are broader than they could be"
        yield Finding(Flag(name="half_vacuum", value=dark, limit=_MOST_DARK_TILES, message=message), "warn")


def _check_aperture(case: Case) -> Iterator[Finding]:
    aperture, settings = case.result.aperture, case.settings
    relative = (aperture.radius_px.sigma or 0.0) / aperture.radius_px.value
    if relative > settings.max_radius_sigma:
        message = f"the radius of the aperture is known to {relative:.1%} only, and with it every length"
        flag = Flag(name="aperture_sigma", value=relative, limit=settings.max_radius_sigma, message=message)
        yield Finding(flag, "warn")
    ratio = aperture.ratio.value
    if ratio > settings.max_aperture_ratio:
        message = f"the aperture has axes of the ratio {ratio:.3f}: the camera is elliptical, or the aperture is cut"
        flag = Flag(name="aperture_ellipse", value=ratio, limit=settings.max_aperture_ratio, message=message)
        yield Finding(flag, "warn")


def _check_optics(case: Case) -> Iterator[Finding]:
    source = case.result.scan_to_camera.scale_source
    if source == "nominal_step" and case.result.mode == "thin":
        name = "no_voltage" if case.optics.voltage_kv is None else "no_semi_angle"
        what = "high tension" if case.optics.voltage_kv is None else "semi-angle"
        message = f"the {what} is not known: lengths are those of the commanded step, and aberrations have no unit"
        yield Finding(Flag(name=name, message=message), "warn")
    elif source is None:
        message = "neither semi-angle nor step are known: the steps are relative to each other"
        yield Finding(Flag(name="no_scale", message=message), "warn")


_CHECKS: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    _check_scan,
    _check_consistency,
    _check_sigmas,
    _check_mode,
    _check_half_turn,
    _check_coverage,
    _check_aperture,
    _check_optics,
)
