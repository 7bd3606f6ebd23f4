"""From a mean pattern to the calibration: search, joint fit, uncertainties. No files."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stemcal.gold.centre import symmetric_centre
from stemcal.gold.joint import Rings, alike, fit_rings, jackknife_covariance, start_geometry
from stemcal.gold.model import COL, E1, E2, LOG_SCALE, ROW, Array, ring_coverage
from stemcal.gold.pattern import Powder
from stemcal.gold.search import Search, find_comb, sector_profiles
from stemcal.gold.settings import GoldSettings
from stemcal.gold.standard import PowderStandard, powder_standard
from stemcal.optics.disk import BrightDisk
from stemcal.optics.ellipse import ratio_and_angle
from stemcal.optics.wavelength import projected_q, wavelength_angstrom

_INNER_PX = 8.0
_SMALLEST_WIDTH_PX = 1.2
_WIDTHS_PX = (1.3, 2.0)
_ANY_SCALE = (1.0, 1e6)
_UNKNOWN_ANGLE_DEG = 180 / np.sqrt(12)
"""Standard deviation of an angle that may be anything in half a turn."""
_LARGEST_DRIFT = 0.05
_SIGNIFICANT = 4.0
_RINGS_OFF_PX = 0.3
_FAINT = 0.1
"""A ring that must be seen has at least this part of the strength that the others let expect."""
_MISPLACED_PX = 0.25
_FOREIGN = 0.25
"""A ring that the standard does not have may reach this part of those it has: double diffraction leaves a trace."""


@dataclass(frozen=True)
class Optics:
    """What the microscope says; ``None`` where nobody knows."""

    voltage_kv: float | None
    nominal_camera_length_m: float | None

    @property
    def wavelength_angstrom(self) -> float | None:
        """Electron wavelength."""
        return None if self.voltage_kv is None else wavelength_angstrom(self.voltage_kv)


@dataclass(frozen=True)
class Refusal:
    """Nothing could be measured: a name for the reason, the value and limit that decided, and a sentence."""

    name: str
    message: str
    value: float | str | None = None
    limit: float | str | None = None


@dataclass(frozen=True)
class Measured:
    """A value and its standard uncertainty; ``None`` where there is nothing to resample."""

    value: float
    sigma: float | None


@dataclass(frozen=True)
class Ellipse:
    """Axis ratio and angle of the major axis, and the strain they come from."""

    ratio: Measured
    angle_deg: Measured
    strain: tuple[float, float]


@dataclass(frozen=True)
class RingResult:
    """One ring of the model as it was seen."""

    label: str
    hkl: tuple[int, int, int] | None
    q_per_angstrom: float
    radius_px: float
    amplitude: Measured
    residual_px: float | None
    coverage: float
    used: bool


@dataclass(frozen=True)
class Calibration:
    """What the standard says of the camera; ``centre`` is (row, col) on the detector in the middle of the scan."""

    fitted: Rings
    search: Search
    ellipse: Ellipse
    pixel_size: Measured
    centre: tuple[Measured, Measured]
    rings: tuple[RingResult, ...]
    harmonics: tuple[Measured, Measured]


@dataclass(frozen=True)
class Attempt:
    """How far a measurement came: ``calibration`` or ``refusal``, and the search if there was one."""

    centre: tuple[float, float]
    search: Search | None
    calibration: Calibration | None
    refusal: Refusal | None


def scale_range(optics: Optics, settings: GoldSettings) -> tuple[float, float]:
    """Return the range of scales to search, px per 1/angstrom: the nominal camera length's, or any."""
    wavelength, nominal = optics.wavelength_angstrom, optics.nominal_camera_length_m
    if wavelength is None or nominal is None:
        return _ANY_SCALE
    per_ratio = wavelength * nominal / (settings.detector_pixel_um * 1e-6)
    return per_ratio * settings.camera_length_ratio_min, per_ratio * settings.camera_length_ratio_max


