"""From records to the facts of the page. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Literal

from stemcal.figures.wording import counted
from stemcal.history.drift import DriftLimits
from stemcal.history.entries import data_identity, entry_of
from stemcal.history.points import history_points
from stemcal.records.base import Flag, Verdict, worst
from stemcal.records.gold import GoldResult
from stemcal.records.manifest import Dataset
from stemcal.records.progress import DatasetState, count_states
from stemcal.records.session import (
    HistoryPoint,
    Remark,
    SessionCalibration,
    SessionDataset,
    SessionFactorisation,
    SessionGain,
    SessionGeometry,
    SessionResult,
)
from stemcal.report.collect import Collected, Group, Records

_ATTENTION: tuple[DatasetState, ...] = ("failed", "held", "rejected", "incomplete")


def summarise(collected: Collected) -> SessionResult:
    """Return the session in the words and numbers of the page."""
    manifest = collected.manifest
    entries = tuple(manifest.datasets.values())
    labels = {one.id: one.label for one in entries}
    datasets = tuple(_dataset(one, collected.records[one.id], labels) for one in entries)
    bound = {one.id: _bound_reference(one.id, collected.records[one.id]) for one in entries}
    served = {one.id: _bound_gain(one.id, collected.records[one.id]) for one in entries}
    history = session_history(collected)
    flags = {one.entry.identity: one.drift.quality.flags for one in history if one.drift and one.of_this_session}
    changed = {one.id: flags.get(_identity(one), ()) for one in entries}
    return SessionResult(
        session=collected.session,
        instrument=manifest.instrument,
        counts=count_states([collected.records[one.id].progress for one in entries]),
        datasets=datasets,
        calibrations=tuple(
            _calibration(one, collected.records[one.id], bound, labels, changed[one.id])
            for one in entries
            if one.role == "gold" and collected.records[one.id].gold is not None
        ),
        gains=tuple(
            _gain(one, collected.records[one.id], served, labels)
            for one in entries
            if one.role == "gain" and collected.records[one.id].gain is not None
        ),
        geometries=tuple(
            _geometry(one, records, collected.records, labels)
            for one in entries
            if (records := collected.records[one.id]).geometry is not None
        ),
        history=history,
        factorisations=tuple(_factorisation(group) for group in collected.groups),
        warnings=manifest.warnings,
    )


def session_history(collected: Collected) -> tuple[HistoryPoint, ...]:
    """Return the calibrations of the camera before this session and in it, each with its change.

    Gold data sets of one session are compared with each other here: their records, which are made side by side, know
    only what was measured before them.
    """
    manifest = collected.manifest
    own = []
    for one in manifest.datasets.values():
        gold = collected.records[one.id].gold
        found = entry_of(gold, _identity(one), one.label, manifest.instrument) if gold is not None else None
        if found is not None:
            own.append(found)
    here = {one.identity for one in own}
    together = (*(one for one in manifest.gold_history if one.identity not in here), *own)
    limits = DriftLimits.from_settings(manifest.settings.get("gold", {}))
    return tuple(
        point.model_copy(update={"of_this_session": point.entry.identity in here})
        for point in history_points(together, limits)
    )


def _identity(dataset: Dataset) -> str:
    return data_identity(dataset.identity.model_dump(mode="json")) if dataset.identity else dataset.id


def session_verdict(result: SessionResult) -> tuple[Verdict, tuple[Flag, ...]]:
    """Return the worst verdict in the session and one flag per state that needs a person."""
    flags = tuple(
        Flag(
            name=state,
            value=float(result.counts[state]),
            message=f"{counted(result.counts[state], 'data set')} {state}",
        )
        for state in _ATTENTION
        if result.counts.get(state)
    )
    verdicts: list[Verdict] = ["warn"] if flags else []
    verdicts += ["warn" for one in result.datasets if one.verdict in {"warn", "fail"}]
    verdicts += ["warn" for one in result.factorisations if one.verdict in {"warn", "fail"} or one.state == "failed"]
    verdicts += ["warn" for one in result.history if one.of_this_session and _has_moved(one)]
    return worst(verdicts), flags


def _has_moved(point: HistoryPoint) -> bool:
    return point.drift is not None and point.drift.quality.verdict == "warn"


def _dataset(dataset: Dataset, records: Records, labels: Mapping[str, str]) -> SessionDataset:
    result = records.convert.result if records.convert else None
    optics = (result.microscope if result else None) or dataset.microscope
    reference, gain = _bound_reference(dataset.id, records), _bound_gain(dataset.id, records)
    origin = records.calibration.origin if records.calibration else None
    return SessionDataset(
        id=dataset.id,
        label=dataset.label,
        role=dataset.role,
        role_reason=dataset.role_reason,
        state=records.progress.state,
        verdict=records.progress.verdict,
        reason=records.progress.reason,
        stages=records.progress.stages,
        acquired_at=dataset.acquired_at or (result.acquired_at if result else None),
        scan_shape=result.scan_shape if result else dataset.scan_shape,
        frame_shape=result.frame_shape if result else dataset.frame_shape,
        n_frames=result.frames.positions if result else (dataset.identity.n_frames if dataset.identity else None),
        n_missing_frames=result.frames.missing if result else None,
        mean_counts_per_frame=result.mean_counts_per_frame if result else None,
        voltage_kv=optics.voltage_kv if optics else None,
        nominal_camera_length_m=optics.nominal_camera_length_m if optics else None,
        calibrated_by=labels.get(reference, reference) if reference else None,
        calibration_reason=_calibration_reason(dataset, records),
        gain_by=labels.get(gain, gain) if gain else None,
        gain_reason=_gain_reason(dataset, records),
        geometry_reason=_geometry_reason(dataset, records),
        descan_range_px=origin.descan_range_px if origin else None,
        group=dataset.group,
        remarks=(*_remarks(records), *records.problems),
        figures=records.figures,
    )


def _remarks(records: Records) -> tuple[Remark, ...]:
    """Return the messages of all flags; those of a step that failed are the reason of the data set already.

    A geometry that failed is not the reason of a sample, which goes its way without.
    """
    failed = {step.stage for step in records.progress.stages if step.state == "failed"}
    measurements = {
        "convert": records.convert,
        "gold": records.gold,
        "gain": records.gain,
        "geometry": records.geometry,
        "calibration": records.calibration,
        "polar": records.polar,
    }
    return tuple(
        Remark(stage=stage, message=flag.message)
        for stage, record in measurements.items()
        if record is not None and (record.quality.verdict != "fail" or (stage == "geometry" and stage not in failed))
        for flag in record.quality.flags
    )


def _bound_reference(dataset: str, records: Records) -> str | None:
    """Return the id of the gold data set that was bound to ``dataset``, or None; its path says which one it is."""
    if records.calibration is None:
        return None
    chosen = next((one.path for one in records.calibration.candidates if one.chosen), None)
    return chosen and _dataset_of(chosen, dataset, "gold")


def _bound_gain(dataset: str, records: Records) -> str | None:
    """Return the id of the gain data set that ``dataset`` is corrected with, or None."""
    if records.calibration is None or records.calibration.gain is None:
        return None
    return _dataset_of(records.calibration.gain.source, dataset, "gain")


def _dataset_of(path: str, dataset: str, stage: str) -> str:
    """Return the id of the data set whose record of ``stage`` is at ``path``, seen from the files of ``dataset``."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(dataset), path)).removesuffix(f"_{stage}.json")


