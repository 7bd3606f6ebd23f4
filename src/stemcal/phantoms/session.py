"""A whole microscope session on disk, with known truth: gold, samples, and the files that go wrong in real life.

The folders are ePSIC's: ``Merlin/<folder>/<timestamp>/<timestamp>_data.mib`` and ``.hdr``, ``<timestamp>.hdf``.
Finished files carry the time stamp of their acquisition, so that they are quiet; the growing one carries the present
time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stemcal.errors import UsageError
from stemcal.formats.chip_gap import remove_gap
from stemcal.formats.edx import write_edx
from stemcal.formats.merlin import append_mib, inspect_mib, write_mib
from stemcal.formats.merlin.writer import READOUT_S
from stemcal.formats.microscope import write_microscope
from stemcal.phantoms.damage import cut_last_frame, garble_header
from stemcal.phantoms.edx import AXIS, edx_counts
from stemcal.phantoms.gain import FlatField, gain_pattern, thinned, tilted_dose
from stemcal.phantoms.materials import phase_maps, phases_of
from stemcal.phantoms.plan import SessionPlan
from stemcal.phantoms.powder import powder_frames
from stemcal.phantoms.scan import DetectorPlan, Expected, ScanPlan, descan_of
from stemcal.phantoms.truth import SessionTruth, session_truth
from stemcal.phantoms.weak_phase import counted, expected_frames
from stemcal.records.atomic import read_record, write_record

TRUTH = "truth.json"
Action = Literal["written", "kept", "touched", "grown"]
_SEEDS_PER_SESSION = 1000
_TILT = (0.12, -0.08)
"""How much the dose of a flat field rises toward the last row and column."""
_X_RAYS = 400
"""Counts of an EDX map per position of pure material."""
_FLY_BACK_NS = 500_000
"""Pause between two lines."""
_DAMAGE = {"cut": cut_last_frame, "garbled_header": garble_header}


@dataclass(frozen=True)
class Written:
    """What became of one acquisition.

    Attributes
    ----------
    name : str
        Path of the raw file in the session.
    action : str
        ``written``, ``kept``, ``touched`` (got the present time and nothing else) or ``grown``.
    n_frames : int
        Whole frames on disk now.
    n_frames_expected : int
        Frames of the finished scan.
    expected : str
        What discovery ought to say of it.
    """

    name: str
    action: Action
    n_frames: int
    n_frames_expected: int
    expected: Expected


def write_session(folder: Path, plan: SessionPlan, *, threads: int = 2, grow: bool = False) -> tuple[Written, ...]:
    """Write the session, or let it go on where it is complete.

    The second time nothing that is finished is touched: the growing acquisition alone gets the present time, as if the
    microscope were still at it, and with ``grow`` its next frames. ``truth.json`` is written last; without it
    everything is written anew.

    Parameters
    ----------
    folder : Path
        The session's folder; made if need be.
    plan : SessionPlan
        What to write. The same plan gives the same bytes, whatever the number of threads.
    threads : int
        Acquisitions written at the same time.
    grow : bool
        Let the growing acquisition of an existing session get its next line of frames.

    Returns
    -------
    tuple of Written
        One for each acquisition, in the order of the plan.

    Raises
    ------
    UsageError
        If the folder holds a session after another plan.
    """
    there = _is_there(folder, plan)
    finished = [scan for scan in plan.scans if scan.expected != "growing"]
    with ThreadPoolExecutor(threads) as pool:
        done = list(pool.map(lambda scan: _finished(folder, plan, scan, there=there), finished))
    done += [_growing(folder, plan, scan, there=there, grow=grow) for scan in plan.scans if scan.expected == "growing"]
    if not there:
        write_record(folder / TRUTH, session_truth(plan))
    order = [scan.name for scan in plan.scans]
    return tuple(sorted(done, key=lambda written: order.index(written.name)))


def _line_times_ns(plan: SessionPlan, scan: ScanPlan) -> NDArray[np.int64] | None:
    """Return the time of every frame where lines are triggered: the beam flies back between them. None elsewhere."""
    if not scan.lines_in_hdr or scan.expected == "growing":
        return None
    row, col = np.divmod(np.arange(scan.n_written, dtype=np.int64), scan.scan_shape[1])
    period_ns = round((plan.exposure_s + READOUT_S) * 1e9)
    line_ns = scan.scan_shape[1] * period_ns + _FLY_BACK_NS
    return round(_start(scan).timestamp() * 1e9) + row * line_ns + col * period_ns


def write_scan(folder: Path, plan: SessionPlan, scan: ScanPlan) -> Path:
    """Write the three files of one acquisition and return the path of its raw file."""
    mib = folder / scan.name
    write_mib(
        mib,
        scan_frames(plan, scan, 0, scan.n_written),
        pixel_type="U16",
        assembly="2x2",
        scan_shape=scan.scan_shape,
        scan_in_hdr=scan.scan_in_hdr,
        frames_in_acquisition=scan.n_frames,
        frames_per_trigger=scan.scan_shape[1] if scan.lines_in_hdr else 1,
        exposure_s=plan.exposure_s,
        start_time=_start(scan),
        time_ns=_line_times_ns(plan, scan),
    )
    write_microscope(mib.with_name(f"{scan.timestamp}.hdf"), plan.microscope(scan))
    if scan.edx:
        _write_edx(folder / "Merlin" / scan.folder / "EDX", plan, scan)
    if scan.damage is not None:
        _DAMAGE[scan.damage](mib)
    if scan.expected != "growing":
        _set_time(mib.parent, _start(scan).timestamp())
    return mib


def _write_edx(folder: Path, plan: SessionPlan, scan: ScanPlan) -> None:
    """Write the EDX map of ``scan``: each phase is one element, and gives X-rays as it scatters."""
    maps = phase_maps(scan)
    compositions = [{f"{name} K": 1.0} for name in maps]
    counts = edx_counts(np.stack(list(maps.values())), compositions, counts_per_position=_X_RAYS, seed=plan.seed)
    path = folder / f"Map Data-Map Data - Site_{scan.timestamp}.rpl"
    write_edx(path, counts, AXIS)
    _set_time(folder, _start(scan).timestamp())


def scan_frames(plan: SessionPlan, scan: ScanPlan, start: int, stop: int) -> Iterator[NDArray[Any]]:
    """Yield blocks of the frames ``start`` to ``stop`` (excluded) of ``scan``, (n, det_row, det_col) uint16.

    Patterns fall on the chips and on the gap between them; what falls on the gap is lost, and the frames come without
    it, as the detector writes them. A frame does not depend on where the blocks begin.
    """
    shape = plan.camera_of(scan).frame_shape
    maps = phase_maps(scan)
    weights = np.stack([values.ravel() for values in maps.values()], axis=1) if maps else np.zeros((scan.n_frames, 0))
    seed = plan.seed * _SEEDS_PER_SESSION + [other.name for other in plan.scans].index(scan.name)
    if scan.role == "gain":
        dose = tilted_dose(plan.plane_shape(scan), scan.counts_per_frame / (shape[0] * shape[1]), _TILT)
        flat = FlatField(detector_gain(plan), remove_gap(dose, plan.detector.gap_px))
        for index, frame in enumerate(flat.blocks(stop, seed)):
            if index >= start:
                yield with_faults(frame, plan.detector)
        return
    if scan.thin is not None:
        patterns = counted(expected_frames(plan.weak_phase(scan)), scan.counts_per_frame, seed)
        wanted = patterns.reshape(-1, *plan.plane_shape(scan))[start:stop]
        yield with_faults(remove_gap(wanted, plan.detector_of(scan).gap_px), plan.detector_of(scan))
        return
    done = 0
    for frames in powder_frames(
        plan.phantom_camera(scan),
        phases_of(plan, scan),
        weights[:stop],
        np.array(descan_of(scan))[:stop],
        counts_per_frame=scan.counts_per_frame,
        direct_beam_fraction=scan.direct_beam_fraction,
        disk_radius_px=plan.camera_of(scan).disk_radius_px,
        diffuse_fraction=scan.diffuse_fraction,
        seed=seed,
    ):
        skipped = max(0, start - done)
        wanted = remove_gap(frames[skipped:], plan.detector.gap_px)
        if len(wanted):
            taken = wanted if plan.detector.is_even else thinned(wanted, detector_gain(plan), done + skipped, seed)
            yield with_faults(taken, plan.detector)
        done += len(frames)


def detector_gain(plan: SessionPlan) -> NDArray[np.float64]:
    """Return the response of each pixel of the session's detector in even and odd frames, (2, det_row, det_col)."""
    detector = plan.detector
    shape = plan.camera.frame_shape
    return gain_pattern(shape, detector.gain_spread, parity_spread=detector.gain_parity_spread, seed=plan.seed)