def measure(powder: Powder, optics: Optics, settings: GoldSettings) -> Attempt:
    """Measure the calibration on a mean pattern.

    Parameters
    ----------
    powder : Powder
        The pattern, with or without tiles of a scan.
    optics : Optics
        Voltage and nominal camera length, where known.
    settings : GoldSettings
        The standard and the requirements.

    Returns
    -------
    Attempt
        With a `Refusal` instead of numbers when the rings are not there, or could be several things.
    """
    usable, disk = powder.usable, powder.disk
    if not powder.sums.counts[usable].any():
        return Attempt((0.0, 0.0), None, None, Refusal("no_counts", "the pattern holds no counts on valid pixels"))
    mean = powder.sums.mean
    centre = disk.centre_px if isinstance(disk, BrightDisk) else symmetric_centre(mean, usable)
    disk_radius = disk.radius_px if isinstance(disk, BrightDisk) else 0.0
    # a grain's spot is an image of the disk, and the standard deviation of a disk along one axis is half its radius
    width = float(np.hypot(_SMALLEST_WIDTH_PX, disk_radius / 2))
    inner = max(_INNER_PX, 1.5 * disk_radius + 4)
    standard = powder_standard(settings.standard)
    search = find_comb(
        sector_profiles(mean, usable, centre, inner),
        standard.comb,
        _on_detector([ring.q_per_angstrom for ring in standard.comb], optics),
        tuple(sorted({*_WIDTHS_PX, width})),
        scale_range(optics, settings),
        settings.largest_strain,
    )
    refusal = _judge_search(search, optics, settings)
    if search is None or refusal is not None:
        return Attempt(centre, search, None, refusal)
    q = _on_detector([ring.q_per_angstrom for ring in standard.fitted], optics)
    fitted = _fit(powder, standard, q, start_geometry(search.best, centre, width, disk_radius))
    refusal = _judge_fit(fitted, search)
    if fitted is None or refusal is not None:
        return Attempt(centre, search, None, refusal)
    calibration = _calibration(powder, fitted, search, settings)
    refusal = _judge_rings(calibration, standard, settings)
    return Attempt(centre, search, None if refusal else calibration, refusal)


def _on_detector(q: list[float], optics: Optics) -> Array:
    return projected_q(q, optics.wavelength_angstrom)


def _judge_search(search: Search | None, optics: Optics, settings: GoldSettings) -> Refusal | None:
    name = settings.standard.name
    if search is None:
        return Refusal("no_range", f"the detector cannot hold three {name} rings {_where(optics, settings)}")
    best, other = search.best, search.runner_up
    if best.score < settings.min_score:
        message = (
            f"no {name} rings {_where(optics, settings)}: the best comb of rings scores {best.score:.2f}, "
            f"below {settings.min_score:.2f}"
        )
        return Refusal("no_rings", message, best.score, settings.min_score)
    if other is not None and other.score > settings.max_runner_up * best.score:
        known = optics.nominal_camera_length_m is not None and optics.voltage_kv is not None
        remedy = "narrow the range of camera lengths" if known else "give voltage and camera length"
        message = (
            f"the scale is ambiguous: {1 / best.scale:.5g} and {1 / other.scale:.5g} 1/angstrom per pixel explain the "
            f"rings almost equally well ({best.score:.2f} and {other.score:.2f}); {remedy}"
        )
        return Refusal("ambiguous_scale", message, other.score / best.score, settings.max_runner_up)
    return None


def _where(optics: Optics, settings: GoldSettings) -> str:
    nominal = optics.nominal_camera_length_m
    if nominal is None or optics.voltage_kv is None:
        return "at any camera length"
    low, high = nominal * settings.camera_length_ratio_min, nominal * settings.camera_length_ratio_max
    return f"at effective camera lengths of {low:.3g} to {high:.3g} m"


def _fit(powder: Powder, standard: PowderStandard, q: Array, start: Array) -> Rings | None:
    """Fit all rings at once; where they end up off their places, once more with the inner ones to start with.

    The strain of the comb is known to some hundredths. Far out, where rings are close together, that is enough for a
    fit to settle on their neighbours; further in it is not.
    """
    fitted = fit_rings(powder, standard.fitted, q, start)
    if fitted is None or not _lies_off(fitted):
        return fitted
    n = standard.n_inner
    inner = fit_rings(replace(powder, tiles=(), tile_drift=()), standard.fitted[:n], q[:n], start)
    again = None if inner is None else fit_rings(powder, standard.fitted, q, inner.geometry)
    return again if again is not None and again.chi_square < fitted.chi_square else fitted


