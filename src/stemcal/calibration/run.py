"""The calibration step: choose a reference, measure the origin, write down both and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stemcal.calibration.binding import Binding, Offer, bind
from stemcal.calibration.figure import Shown, draw_figure
from stemcal.calibration.geometry import GeometryChoice, GeometryOffer, ScanSettings, choose_geometry
from stemcal.calibration.measure import DiskTrack, track_disk
from stemcal.calibration.origin import OriginFit, fit_origin
from stemcal.calibration.settings import CalibrationSettings
from stemcal.errors import DataError
from stemcal.frames.gain import GainCorrected
from stemcal.frames.gain_choice import GainChoice, choose_gain, offer_gain
from stemcal.frames.ranks import SERIAL, World
from stemcal.frames.source import FrameSource, open_source
from stemcal.optics.disk import NoDisk
from stemcal.records.agreement import Scan
from stemcal.records.atomic import read_record, write_record
from stemcal.records.base import Flag, InputFile, Quality, Quantity, Verdict, worst
from stemcal.records.calibration import (
    BoundEllipse,
    BoundPixelSize,
    CalibrationRecord,
    Candidate,
    Instrument,
    Origin,
)
from stemcal.records.geometry import GeometryRecord
from stemcal.records.gold import GoldRecord
from stemcal.records.microscope import Microscope
from stemcal.records.provenance import provenance, relative_to_record, small_input

METHOD = "nearest passing gold reference; windowed centroid of the bright disk, robust polynomial over the scan"
_DIGITS = 6
"""A millionth of a pixel: keeps the last bits of the linear algebra library out of the file."""


@dataclass(frozen=True)
class Conditions:
    """What the caller knows of the data set and the file does not say, and its scan shape."""

    voltage_kv: float | None = None
    nominal_camera_length_m: float | None = None
    scan_shape: tuple[int, int] | None = None


def run_calibration(
    data: Path,
    golds: Sequence[Path],
    output: Path,
    *,
    settings: CalibrationSettings,
    source: dict[str, object] | None = None,
    threads: int = 1,
    world: World = SERIAL,
    progress: Callable[[int, int], None] | None = None,
    conditions: Conditions | None = None,
    figure: Path | None = None,
    gains: Sequence[Path] = (),
    geometries: Sequence[Path] = (),
) -> CalibrationRecord:
    """Bind a reference to a data set and measure its origin; write the record and its figure.

    Parameters
    ----------
    data : Path
        4-D data set: .hdf5, .mib, .npy or .hspy.
    golds : sequence of Path
        ``<id>_gold.json`` of the candidates in order of preference.
    output : Path
        ``<id>_calibration.json``.
    settings : CalibrationSettings
        Settings of the step.
    source : dict, optional
        Identity of the raw data from the workflow.
    threads, world, progress :
        See ``stemcal.frames.stream.stream_blocks``. Results do not depend on them.
    conditions : Conditions, optional
        Overrides what the file says of voltage, camera length and scan shape.
    figure : Path, optional
        The PNG; beside the record by default.
    gains : sequence of Path
        ``<id>_gain.json`` of the candidates in order of preference. The origin is measured on corrected counts.
    geometries : sequence of Path
        ``<id>_geometry.json`` of scans of the same instrument, the data set's own among them where it has one.

    Returns
    -------
    CalibrationRecord
        As written, on every rank.

    Raises
    ------
    DataError
        If the data cannot be read. A reference that cannot be read is refused with its reason instead.
    """
    given = conditions or Conditions()
    with open_source(data, scan_shape=given.scan_shape) as counts:
        scan = _scan(counts, given)
        gain = choose_gain(scan, [offer_gain(path) for path in gains], output, settings.voltage_tolerance_percent)
        frames = counts if gain.factors is None else GainCorrected(counts, gain.factors)
        track = track_disk(frames, settings, threads=threads, world=world, progress=progress)
        if world.rank != 0:
            return CalibrationRecord.model_validate(world.bcast(None))
        offers = [_offer(path) for path in golds]
        binding = bind(scan, offers, settings)
        geometry = choose_geometry(_settings(counts, scan), [_geometry(path, output) for path in geometries], settings)
        origin, reasons = _judge_origin(track, frames.scan_shape, settings)
        gold = None if binding.chosen is None else offers[binding.chosen].record
        names = [relative_to_record(path, output) for path in golds]
        inputs = [InputFile(role="data", path=relative_to_record(data, output), identity=counts.identity)]
        inputs += [small_input("gold", path, output) for path in golds if path.is_file()]
        inputs += [small_input("gain", path, output) for path in gains if path.is_file()]
        inputs += [small_input("geometry", path, output) for path in geometries if path.is_file()]
        bound = _bound(gold, binding, names)
        record = CalibrationRecord(
            method=METHOD,
            inputs=tuple(inputs),
            quality=_quality(binding, gain, geometry, reasons),
            provenance=provenance("calibration", settings, source or {}),
            instrument=_instrument(scan),
            candidates=_candidates(offers, names, binding),
            q_pixel_size=bound[0],
            ellipse=bound[1],
            origin=_origin(origin, inputs[0].path) if origin else None,
            gain=gain.bound,
            gain_candidates=gain.candidates,
            scan_to_camera=geometry.scan_to_camera,
            aberrations=geometry.aberrations,
            geometry_candidates=geometry.candidates,
        )
        shown = _shown(track, frames, origin, reasons, gold)
    draw_figure(figure or output.with_suffix(".png"), shown)
    write_record(output, record)
    world.bcast(record.model_dump(by_alias=True))
    return record


def _scan(frames: FrameSource, given: Conditions) -> Scan:
    microscope = frames.microscope
    voltage = given.voltage_kv or (microscope.voltage_kv if microscope else None)
    length = given.nominal_camera_length_m or (microscope.nominal_camera_length_m if microscope else None)
    return Scan(voltage, length, frames.frame_shape, frames.acquired_at)


def _settings(frames: FrameSource, scan: Scan) -> ScanSettings:
    said = frames.microscope or Microscope()
    step = said.scan_step_nm
    return ScanSettings(
        scan, said.scan_rotation_deg, said.magnification, None if step is None else 10 * step, frames.identity
    )


def _geometry(path: Path, output: Path) -> GeometryOffer:
    name, place = path.name.removesuffix(".json").removesuffix("_geometry"), relative_to_record(path, output)
    try:
        return GeometryOffer(name, place, read_record(path, GeometryRecord))
    except DataError as error:
        return GeometryOffer(name, place, None, error.problem)


def _offer(path: Path) -> Offer:
    name = path.name.removesuffix(".json").removesuffix("_gold")
    try:
        return Offer(name, read_record(path, GoldRecord))
    except DataError as error:
        return Offer(name, None, error.problem)


def _judge_origin(
    track: DiskTrack, scan_shape: tuple[int, int], settings: CalibrationSettings
) -> tuple[OriginFit | None, list[tuple[Verdict, Flag]]]:
    """Return the origin, None where it is refused, and the checks that did not pass."""
    if isinstance(track.disk, NoDisk):
        return None, [("fail", Flag(name="no_bright_disk", message=f"no bright disk: {track.disk.reason}"))]
    origin = fit_origin(track.positions_px, scan_shape, settings)
    if origin is None:
        text = f"the bright disk was found in {np.isfinite(track.positions_px[:, 0]).sum()} frames, too few for a fit"
        return None, [("fail", Flag(name="no_origin", message=text))]
    checks = [check for check in (_residual_check(origin, settings), _used_check(origin, settings)) if check]
    if origin.sigma_px is None:
        text = "the scan is too small to say how well its centre is known"
        checks.append(("warn", Flag(name="no_uncertainty", message=text)))
    refused = any(verdict == "fail" for verdict, _ in checks)
    return (None if refused else origin), checks


def _residual_check(origin: OriginFit, settings: CalibrationSettings) -> tuple[Verdict, Flag] | None:
    rms = round(origin.fit.residual_rms_px, _DIGITS)
    if rms <= settings.warn_residual_px:
        return None
    failed = rms > settings.max_residual_px
    limit = settings.max_residual_px if failed else settings.warn_residual_px
    text = f"the measured origin scatters by {rms:.2f} px about its polynomial, more than {limit:g} px"
    return ("fail" if failed else "warn"), Flag(name="origin_residual", value=rms, limit=limit, message=text)


def _used_check(origin: OriginFit, settings: CalibrationSettings) -> tuple[Verdict, Flag] | None:
    part = round(origin.fraction_used, _DIGITS)
    if part >= settings.warn_fraction_used:
        return None
    failed = part < settings.min_fraction_used
    limit = settings.min_fraction_used if failed else settings.warn_fraction_used
    text = f"only {part:.0%} of the frames agree on the origin, less than {limit:.0%}"
    return ("fail" if failed else "warn"), Flag(name="origin_fraction_used", value=part, limit=limit, message=text)


def _quality(
    binding: Binding, gain: GainChoice, geometry: GeometryChoice, checks: list[tuple[Verdict, Flag]]
) -> Quality:
    flags = [*binding.flags, *gain.flags, *(one.flag for one in geometry.findings), *(flag for _, flag in checks)]
    verdicts: list[Verdict] = [verdict for verdict, _ in checks]
    if binding.flags or gain.flags or any(one.severity == "warn" for one in geometry.findings):
        verdicts.append("warn")
    if binding.chosen is None:
        flags.insert(0, Flag(name="no_reference", message=binding.why))
        verdicts.append("fail")
    return Quality(verdict=worst(verdicts), flags=tuple(flags))


def _instrument(scan: Scan) -> Instrument | None:
    if scan.voltage_kv is None or scan.nominal_camera_length_m is None:
        return None
    return Instrument(
        voltage_kv=scan.voltage_kv,
        nominal_camera_length_m=scan.nominal_camera_length_m,
        frame_shape=scan.frame_shape,
    )


def _candidates(offers: Sequence[Offer], names: Sequence[str], binding: Binding) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(dataset=offer.name, path=name, chosen=index == binding.chosen, reason=reason)
        for index, (offer, name, reason) in enumerate(zip(offers, names, binding.reasons, strict=True))
    )


def _bound(
    gold: GoldRecord | None, binding: Binding, names: Sequence[str]
) -> tuple[BoundPixelSize | None, BoundEllipse | None]:
    if gold is None or gold.result is None or binding.chosen is None:
        return None, None
    size, name = gold.result.pixel_size, names[binding.chosen]
    pixel_size = BoundPixelSize(
        area_preserving=size.area_preserving, minor_axis=size.minor_axis, source=name, why=binding.why
    )
    return pixel_size, BoundEllipse(ellipse=gold.result.ellipse, source=name, why=binding.why)


def _origin(origin: OriginFit, name: str) -> Origin:
    fit, sigma = origin.fit, origin.sigma_px or (None, None)
    row, col = _rounded(fit.coefficients_row_px), _rounded(fit.coefficients_col_px)
    of = f"{origin.fraction_used:.1%} of the frames of this data set"
    why = f"measured on {of}; degree {fit.degree} has the best information criterion"
    return Origin(
        centre_row_px=Quantity(value=row[0], sigma=None if sigma[0] is None else round(sigma[0], _DIGITS), unit="px"),
        centre_col_px=Quantity(value=col[0], sigma=None if sigma[1] is None else round(sigma[1], _DIGITS), unit="px"),
        degree=fit.degree,
        coefficients_row_px=row,
        coefficients_col_px=col,
        residual_rms_px=round(fit.residual_rms_px, _DIGITS),
        descan_range_px=round(origin.descan_range_px, _DIGITS),
        fraction_used=round(origin.fraction_used, _DIGITS),
        measured_centre_px=_pair(origin.mean_measured_px),
        source=name,
        why=why,
    )


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    # Adding 0.0 turns -0.0 into 0.0, which is written differently.
    return tuple(round(float(value), _DIGITS) + 0.0 for value in values)


def _pair(values: tuple[float, float]) -> tuple[float, float]:
    return round(values[0], _DIGITS), round(values[1], _DIGITS)


def _shown(
    track: DiskTrack,
    frames: FrameSource,
    origin: OriginFit | None,
    checks: list[tuple[Verdict, Flag]],
    gold: GoldRecord | None,
) -> Shown:
    result = gold.result if gold else None
    return Shown(
        mean_pattern=track.mean_pattern,
        valid=frames.valid,
        scan_shape=frames.scan_shape,
        origin=origin,
        why_no_origin="; ".join(flag.message for verdict, flag in checks if verdict == "fail"),
        matrix=np.array(result.ellipse.matrix) if result else None,
        q_pixel_size_per_angstrom=result.pixel_size.area_preserving.value if result else None,
    )
