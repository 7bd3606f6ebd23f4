"""The step: read the profiles of a group, factorise them, write components, maps and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from stemcal.errors import UsageError
from stemcal.nmf.after import with_classes
from stemcal.nmf.decide import decide, flags_of, member_entries, result_of, too_little
from stemcal.nmf.figures import draw_components, draw_maps, draw_nothing, draw_ranks
from stemcal.nmf.files import names, open_nmf_writer, polar_record_path, read_member
from stemcal.nmf.members import LeftOut, Member, Selection, select
from stemcal.nmf.passes import ScanMaps, Survey, completed, grid_of, maps_of, survey, take_sample
from stemcal.nmf.settings import NmfSettings
from stemcal.records.atomic import write_record
from stemcal.records.base import Flag, Quality, Verdict
from stemcal.records.nmf import NmfRecord, NmfResult
from stemcal.records.provenance import provenance, small_input

METHOD = (
    "non-negative matrix factorisation of azimuthal profiles: NNDSVD start, purest profiles as corners, refined by "
    "the likelihood of Poisson counts or by weighted least squares; number by bi-cross-validation"
)
Progress = Callable[[int, int], None]
MadeT = TypeVar("MadeT")


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
    edx: Mapping[Path, Path] | None = None,
    threads: int = 1,
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
    edx : mapping of Path, optional
        EDX map of each data set that has one, by its prefix.
    threads : int
        For the pass over the frames; no effect on results.

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
    selection = select([one for one in found if isinstance(one, Member)], settings)
    left_out = (*(one for one in found if isinstance(one, LeftOut)), *selection.left_out)
    # Sums in BLAS depend on how many threads share them; one thread gives the same bytes on every machine.
    with threadpool_limits(limits=1):
        ticks = _Ticks(progress, 4 * len(selection.used))
        findings = _measure(selection, left_out, outputs, settings, ticks)
        factorised = _record(findings, outputs, settings, source)
        record = with_classes(factorised, outputs.data, settings, edx=edx or {}, threads=threads, tick=ticks)
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

    def __call__(self, made: MadeT) -> MadeT:
        self._done += 1
        self._progress(self._done, self._total)
        return made


def _measure(
    selection: Selection, left_out: Sequence[LeftOut], outputs: Outputs, settings: NmfSettings, tick: _Ticks
) -> _Findings:
    found = [tick(survey(member, selection.pixel_size_per_angstrom, settings)) for member in selection.used]
    dark = [LeftOut(one.member.dataset, one.member.prefix, "it holds no counts") for one in found if not one.lit]
    left_out = (*left_out, *dark)
    lit = [one for one in found if one.lit]
    grid = grid_of(lit, selection, settings)
    surveys = [tick(completed(one, grid, settings)) for one in lit]
    sample = take_sample(surveys, grid, settings)
    refusal = too_little(len(sample), len(grid.q_per_angstrom), left_out)
    if refusal:
        _write_nothing(outputs, refusal)
        return _Findings(surveys, left_out, (refusal,), None)
    chosen = decide(sample, settings)
    result = result_of(chosen, surveys, grid, len(sample), settings)
    drawn: list[ScanMaps] = []
    with open_nmf_writer(outputs.data) as writer:
        writer.write_components(chosen.components, grid, settings.quantity)
        for one in surveys:
            maps = tick(maps_of(one, chosen.components, grid, settings))
            writer.write_maps(maps.dataset, maps.loadings, maps.residual)
            drawn = [*drawn, maps][: settings.scans_in_figure]
    draw_maps(outputs.maps, drawn, len(surveys), result)
    draw_components(outputs.components, grid.q_per_angstrom, chosen.components, result)
    draw_ranks(outputs.ranks, result, settings)
    return _Findings(surveys, left_out, flags_of(chosen, result, surveys, left_out, settings), result)


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
