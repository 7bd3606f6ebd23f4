"""The polar step: read the calibration, stream the raw counts through the operators, write the statistics."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.frames.gain import GainCorrected, read_gain
from stemcal.frames.plan import Block
from stemcal.frames.ranks import SERIAL, World
from stemcal.frames.source import FrameSource, open_source
from stemcal.frames.stream import stream_blocks
from stemcal.polar.corrected import RoundFrame, Stream, write_corrected
from stemcal.polar.figure import draw_figure
from stemcal.polar.geometry import BoundCalibration, PolarPlan, band_slices, bound_calibration, make_plan
from stemcal.polar.rows import ScanSums, whole_rows
from stemcal.polar.settings import PolarSettings
from stemcal.polar.statistics import RingStatistics, block_statistics
from stemcal.polar.store import Layout, PolarPaths, open_store
from stemcal.polar.tables import FractionTables
from stemcal.records.atomic import read_record, write_record
from stemcal.records.base import Flag, InputFile, Quality
from stemcal.records.calibration import CalibrationRecord
from stemcal.records.polar import CorrectedFrames, PolarRecord, PolarResult
from stemcal.records.provenance import provenance, relative_to_record, small_input
from stemcal.stages import canonical

METHOD = "sub-pixel ring operator on raw counts, exact sums; variance corrected for the effective number of pixels"
_MISSING_WARN = 0.1


def run_polar(
    data: Path,
    calibration: Path,
    prefix: Path,
    *,
    settings: PolarSettings,
    source: dict[str, object] | None = None,
    threads: int = 1,
    world: World = SERIAL,
    progress: Callable[[int, int], None] | None = None,
    scan_shape: tuple[int, int] | None = None,
) -> PolarRecord:
    """Measure azimuthal mean and variance per scan position and write them to ``<prefix>_*``.

    Parameters
    ----------
    data : Path
        4-D data set: .hdf5, .mib, .npy or .hspy.
    calibration : Path
        ``<id>_calibration.json`` of this data set.
    prefix : Path
        Folder and id of the outputs.
    settings : PolarSettings
        Settings of the step.
    source : dict, optional
        Identity of the raw data from the workflow.
    threads, world, progress :
        See ``stemcal.frames.stream.stream_blocks``. Results do not depend on them.
    scan_shape : tuple of int, optional
        (scan_row, scan_col) where the file does not say.

    Returns
    -------
    PolarRecord
        As written, on every rank.

    Raises
    ------
    DataError
        If the data cannot be read, or the calibration failed or does not fit, or the gain file that it names is gone
        or another one.
    """
    paths, identity = PolarPaths.of(prefix), source or {}
    record = read_record(calibration, CalibrationRecord)
    with open_source(data, scan_shape=scan_shape) as counts:
        frames = _with_gain(counts, record, calibration)
        bound = bound_calibration(record, calibration, frames)
        plan = make_plan(bound, frames, settings)
        results = stream_blocks(
            frames, _measure(plan, frames, settings), threads=threads, world=world, progress=progress
        )
        made = provenance("polar", settings, identity)
        text = canonical(made.model_dump(include={"stage", "revision", "settings", "source"}))
        if world.rank == 0:
            sums, edges = _write(results, paths, plan, frames, settings, text)
        else:
            deque(results, maxlen=0)
        corrected = None
        if settings.corrected_frames:
            stream = partial(stream_blocks, threads=threads, world=world, progress=progress)
            corrected = _write_frames(
                paths.corrected, plan, bound, frames, settings, text, stream, writes=world.rank == 0
            )
        if world.rank != 0:
            return PolarRecord.model_validate(world.bcast(None))
        inputs = [
            InputFile(role="data", path=relative_to_record(data, paths.record), identity=counts.identity),
            small_input("calibration", calibration, paths.record),
        ]
        if record.gain is not None:
            inputs.append(small_input("gain", calibration.parent / record.gain.file, paths.record))
        draw_figure(paths.figure, _q_axis(plan), sums, frames.scan_shape, edges, settings.symmetry_orders)
        result = _result(plan, bound, sums, frames, inputs[1].path, corrected)
        quality = _flags(sums, frames, record)
    polar = PolarRecord(method=METHOD, inputs=tuple(inputs), quality=quality, provenance=made, result=result)
    write_record(paths.record, polar)
    world.bcast(polar.model_dump(by_alias=True))
    return polar


def _with_gain(counts: FrameSource, record: CalibrationRecord, calibration: Path) -> FrameSource:
    """Return the frames with the gain that the calibration names, or as they are where it names none."""
    if record.gain is None:
        return counts
    factors = read_gain(calibration.parent / record.gain.file, record.gain.sha256)
    return GainCorrected(counts, factors, record.gain.sha256)


def _measure(
    plan: PolarPlan, frames: FrameSource, settings: PolarSettings
) -> Callable[[NDArray[Any], Block], RingStatistics]:
    operators = plan.operators(settings.operator_cache_mb)
    symmetry = plan.symmetry(operators, settings)
    usable = frames.frame_status == 0

    def measure(block_frames: NDArray[Any], block: Block) -> RingStatistics:
        run = slice(block.start, block.stop)
        n_bins, least = plan.geometry.grid.n_bins, settings.min_effective_pixels
        return block_statistics(block_frames, usable[run], plan.keys[run], operators, n_bins, least, symmetry)

    return measure


def _write(
    results: Iterator[tuple[Block, RingStatistics]],
    paths: PolarPaths,
    plan: PolarPlan,
    frames: FrameSource,
    settings: PolarSettings,
    text: str,
) -> tuple[ScanSums, tuple[float, ...]]:
    n_bins = plan.geometry.grid.n_bins
    bands, edges = band_slices(settings.band_edges_per_angstrom, plan.q_step_per_angstrom, n_bins)
    sums = ScanSums(n_bins, bands, settings.counts_per_electron, len(settings.symmetry_orders))
    step = frames.microscope.scan_step_nm if frames.microscope else None
    layout = Layout(
        frames.scan_shape,
        n_bins,
        plan.q_step_per_angstrom,
        step,
        text,
        settings.counts_per_electron,
        settings.symmetry_orders,
        settings.ripple,
    )
    n_cols = frames.scan_shape[1]
    with open_store(paths, layout, plan.origin_px) as store:
        first_row = 0
        for rows in whole_rows((statistics for _, statistics in results), n_cols):
            store(first_row, rows)
            sums.add(rows)
            first_row += len(rows.mean) // n_cols
    return sums, edges


def _write_frames(
    path: Path,
    plan: PolarPlan,
    bound: BoundCalibration,
    frames: FrameSource,
    settings: PolarSettings,
    text: str,
    stream: Stream,
    *,
    writes: bool,
) -> CorrectedFrames:
    frame = RoundFrame.around(frames.frame_shape, bound.matrix, plan.origin_px)
    cache_bytes = settings.operator_cache_mb * 2**20
    tables = FractionTables(frame.table, frames.frame_shape, plan.keys, plan.steps_per_px, cache_bytes)
    size = bound.pixel_size.area_preserving.value
    write_corrected(
        path,
        frames,
        frame,
        plan.keys,
        tables,
        stream,
        writes=writes,
        pixel_size_per_angstrom=size,
        parameter=text,
    )
    row, col = frame.origin
    return CorrectedFrames(file=path.name, frame_shape=frame.shape, origin_row_px=row, origin_col_px=col)


def _q_axis(plan: PolarPlan) -> NDArray[np.float64]:
    return (np.arange(plan.geometry.grid.n_bins) + 0.5) * plan.q_step_per_angstrom


def _flags(sums: ScanSums, frames: FrameSource, calibration: CalibrationRecord) -> Quality:
    flags, verdict = [], calibration.quality.verdict
    if verdict == "warn":
        why = "; ".join(flag.message for flag in calibration.quality.flags)
        flags.append(Flag(name="calibration", message=f"the calibration carries a warning: {why}"))
    missing = sums.n_positions_without_data / frames.n_frames
    if missing > _MISSING_WARN:
        text = f"{sums.n_positions_without_data} of {frames.n_frames} positions have no data"
        flags.append(Flag(name="positions_without_data", value=missing, limit=_MISSING_WARN, message=text))
        verdict = "fail" if missing == 1 else "warn"
    return Quality(verdict=verdict, flags=tuple(flags))


def _result(
    plan: PolarPlan,
    bound: BoundCalibration,
    sums: ScanSums,
    frames: FrameSource,
    calibration: str,
    corrected: CorrectedFrames | None,
) -> PolarResult:
    grid = plan.geometry.grid
    return PolarResult(
        scan_shape=frames.scan_shape,
        n_radial_bins=grid.n_bins,
        bin_width_px=grid.bin_width_px,
        q_pixel_size_per_angstrom=bound.pixel_size.area_preserving.value,
        q_max_per_angstrom=grid.n_bins * plan.q_step_per_angstrom,
        coverage_at_q_max=plan.coverage_at_q_max,
        n_empty_bins=sums.n_empty_bins,
        n_positions_without_data=sums.n_positions_without_data,
        n_missing_means=sums.n_missing_means,
        n_missing_variances=sums.n_missing_variances,
        n_origins=plan.n_origins,
        corrected=corrected,
        calibration=calibration,
        calibration_group=bound.group,
    )
