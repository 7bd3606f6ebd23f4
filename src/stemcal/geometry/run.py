"""The geometry step: read a scan, measure, write the record, the images and the figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from stemcal.frames.gain import GainCorrected
from stemcal.frames.gain_choice import GainChoice, choose_gain, offer_gain
from stemcal.frames.ranks import SERIAL, World
from stemcal.frames.source import FrameSource, open_source
from stemcal.geometry.aperture import Aperture, NoAperture
from stemcal.geometry.checks import judge
from stemcal.geometry.figure import draw_figure, draw_refusal
from stemcal.geometry.found import Found
from stemcal.geometry.lattice import ScanLattice
from stemcal.geometry.measure import Attempt, measure, refused
from stemcal.geometry.optics import Optics
from stemcal.geometry.preparation import prepare
from stemcal.geometry.products import products_of, refused_products, write_products
from stemcal.geometry.reading import Reading, read_scan
from stemcal.geometry.result import geometry_result
from stemcal.geometry.settings import GeometrySettings
from stemcal.geometry.ssb import Ssb, single_sideband
from stemcal.geometry.words import facts
from stemcal.interop.ptychography import ptyrex_parameters, py4dstem_parameters
from stemcal.records.agreement import Scan
from stemcal.records.atomic import write_record
from stemcal.records.base import Finding, InputFile, Quality, judged
from stemcal.records.geometry import GeometryRecord, GeometryResult
from stemcal.records.microscope import Microscope
from stemcal.records.provenance import provenance, relative_to_record, small_input
from stemcal.stages import canonical

METHOD = (
    "interference of all peaks of the scan's spectrum fitted together; half turn by the dark field; single sideband"
)
_ANGSTROM_PER_NM = 10.0
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Conditions:
    """What the caller knows of the data set; each replaces what the file says."""

    voltage_kv: float | None = None
    semi_angle_mrad: float | None = None
    step_angstrom: float | None = None
    scan_shape: tuple[int, int] | None = None


@dataclass(frozen=True)
class GeometryPaths:
    """The files of the step for one data set."""

    record: Path
    ssb: Path
    figure: Path

    @classmethod
    def of(cls, record: Path, ssb: Path | None = None, figure: Path | None = None) -> GeometryPaths:
        """Return the paths that go with ``record``; the others are beside it by default."""
        name = record.name.removesuffix(".json").removesuffix("_geometry")
        return cls(record, ssb or record.with_name(f"{name}_ssb.hdf5"), figure or record.with_suffix(".png"))


def run_geometry(
    data: Path,
    paths: GeometryPaths,
    *,
    settings: GeometrySettings,
    source: dict[str, object] | None = None,
    threads: int = 1,
    world: World = SERIAL,
    progress: Callable[[int, int], None] | None = None,
    conditions: Conditions | None = None,
    gains: Sequence[Path] = (),
) -> GeometryRecord:
    """Measure how scan and camera lie to each other and write ``<id>_geometry.json``, ``.png`` and ``<id>_ssb.hdf5``.

    Parameters
    ----------
    data : Path
        A focused scan at atomic resolution: .hdf5, .mib, .npy, .hspy or EMPAD's .xml.
    paths : GeometryPaths
        What to write.
    settings : GeometrySettings
        Settings of the step.
    source : dict, optional
        Identity of the raw data from the workflow.
    threads, world, progress
        See ``stemcal.frames.stream.stream_blocks``. Results do not depend on them.
    conditions : Conditions, optional
        What the caller knows.
    gains : sequence of Path
        ``<id>_gain.json`` of the candidates in order of preference.

    Returns
    -------
    GeometryRecord
        As written, on every rank. ``result`` is ``None`` when the data do not tell; the other files then show what was
        seen, and the reason.

    Raises
    ------
    DataError
        If the data cannot be read.
    """
    given = conditions or Conditions()
    # Sums in BLAS depend on how many threads share them; one thread gives the same bytes on every machine.
    with threadpool_limits(limits=1):
        with open_source(data, scan_shape=given.scan_shape) as counts:
            microscope = counts.microscope or Microscope()
            optics = _optics(microscope, given, settings)
            scan = Scan(optics.voltage_kv, None, counts.frame_shape, counts.acquired_at)
            gain = choose_gain(
                scan, [offer_gain(path) for path in gains], paths.record, settings.voltage_tolerance_percent
            )
            frames = counts if gain.factors is None else GainCorrected(counts, gain.factors)
            read = read_scan(
                frames, max_disk_radius_px=settings.max_disk_radius_px, threads=threads, world=world, progress=progress
            )
            inputs = [InputFile(role="data", path=relative_to_record(data, paths.record), identity=counts.identity)]
            inputs += [small_input("gain", path, paths.record) for path in gains if path.is_file()]
        seen = _Seen(counts, microscope, optics, gain, tuple(inputs))
        outcome = _measured(read, seen, settings) if read is not None else None
        sidebands = _sidebands(outcome, threads, world)
    if outcome is None:
        return GeometryRecord.model_validate(world.bcast(None))
    record = _record(seen, outcome, settings, source or {})
    parameter = canonical(record.provenance.model_dump(include={"stage", "revision", "settings", "source"}))
    _write_images(paths, outcome, sidebands, record, parameter)
    write_record(paths.record, record)
    world.bcast(record.model_dump(by_alias=True))
    return record


@dataclass(frozen=True)
class _Seen:
    """The facts of the data set that the record states."""

    frames: FrameSource
    microscope: Microscope
    optics: Optics
    gain: GainChoice
    inputs: tuple[InputFile, ...]


@dataclass(frozen=True)
class _Outcome:
    """What came of the data set; ``found`` is None where there is no geometry."""

    reading: Reading | None
    attempt: Attempt | None
    quality: Quality
    result: GeometryResult | None
    found: Found | None


def _optics(microscope: Microscope, given: Conditions, settings: GeometrySettings) -> Optics:
    """Return what is known of lens and scan: the caller's word, then the settings', then the microscope's."""
    step = None if microscope.scan_step_nm is None else _ANGSTROM_PER_NM * microscope.scan_step_nm
    return Optics(
        given.voltage_kv or microscope.voltage_kv,
        given.semi_angle_mrad or settings.semi_angle_mrad or microscope.convergence_semi_angle_mrad,
        given.step_angstrom or step,
    )