def _lies_off(fitted: Rings) -> bool:
    seen = fitted.best.amplitudes > _SIGNIFICANT * fitted.amplitude_noise
    return bool(np.any(np.abs(fitted.offsets_px[seen]) > _RINGS_OFF_PX))


def _judge_fit(fitted: Rings | None, search: Search) -> Refusal | None:
    if fitted is None:
        return Refusal("few_pixels", "too few valid pixels lie on the rings to fit them")
    drift = abs(float(fitted.geometry[LOG_SCALE]) - float(np.log(search.best.scale)))
    if not fitted.joint.converged or drift > _LARGEST_DRIFT:
        message = f"the joint fit of the rings did not settle (scale moved by {drift:.1%} from the comb)"
        return Refusal("no_convergence", message, drift, _LARGEST_DRIFT)
    return None


def _judge_rings(calibration: Calibration, standard: PowderStandard, settings: GoldSettings) -> Refusal | None:
    used = [ring for ring in calibration.rings if ring.used and ring.label not in standard.must_be_absent]
    if len(used) < settings.min_rings:
        names = ", ".join(ring.label for ring in used) or "none"
        message = f"{len(used)} {standard.name} rings are usable ({names}), {settings.min_rings} are needed"
        return Refusal("few_rings", message, len(used), settings.min_rings)
    missing = _missing(calibration, standard, settings)
    if missing:
        names = ", ".join(missing)
        message = (
            f"the pattern has rings, but not {standard.name}'s {names}, which cannot be missing: it is another material"
        )
        return Refusal("other_material", message, names)
    return _judge_foreign(calibration, standard) or _judge_places(calibration, standard)


def _missing(calibration: Calibration, standard: PowderStandard, settings: GoldSettings) -> list[str]:
    """Return which rings that must be seen are not, or are far weaker than the others let expect."""
    expected = {ring.label: ring.visibility for ring in standard.fitted}
    rings = [
        ring
        for ring in calibration.rings
        if ring.label in standard.must_be_seen and ring.coverage >= settings.min_ring_coverage
    ]
    share = {ring.label: ring.amplitude.value / expected[ring.label] if ring.used else 0.0 for ring in rings}
    usual = float(np.median(list(share.values()))) if share else 0.0
    return [label for label, value in share.items() if value <= _FAINT * usual]


def _judge_places(calibration: Calibration, standard: PowderStandard) -> Refusal | None:
    """Refuse strong rings that lie off their places where no row of spots could be fitted to them either."""
    strong = [ring for ring in calibration.rings if ring.label in standard.must_be_seen]
    off = [abs(ring.residual_px) for ring in strong if ring.residual_px is not None]
    typical = float(np.median(off)) if off else 0.0
    if calibration.fitted.in_spots or typical <= _MISPLACED_PX:
        return None
    message = f"the rings lie {typical:.2f} px off where {standard.name} has them: it is another material"
    return Refusal("other_material", message, typical, _MISPLACED_PX)


def ring_residual_rms(calibration: Calibration) -> float:
    """Return the root mean square of how far the rings in use lie off their places, px, weighted by their strength."""
    used = [ring for ring in calibration.rings if ring.used and ring.residual_px is not None]
    weights = [ring.amplitude.value * ring.radius_px for ring in used]
    return float(np.sqrt(np.average([(ring.residual_px or 0.0) ** 2 for ring in used], weights=weights)))


def _judge_foreign(calibration: Calibration, standard: PowderStandard) -> Refusal | None:
    """Refuse a pattern with rings that the standard cannot have: gold has silicon's rings, and more."""
    known = [ring for ring in calibration.rings if ring.used and ring.label not in standard.must_be_absent]
    limit = _FOREIGN * float(np.median([ring.amplitude.value for ring in known]))
    absent = [ring for ring in calibration.rings if ring.used and ring.label in standard.must_be_absent]
    foreign = [ring for ring in absent if ring.amplitude.value > limit]
    if not foreign:
        return None
    names = ", ".join(ring.label for ring in foreign)
    name = standard.name
    message = f"the pattern has {name}'s rings, but also {names}, which {name} lacks: it is another material"
    return Refusal("other_material", message, names)