def _gain_reason(dataset: Dataset, records: Records) -> str | None:
    if records.calibration is not None and records.calibration.gain is not None:
        return records.calibration.gain.why
    return dataset.gain_reason


def _geometry_reason(dataset: Dataset, records: Records) -> str | None:
    if records.calibration is not None and records.calibration.scan_to_camera is not None:
        return records.calibration.scan_to_camera.why
    return dataset.geometry_reason


def _calibration_reason(dataset: Dataset, records: Records) -> str | None:
    if records.calibration is not None:
        if records.calibration.q_pixel_size is not None:
            return records.calibration.q_pixel_size.why
        return "; ".join(f"{one.dataset}: {one.reason}" for one in records.calibration.candidates) or None
    return dataset.binding_reason


def _calibration(
    dataset: Dataset,
    records: Records,
    bound: Mapping[str, str | None],
    labels: Mapping[str, str],
    changed: tuple[Flag, ...],
) -> SessionCalibration:
    record = records.gold
    assert record is not None
    result: GoldResult | None = record.result
    return SessionCalibration(
        dataset=dataset.id,
        label=dataset.label,
        verdict=record.quality.verdict,
        pixel_size=result.pixel_size.area_preserving if result else None,
        ellipse_ratio=result.ellipse.ratio if result else None,
        ellipse_angle_deg=result.ellipse.angle_deg if result else None,
        effective_camera_length_m=result.effective_camera_length_m if result else None,
        nominal_camera_length_m=record.nominal_camera_length_m,
        voltage_kv=record.voltage_kv,
        n_rings_used=sum(ring.used for ring in result.rings) if result else None,
        remarks=tuple(flag.message for flag in (*record.quality.flags, *changed)),
        serves=tuple(labels[scan] for scan, reference in bound.items() if reference == dataset.id),
    )


