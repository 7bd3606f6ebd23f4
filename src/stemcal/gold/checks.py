"""What is said of a gold measurement besides its numbers: each check is a small generator of findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from stemcal.gold.measure import Attempt, Calibration, Optics, Refusal, ring_residual_rms
from stemcal.gold.model import COL, ROW
from stemcal.gold.pattern import Powder
from stemcal.gold.settings import GoldSettings
from stemcal.optics.disk import BrightDisk, NoDisk
from stemcal.records.base import Finding, Flag, Quality, judged

_FEWEST_TILES = 8
_MOST_REJECTED = 0.2
_CENTRE_PX = 0.5
_DISTORTION = 1e-3
_DISTORTION_ALONE = 3e-3
"""Of a single pattern, which does not say how uncertain it is."""
_RESIDUAL_PX = 0.2
_CHI_SQUARE_GAIN = 2.0
_COVERAGE = 0.6
_SIGMAS = 3.0
_SATURATED = 0.01
_STRAY_PART = 2e-4
"""A few pixels of a dark valley between rings have no count by chance."""


@dataclass(frozen=True)
class Case:
    """Everything a check may look at."""

    powder: Powder
    optics: Optics
    settings: GoldSettings
    calibration: Calibration


def judge(powder: Powder, optics: Optics, settings: GoldSettings, attempt: Attempt) -> Quality:
    """Return verdict and flags of a measurement."""
    if attempt.calibration is None:
        assert attempt.refusal is not None
        findings = [_refused(attempt.refusal), *_disk(powder)]
    else:
        case = Case(powder, optics, settings, attempt.calibration)
        findings = [finding for check in _CHECKS for finding in check(case)]
    return judged(findings)


def _refused(refusal: Refusal) -> Finding:
    return Finding(Flag(name=refusal.name, value=refusal.value, limit=refusal.limit, message=refusal.message), "fail")


def _disk(powder: Powder) -> Iterator[Finding]:
    if isinstance(powder.disk, NoDisk):
        message = f"no bright disk: {powder.disk.reason}; the centre is that of symmetry and no descan is taken out"
        yield Finding(Flag(name="no_bright_disk", message=message), "warn")


def _check_disk(case: Case) -> Iterator[Finding]:
    yield from _disk(case.powder)
    part = case.powder.saturated_fraction
    if part > _SATURATED:
        message = f"the bright disk reaches the ceiling of the counter in {part:.0%} of the frames"
        yield Finding(Flag(name="saturated_disk", value=part, limit=_SATURATED, message=message), "note")


def _check_stray_pixels(case: Case) -> Iterator[Finding]:
    n_stray, limit = case.powder.n_stray_pixels, int(_STRAY_PART * case.powder.sums.counts.size)
    if n_stray > limit:
        message = f"{n_stray} dead or hot pixels that the mask does not know were left out"
        yield Finding(Flag(name="stray_pixels", value=n_stray, limit=limit, message=message), "note")


def _check_descan(case: Case) -> Iterator[Finding]:
    descan = case.powder.descan
    if descan is None:
        return
    rejected = 1 - float(descan.used.sum()) / max(1, case.powder.n_frames)
    if rejected > _MOST_REJECTED:
        message = f"{rejected:.0%} of the frames have no bright disk where the descan puts it"
        yield Finding(Flag(name="descan", value=rejected, limit=_MOST_REJECTED, message=message), "warn")


def _check_resampling(case: Case) -> Iterator[Finding]:
    n_tiles = len(case.powder.tiles)
    if n_tiles < 2:
        message = "a single pattern has nothing to resample: no uncertainties are given"
        yield Finding(Flag(name="no_resampling", message=message), "warn")
    elif n_tiles < _FEWEST_TILES:
        message = f"uncertainties come from {n_tiles} tiles of the scan and are themselves uncertain"
        yield Finding(Flag(name="few_tiles", value=n_tiles, limit=_FEWEST_TILES, message=message), "warn")


def _check_rings_in_view(case: Case) -> Iterator[Finding]:
    rings = case.calibration.rings
    seen = [ring for ring in rings if ring.coverage >= case.settings.min_ring_coverage]
    if 2 * len(seen) <= len(rings):
        names = ", ".join(ring.label for ring in rings if ring not in seen)
        standard = case.settings.standard.name
        message = f"{len(rings) - len(seen)} of {len(rings)} {standard} rings are off the detector ({names})"
        yield Finding(
            Flag(name="rings_off_detector", value=len(seen), limit=len(rings) // 2 + 1, message=message), "warn"
        )


def _check_coverage(case: Case) -> Iterator[Finding]:
    used = [ring for ring in case.calibration.rings if ring.used]
    coverage = float(np.average([r.coverage for r in used], weights=[r.amplitude.value * r.radius_px for r in used]))
    if coverage < _COVERAGE:
        message = f"only {coverage:.0%} of the rings lie on valid pixels: the ellipse rests on part of the circle"
        yield Finding(Flag(name="coverage", value=coverage, limit=_COVERAGE, message=message), "warn")


def _check_contrast(case: Case) -> Iterator[Finding]:
    fitted = case.calibration.fitted
    gain = fitted.chi_square_background / max(fitted.chi_square, 1e-12)
    if gain < _CHI_SQUARE_GAIN:
        message = f"the rings lower the reduced chi-square by a factor of {gain:.2f} only"
        yield Finding(Flag(name="weak_rings", value=gain, limit=_CHI_SQUARE_GAIN, message=message), "warn")


def _check_centre(case: Case) -> Iterator[Finding]:
    disk, geometry = case.powder.disk, case.calibration.fitted.geometry
    if not isinstance(disk, BrightDisk):
        return
    apart = float(np.hypot(geometry[ROW] - disk.centre_row_px, geometry[COL] - disk.centre_col_px))
    limit = max(_CENTRE_PX, _SIGMAS * max(value.sigma or 0.0 for value in case.calibration.centre))
    if apart > limit:
        message = f"the centre of the rings lies {apart:.2f} px from the bright disk"
        yield Finding(Flag(name="centre", value=apart, limit=limit, message=message), "warn")


def _check_distortion(case: Case) -> Iterator[Finding]:
    for order, size in zip((3, 4), case.calibration.harmonics, strict=True):
        if size.value > (_DISTORTION_ALONE if size.sigma is None else max(_DISTORTION, _SIGMAS * size.sigma)):
            what = f"a distortion of order {order} ({size.value:.1e} of their radius)"
            message = f"the rings carry {what} that no ellipse removes"
            yield Finding(Flag(name="not_elliptical", value=size.value, limit=_DISTORTION, message=message), "warn")


def _check_spots(case: Case) -> Iterator[Finding]:
    if not case.calibration.fitted.in_spots:
        message = "the rings could not be fitted as rows of spots: uneven rings count as smooth over 15 deg"
        yield Finding(Flag(name="not_in_spots", message=message), "note")


def _check_residuals(case: Case) -> Iterator[Finding]:
    rms = ring_residual_rms(case.calibration)
    if rms > _RESIDUAL_PX:
        message = f"the rings lie {rms:.2f} px (rms) off where {case.settings.standard.name} has them"
        yield Finding(Flag(name="ring_residuals", value=rms, limit=_RESIDUAL_PX, message=message), "warn")


def _check_angle(case: Case) -> Iterator[Finding]:
    ratio = case.calibration.ellipse.ratio
    if ratio.sigma is not None and ratio.value - 1 < _SIGMAS * ratio.sigma:
        message = (
            f"the camera is round within its uncertainty ({ratio.value:.5f}): the angle of the ellipse means nothing"
        )
        yield Finding(
            Flag(name="angle_undefined", value=ratio.value, limit=1 + _SIGMAS * ratio.sigma, message=message), "note"
        )


def _check_optics(case: Case) -> Iterator[Finding]:
    if case.optics.voltage_kv is None:
        message = "the voltage is unknown: no camera length, and no allowance for the flat detector"
        yield Finding(Flag(name="no_voltage", message=message), "warn")


_CHECKS: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    _check_disk,
    _check_stray_pixels,
    _check_descan,
    _check_resampling,
    _check_rings_in_view,
    _check_coverage,
    _check_contrast,
    _check_centre,
    _check_distortion,
    _check_spots,
    _check_residuals,
    _check_angle,
    _check_optics,
)
