"""What our step says of a scan, how far that is from the truth, and whether it is wrong without saying so."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contestants.thin_scans import Known
from stemcal.frames.source import open_source
from stemcal.geometry.aperture import NoAperture
from stemcal.geometry.checks import judge
from stemcal.geometry.measure import measure, refused
from stemcal.geometry.optics import Optics
from stemcal.geometry.preparation import prepare
from stemcal.geometry.reading import Reading, read_scan
from stemcal.geometry.result import geometry_result
from stemcal.geometry.settings import GeometrySettings
from stemcal.optics.scan_affine import ScanAxes, scan_axes
from stemcal.records.base import Quality, judged
from stemcal.records.geometry import GeometryResult, ScanToCamera

ABERRATIONS = ("C10", "C12a", "C12b", "C21a", "C21b", "C30")
DOUBTS = ("inconsistent", "no_scan_lattice", "not_a_scan", "uncertain")
"""Flags that take back what is said of the geometry; others, such as one of bad lines, do not."""
_WRONG = {"fast": 0.3, "slow": 0.3, "ratio": 0.01, "scale": 0.03}
"""Errors (deg, relative) from which on an answer is wrong if its sigma does not cover it: four of them do not."""
_COVERS = 4.0
_GROSS = {"fast": 1.5, "slow": 1.5, "ratio": 0.04, "scale": 0.06}
"""Errors that are wrong whatever the sigma, as a sigma that large is flagged."""


@dataclass(frozen=True)
class Said:
    """An answer against the truth.

    Attributes
    ----------
    verdict : str
        Of the record.
    flags : tuple of str
        Names of its flags.
    errors : mapping
        ``fast`` and ``slow`` in deg (up to the half turn where that is not resolved), ``ratio`` and ``scale``
        relative, coefficients in angstrom by name. Empty without an answer or without a truth.
    sigmas : mapping
        What the record says of them; absent where it says nothing.
    flip_right, half_turn_right : bool or None
        None where nothing is said, or where there is no truth.
    answered : bool
        Whether there is a result.
    cpu_s : float
        Processor time of the step.
    """

    verdict: str
    flags: tuple[str, ...]
    answered: bool
    cpu_s: float
    errors: Mapping[str, float] = field(default_factory=dict)
    sigmas: Mapping[str, float] = field(default_factory=dict)
    flip_right: bool | None = None
    half_turn_right: bool | None = None
    mode: str = ""

    @property
    def is_silent_failure(self) -> bool:
        """Whether it is wrong, or says something where nothing can be said, without a flag that takes it back."""
        if not self.answered or self.verdict == "fail" or set(self.flags) & set(DOUBTS):
            return False
        if self.flip_right is None:
            return True
        return not self.flip_right or self.half_turn_right is False or any(map(self._is_wrong, _WRONG))

    def _is_wrong(self, name: str) -> bool:
        error = abs(self.errors[name])
        covered = error < _COVERS * self.sigmas.get(name, 0.0)
        return (error > _WRONG[name] and not covered) or error > _GROSS[name]


def ask(
    counts: NDArray[np.uint16], given: Known, folder: Path, ways: Mapping[str, GeometrySettings]
) -> dict[str, Said]:
    """Return what our step says of counts (scan_row, scan_col, det_row, det_col) with each of the settings.

    Everything but the files is made: the frames are read from one in ``folder`` once, the images are left out.
    """
    data = folder / "scan_data.npy"
    np.save(data, counts)
    optics = Optics(given.voltage_kv, given.semi_angle_mrad, given.nominal_step_angstrom)
    found = {}
    start = time.process_time()
    with open_source(data) as frames:
        reading = read_scan(frames)
        status = frames.frame_status
    data.unlink()
    assert reading is not None
    reading_s = time.process_time() - start
    for name, settings in ways.items():
        start = time.process_time()
        quality, result = _measured(reading, status, optics, settings)
        cpu = reading_s + time.process_time() - start
        found[name] = compare(quality, None if quality.verdict == "fail" else result, given, cpu)
    return found


def _measured(
    reading: Reading | NoAperture, status: NDArray[np.uint8], optics: Optics, settings: GeometrySettings
) -> tuple[Quality, GeometryResult | None]:
    if isinstance(reading, NoAperture):
        return judged([refused("no_aperture", reading.reason)]), None
    preparation = prepare(
        reading.sums,
        status,
        reading.aperture,
        max_bad_lines=settings.max_bad_lines,
        window_moved=bool(reading.bright_field.shift_px.any()),
    )
    attempt = measure(reading, preparation, optics, settings)
    result = geometry_result(attempt, optics, gain_corrected=False)
    return judge(attempt, optics, settings, result), result


def compare(quality: Quality, result: GeometryResult | None, given: Known, cpu_s: float = 0.0) -> Said:
    """Return a result with its verdict and flags against the truth."""
    flags = tuple(flag.name for flag in quality.flags)
    if result is None or given.scan_matrix_angstrom is None:
        return Said(quality.verdict, flags, result is not None, cpu_s)
    found = result.scan_to_camera
    truth = _true_axes(given)
    errors, sign = _axis_errors(found, truth)
    sigmas = _axis_sigmas(found)
    if given.aberrations_angstrom is not None:
        for name in ABERRATIONS:
            if name in result.aberrations:
                said = result.aberrations[name]
                errors[name] = sign * said.value - given.aberrations_angstrom.get(name, 0.0)
                sigmas[name] = said.sigma or 0.0
    return Said(
        quality.verdict,
        flags,
        answered=True,
        cpu_s=cpu_s,
        errors=errors,
        sigmas=sigmas,
        flip_right=found.flip == truth.flip,
        half_turn_right=sign > 0 if found.half_turn_resolved else None,
        mode=result.mode,
    )


def _true_axes(given: Known) -> ScanAxes:
    assert given.scan_matrix_angstrom is not None
    return scan_axes(given.scan_matrix_angstrom)


def _axis_errors(found: ScanToCamera, truth: ScanAxes) -> tuple[dict[str, float], int]:
    """Return the errors of the axes, and -1 where the answer is half a turn away."""
    fast = _within_half_turn(found.theta_fast_deg.value - truth.theta_fast_deg)
    slow = _within_half_turn(found.theta_slow_deg.value - truth.theta_slow_deg)
    sign = 1 if abs(fast) < 90 else -1
    if sign < 0:
        fast, slow = _within_half_turn(fast + 180), _within_half_turn(slow + 180)
    area = abs(float(np.linalg.det(np.array(found.matrix))))
    return {
        "fast": fast,
        "slow": slow,
        "ratio": found.step_ratio.value / truth.step_ratio - 1,
        "scale": math.sqrt(area / (truth.step_fast * truth.step_slow)) - 1,
    }, sign


def _axis_sigmas(found: ScanToCamera) -> dict[str, float]:
    sigmas = {
        "fast": found.theta_fast_deg.sigma or 0.0,
        "slow": found.theta_slow_deg.sigma or 0.0,
        "ratio": (found.step_ratio.sigma or 0.0) / found.step_ratio.value,
    }
    if found.covariance is not None:
        gradient = 0.5 * np.linalg.inv(np.array(found.matrix)).T.ravel()
        sigmas["scale"] = math.sqrt(gradient @ np.array(found.covariance) @ gradient)
    return sigmas


def _within_half_turn(angle_deg: float) -> float:
    return (angle_deg + 180) % 360 - 180