def _gain(
    dataset: Dataset, records: Records, served: Mapping[str, str | None], labels: Mapping[str, str]
) -> SessionGain:
    record = records.gain
    assert record is not None
    result = record.result
    pixels = result.pixels if result else None
    return SessionGain(
        dataset=dataset.id,
        label=dataset.label,
        verdict=record.quality.verdict,
        voltage_kv=record.voltage_kv,
        gain_spread=result.gain_spread if result else None,
        gain_noise=result.gain_noise if result else None,
        parity=result.parity if result else None,
        n_faulty_pixels=pixels.n_dead + pixels.n_hot + pixels.n_noisy if pixels else None,
        remarks=tuple(flag.message for flag in record.quality.flags),
        serves=tuple(labels[scan] for scan, reference in served.items() if reference == dataset.id),
    )


def _geometry(
    dataset: Dataset, records: Records, session: Mapping[str, Records], labels: Mapping[str, str]
) -> SessionGeometry:
    record = records.geometry
    assert record is not None
    result = record.result
    axes = result.scan_to_camera if result else None
    return SessionGeometry(
        dataset=dataset.id,
        label=dataset.label,
        verdict=record.quality.verdict,
        mode=result.mode if result else None,
        voltage_kv=record.voltage_kv,
        nominal_camera_length_m=record.nominal_camera_length_m,
        theta_fast_deg=axes.theta_fast_deg if axes else None,
        theta_slow_deg=axes.theta_slow_deg if axes else None,
        step_ratio=axes.step_ratio if axes else None,
        step_fast_angstrom=axes.step_fast_angstrom if axes else None,
        flip=axes.flip if axes else None,
        half_turn_resolved=axes.half_turn_resolved if axes else None,
        defocus_angstrom=result.aberrations.get("C10") if result else None,
        explained_energy=result.explained_energy if result else None,
        remarks=tuple(flag.message for flag in record.quality.flags),
        serves=tuple(
            labels[scan] for scan, one in session.items() if scan != dataset.id and dataset.id in _geometries(scan, one)
        ),
    )


def _geometries(dataset: str, records: Records) -> tuple[str, ...]:
    """Return the ids of the data sets whose geometry is bound to ``dataset``."""
    bound = records.calibration.scan_to_camera if records.calibration else None
    return tuple(_dataset_of(path, dataset, "geometry") for path in bound.sources) if bound else ()


def _factorisation(group: Group) -> SessionFactorisation:
    record, result = group.record, group.record.result if group.record else None
    state, reason = _group_state(group)
    members = record.members if record else ()
    return SessionFactorisation(
        group=group.name,
        path=group.path,
        state=state,
        verdict=record.quality.verdict if record else None,
        reason=reason,
        n_scans=sum(member.used for member in members),
        n_left_out=sum(not member.used for member in members),
        n_components=result.n_components if result else None,
        n_profiles=result.n_profiles if result else None,
        explained_variance=result.explained_variance if result else None,
        component_share=result.component_share if result else (),
        remarks=tuple(flag.message for flag in record.quality.flags) if record and result else (),
        figures=group.figures if result else (),
    )


def _group_state(group: Group) -> tuple[Literal["done", "failed", "waiting"], str]:
    if group.found.failure is not None:
        return "failed", group.found.failure.message
    if group.problem:
        return "failed", group.problem
    if group.record is None:
        return "waiting", "no factorisation yet"
    if group.record.result is None:
        return "failed", "; ".join(flag.message for flag in group.record.quality.flags)
    return "done", ""
