"""``discover``: list, group, classify, decide; each pure over one snapshot of the folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stemcal.discover.bind import gain_candidates, gold_candidates, group_name
from stemcal.discover.cache import Cache, CacheEntry, read_cache, write_cache
from stemcal.discover.edx import EdxAcquisition, edx_of, find_edx, identity_of, is_settled
from stemcal.discover.empad import group_empad, is_empad, read_empad_facts
from stemcal.discover.facts import Facts, read_facts
from stemcal.discover.geometry import geometry_candidates, measures_geometry
from stemcal.discover.history import Past, look_back
from stemcal.discover.hold import hold
from stemcal.discover.naming import dataset_id, label, unusable
from stemcal.discover.roles import decide_role, stages_of
from stemcal.discover.session_file import SessionFile, fits, lookup
from stemcal.discover.settings import DiscoverSettings
from stemcal.discover.settle import Quiet, judge_completeness
from stemcal.discover.snapshot import Acquisition, group_acquisitions, take_snapshot
from stemcal.records.frozen import state_folder
from stemcal.records.instrument import Bounds
from stemcal.records.manifest import Dataset, FileVerdict, Manifest, RawIdentity
from stemcal.records.microscope import Microscope
from stemcal.records.source import source_of
from stemcal.stages import OUTPUTS

_NANO = 1e-9


@dataclass(frozen=True)
class Request:
    """What to look at, and how.

    Attributes
    ----------
    session : Path
        The raw session folder; only read.
    processing : Path
        Where outputs and the memory between ticks are kept.
    settings : dict
        The resolved settings of every step by name, as plain JSON values.
    discover : DiscoverSettings
        The settings of this step.
    session_file : SessionFile
        What a person said.
    instrument : str
        Name of the instrument.
    bounds : Bounds
        What the instrument can be set to.
    """

    session: Path
    processing: Path
    settings: dict[str, dict[str, object]]
    discover: DiscoverSettings
    session_file: SessionFile
    instrument: str
    bounds: Bounds


def run_discover(
    request: Request, *, previous: Manifest | None = None, clock: Callable[[], float] = time.time
) -> Manifest:
    """Return the manifest of a session as it lies there now.

    Parameters
    ----------
    request : Request
        What to look at.
    previous : Manifest or None
        The manifest of the last tick: data sets whose raw files have since been archived stay listed.
    clock : callable
        Seconds since the epoch.
    """
    files = take_snapshot(request.session, request.discover.ignore_folders)
    found = (*group_empad(files), *group_acquisitions(files, request.discover.raw_suffix))
    cache_path = state_folder(request.processing) / "discover-cache.json"
    cache = _look(request.session, found, read_cache(cache_path), clock())
    write_cache(cache_path, cache)
    acquisitions = tuple(one for one in found if not is_empad(one) or cache.entries[one.path].facts is not None)
    seen = tuple(_dataset(request, one, cache.entries[one.path], clock()) for one in acquisitions)
    past = look_back(request.processing, request.discover.history_file, request.instrument, previous)
    maps = find_edx(files, request.discover)
    seen = tuple(_with_edx(request, one, maps, clock()) for one in seen)
    datasets = _with_archived(_bind(request, seen, past), previous, request.processing)
    return Manifest(
        path="",
        session=Path(os.path.relpath(request.session, request.processing)).as_posix(),
        instrument=request.instrument,
        settings=request.settings,
        datasets=dict(sorted(datasets.items())),
        gold_history=past.shown(datasets, request.discover.history_length),
        warnings=(*_warnings(acquisitions, cache, request.bounds), *filter(None, (past.warning,))),
    )


def _look(session: Path, acquisitions: tuple[Acquisition, ...], cache: Cache, now_s: float) -> Cache:
    """Return the cache brought up to date; only acquisitions that changed are opened."""
    entries = {}
    for acquisition in acquisitions:
        known = cache.entries.get(acquisition.path)
        if known is None or known.signature != acquisition.signature:
            facts = _facts(session, acquisition)
            known = CacheEntry(signature=acquisition.signature, first_seen_s=now_s, facts=facts)
        entries[acquisition.path] = known
    return Cache(entries=entries)


def _facts(session: Path, acquisition: Acquisition) -> Facts | None:
    """Return what the headers say; None where a file is empty, or an ``.xml`` of anything else than an EMPAD."""
    if not all(raw.size_bytes for raw in acquisition.raws):
        return None
    return read_empad_facts(session, acquisition) if is_empad(acquisition) else read_facts(session, acquisition)


def _dataset(request: Request, acquisition: Acquisition, entry: CacheEntry, now_s: float) -> Dataset:
    raw, facts = acquisition.path, entry.facts
    verdict, reason = _verdict(request, acquisition, entry, now_s)
    role, role_reason = decide_role(raw, request.discover, request.session_file)
    return Dataset(
        id=dataset_id(acquisition.stem),
        label=label(acquisition.stem),
        role=role,
        role_reason=role_reason,
        verdict=verdict,
        reason=reason,
        mib=raw,
        parts=acquisition.parts,
        grows=verdict == "growing" and _can_grow(request, acquisition, facts),
        hdr=acquisition.hdr.path if acquisition.hdr else None,
        microscope_file=acquisition.microscope.path if acquisition.microscope else None,
        identity=_identity(acquisition, facts),
        n_frames_expected=facts.n_frames_expected if facts else None,
        frame_shape=facts.frame_shape if facts else None,
        itemsize=facts.itemsize if facts else None,
        counter_depth_bit=facts.counter_depth_bit if facts else None,
        acquired_at=facts.first_timestamp if facts else None,
        microscope=_microscope(request, raw, facts),
        scan_shape=lookup(request.session_file.scan_shapes, raw),
    )


def _can_grow(request: Request, acquisition: Acquisition, facts: Facts | None) -> bool:
    """Whether the frames of a growing acquisition are to be converted already: whole ones in a file of its own."""
    wanted = request.discover.convert_while_growing and not acquisition.parts
    return wanted and facts is not None and facts.problem is None and facts.n_frames > 0


def _verdict(request: Request, acquisition: Acquisition, entry: CacheEntry, now_s: float) -> tuple[FileVerdict, str]:
    name_problem = next(filter(None, map(unusable, (acquisition.path, *acquisition.parts))), None)
    if name_problem is not None:
        return "rejected", name_problem
    if any(fits(acquisition.path, pattern) for pattern in request.session_file.ignore):
        return "ignored", "session.yaml says so"
    if entry.facts is not None and entry.facts.left_alone is not None:
        return "ignored", entry.facts.left_alone
    youngest_s = max(file.mtime_ns for file in acquisition.files) * _NANO
    quiet = Quiet(now_s - youngest_s, now_s - entry.first_seen_s, request.discover.quiet_time_s)
    return judge_completeness(acquisition, entry.facts, quiet)


def _identity(acquisition: Acquisition, facts: Facts | None) -> RawIdentity | None:
    if facts is None or facts.problem is not None or facts.left_alone is not None:
        return None
    return RawIdentity(
        size_bytes=acquisition.size_bytes,
        n_frames=facts.n_frames,
        first_header_sha256=facts.first_header_sha256,
        first_timestamp=facts.first_timestamp,
        hdr_sha256=facts.hdr_sha256,
        microscope_sha256=facts.microscope_sha256,
    )


def _microscope(request: Request, raw: str, facts: Facts | None) -> Microscope | None:
    """Return the microscope's settings; what a person said replaces what the file says, field by field."""
    read = facts.microscope if facts else None
    believed = read.model_copy(update=dict.fromkeys(request.bounds.offences(read))) if read else None
    said = lookup(request.session_file.microscope, raw)
    if said is None:
        return believed
    known = believed.model_dump(exclude_none=True) if believed else {}
    return Microscope(**(known | said.model_dump(exclude_none=True)))