def _measured(read: Reading | NoAperture, seen: _Seen, settings: GeometrySettings) -> _Outcome:
    """Measure and judge; on rank 0."""
    warned = [Finding(flag, "warn") for flag in seen.gain.flags]
    if isinstance(read, NoAperture):
        return _Outcome(None, None, judged([refused("no_aperture", read.reason), *warned]), None, None)
    preparation = prepare(
        read.sums,
        seen.frames.frame_status,
        read.aperture,
        max_bad_lines=settings.max_bad_lines,
        window_moved=bool(read.bright_field.shift_px.any()),
    )
    attempt = measure(read, preparation, seen.optics, settings)
    result = geometry_result(attempt, seen.optics, gain_corrected=seen.gain.factors is not None)
    quality = judge(attempt, seen.optics, settings, result, warned)
    if result is None or quality.verdict == "fail":
        return _Outcome(read, attempt, quality, None, None)
    return _Outcome(read, attempt, quality, result, _found(attempt, result, seen))


def _found(attempt: Attempt, result: GeometryResult, seen: _Seen) -> Found:
    geometry, spectrum, reading = attempt.geometry, attempt.spectrum, attempt.reading
    assert geometry is not None
    assert spectrum is not None
    lattice = spectrum.lattice
    return Found(
        frame_shape=seen.frames.frame_shape,
        mean_pattern=reading.sums.mean_pattern,
        aperture=reading.aperture,
        bright_field=reading.bright_field,
        sums=reading.sums,
        weights=attempt.preparation.weights,
        power_spectrum=spectrum.peaks.power_spectrum,
        frequencies=spectrum.slices.frequencies,
        indices=lattice.indices if isinstance(lattice, ScanLattice) else None,
        slices=spectrum.slices.values.sum(axis=0),
        amplitudes=geometry.amplitudes,
        disk_shift_px=geometry.disk_shift_px,
        centre_shift_px=geometry.centre_shift_px,
        aberrations_rad=geometry.aberrations_rad or None,
        scan=np.array(result.scan_to_camera.matrix),
        length_unit="angstrom" if result.scan_to_camera.unit == "angstrom" else "step",
        tilt_centre_px=_tilt_centre(result),
    )


