"""The gold step: read a data set or a pattern, measure, write the record and its figure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stemcal.formats.image import is_pattern, read_pattern
from stemcal.frames.ranks import SERIAL, World
from stemcal.frames.source import open_source
from stemcal.gold.checks import judge
from stemcal.gold.figure import draw_figure
from stemcal.gold.measure import Attempt, Calibration, Measured, Optics, measure
from stemcal.gold.model import LOG_WIDTH
from stemcal.gold.pattern import Powder, accumulate, single_pattern
from stemcal.gold.settings import GoldSettings
from stemcal.gold.standard import powder_standard
from stemcal.history.drift import DriftLimits, drift_between
from stemcal.history.entries import data_identity, entry_of, previous_of
from stemcal.optics.disk import BrightDisk
from stemcal.optics.ellipse import correction_matrix, to_py4dstem
from stemcal.records.atomic import write_record
from stemcal.records.base import InputFile, Quality, Quantity
from stemcal.records.gold import Centre, Ellipse, GoldRecord, GoldResult, PixelSize, Ring, ScaleSearch
from stemcal.records.history import Drift, HistoryEntry
from stemcal.records.provenance import provenance, relative_to_record, small_input

METHOD = (
    "joint fit of all rings as rows of spots: centre, strain, scale, shape of a spot; free strengths and background"
)


@dataclass(frozen=True)
class _Input:
    """What was read."""

    powder: Powder
    optics: Optics
    entry: InputFile
    acquired_at: str | None


def run_gold(
    data: Path,
    output: Path,
    *,
    settings: GoldSettings,
    source: dict[str, object] | None = None,
    threads: int = 1,
    world: World = SERIAL,
    progress: Callable[[int, int], None] | None = None,
    optics: Optics | None = None,
    figure: Path | None = None,
    scan_shape: tuple[int, int] | None = None,
    history: Sequence[HistoryEntry] = (),
    instrument: str = "",
    acquired_at: str | None = None,
) -> GoldRecord:
    """Measure the camera on gold and write ``<id>_gold.json`` and its figure.

    Parameters
    ----------
    data : Path
        A 4-D data set (.hdf5, .mib, .npy, .hspy) or one 2-D pattern (.tif, .png, .npy, .hspy).
    output : Path
        The record to write.
    settings : GoldSettings
        Settings of the step.
    source : dict, optional
        Identity of the raw data from the workflow.
    threads, world, progress
        See ``stemcal.frames.stream.stream_blocks``. Results do not depend on them.
    optics : Optics, optional
        Voltage and nominal camera length; each replaces what the data set says.
    figure : Path, optional
        The figure to write; beside the record by default.
    scan_shape : tuple of int, optional
        (scan_row, scan_col) where the file does not say.
    history : sequence of HistoryEntry, optional
        Earlier calibrations: the last of the same settings is what this one is compared with.
    instrument : str, optional
        Name of the microscope in ``history``.
    acquired_at : str, optional
        ISO time of the acquisition where the data do not say it.

    Returns
    -------
    GoldRecord
        As written, on every rank. ``result`` is ``None`` when the rings are not there.

    Raises
    ------
    DataError
        If the data cannot be read.
    """
    given = optics or Optics(None, None)
    read = _read(data, output, settings, given, scan_shape, threads, world, progress)
    if read is None:
        return GoldRecord.model_validate(world.bcast(None))
    attempt = measure(read.powder, read.optics, settings)
    quality = judge(read.powder, read.optics, settings, attempt)
    record = _record(read, attempt, quality, settings, source or {}, acquired_at)
    record = record.model_copy(update={"drift": _drift(record, settings, history, instrument)})
    draw_figure(figure or output.with_suffix(".png"), read.powder, attempt, record, settings.standard)
    write_record(output, record)
    world.bcast(record.model_dump(by_alias=True))
    return record


def _read(
    data: Path,
    output: Path,
    settings: GoldSettings,
    given: Optics,
    scan_shape: tuple[int, int] | None,
    threads: int,
    world: World,
    progress: Callable[[int, int], None] | None,
) -> _Input | None:
    if is_pattern(data):
        if world.rank != 0:
            return None
        return _Input(single_pattern(read_pattern(data)), given, small_input("pattern", data, output), None)
    with open_source(data, scan_shape=scan_shape) as frames:
        summed = accumulate(
            frames,
            descan_degree=settings.descan_degree,
            tiles=settings.resampling_tiles,
            threads=threads,
            world=world,
            progress=progress,
        )
        if summed is None:
            return None
        said = frames.microscope
        voltage = given.voltage_kv or (said.voltage_kv if said else None)
        nominal = given.nominal_camera_length_m or (said.nominal_camera_length_m if said else None)
        entry = InputFile(role="data", path=relative_to_record(data, output), identity=frames.identity)
        return _Input(summed, Optics(voltage, nominal), entry, frames.acquired_at)


def _record(
    read: _Input,
    attempt: Attempt,
    quality: Quality,
    settings: GoldSettings,
    source: dict[str, object],
    when: str | None,
) -> GoldRecord:
    calibration, optics = attempt.calibration, read.optics
    result = None if calibration is None else _result(read.powder, optics, settings, calibration)
    n_row, n_col = read.powder.sums.counts.shape
    return GoldRecord(
        method=METHOD,
        inputs=(read.entry,),
        quality=quality,
        provenance=provenance("gold", settings, source),
        voltage_kv=optics.voltage_kv,
        nominal_camera_length_m=optics.nominal_camera_length_m,
        detector_pixel_um=settings.detector_pixel_um,
        standard=settings.standard.name,
        acquired_at=read.acquired_at or when,
        frame_shape=(n_row, n_col),
        result=result,
        reciprocal_space_pix=None if result is None else result.pixel_size.minor_axis.value,
        p_ellipse=None if calibration is None else _p_ellipse(calibration, settings),
        epsic_nominal_camera_length=None if result is None else optics.nominal_camera_length_m,
    )


def history_entry(record: GoldRecord, label: str, instrument: str) -> HistoryEntry | None:
    """Return the line of ``record`` in a history; None where it failed or its time or settings are unknown."""
    (data,) = record.inputs
    return entry_of(record, data_identity(data.identity or {"sha256": data.sha256}), label, instrument)


def _drift(
    record: GoldRecord, settings: GoldSettings, history: Sequence[HistoryEntry], instrument: str
) -> Drift | None:
    entry = history_entry(record, "", instrument)
    previous = previous_of(entry, history) if entry is not None else None
    if entry is None or previous is None:
        return None
    return drift_between(entry, previous, DriftLimits.from_settings(settings.model_dump()))


def _p_ellipse(calibration: Calibration, settings: GoldSettings) -> tuple[float, float, float, float, float]:
    notebook_ring = powder_standard(settings.standard).notebook_ring
    radius = next(ring.radius_px for ring in calibration.rings if ring.label == notebook_ring)
    row, col = calibration.centre
    return to_py4dstem((row.value, col.value), *calibration.ellipse.strain, radius)


def _result(powder: Powder, optics: Optics, settings: GoldSettings, calibration: Calibration) -> GoldResult:
    fitted, best, other = calibration.fitted, calibration.search.best, calibration.search.runner_up
    matrix = correction_matrix(*calibration.ellipse.strain)
    length = _camera_length(optics, settings, calibration.pixel_size)
    nominal = optics.nominal_camera_length_m
    disk = powder.disk
    return GoldResult(
        ellipse=Ellipse(
            ratio=_quantity(calibration.ellipse.ratio, "1"),
            angle_deg=_quantity(calibration.ellipse.angle_deg, "deg"),
            matrix=((float(matrix[0, 0]), float(matrix[0, 1])), (float(matrix[1, 0]), float(matrix[1, 1]))),
        ),
        pixel_size=PixelSize(
            area_preserving=_quantity(calibration.pixel_size, "1/angstrom"),
            minor_axis=_quantity(_minor_axis(calibration), "1/angstrom"),
        ),
        effective_camera_length_m=None if length is None else _quantity(length, "m"),
        camera_length_ratio=None if length is None or nominal is None else length.value / nominal,
        centre=Centre(row=_quantity(calibration.centre[0], "px"), col=_quantity(calibration.centre[1], "px")),
        rings=tuple(
            Ring(
                label=ring.label,
                hkl=ring.hkl,
                q=ring.q_per_angstrom,
                radius_px=ring.radius_px,
                amplitude=_quantity(ring.amplitude, "counts"),
                residual_px=ring.residual_px,
                coverage=ring.coverage,
                used=ring.used,
            )
            for ring in calibration.rings
        ),
        scale_search=ScaleSearch(
            best_pixel_size_per_angstrom=1 / best.scale,
            best_score=best.score,
            runner_up_pixel_size_per_angstrom=None if other is None else 1 / other.scale,
            runner_up_score=None if other is None else other.score,
        ),
        ring_width_px=math.exp(float(fitted.geometry[LOG_WIDTH])),
        bright_disk_radius_px=disk.radius_px if isinstance(disk, BrightDisk) else None,
        threefold_distortion=_quantity(calibration.harmonics[0], "1"),
        fourfold_distortion=_quantity(calibration.harmonics[1], "1"),
        reduced_chi_square=fitted.chi_square,
        reduced_chi_square_without_rings=fitted.chi_square_background,
        n_patterns=powder.n_frames,
        n_resampling_blocks=len(powder.tiles),
    )


def _camera_length(optics: Optics, settings: GoldSettings, pixel: Measured) -> Measured | None:
    """Return detector pixel / (wavelength * reciprocal pixel), in m."""
    wavelength = optics.wavelength_angstrom
    if wavelength is None:
        return None
    length = settings.detector_pixel_um * 1e-6 / (wavelength * pixel.value)
    return Measured(length, None if pixel.sigma is None else length * pixel.sigma / pixel.value)


def _minor_axis(calibration: Calibration) -> Measured:
    pixel, ratio = calibration.pixel_size, calibration.ellipse.ratio
    value = pixel.value * math.sqrt(ratio.value)
    if pixel.sigma is None or ratio.sigma is None:
        return Measured(value, None)
    return Measured(value, value * math.hypot(pixel.sigma / pixel.value, ratio.sigma / (2 * ratio.value)))


def _quantity(measured: Measured, unit: str) -> Quantity:
    return Quantity(value=measured.value, sigma=measured.sigma, unit=unit)