def _calibration(powder: Powder, fitted: Rings, search: Search, settings: GoldSettings) -> Calibration:
    best, samples = fitted.best, fitted.leave_out
    enough = len(samples) >= 2
    covariance = jackknife_covariance([sample.geometry for sample in samples]) if enough else None
    pixel = float(np.exp(-best.geometry[LOG_SCALE]))
    pixel_sigma = None if covariance is None else pixel * float(np.sqrt(covariance[LOG_SCALE, LOG_SCALE]))
    position, strain = slice(ROW, COL + 1), slice(E1, E2 + 1)
    sigmas = None if covariance is None else _centre_sigmas(alike(covariance[position, position]), powder)
    row, col = (
        Measured(float(best.geometry[axis]) + powder.to_detector[axis], None if sigmas is None else float(sigmas[axis]))
        for axis in (ROW, COL)
    )
    ellipse = _ellipse(best.geometry, None if covariance is None else alike(covariance[strain, strain]))
    rings = _ring_results(powder, fitted, settings)
    return Calibration(fitted, search, ellipse, Measured(pixel, pixel_sigma), (row, col), rings, _harmonics(fitted))


def _centre_sigmas(covariance: Array, powder: Powder) -> Array:
    """Return the standard deviations (2,) of the centre on the detector, in the middle of the scan."""
    return np.asarray(np.sqrt(np.diag(covariance) + powder.middle_sigma_px**2))


def _ellipse(geometry: Array, covariance: Array | None) -> Ellipse:
    e1, e2 = float(geometry[E1]), float(geometry[E2])
    ratio, angle = ratio_and_angle(e1, e2)
    if covariance is None:
        return Ellipse(Measured(ratio, None), Measured(float(np.degrees(angle)), None), (e1, e2))
    along = np.array([np.cos(2 * angle), np.sin(2 * angle)])
    across = np.array([-np.sin(2 * angle), np.cos(2 * angle)])
    ratio_sigma = 2 * ratio * float(np.sqrt(along @ covariance @ along))
    strain = max(float(np.hypot(e1, e2)), 1e-12)
    angle_sigma = float(np.degrees(0.5 * np.sqrt(across @ covariance @ across) / strain))
    angle_deg = Measured(float(np.degrees(angle)), min(angle_sigma, float(_UNKNOWN_ANGLE_DEG)))
    return Ellipse(Measured(ratio, ratio_sigma), angle_deg, (e1, e2))


def _ring_results(powder: Powder, fitted: Rings, settings: GoldSettings) -> tuple[RingResult, ...]:
    scale = float(np.exp(fitted.geometry[LOG_SCALE]))
    covariance = None
    if len(fitted.leave_out) >= 2:
        covariance = jackknife_covariance([sample.amplitudes for sample in fitted.leave_out])
    results, usable = [], powder.usable
    for k, ring in enumerate(fitted.rings):
        amplitude = float(fitted.best.amplitudes[k])
        sigma = None if covariance is None else float(np.sqrt(covariance[k, k]))
        # by the noise of counting: that few grains make a ring uneven does not make it doubtful
        noise = float(fitted.amplitude_noise[k])
        coverage = ring_coverage(usable, fitted.geometry, float(fitted.q[k]) * scale)
        used = coverage >= settings.min_ring_coverage and amplitude > _SIGNIFICANT * noise
        residual = float(fitted.offsets_px[k]) if used and np.isfinite(fitted.offsets_px[k]) else None
        radius = float(fitted.q[k]) * scale
        results.append(
            RingResult(
                ring.label, ring.hkl, ring.q_per_angstrom, radius, Measured(amplitude, sigma), residual, coverage, used
            )
        )
    return tuple(results)


def _harmonics(fitted: Rings) -> tuple[Measured, Measured]:
    """Return the sizes of the distortions of order 3 and 4 in radius change / radius."""
    values = fitted.best.harmonics
    covariance = None
    if len(fitted.leave_out) >= 2:
        covariance = jackknife_covariance([sample.harmonics for sample in fitted.leave_out])
    sizes = []
    for part in (slice(0, 2), slice(2, 4)):
        sigma = None if covariance is None else float(np.sqrt(np.trace(covariance[part, part]) / 2))
        sizes.append(Measured(float(np.hypot(*values[part])), sigma))
    return sizes[0], sizes[1]
