"""The synthetic session: deterministic, honest about its truth, and wrong only where it says so."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from stemcal.errors import DataError, UsageError
from stemcal.formats.chip_gap import insert_gap, remove_gap
from stemcal.formats.merlin import MibFile, check_last_frame, inspect_mib
from stemcal.formats.microscope import read_microscope
from stemcal.optics.disk import BrightDisk, find_bright_disk, window_centroid
from stemcal.optics.rings import cubic_rings
from stemcal.phantoms import damage
from stemcal.phantoms.materials import phase_maps
from stemcal.phantoms.plan import SessionPlan
from stemcal.phantoms.scan import DetectorPlan
from stemcal.phantoms.session import TRUTH, scan_frames, with_faults, write_scan, write_session
from stemcal.phantoms.truth import SessionTruth
from stemcal.records.atomic import read_record

PLAN = SessionPlan.tiny()
GAP = PLAN.detector.gap_px
GOLD, ISLANDS, LAYERS, TORN, CUT, GARBLED, GROWING = PLAN.scans


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("session")
    write_session(folder, PLAN)
    return folder


@pytest.fixture
def session(made, tmp_path) -> Path:
    shutil.copytree(made, tmp_path / "session")
    return tmp_path / "session"


def frames_of(folder: Path, name: str, gap_px: int = 0) -> np.ndarray:
    with MibFile(folder / name) as mib:
        return insert_gap(mib.read(0, mib.n_frames), gap_px)


def states(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_same_plan_same_bytes_whatever_the_threads(made, tmp_path):
    write_session(tmp_path, PLAN, threads=1)
    again, first = states(tmp_path), states(made)
    assert {name: data for name, (data, _) in again.items()} == {name: data for name, (data, _) in first.items()}
    other = SessionPlan.tiny(seed=2)
    write_scan(tmp_path, other, other.scans[0])
    assert (tmp_path / GOLD.name).read_bytes() != first[GOLD.name][0]


def test_it_is_small_and_whole(made):
    assert sum(path.stat().st_size for path in made.rglob("*") if path.is_file()) < 10e6
    assert len(list(made.rglob("*.mib"))) == len(list(made.rglob("*.hdr"))) == len(list(made.rglob("*.hdf"))) == 7


@pytest.mark.parametrize("scan", [GOLD, ISLANDS, LAYERS, TORN], ids=lambda scan: scan.timestamp)
def test_finished_files_are_complete_old_and_say_their_scan_shape(made, scan):
    path = made / scan.name
    layout = inspect_mib(path)
    check_last_frame(path, layout)
    assert (layout.n_whole_frames, layout.trailing_bytes) == (layout.n_frames_expected, 0) == (scan.n_frames, 0)
    assert path.stat().st_mtime < 1.75e9
    assert layout.hdr is not None
    microscope = read_microscope(damage.microscope_file(path))
    square = scan.scan_shape[0] == scan.scan_shape[1]
    assert microscope.scan_size_px == (scan.scan_shape[1] if square else None)
    assert layout.hdr.scan_shape == (scan.scan_shape if scan.scan_in_hdr else None)
    assert layout.hdr.frames_per_trigger == (scan.scan_shape[1] if scan.lines_in_hdr else 1)
    assert square or scan.lines_in_hdr


def test_all_scans_share_voltage_and_camera_length_and_are_minutes_apart(made):
    found = {
        (microscope.voltage_kv, microscope.nominal_camera_length_m)
        for microscope in (read_microscope(path) for path in made.rglob("*.hdf"))
    }
    assert found == {(200.0, PLAN.camera.nominal_camera_length_m)}
    times = [scan.timestamp for scan in PLAN.scans]
    assert times == sorted(times)
    assert times[0][:11] == "20250513_09"


def test_what_is_wrong_is_wrong(made):
    cut = inspect_mib(made / CUT.name)
    assert (cut.n_whole_frames, cut.trailing_bytes) == (CUT.n_frames - 1, (cut.stride_bytes + 1) // 2)
    with pytest.raises(DataError, match="does not begin with a Merlin frame header"):
        inspect_mib(made / GARBLED.name)
    growing = inspect_mib(made / GROWING.name)
    assert growing.n_whole_frames < GROWING.n_frames == growing.n_frames_expected
    youngest = max(made.rglob("*.mib"), key=lambda path: path.stat().st_mtime)
    assert youngest == made / GROWING.name
    assert abs(time.time() - youngest.stat().st_mtime) < 600
    quiet = {path.stat().st_mtime for path in (made / CUT.name).parent.iterdir()}
    assert quiet == {datetime(2025, 5, 13, 9, 58, 36, tzinfo=UTC).timestamp()}


def test_the_second_run_gives_the_growing_file_the_present_time_and_changes_no_byte(session):
    before = states(session)
    report = {written.name: written for written in write_session(session, PLAN)}
    assert {name: state[0] for name, state in states(session).items()} == {
        name: state[0] for name, state in before.items()
    }
    assert report.pop(GROWING.name).action == "touched"
    assert {written.action for written in report.values()} == {"kept"}


def test_the_growing_file_alone_grows_on_demand(session):
    before = states(session)
    report = {written.name: written for written in write_session(session, PLAN, grow=True)}
    after = states(session)
    assert {name for name in after if after[name] != before[name]} == {GROWING.name}
    assert report.pop(GROWING.name).action == "grown"
    assert {written.action for written in report.values()} == {"kept"}
    assert after[GROWING.name][0].startswith(before[GROWING.name][0])


def test_the_growing_file_comes_to_its_end_with_the_bytes_of_an_unbroken_one(session, tmp_path):
    for _ in range(GROWING.n_frames):
        report = write_session(session, PLAN, grow=True)
    assert (report[-1].action, report[-1].n_frames) == ("kept", GROWING.n_frames)
    unbroken = GROWING.model_copy(update={"frames_on_disk": None})
    write_scan(tmp_path / "other", PLAN, unbroken)
    assert (session / GROWING.name).read_bytes() == (tmp_path / "other" / GROWING.name).read_bytes()


def test_a_session_of_another_plan_is_left_alone(session):
    with pytest.raises(UsageError, match="made with other options"):
        write_session(session, SessionPlan.tiny(seed=9))


def test_a_missing_file_is_written_again_and_a_missing_truth_means_all_of_it(session):
    (session / GOLD.name).unlink()
    assert [written.action for written in write_session(session, PLAN)][:2] == ["written", "kept"]
    (session / TRUTH).unlink()
    assert {written.action for written in write_session(session, PLAN)} == {"written"}


def test_the_truth_is_readable_and_complete(made):
    truth = read_record(made / TRUTH, SessionTruth)
    assert truth.plan == PLAN
    assert set(truth.datasets) == {str(path.relative_to(made)) for path in made.rglob("*.mib")}
    verdicts = [dataset.expected_verdict for dataset in truth.datasets.values()]
    assert verdicts == ["ready"] * 4 + ["incomplete", "rejected", "growing"]
    gold = truth.datasets[GOLD.name]
    assert gold.ellipse_angle_flipped_deg == 145.0
    assert 2.0 < gold.camera_length_ratio < 2.4
    torn = np.array(truth.datasets[TORN.name].phase_maps["C"])
    assert torn.shape == TORN.scan_shape
    assert torn[0, -1] < 0.02 < 0.4 < torn[-1, 0]
    assert str(made) not in json.dumps(truth.model_dump(mode="json"))


def test_the_beam_is_where_the_truth_says(made):
    truth = read_record(made / TRUTH, SessionTruth).datasets[ISLANDS.name]
    frames = frames_of(made, ISLANDS.name, GAP)
    valid = insert_gap(with_faults(np.ones((1, 128, 128)), PLAN.detector)[0] == 1, GAP)
    disk = find_bright_disk(frames.mean(axis=0), valid)
    assert isinstance(disk, BrightDisk)
    assert disk.centre_px == pytest.approx((truth.centre_row_px, truth.centre_col_px), abs=0.15)
    measured = window_centroid(frames, disk.centre_px, disk.radius_px, valid)
    expected = np.stack([truth.beam_row_px, truth.beam_col_px], axis=1)
    np.testing.assert_allclose(measured, expected, atol=0.15)
    assert np.ptp(expected, axis=0).min() > 1.0, "a descan that cannot be seen tests nothing"


def test_gold_rings_lie_on_the_ellipse_of_the_truth(made):
    """Counts within 1.5 px of the true 220 ellipse stand out from those 4 px inside; turned by 90 degrees, less so."""
    camera = PLAN.phantom_camera(GOLD)
    truth = read_record(made / TRUTH, SessionTruth).datasets[GOLD.name]
    frames = frames_of(made, GOLD.name, GAP).astype(float)
    rows, cols = np.indices(frames.shape[1:])

    def ring_counts(angle_deg: float, offset_px: float) -> float:
        angle = math.radians(angle_deg)
        q = next(ring.q_per_angstrom for ring in cubic_rings(4.0782, "F") if ring.hkl == (2, 2, 0))
        total = 0.0
        for frame, row, col in zip(frames, truth.beam_row_px, truth.beam_col_px, strict=True):
            along = (cols - col) * math.cos(angle) + (rows - row) * math.sin(angle)
            across = (rows - row) * math.cos(angle) - (cols - col) * math.sin(angle)
            radius = np.hypot(along / math.sqrt(truth.ellipse_ratio), across * math.sqrt(truth.ellipse_ratio))
            total += frame[np.abs(radius - camera.radius_px(q) - offset_px) < 1.0].sum()
        return total

    on = ring_counts(truth.ellipse_angle_deg, 0.0)
    assert on > 3 * ring_counts(truth.ellipse_angle_deg, -4.0)
    assert on > 1.04 * ring_counts(truth.ellipse_angle_deg + 90.0, 0.0)


def test_scattering_follows_the_maps(made):
    frames = frames_of(made, LAYERS.name).astype(float)
    for pixel in PLAN.detector.hot_pixels:
        frames[:, *pixel] = 0
    expected = sum(phase_maps(LAYERS).values())
    scattered = frames.sum(axis=(1, 2)).reshape(LAYERS.scan_shape) / LAYERS.counts_per_frame - 0.3
    assert np.corrcoef(scattered.ravel(), expected.ravel())[0, 1] > 0.8


def test_what_falls_on_the_gap_between_the_chips_is_lost():
    """The same electrons on one large chip: those between the four chips are not in the file."""
    four = PLAN.model_copy(update={"detector": DetectorPlan(dead_cross_px=0)})
    one_chip = {
        "detector": DetectorPlan(dead_cross_px=0, gap_px=0),
        "camera": PLAN.camera.model_copy(update={"frame_shape": PLAN.plane_shape(GOLD)}),
    }
    seen, drawn = (next(scan_frames(plan, GOLD, 0, 5)) for plan in (four, PLAN.model_copy(update=one_chip)))
    assert (seen.shape, drawn.shape) == ((5, 128, 128), (5, 131, 131))
    np.testing.assert_array_equal(seen, remove_gap(drawn, GAP))
    assert drawn[:, 64:67].sum() > 0


def test_the_detector_has_its_faults(made):
    frames = frames_of(made, GOLD.name)
    assert not frames[:, 63:65].any()
    assert not frames[:, :, 63:65].any()
    assert (frames[:, *PLAN.detector.hot_pixels[0]] == PLAN.detector.hot_count).all()
    assert frames[:, 61:63].any()


def test_damage_keeps_the_time(session):
    path = session / GOLD.name
    before = path.stat().st_mtime_ns
    for harm in (damage.cut_last_frame, damage.claim_wrong_frame_size, damage.garble_header, damage.empty):
        harm(path)
        assert path.stat().st_mtime_ns == before
    damage.remove_hdr(path)
    damage.garble_microscope_file(path)
    with pytest.raises(DataError, match="cannot be read as HDF5"):
        read_microscope(damage.microscope_file(path))
    damage.remove_microscope_file(path)
    assert [other.name for other in path.parent.iterdir()] == [path.name]


def test_spoiled_gold_is_spoiled_and_nothing_else(made):
    flat, far = damage.without_rings(PLAN), damage.with_half_the_rings(PLAN)
    assert flat.scans[1:] == far.scans[1:] == PLAN.scans[1:]
    assert flat.scans[0].diffuse_fraction == 1.0
    radii = {
        ring.hkl: far.phantom_camera(far.scans[0]).radius_px(ring.q_per_angstrom) for ring in cubic_rings(4.0782, "F")
    }
    assert radii[2, 2, 0] < min(GOLD.centre_px) < radii[3, 1, 1]
    assert radii[4, 0, 0] > max(130 - GOLD.centre_px[0], GOLD.centre_px[1])
    assert far.microscope(far.scans[0]).nominal_camera_length_m == PLAN.camera.nominal_camera_length_m


def test_the_script_makes_and_continues_a_session(tmp_path, checkout):
    script = [sys.executable, str(checkout / "scripts" / "make-demo-session"), str(tmp_path / "demo")]
    options = ["--scan-px", "4", "--detector-px", "64"]
    first = subprocess.run([*script, *options], capture_output=True, text=True, check=True)
    assert first.stdout.count("written ") == 8
    second = subprocess.run([*script, *options], capture_output=True, text=True, check=True)
    assert "growing file: touched" in second.stdout
    assert second.stdout.count("kept ") == 7
    other = subprocess.run([*script, "--scale", "0.2"], capture_output=True, text=True, check=False)
    assert other.returncode == 2
    assert "made with other options" in other.stderr
