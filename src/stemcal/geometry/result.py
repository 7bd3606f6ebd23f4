"""The numbers of a geometry as they go into the record. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry import aperture as disk
from stemcal.geometry import com_curl as curl
from stemcal.geometry import j_matrix as moments
from stemcal.geometry import thick
from stemcal.geometry.lattice import ScanLattice
from stemcal.geometry.measure import Attempt, Geometry
from stemcal.geometry.optics import Optics, Scale, scale_of, scan_with_covariance
from stemcal.geometry.spectrum import Measured
from stemcal.geometry.thin import ThinFit
from stemcal.optics.aberrations import HIGHEST_ORDER, Term, coefficient, terms
from stemcal.optics.scan_affine import frequency_step_px, scan_axes
from stemcal.records.base import Quantity
from stemcal.records.geometry import (
    Aperture,
    ComCurl,
    Consistency,
    GeometryResult,
    HalfTurn,
    JMatrix,
    Matrix,
    Mode,
    Peak,
    Preparation,
    ScanToCamera,
    Symmetry,
    Tilt,
    Vote,
)

Array = NDArray[np.float64]

_STEP = 1e-6
_TERMS = {term.name: term for term in terms(HIGHEST_ORDER)}


def geometry_result(attempt: Attempt, optics: Optics, *, gain_corrected: bool) -> GeometryResult | None:
    """Return the result of the record; None where the geometry was refused."""
    geometry, found = attempt.geometry, attempt.half_turn
    if geometry is None or found is None:
        return None
    aperture = attempt.reading.aperture
    scale = scale_of(optics, aperture.radius_px, geometry.disk_shift_px, measured=geometry.mode == "thin")
    thin = attempt.thin if isinstance(attempt.thin, ThinFit) else None
    axes = scan_to_camera(geometry, aperture, scale, resolved=found.resolved)
    return GeometryResult(
        mode=geometry.mode,
        aperture=_aperture(aperture, scale),
        scan_to_camera=axes,
        aberrations=_aberrations(geometry, optics),
        aberration_order=thin.order if thin and geometry.aberrations_rad else None,
        focal_spread_angstrom=_focal_spread(thin, optics),
        explained_energy=thin.explained if thin else None,
        margin=thin.margin if thin and math.isfinite(thin.margin) else None,
        half_turn=HalfTurn(
            resolved=found.resolved,
            z=found.z,
            correlation=found.correlation,
            skewness=found.skewness,
            skewness_sign=found.skewness_sign,
            reason=found.reason,
        ),
        column_rule="negative" if axes.flip else "positive",
        votes=tuple(_vote(vote, geometry.mode) for vote in attempt.votes),
        peaks=_peaks(attempt.spectrum),
        symmetry=_symmetry(attempt, thin, geometry),
        com_curl=_com_curl(attempt.com_curl),
        j_matrix=_j_matrix(attempt.j_matrix),
        consistency=consistency(geometry, optics, aperture.radius_px, attempt.reading.bright_field.scan_shape),
        preparation=_preparation(attempt, gain_corrected=gain_corrected),
        tilt_mrad=_tilt(attempt.tilt),
        n_resampling_tiles=len(attempt.spectrum.slices.variance) if attempt.spectrum else 0,
    )


def scan_to_camera(geometry: Geometry, aperture: disk.Aperture, scale: Scale, *, resolved: bool) -> ScanToCamera:
    """Return angles, ratio and lengths of the steps with their uncertainties, from B and its covariance."""
    radius_sigma = aperture.sigma_radius_px / aperture.radius_px
    scan, covariance = scan_with_covariance(geometry.disk_shift_px, geometry.covariance, scale, radius_sigma)
    axes = scan_axes(scan)

    def quantity(function: Callable[[Array], float], unit: str) -> Quantity:
        return _propagated(function, scan, covariance, unit)

    def angle(which: str) -> Quantity:
        middle = float(getattr(axes, which))
        return quantity(lambda s: middle + _wrapped(float(getattr(scan_axes(s), which)) - middle), "deg")

    def length(which: str) -> Quantity | None:
        if scale.source is None:
            return None
        found = quantity(lambda s: float(getattr(scan_axes(s), which)), "angstrom")
        return found if scale.source == "semi_angle" else found.model_copy(update={"sigma": None})

    return ScanToCamera(
        theta_fast_deg=angle("theta_fast_deg"),
        theta_slow_deg=angle("theta_slow_deg"),
        step_ratio=quantity(lambda s: scan_axes(s).step_ratio, "1"),
        step_fast_angstrom=length("step_fast"),
        step_slow_angstrom=length("step_slow"),
        flip=axes.flip,
        half_turn_resolved=resolved,
        matrix=_matrix(scan),
        covariance=tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in covariance),
        unit="1" if scale.source is None else "angstrom",
        scale_source=scale.source,
        disk_shift_px=_matrix(geometry.disk_shift_px),
    )


def consistency(geometry: Geometry, optics: Optics, radius_px: float, scan_shape: tuple[int, int]) -> Consistency:
    """Return |det B| and what wavelength, commanded step and angle of a pixel make of it."""
    determinant = abs(float(np.linalg.det(geometry.disk_shift_px)))
    side = math.sqrt(scan_shape[0] * scan_shape[1])
    unit, wavelength, angle = optics.unit_px(radius_px), optics.wavelength_angstrom, optics.mrad_per_px(radius_px)
    step_px = None
    if wavelength is not None and angle is not None and optics.step_angstrom is not None:
        step_px = frequency_step_px(wavelength, side * optics.step_angstrom, angle)
    return Consistency(
        determinant_px2=determinant,
        expected_px2=None if unit is None else unit**2,
        ratio=None if unit is None else determinant / unit**2,
        frequency_step_px=math.sqrt(determinant) / side,
        expected_frequency_step_px=step_px,
    )


def _propagated(function: Callable[[Array], float], at: Array, covariance: Array, unit: str) -> Quantity:
    """Return a function of S with its standard uncertainty, by central differences."""
    step = _STEP * float(np.abs(at).max())
    steps = step * np.eye(4).reshape(4, 2, 2)
    gradient = np.array([(function(at + one) - function(at - one)) / (2 * step) for one in steps])
    return _quantity(function(at), math.sqrt(max(0.0, float(gradient @ covariance @ gradient))), unit)


def _wrapped(angle_deg: float) -> float:
    return (angle_deg + 180.0) % 360.0 - 180.0


def _quantity(value: float, sigma: float | None, unit: str) -> Quantity:
    return Quantity(value=float(value), sigma=None if sigma is None else float(sigma), unit=unit)


def _matrix(matrix: Array) -> Matrix:
    (a, b), (c, d) = matrix.tolist()
    return (a, b), (c, d)


def _aperture(aperture: disk.Aperture, scale: Scale) -> Aperture:
    strain, relative = math.hypot(aperture.e1, aperture.e2), aperture.sigma_radius_px / aperture.radius_px
    ratio = math.exp(2 * strain)
    along = None if strain == 0 else math.degrees(aperture.sigma_strain / (2 * strain))
    angle = scale.mrad_per_px
    return Aperture(
        centre_row=_quantity(aperture.centre_row_px, aperture.sigma_centre_px, "px"),
        centre_col=_quantity(aperture.centre_col_px, aperture.sigma_centre_px, "px"),
        radius_px=_quantity(aperture.radius_px, aperture.sigma_radius_px, "px"),
        ratio=_quantity(ratio, 2 * ratio * aperture.sigma_strain, "1"),
        angle_deg=_quantity(math.degrees(math.atan2(aperture.e2, aperture.e1)) / 2 % 180.0, along, "deg"),
        edge_px=aperture.edge_px,
        mean_counts_per_px=aperture.mean_inside,
        mrad_per_px=None if angle is None else _quantity(angle, angle * relative, "mrad/px"),
    )


def _aberrations(geometry: Geometry, optics: Optics) -> dict[str, Quantity]:
    if optics.wavelength_angstrom is None or optics.semi_angle_mrad is None:
        return {}
    found = {}
    for name, phase in geometry.aberrations_rad.items():
        found[name] = _quantity(
            _angstrom(_TERMS[name], phase, optics), abs(_angstrom(_TERMS[name], geometry.sigma_rad[name], optics)),
            "angstrom",
        )  # fmt: skip
    return found


def _angstrom(term: Term, phase_rad: float, optics: Optics) -> float:
    assert optics.wavelength_angstrom is not None
    assert optics.semi_angle_mrad is not None
    return coefficient(term, phase_rad, optics.wavelength_angstrom, optics.semi_angle_mrad)


def _focal_spread(thin: ThinFit | None, optics: Optics) -> Quantity | None:
    if thin is None or optics.wavelength_angstrom is None or optics.semi_angle_mrad is None:
        return None
    # the fit is of the variance, and its uncertainty too
    spread = thin.focal_spread_rad
    variance = float(thin.covariance[thin.names.index("spread"), thin.names.index("spread")])
    sigma = math.sqrt(variance) / (2 * spread) if spread > 0 else None
    return _quantity(
        _angstrom(_TERMS["C10"], spread, optics),
        None if sigma is None else _angstrom(_TERMS["C10"], sigma, optics),
        "angstrom",
    )


def _vote(vote: thick.Vote, mode: Mode) -> Vote:
    b = vote.disk_shift_px
    return Vote(
        method=vote.method,
        usable=vote.usable,
        used=vote.method == mode,
        reason=vote.reason,
        disk_shift_px=None if b is None else _matrix(b),
        axis_deg=None if b is None else scan_axes(np.linalg.inv(b).T).theta_fast_deg,
        sigma_deg=vote.sigma_deg,
    )


def _tilt(found: thick.Tilt | thick.NoTilt | None) -> Tilt | None:
    if not isinstance(found, thick.Tilt):
        return None
    return Tilt(
        row_mrad=_quantity(found.row_mrad, found.sigma_mrad, "mrad"),
        col_mrad=_quantity(found.col_mrad, found.sigma_mrad, "mrad"),
        source=found.source,
    )


def _peaks(spectrum: Measured | None) -> tuple[Peak, ...]:
    if spectrum is None:
        return ()
    peaks, lattice = spectrum.peaks, spectrum.lattice
    indices = lattice.indices.tolist() if isinstance(lattice, ScanLattice) else [(0, 0)] * len(peaks.frequencies)
    return tuple(
        Peak(
            frequency=(float(frequency[0]), float(frequency[1])),
            sigma=(float(sigma[0]), float(sigma[1])) if np.isfinite(sigma).all() else None,
            power=float(power),
            index=(index[0], index[1]) if any(index) else None,
        )
        for frequency, sigma, power, index in zip(
            spectrum.slices.frequencies, peaks.sigma, peaks.power, indices, strict=True
        )
    )


def _symmetry(attempt: Attempt, thin: ThinFit | None, geometry: Geometry) -> Symmetry | None:
    if thin is None or thin.symmetry is None:
        return None
    return Symmetry(
        fold=thin.symmetry.fold,
        chi_square=thin.symmetry.chi_square,
        disk_shift_px=_matrix(attempt.reading.bright_field.binning * thin.symmetry.b),
        used=geometry.by_symmetry,
    )


def _com_curl(found: curl.ComCurl | curl.NoRotation | None) -> ComCurl | None:
    if not isinstance(found, curl.ComCurl):
        return None
    return ComCurl(
        theta_deg=_quantity(found.theta_deg, found.sigma_deg, "deg"),
        flip=found.flip,
        ratio=found.ratio,
        rotation_deg=found.rotation_deg,
        transpose=found.transpose,
    )


def _j_matrix(found: moments.JMatrix | moments.NoJMatrix | None) -> JMatrix | None:
    if not isinstance(found, moments.JMatrix):
        return None
    return JMatrix(
        matrix=_matrix(found.scan),
        theta_fast_deg=_quantity(found.axes.theta_fast_deg, found.sigma_fast_deg, "deg"),
        theta_slow_deg=_quantity(found.axes.theta_slow_deg, found.sigma_slow_deg, "deg"),
        step_ratio=_quantity(found.axes.step_ratio, found.sigma_ratio, "1"),
        residual=found.residual,
    )


def _preparation(attempt: Attempt, *, gain_corrected: bool) -> Preparation:
    prepared = attempt.preparation
    return Preparation(
        gain_corrected=gain_corrected,
        normalised=prepared.normalised,
        beam_rms=prepared.beam_rms,
        bad_lines=prepared.bad_lines,
        unusable_fraction=float(np.mean(prepared.weights == 0)),
        descan_px_per_step=_matrix(prepared.descan_px_per_step),
        binning=attempt.reading.bright_field.binning,
    )