def _tilt_centre(result: GeometryResult) -> tuple[float, float] | None:
    """Return where the zone axis points on the detector."""
    tilt, angle = result.tilt_mrad, result.aperture.mrad_per_px
    if tilt is None or angle is None:
        return None
    centre = result.aperture.centre_row.value, result.aperture.centre_col.value
    return centre[0] + tilt.row_mrad.value / angle.value, centre[1] + tilt.col_mrad.value / angle.value


def _sidebands(outcome: _Outcome | None, threads: int, world: World) -> tuple[Ssb, ...]:
    """Reconstruct the object without and with the aberrations, on all ranks where rank 0 has a geometry."""
    found = outcome.found if outcome is not None else None
    task = world.bcast(None if found is None else _Task.of(found))
    if task is None:
        return ()
    return single_sideband(
        None if found is None else found.bright_field,
        task.weights,
        task.disk_shift_px,
        task.aperture,
        task.aberrations_rad,
        centre_shift_px=task.centre_shift_px,
        threads=threads,
        world=world,
    )


@dataclass(frozen=True)
class _Task:
    """What every rank needs for the reconstruction."""

    weights: Array
    disk_shift_px: Array
    aperture: Aperture
    aberrations_rad: tuple[Mapping[str, float], ...]
    centre_shift_px: tuple[float, float]

    @classmethod
    def of(cls, found: Found) -> _Task:
        corrected = () if found.aberrations_rad is None else (found.aberrations_rad,)
        return cls(found.weights, found.disk_shift_px, found.aperture, ({}, *corrected), found.centre_shift_px)


def _write_images(
    paths: GeometryPaths, outcome: _Outcome, sidebands: tuple[Ssb, ...], record: GeometryRecord, parameter: str
) -> None:
    found, reading = outcome.found, outcome.reading
    if found is None or record.result is None:
        spectrum = outcome.attempt.spectrum if outcome.attempt else None
        power = spectrum.peaks.power_spectrum if spectrum else None
        pattern, aperture = (reading.sums.mean_pattern, reading.aperture) if reading else (None, None)
        write_products(paths.ssb, parameter, refused_products(pattern, power), {})
        draw_refusal(paths.figure, pattern, aperture, power, record.quality.flags[0].message)
        return
    uncorrected, corrected = sidebands[0], sidebands[1] if len(sidebands) > 1 else None
    write_products(paths.ssb, parameter, products_of(found, uncorrected, corrected), _for_others(record))
    draw_figure(paths.figure, found, uncorrected, corrected, facts(record.result, record.quality))


def _for_others(record: GeometryRecord) -> dict[str, dict[str, object]]:
    """Return the parameters of other programs by the name of their dataset, where all that they need is known."""
    result = record.result
    assert result is not None
    axes, aperture = result.scan_to_camera, result.aperture
    voltage, semi_angle, scale = record.voltage_kv, record.semi_angle_mrad, aperture.mrad_per_px
    if voltage is None or semi_angle is None or scale is None or axes.unit != "angstrom":
        return {}
    assert record.scan_shape is not None
    assert record.frame_shape is not None
    known = {one: quantity.value for one, quantity in result.aberrations.items()}
    centre = (aperture.centre_row.value, aperture.centre_col.value)
    ptyrex = ptyrex_parameters(
        axes.matrix, record.scan_shape, record.frame_shape, voltage, semi_angle, scale.value, centre, known
    )
    return {
        "parameters/py4dstem": py4dstem_parameters(axes.matrix, voltage, semi_angle, known),
        "parameters/ptyrex": ptyrex,
    }


def _record(seen: _Seen, outcome: _Outcome, settings: GeometrySettings, source: dict[str, object]) -> GeometryRecord:
    microscope, optics = seen.microscope, seen.optics
    return GeometryRecord(
        method=METHOD,
        inputs=seen.inputs,
        quality=outcome.quality,
        provenance=provenance("geometry", settings, source),
        voltage_kv=optics.voltage_kv,
        semi_angle_mrad=optics.semi_angle_mrad,
        nominal_step_angstrom=optics.step_angstrom,
        nominal_camera_length_m=microscope.nominal_camera_length_m,
        scan_rotation_deg=microscope.scan_rotation_deg,
        magnification=microscope.magnification,
        acquired_at=seen.frames.acquired_at,
        scan_shape=seen.frames.scan_shape,
        frame_shape=seen.frames.frame_shape,
        result=outcome.result,
    )