def with_faults(frames: NDArray[Any], detector: DetectorPlan) -> NDArray[Any]:
    """Return ``frames`` (n, det_row, det_col) as the faulty detector counts them."""
    counted = frames.copy()
    half = detector.dead_cross_px // 2
    row, col = (size // 2 for size in frames.shape[1:])
    counted[:, row - half : row + half, :] = 0
    counted[:, :, col - half : col + half] = 0
    for pixel in detector.dead_pixels:
        counted[:, *pixel] = 0
    for pixel in detector.hot_pixels:
        counted[:, *pixel] = detector.hot_count
    return counted


def _is_there(folder: Path, plan: SessionPlan) -> bool:
    """Tell whether the session has been written before.

    Raises
    ------
    UsageError
        If it has been written after another plan.
    """
    if not (folder / TRUTH).is_file():
        return False
    if read_record(folder / TRUTH, SessionTruth).plan != plan:
        raise UsageError(
            f"{folder} holds a session made with other options; give the same options, or take another folder"
        )
    return True


def _finished(folder: Path, plan: SessionPlan, scan: ScanPlan, *, there: bool) -> Written:
    kept = there and (folder / scan.name).is_file()
    if not kept:
        write_scan(folder, plan, scan)
    n_whole = scan.n_frames - (scan.damage == "cut")
    return _written(scan, "kept" if kept else "written", n_whole)


def _growing(folder: Path, plan: SessionPlan, scan: ScanPlan, *, there: bool, grow: bool) -> Written:
    mib = folder / scan.name
    if not (there and mib.is_file()):
        write_scan(folder, plan, scan)
        return _written(scan, "written", scan.n_written)
    have = inspect_mib(mib).n_whole_frames
    if not grow:
        os.utime(mib)
        return _written(scan, "touched", have)
    stop = min(have + scan.scan_shape[1], scan.n_frames)
    if stop == have:
        return _written(scan, "kept", have)
    append_mib(mib, scan_frames(plan, scan, have, stop))
    return _written(scan, "grown", stop)


def _written(scan: ScanPlan, action: Action, n_frames: int) -> Written:
    return Written(scan.name, action, n_frames, scan.n_frames, scan.expected)


def _start(scan: ScanPlan) -> datetime:
    return datetime.strptime(scan.timestamp, "%Y%m%d_%H%M%S").replace(tzinfo=UTC)


def _set_time(folder: Path, seconds: float) -> None:
    for path in sorted(folder.iterdir()):
        os.utime(path, (seconds, seconds))