def _bind(request: Request, datasets: tuple[Dataset, ...], past: Past) -> dict[str, Dataset]:
    """Give every data set its steps, its references, its group and its source; references first."""
    references = [one for one in datasets if one.role in ("gold", "gain")]
    bound = {one.id: _bound(request, one, {}, {}, past) for one in references}
    gains = tuple(one for one in bound.values() if "gain" in one.stages)
    scans = [_prepared(request, one, gains) for one in datasets if one not in references]
    measured = {one.id: one for one in scans if _shows_geometry(request, one, bound)}
    return bound | {one.id: _bound(request, one, bound, measured, past) for one in scans}


def _prepared(request: Request, dataset: Dataset, gains: tuple[Dataset, ...]) -> Dataset:
    """Say with which gain references a data set is corrected, and whether its geometry is measured (its only step)."""
    gain, gain_reason = _gains(request, dataset, gains)
    own, reason = measures_geometry(
        dataset,
        request.discover,
        said=lookup(request.session_file.geometry, dataset.mib),
        semi_angle_known=request.settings.get("geometry", {}).get("semi_angle_mrad") is not None,
    )
    update = {"gain_candidates": gain, "gain_reason": gain_reason, "geometry_reason": reason}
    return dataset.model_copy(update={**update, "stages": ("geometry",) if own else ()})


def _shows_geometry(request: Request, dataset: Dataset, bound: dict[str, Dataset]) -> bool:
    """Tell whether the geometry of a data set will be there: it is measured, and was not refused before."""
    if "geometry" not in dataset.stages:
        return False
    alone = dataset.model_copy(update={"stages": ("convert", "geometry"), "source": source_of(dataset, bound)})
    return "geometry" in hold(alone, request.settings, request.processing).stages


