"""The step: read the profiles of a group, factorise them, write components, maps and figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from stemcal.errors import UsageError
from stemcal.nmf.decide import Chosen, Survey, decide, flags_of, member_entries, result_of, too_little
from stemcal.nmf.factorise import loadings_of, relative_residual
from stemcal.nmf.figures import ScanMaps, draw_components, draw_maps, draw_nothing, draw_ranks
from stemcal.nmf.files import NmfWriter, names, open_nmf_writer, polar_record_path, read_member, read_profiles
from stemcal.nmf.members import LeftOut, Member, select
from stemcal.nmf.profiles import (
    FloatArray,
    Grid,
    census,
    choose_grid,
    complete_positions,
    dose,
    draw,
    q_range,
    ring_areas,
    shares,
    weighted,
)
from stemcal.nmf.settings import NmfSettings
from stemcal.records.atomic import write_record
from stemcal.records.base import Flag, Quality, Verdict
from stemcal.records.nmf import NmfRecord, NmfResult
from stemcal.records.provenance import provenance, small_input

METHOD = (
    "non-negative matrix factorisation (NNDSVD start, coordinate descent) of azimuthal profiles weighted for "
    "counting noise; loadings by non-negative least squares"
)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Outputs:
    """Where the step writes."""

    folder: Path

    @property
    def record(self) -> Path:
        """The record, written last."""
        return self.folder / "nmf.json"

    @property
    def data(self) -> Path:
        """Components and maps."""
        return self.folder / "nmf.hdf5"

    @property
    def maps(self) -> Path:
        """Figure of the maps."""
        return self.folder / "nmf_maps.png"

    @property
    def components(self) -> Path:
        """Figure of the components."""
        return self.folder / "nmf_components.png"

    @property
    def ranks(self) -> Path:
        """Figure of the scan of numbers."""
        return self.folder / "nmf_ranks.png"


def run_nmf(
    prefixes: Sequence[Path],
    folder: Path,
    *,
    settings: NmfSettings,
    source: dict[str, object],
    progress: Progress,
) -> NmfRecord:
    """Factorise the radial profiles of the data sets at ``prefixes`` together.

    Parameters
    ----------
    prefixes : sequence of Path
        Output prefixes of the polar step: ``<prefix>_polar.json`` and ``<prefix>_azimuthal_mean.hspy`` (and ``_var``).
    folder : Path
        Receives ``nmf.hdf5``, three figures and ``nmf.json``.
    settings : NmfSettings
        See there.
    source : dict
        Identity of the data, as the workflow passes it.
    progress : callable
        Takes (done, total) data sets.

    Returns
    -------
    NmfRecord
        As written to ``nmf.json``; verdict ``fail`` where there are too few profiles or no common axis.

    Raises
    ------
    UsageError
        If no prefix is given, or one twice.
    DataError
        If a file is missing or broken.
    """
    if len({prefix.resolve() for prefix in prefixes}) != len(prefixes) or not prefixes:
        raise UsageError(f"{len(prefixes)} prefixes are given; give at least one, each once")
    outputs = Outputs(folder)
    found = [read_member(*named, settings.quantity) for named in zip(names(prefixes), prefixes, strict=True)]
    used, differing = select([one for one in found if isinstance(one, Member)])
    left_out = (*(one for one in found if isinstance(one, LeftOut)), *differing)
    # Sums in BLAS depend on how many threads share them; one thread gives the same bytes on every machine.
    with threadpool_limits(limits=1):
        findings = _measure(used, left_out, outputs, settings, _Ticks(progress, 3 * len(used)))
    record = _record(findings, outputs, settings, source)
    write_record(outputs.record, record)
    return record


@dataclass(frozen=True)
class _Findings:
    surveys: Sequence[Survey]
    left_out: Sequence[LeftOut]
    flags: Sequence[Flag]
    result: NmfResult | None


class _Ticks:
    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def __call__(self) -> None:
        self._done += 1
        self._progress(self._done, self._total)


def _measure(
    members: Sequence[Member], left_out: Sequence[LeftOut], outputs: Outputs, settings: NmfSettings, tick: _Ticks
) -> _Findings:
    """Three passes over the profiles, one data set in memory at a time: survey, sample, loadings."""
    found = [_survey(member, settings, tick) for member in members]
    dark = [LeftOut(one.member.dataset, one.member.prefix, "it holds no counts") for one in found if not one.lit]
    left_out = (*left_out, *dark)
    lit = [one for one in found if one.lit]
    grid = _grid(lit, settings)
    sample, surveys = _sample(lit, grid, settings, tick)
    refusal = too_little(len(sample), sample.shape[1], left_out)
    if refusal:
        _write_nothing(outputs, refusal)
        return _Findings(surveys, left_out, (refusal,), None)
    chosen = decide(sample, grid, settings)
    result = result_of(chosen, surveys, grid, len(sample), settings)
    with open_nmf_writer(outputs.data) as writer:
        writer.write_components(chosen.components, grid, settings.quantity)
        maps = [_express(one, chosen, grid, settings, writer, tick) for one in surveys]
    draw_maps(outputs.maps, maps[: settings.scans_in_figure], len(maps), result.component_share)
    draw_components(outputs.components, grid.q_per_angstrom, chosen.components * grid.weight, result)
    draw_ranks(outputs.ranks, result, settings)
    return _Findings(surveys, left_out, flags_of(chosen, left_out, settings), result)


def _survey(member: Member, settings: NmfSettings, tick: _Ticks) -> Survey:
    mean = read_profiles(member, "mean")
    polar = member.polar
    radius = member.axis.values(polar.n_radial_bins) / polar.q_pixel_size_per_angstrom
    counts = dose(mean, ring_areas(radius, polar.bin_width_px))
    values = mean if settings.quantity == "mean" else read_profiles(member, settings.quantity)
    tick()
    return Survey(member, counts, census(values, _scale(counts, settings)), np.zeros(0, dtype=np.bool_))


def _scale(counts: float, settings: NmfSettings) -> float:
    """Return what the quantity is divided by: the dose for a mean, its square for a variance."""
    if not settings.dose_scaling or counts <= 0:
        return 1.0
    return counts if settings.quantity == "mean" else counts**2


def _grid(surveys: Sequence[Survey], settings: NmfSettings) -> Grid:
    if not surveys:
        return Grid(np.zeros(0, dtype=np.bool_), np.zeros(0), np.zeros(0), 0)
    first = surveys[0].member
    disks = [one.member.disk_radius_per_angstrom for one in surveys]
    limits = q_range(settings, [radius for radius in disks if radius is not None])
    q = first.axis.values(first.polar.n_radial_bins)
    return choose_grid(q, [one.census for one in surveys], limits, settings)


def _sample(
    surveys: Sequence[Survey], grid: Grid, settings: NmfSettings, tick: _Ticks
) -> tuple[FloatArray, list[Survey]]:
    """Return the profiles that components are fitted to, weighted, and which positions of each data set are complete.

    Nothing is drawn from a data set without a complete profile.
    """
    wanted = shares([one.census.n_positions for one in surveys], settings.max_profiles_in_fit)
    rows = [np.zeros((0, len(grid.q_per_angstrom)))]
    completed = []
    for one, n_wanted in zip(surveys, wanted, strict=True):
        values = read_profiles(one.member, settings.quantity)
        complete = complete_positions(values, grid)
        chosen = draw(one.member.dataset, int(complete.sum()), n_wanted, settings.random_seed)
        rows.append(weighted(values[complete][chosen], grid, _scale(one.dose, settings)))
        completed.append(replace(one, complete=complete))
        tick()
    return np.concatenate(rows), completed


def _express(
    one: Survey, chosen: Chosen, grid: Grid, settings: NmfSettings, writer: NmfWriter, tick: _Ticks
) -> ScanMaps:
    """Write the maps of one data set: every complete position expressed in the chosen components."""
    basis = chosen.components * grid.weight
    matrix = weighted(read_profiles(one.member, settings.quantity)[one.complete], grid, _scale(one.dose, settings))
    found = loadings_of(matrix, basis)
    shape = one.member.polar.scan_shape
    loadings = np.full((len(one.complete), chosen.n_components), np.nan, dtype=np.float32)
    residual = np.full(len(one.complete), np.nan, dtype=np.float32)
    loadings[one.complete] = found
    residual[one.complete] = relative_residual(matrix, found, basis)
    maps = ScanMaps(one.member.dataset, loadings.T.reshape(-1, *shape), residual.reshape(shape))
    writer.write_maps(maps.dataset, maps.loadings, maps.residual)
    tick()
    return maps


def _write_nothing(outputs: Outputs, refusal: Flag) -> None:
    with open_nmf_writer(outputs.data):
        pass
    draw_nothing((outputs.maps, outputs.components, outputs.ranks), refusal.message)


def _record(findings: _Findings, outputs: Outputs, settings: NmfSettings, source: dict[str, object]) -> NmfRecord:
    prefixes = [*(one.member.prefix for one in findings.surveys), *(one.prefix for one in findings.left_out)]
    inputs = [small_input("polar", polar_record_path(prefix), outputs.record) for prefix in prefixes]
    verdict: Verdict = "fail" if findings.result is None else "warn" if findings.flags else "pass"
    return NmfRecord(
        method=METHOD,
        inputs=tuple(sorted(inputs, key=lambda file: file.path)),
        quality=Quality(verdict=verdict, flags=tuple(findings.flags)),
        provenance=provenance("nmf", settings, source),
        members=member_entries(findings.surveys, findings.left_out, outputs.record),
        result=findings.result,
    )
