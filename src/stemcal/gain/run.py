"""The gain step: read a flat field, measure, write the factors, the record and the figure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats.container import open_experiment
from stemcal.frames.gain import Column, write_gain
from stemcal.frames.ranks import SERIAL, World
from stemcal.frames.source import FrameSource, open_source
from stemcal.gain.checks import Case, judge
from stemcal.gain.figure import draw_figure
from stemcal.gain.measure import Attempt, Gain, measure
from stemcal.gain.settings import GainSettings
from stemcal.gain.sums import FlatSums, accumulate
from stemcal.records.atomic import write_record
from stemcal.records.base import InputFile
from stemcal.records.gain import GainDose, GainParity, GainPixels, GainRecord, GainResult
from stemcal.records.provenance import provenance, relative_to_record, small_input
from stemcal.stages import canonical

METHOD = "counts over a robust dose polynomial; faults by their surroundings and their scatter between runs of frames"
_DIGITS = 9
_FAULTS = "0 sound, 1 masked before, 2 dead, 3 hot, 4 noisy"


@dataclass(frozen=True)
class GainPaths:
    """The files of the step for one data set."""

    record: Path
    data: Path
    figure: Path

    @classmethod
    def of(cls, record: Path, data: Path | None = None, figure: Path | None = None) -> GainPaths:
        """Return the paths that go with ``record``; the others are beside it by default."""
        return cls(record, data or record.with_suffix(".hdf5"), figure or record.with_suffix(".png"))


def run_gain(
    data: Path,
    paths: GainPaths,
    *,
    settings: GainSettings,
    source: dict[str, object] | None = None,
    threads: int = 1,
    world: World = SERIAL,
    progress: Callable[[int, int], None] | None = None,
    voltage_kv: float | None = None,
    scan_shape: tuple[int, int] | None = None,
) -> GainRecord:
    """Measure the gain of the detector and write ``<id>_gain.hdf5``, ``.json`` and ``.png``.

    Parameters
    ----------
    data : Path
        Frames under a uniform beam: .hdf5, .mib, .npy or .hspy.
    paths : GainPaths
        What to write.
    settings : GainSettings
        Settings of the step.
    source : dict, optional
        Identity of the raw data from the workflow.
    threads, world, progress
        See ``stemcal.frames.stream.stream_blocks``. Results do not depend on them.
    voltage_kv : float, optional
        High tension; replaces what the data set says.
    scan_shape : tuple of int, optional
        (scan_row, scan_col) where the file does not say.

    Returns
    -------
    GainRecord
        As written, on every rank. ``result`` is ``None`` when the verdict is fail; the data file then holds the mean
        pattern and no factors.

    Raises
    ------
    DataError
        If the data cannot be read, or are not counts.
    """
    with open_source(data, scan_shape=scan_shape or _line(data)) as frames:
        sums = accumulate(frames, settings.resampling_blocks, threads=threads, world=world, progress=progress)
        if sums is None:
            return GainRecord.model_validate(world.bcast(None))
        attempt = measure(sums, frames.valid, settings)
        voltage = voltage_kv or (frames.microscope.voltage_kv if frames.microscope else None)
        entry = InputFile(role="data", path=relative_to_record(data, paths.record), identity=frames.identity)
        facts = _Facts(voltage, frames, entry)
    quality = judge(Case(sums, attempt, voltage, settings))
    made = provenance("gain", settings, source or {})
    text = canonical(made.model_dump(include={"stage", "revision", "settings", "source"}))
    _write_factors(paths.data, sums, attempt, text)
    record = GainRecord(
        method=METHOD,
        inputs=(facts.entry,),
        quality=quality,
        provenance=made,
        voltage_kv=voltage,
        acquired_at=facts.frames.acquired_at,
        frame_shape=facts.frames.frame_shape,
        dtype=facts.frames.dtype.name,
        result=_result(sums, attempt, paths),
    )
    draw_figure(paths.figure, sums, attempt, record)
    write_record(paths.record, record)
    world.bcast(record.model_dump(by_alias=True))
    return record


def _line(data: Path) -> tuple[int, int] | None:
    """Return the shape of one line that holds all frames of a container, None for any other file.

    A flat field has no scan: whether its shape could be decided when it was converted does not matter.
    """
    try:
        file, group = open_experiment(data)
    except DataError:
        return None
    with file:
        return 1, math.prod(group["data"].shape[:-2])


@dataclass(frozen=True)
class _Facts:
    """What is still needed of the source once it is closed."""

    voltage_kv: float | None
    frames: FrameSource
    entry: InputFile


def _write_factors(path: Path, sums: FlatSums, attempt: Attempt, parameter: str) -> None:
    columns: dict[str, Column] = {}
    n = max(sums.n_frames, 1)
    if attempt.gain is not None and attempt.dose is not None:
        gain = attempt.gain
        columns["factor"] = Column(gain.factor.astype(np.float32), "1", "multiply counts by this; NaN = invalid")
        columns["sigma"] = Column(gain.sigma.astype(np.float32), "1", "standard uncertainty of factor, from counting")
        if gain.sigma_runs is not None:
            text = "the same from the scatter between runs of frames"
            columns["sigma_runs"] = Column(gain.sigma_runs.astype(np.float32), "1", text)
        columns["valid"] = Column(_valid(gain), "1", "detector pixels, True = valid")
        dose = (attempt.dose.counts / n).astype(np.float32)
        columns["dose"] = Column(dose, "counts", "fitted dose per pixel and frame")
    columns["mean"] = Column((sums.total / n).astype(np.float32), "counts", "mean counts per pixel and frame")
    columns["faults"] = Column(attempt.faults.codes, "1", _FAULTS)
    axes = "parity, det_row, det_col" if attempt.gain and attempt.gain.parity == "separate" else "det_row, det_col"
    write_gain(path, columns, {"axes": axes, "n_frames": sums.n_frames, "parameter": parameter})


def _valid(gain: Gain) -> NDArray[np.bool_]:
    known = np.isfinite(gain.factor)
    return np.asarray(known.all(axis=0) if known.ndim == 3 else known)


def _result(sums: FlatSums, attempt: Attempt, paths: GainPaths) -> GainResult | None:
    gain, dose, structure = attempt.gain, attempt.dose, attempt.structure
    if gain is None or dose is None or structure is None:
        return None
    file = small_input("gain", paths.data, paths.record)
    valid, faults = _valid(gain), attempt.faults
    counts = dose.counts[valid] / sums.n_frames
    assert file.sha256 is not None
    return GainResult(
        file=file.path,
        file_sha256=file.sha256,
        parity=gain.parity,
        parity_test=_parity(attempt),
        n_frames=sums.n_frames,
        n_frames_total=sums.n_frames_total,
        counts_per_pixel=float(np.median(sums.total[valid])),
        gain_spread=_rounded(gain.spread),
        gain_noise=_rounded(gain.noise),
        gain_noise_runs=_noise_runs(gain),
        dispersion=None if faults.dispersion is None else _rounded(faults.dispersion),
        n_resampling_blocks=sums.n_runs,
        pixels=GainPixels(
            n_valid=int(valid.sum()),
            n_masked=int(faults.masked.sum()),
            n_dead=int(faults.dead.sum()),
            n_hot=int(faults.hot.sum()),
            n_noisy=int(faults.noisy.sum()),
        ),
        dose=GainDose(
            degree=dose.degree,
            coefficients=tuple(_rounded(float(value) / sums.n_frames) for value in dose.coefficients),
            least=_rounded(float(counts.min())),
            greatest=_rounded(float(counts.max())),
            structure_rms=_rounded(structure.rms),
            largest_patch=_rounded(structure.patch),
        ),
    )


def _parity(attempt: Attempt) -> GainParity | None:
    test = attempt.parity
    if test is None:
        return None
    return GainParity(
        reduced_chi_square=_rounded(test.reduced_chi_square),
        sigmas_above_chance=_rounded(test.sigmas),
        level_ratio=_rounded(test.level_ratio),
    )


def _noise_runs(gain: Gain) -> float | None:
    if gain.sigma_runs is None:
        return None
    known = np.isfinite(gain.sigma_runs)
    # mean of variances, not median of deviations: few runs scatter, and their median is low
    return _rounded(float(np.sqrt(np.mean((gain.sigma_runs[known] / gain.factor[known]) ** 2))))


def _rounded(value: float) -> float:
    return round(value, _DIGITS) + 0.0