def _bound(
    request: Request, dataset: Dataset, bound: dict[str, Dataset], measured: dict[str, Dataset], past: Past
) -> Dataset:
    golds = tuple(one for one in bound.values() if one.role == "gold" and "gold" in one.stages)
    candidates, reason = _references(request, dataset, golds)
    own = "geometry" in dataset.stages
    is_ready = dataset.verdict == "ready"
    stages = stages_of(dataset.role, calibrated=bool(candidates), geometry=own) if is_ready else ()
    geometries = tuple(measured.values()) if "calibration" in stages else ()
    update = {
        "gold_candidates": candidates,
        "binding_reason": reason,
        "stages": stages,
        "group": group_name(dataset) if "polar" in stages else None,
        "geometry_candidates": geometry_candidates(dataset, geometries, request.discover),
    }
    staged = dataset.model_copy(update=update)
    compared = past.compared_with(staged)
    source = source_of(staged, bound | measured) | ({"history": compared} if compared else {})
    return hold(staged.model_copy(update={"source": source}), request.settings, request.processing)


def _with_edx(request: Request, dataset: Dataset, maps: tuple[EdxAcquisition, ...], now_s: float) -> Dataset:
    """Bind the EDX map of a sample; one that is still being written waits for the next tick."""
    if dataset.role != "sample" or dataset.verdict != "ready":
        return dataset
    found, reason = edx_of(dataset.mib, maps)
    if found is None:
        return dataset.model_copy(update={"edx_reason": reason})
    name_problem = unusable(found.path)
    if name_problem is not None:
        return dataset.model_copy(update={"edx_reason": f"its EDX map: {name_problem}"})
    if not is_settled(request.session, found, now_s, request.discover.quiet_time_s):
        return dataset.model_copy(update={"edx_reason": f"{found.path} is still being written"})
    try:
        return dataset.model_copy(update={"edx": identity_of(request.session, found)})
    except OSError as error:
        return dataset.model_copy(update={"edx_reason": f"{found.path} cannot be read ({error.strerror})"})


def _references(request: Request, dataset: Dataset, golds: tuple[Dataset, ...]) -> tuple[tuple[str, ...], str | None]:
    if dataset.role != "sample" or dataset.verdict != "ready":
        return (), None
    pinned = lookup(request.session_file.gold, dataset.mib)
    if pinned is None:
        return gold_candidates(dataset, golds, request.discover)
    chosen = tuple(gold.id for gold in golds if fits(gold.mib, pinned))
    if not chosen:
        return (), f"no calibration: session.yaml pins {pinned!r}, which is no ready gold data set"
    return chosen, "pinned in session.yaml"


def _gains(request: Request, dataset: Dataset, gains: tuple[Dataset, ...]) -> tuple[tuple[str, ...], str | None]:
    if dataset.role not in ("sample", "geometry") or dataset.verdict != "ready":
        return (), None
    pinned = lookup(request.session_file.gain, dataset.mib)
    if pinned is None:
        return gain_candidates(dataset, gains, request.discover)
    chosen = tuple(gain.id for gain in gains if fits(gain.mib, pinned))
    if not chosen:
        return (), f"no gain correction: session.yaml pins {pinned!r}, which is no ready gain data set"
    return chosen, "pinned in session.yaml"


def _with_archived(datasets: dict[str, Dataset], previous: Manifest | None, processing: Path) -> dict[str, Dataset]:
    """Keep what has results: raw files move to the archive, results stay and count.

    Only steps whose files are all there are kept, because nothing can be made again without the raw file.
    """
    gone = {} if previous is None else {id_: old for id_, old in previous.datasets.items() if id_ not in datasets}
    archived = {}
    for id_, old in gone.items():
        stages = tuple(stage for stage in old.stages if _is_complete(processing, id_, stage))
        if stages:
            update = {"verdict": "archived", "reason": "its raw file is gone; its results are kept", "stages": stages}
            archived[id_] = old.model_copy(update=update)
    return datasets | archived


def _is_complete(processing: Path, dataset: str, stage: str) -> bool:
    return all((processing / f"{dataset}_{ending}").is_file() for ending in OUTPUTS[stage])


def _warnings(acquisitions: tuple[Acquisition, ...], cache: Cache, bounds: Bounds) -> tuple[str, ...]:
    pairs = ((one.path, cache.entries[one.path].facts) for one in acquisitions)
    return tuple(f"{path}: {warning}" for path, facts in pairs if facts for warning in _doubts(facts, bounds))


def _edx_warnings(datasets: tuple[Dataset, ...]) -> tuple[str, ...]:
    return tuple(f"{one.mib}: no EDX: {one.edx_reason}" for one in datasets if one.edx_reason)


def _doubts(facts: Facts, bounds: Bounds) -> tuple[str, ...]:
    offences = bounds.offences(facts.microscope).values() if facts.microscope else ()
    return (*facts.warnings, *offences)
