"""What is wrong with the frames, and what is done about it before anything is measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.formats.extras import FrameStatus
from stemcal.geometry.aperture import Aperture
from stemcal.geometry.bad_lines import find_bad_lines, usable_positions
from stemcal.geometry.bright_field import FrameSums
from stemcal.geometry.disk_pixels import RIM
from stemcal.geometry.dose import Dose, measure_dose
from stemcal.records.base import Finding, Flag

Array = NDArray[np.float64]

_LEAST_DESCAN_PX = 0.02
_SIGMAS = 3.0
_QUANTILE, _CUT = 0.95, 2.0
_ROUNDS = 4
_NOTED_DESCAN_PX = 0.5
_LARGEST_CURVE_PX = 0.5
_MOST_UNUSABLE = 0.1
_LEAST_RESPONSE = 0.3
_FEWEST_POSITIONS = 30


@dataclass(frozen=True)
class Preparation:
    """How the positions of the scan are used.

    Attributes
    ----------
    weights : ndarray of float64
        (scan_row, scan_col) factor on the counts of a position: 0 where it is not usable, else the factor that
        normalises the dose, 1 where that is not done.
    normalised : bool
        Whether the dose is normalised.
    bad_lines : tuple of int
        Scan rows that are not used.
    beam_rms : float
        Relative standard deviation of the dose over the usable positions, as far as it is known.
    descan_px_per_step : ndarray of float64
        (2, 2) movement of the disk, [det axis, scan axis].
    findings : tuple of Finding
        What was found.
    """

    weights: NDArray[np.float64]
    normalised: bool
    bad_lines: tuple[int, ...]
    beam_rms: float
    descan_px_per_step: NDArray[np.float64]
    findings: tuple[Finding, ...]


def prepare(
    sums: FrameSums,
    frame_status: NDArray[np.uint8],
    aperture: Aperture,
    *,
    max_bad_lines: float = 0.05,
    window_moved: bool = False,
) -> Preparation:
    """Judge the frames by their sums, and decide how they are used.

    Parameters
    ----------
    sums : FrameSums
        Sums of the frames.
    frame_status : ndarray of uint8
        (n_frames,) of `stemcal.formats.extras.FrameStatus`; only those ok are used.
    aperture : Aperture
        The disk.
    max_bad_lines : float
        Part of the lines that may be bad without a warning.
    window_moved : bool
        Whether whole pixels of descan were taken out as the frames were read; then the plane is kept even where it is
        not significant.
    """
    ok = frame_status.reshape(sums.total.shape) == FrameStatus.OK
    usable = usable_positions(sums, ok)
    bad = find_bad_lines(sums, usable)
    usable &= ~bad[:, None]
    dose = measure_dose(sums, usable)
    plane = fit_descan_plane(sums, usable, aperture)
    significant = window_moved or plane.range_px > max(_LEAST_DESCAN_PX, _SIGMAS * plane.sigma_range_px)
    findings = (
        *_judge_positions(usable, bad, max_bad_lines),
        *_judge_dose(dose),
        *_judge_descan(plane, significant=significant),
    )
    return Preparation(
        weights=np.where(usable, 1 / dose.relative, 0.0),
        normalised=dose.beam_rms > 0,
        bad_lines=tuple(int(line) for line in np.flatnonzero(bad)),
        beam_rms=dose.beam_rms,
        descan_px_per_step=plane.px_per_step if significant else np.zeros((2, 2)),
        findings=findings,
    )


@dataclass(frozen=True)
class DescanPlane:
    """How the disk moves with the scan.

    Attributes
    ----------
    px_per_step : ndarray of float64
        (2, 2) [det axis, scan axis].
    range_px : float
        Length of the diagonal of the box in which it moves.
    sigma_range_px : float
        Standard uncertainty of that.
    curve_px : float
        Largest distance of the plane from a surface of second order.
    """

    px_per_step: Array
    range_px: float
    sigma_range_px: float
    curve_px: float


def fit_descan_plane(sums: FrameSums, usable: NDArray[np.bool_], aperture: Aperture) -> DescanPlane:
    """Fit a plane to the centre of mass of the disk.

    Under Hann's window, which the contrast of a crystal does not leak through, and without outliers. The centre of mass
    of a fixed window moves less than the disk, because what shines outside of it moves in and out: by the part
    1 - pi R^2 b / T for a window of radius R with counts T, b of them per pixel at its edge.

    Parameters
    ----------
    sums : FrameSums
        Sums of the frames.
    usable : ndarray of bool
        (scan_row, scan_col) positions that may be used.
    aperture : Aperture
        The disk.
    """
    positions = np.stack([sums.disk_row, sums.disk_col], axis=-1)
    known = usable & np.isfinite(positions).all(axis=-1)
    if np.count_nonzero(known) < _FEWEST_POSITIONS:
        return DescanPlane(np.zeros((2, 2)), 0.0, 0.0, 0.0)
    row, col = (axis - (n - 1) / 2 for axis, n in zip(np.indices(known.shape), known.shape, strict=True))
    half = np.array(known.shape) / 2
    v, u = row[known] / half[0], col[known] / half[1]
    hann = (np.cos(math.pi * v / 2) * np.cos(math.pi * u / 2)) ** 2
    basis = np.stack([np.ones_like(v), v, u, v * v, v * u, u * u], axis=1)
    values = positions[known]
    weight = hann.copy()
    for _ in range(_ROUNDS):
        plane = np.linalg.lstsq(basis[:, :3] * weight[:, None], values * weight[:, None], rcond=None)[0]
        residual = values - basis[:, :3] @ plane
        # a high quantile: over vacuum the scatter is small, which must not make an outlier of every crystal
        spread = np.quantile(np.abs(residual), _QUANTILE, axis=0) + 1e-6
        weight = hann * (np.abs(residual) < _CUT * spread).all(axis=1)
    surface = np.linalg.lstsq(basis * weight[:, None], values * weight[:, None], rcond=None)[0]
    response = _response(sums, usable, aperture)
    slope = plane[1:].T / response
    leverage = (hann**4 * u**2).sum() / (hann**2 * u**2).sum() ** 2
    sigma = 2 * float(np.sqrt(2 * (residual[weight > 0] ** 2).mean(axis=0).sum() * leverage)) / response
    curve = float(np.hypot(*np.abs(surface[3:] / response).sum(axis=0)))
    return DescanPlane(slope / half, float(np.hypot(*(2 * np.abs(slope).sum(axis=1)))), sigma, curve)


def _response(sums: FrameSums, usable: NDArray[np.bool_], aperture: Aperture) -> float:
    """Return by how much the centre of mass of the window moves when the disk moves by 1."""
    pattern = sums.mean_pattern
    row, col = np.indices(pattern.shape, dtype=np.float64)
    distance = np.hypot(*aperture.round_offsets(row, col)) / aperture.radius_px
    edge = np.isfinite(pattern) & (np.abs(distance - RIM) < max(0.05, 1 / aperture.radius_px))
    if not edge.any():
        return 1.0
    area = math.pi * (RIM * aperture.radius_px) ** 2
    lost = float(np.median(pattern[edge])) * area / max(float(sums.disk_total[usable].mean()), 1e-300)
    return max(1 - lost, _LEAST_RESPONSE)


def _judge_positions(usable: NDArray[np.bool_], bad: NDArray[np.bool_], max_bad_lines: float) -> list[Finding]:
    findings = []
    if bad.any():
        share = float(bad.mean())
        message = (
            f"{int(bad.sum())} of {bad.size} scan lines are blank, repeated or unlike their neighbours and not used"
        )
        flag = Flag(name="bad_lines", value=share, limit=max_bad_lines, message=message)
        findings.append(Finding(flag, "warn" if share > max_bad_lines else "note"))
    lost = 1 - float(usable[~bad].mean()) if (~bad).any() else 1.0
    if lost > 0:
        message = f"{lost:.2%} of the positions of the other lines have no usable frame and are not used"
        flag = Flag(name="unusable_positions", value=lost, limit=_MOST_UNUSABLE, message=message)
        findings.append(Finding(flag, "warn" if lost > _MOST_UNUSABLE else "note"))
    return findings


def _judge_dose(dose: Dose) -> list[Finding]:
    findings = []
    if dose.beam_rms > 0:
        message = f"the beam varies by {dose.beam_rms:.1%} rms over the scan, which is taken out"
        findings.append(Finding(Flag(name="beam_varies", value=dose.beam_rms, message=message), "note"))
    if not dose.caught and dose.specimen_rms > 0:
        message = (
            f"whole frames show contrast of the specimen ({dose.specimen_rms:.1%}): the detector does not catch the "
            "dose, and changes of the beam within a line are left in"
        )
        findings.append(Finding(Flag(name="dose_not_caught", value=dose.specimen_rms, message=message), "note"))
    return findings


def _judge_descan(plane: DescanPlane, *, significant: bool) -> list[Finding]:
    findings = []
    if significant and plane.range_px > _NOTED_DESCAN_PX:
        message = f"the disk moves by {plane.range_px:.2f} px over the scan, which is taken back"
        flag = Flag(name="descan", value=plane.range_px, limit=_NOTED_DESCAN_PX, message=message)
        findings.append(Finding(flag, "note"))
    if plane.curve_px > _LARGEST_CURVE_PX:
        message = (
            f"the movement of the disk is curved by {plane.curve_px:.2f} px, of which only the plane is taken back"
        )
        flag = Flag(name="descan_curved", value=plane.curve_px, limit=_LARGEST_CURVE_PX, message=message)
        findings.append(Finding(flag, "warn"))
    return findings
