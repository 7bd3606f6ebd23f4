from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from stemcal.discover.naming import dataset_id, label
from stemcal.errors import UsageError
from stemcal.records.atomic import write_record
from stemcal.records.failure import FailureRecord, failure_path
from stemcal.records.frozen import freeze, read_latest
from stemcal.records.manifest import Dataset, Manifest
from stemcal.stages import OUTPUTS, digest, parameter

from .conftest import NOW, AddScan, Discover


def the_only(manifest: Manifest) -> Dataset:
    (dataset,) = manifest.datasets.values()
    return dataset


def cut(raw: Path, n_bytes: int) -> None:
    stat = raw.stat()
    with raw.open("r+b") as file:
        file.truncate(stat.st_size - n_bytes)
    os.utime(raw, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def touch_now(raw: Path) -> None:
    os.utime(raw, (NOW.timestamp(), NOW.timestamp()))


def test_a_finished_scan_is_ready_and_named_by_its_path(add_scan: AddScan, discover: Discover) -> None:
    add_scan("TEB30_A1_old")
    dataset = the_only(discover())
    assert (dataset.verdict, dataset.reason) == ("ready", "16 whole frames")
    assert dataset.id == "Merlin/TEB30_A1_old/20260301_110000/20260301_110000"
    assert dataset.label == "TEB30_A1_old/20260301_110000"
    assert dataset.frame_shape == (8, 8)
    assert dataset.itemsize == 2
    assert dataset.stages == ("convert",)
    assert dataset.binding_reason == (
        "no calibration: no gold reference at 200 kV, camera length 0.2 m, detector (8, 8) among 0 in this session"
    )


@pytest.mark.parametrize(
    ("damage", "settled", "young"),
    [
        (
            lambda raw: cut(raw, 3 * (384 + 128)),
            ("incomplete", "13 of 16 frames are on disk and nothing more came"),
            ("growing", "13 of 16 frames are on disk"),
        ),
        (
            lambda raw: cut(raw, 10),
            ("incomplete", "15 of 16 frames are on disk and nothing more came"),
            ("growing", "15 of 16 frames are on disk"),
        ),
        (
            lambda raw: cut(raw, raw.stat().st_size),
            ("incomplete", "is empty: no frame was written"),
            ("growing", "is still empty"),
        ),
    ],
)
def test_one_damage_one_verdict(
    add_scan: AddScan, discover: Discover, damage, settled: tuple[str, str], young: tuple[str, str]
) -> None:
    raw = add_scan("scan")
    damage(raw)
    dataset = the_only(discover())
    assert (dataset.verdict, dataset.reason) == settled
    assert dataset.stages == ()
    touch_now(raw)
    dataset = the_only(discover(later_s=1))
    assert (dataset.verdict, dataset.reason) == young


def test_a_cut_frame_is_noticed_without_a_hdr(add_scan: AddScan, discover: Discover) -> None:
    raw = add_scan("scan", with_hdr=False, minutes_ago=60 * 30)
    assert the_only(discover()).verdict == "ready"
    cut(raw, 10)
    dataset = the_only(discover())
    assert dataset.reason == "ends in the middle of frame 16 and nothing more came"


def test_a_header_of_garbage_is_rejected_by_name(add_scan: AddScan, discover: Discover) -> None:
    raw = add_scan("scan")
    stat = raw.stat()
    with raw.open("r+b") as file:
        file.write(b"\x00garbage" * 8)
    os.utime(raw, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    dataset = the_only(discover())
    assert dataset.verdict == "rejected"
    assert dataset.reason.startswith("does not begin with a Merlin frame header (MQ1, ...) but with ")


def test_a_wrong_frame_size_is_rejected(add_scan: AddScan, discover: Discover) -> None:
    raw = add_scan("scan")
    stat = raw.stat()
    with raw.open("r+b") as file:
        head = file.read(384)
        file.seek(0)
        file.write(head.replace(b",0008,0008,", b",0008,0006,"))
    os.utime(raw, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    dataset = the_only(discover())
    assert dataset.verdict == "rejected"
    assert dataset.reason.startswith("holds U16 8x8 at frame 17 (byte 7680), but U16 6x8 at the beginning; ")


def test_missing_sidecars_are_warnings_that_cost_stages_only(add_scan: AddScan, discover: Discover) -> None:
    add_scan("scan", with_hdr=False, voltage_kv=None, minutes_ago=60 * 30)
    manifest = discover()
    dataset = the_only(manifest)
    assert (dataset.verdict, dataset.reason) == ("ready", "16 whole frames, no .hdr to check against")
    assert dataset.binding_reason == "no calibration: high tension or camera length of this scan is unknown"
    assert [warning.split(": ", 1)[1] for warning in manifest.warnings] == [
        "has no .hdr: completeness is judged by quiet time alone",
        "has no microscope .hdf: voltage and camera length are unknown",
    ]


def test_a_growing_file_is_converted_only_if_asked_for_and_only_with_a_whole_frame(
    add_scan: AddScan, discover: Discover
) -> None:
    raw = add_scan("scan")
    cut(raw, 3 * (384 + 128))
    touch_now(raw)
    assert not the_only(discover()).grows
    dataset = the_only(discover(convert_while_growing=True))
    assert (dataset.grows, dataset.verdict, dataset.stages) == (True, "growing", ())
    cut(raw, 12 * (384 + 128) + 1)
    touch_now(raw)
    assert not the_only(discover(convert_while_growing=True)).grows
    assert not the_only(discover(convert_while_growing=True, later_s=3600)).grows


def test_without_a_hdr_a_file_must_be_watched_because_clocks_differ(add_scan: AddScan, discover: Discover) -> None:
    add_scan("scan", with_hdr=False, minutes_ago=60)
    assert the_only(discover()).verdict == "growing"
    assert the_only(discover(later_s=599)).verdict == "growing"
    assert the_only(discover(later_s=601)).verdict == "ready"


def test_a_detector_clock_that_is_ahead_does_not_hold_a_file_for_ever(add_scan: AddScan, discover: Discover) -> None:
    raw = add_scan("scan")
    os.utime(raw, (NOW.timestamp() + 7200, NOW.timestamp() + 7200))
    assert the_only(discover()).verdict == "growing"
    assert the_only(discover(later_s=601)).verdict == "ready"


def test_gold_serves_scans_of_the_same_optics_nearest_in_time_first(add_scan: AddScan, discover: Discover) -> None:
    add_scan("Au_xgrating", minutes_ago=300)
    add_scan("Au_xgrating", minutes_ago=100)
    add_scan("Au_xgrating", minutes_ago=61, voltage_kv=300.0)
    add_scan("Au_xgrating", minutes_ago=62, camera_length_m=0.25)
    add_scan("Au_xgrating", minutes_ago=63, frame_px=16)
    add_scan("sample", minutes_ago=60)
    manifest = discover()
    roles = {dataset.label: dataset.role for dataset in manifest.datasets.values()}
    assert sorted(roles.values()).count("gold") == 5
    scan = next(dataset for dataset in manifest.datasets.values() if dataset.role == "sample")
    assert [candidate.split("/")[-1] for candidate in scan.gold_candidates] == ["20260301_102000", "20260301_070000"]
    assert scan.stages == ("convert", "calibration", "polar")
    assert scan.group == "200kV_200mm_8x8"
    assert scan.binding_reason is not None
    assert scan.binding_reason.startswith("2 gold references at 200 kV")


def test_session_yaml_has_the_last_word(session: Path, add_scan: AddScan, discover: Discover) -> None:
    add_scan("first", minutes_ago=90)
    add_scan("second", minutes_ago=60, voltage_kv=None)
    add_scan("third", minutes_ago=30)
    (session / "session.yaml").write_text(
        "roles: {'Merlin/first': gold}\n"
        "ignore: ['Merlin/third']\n"
        "scan_shapes: {'Merlin/second/*': [2, 8]}\n"
        "microscope: {'Merlin/second': {voltage_kv: 80, nominal_camera_length_m: 0.1}}\n"
        "gold: {'Merlin/second': 'Merlin/first'}\n"
    )
    manifest = discover()
    first, second, third = manifest.datasets.values()
    assert (first.role, first.role_reason) == ("gold", "session.yaml says so")
    assert second.scan_shape == (2, 8)
    assert second.microscope is not None
    assert second.microscope.voltage_kv == 80
    assert (second.gold_candidates, second.binding_reason) == ((first.id,), "pinned in session.yaml")
    assert third.verdict == "ignored"


def test_a_typing_error_in_session_yaml_is_refused(session: Path, add_scan: AddScan, discover: Discover) -> None:
    add_scan("scan")
    (session / "session.yaml").write_text("rolse: {}\n")
    with pytest.raises(UsageError, match="rolse: Extra inputs are not permitted"):
        discover()


def test_an_unchanged_session_of_500_files_is_only_statted(
    session: Path, add_scan: AddScan, discover: Discover
) -> None:
    one = add_scan("scan")
    for index in range(499):
        copy = session / "Merlin" / f"copy{index}"
        copy.mkdir()
        os.link(one, copy / "x_data.mib")
    first = discover()
    opened: list[str] = []
    watching = True

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and str(arguments[0]).startswith(str(session / "Merlin")):
            opened.append(str(arguments[0]))

    sys.addaudithook(hook)
    again = discover(later_s=5, previous=first)
    watching = False
    assert opened == []
    assert len(again.datasets) == 500
    # the counter-test: a file that changed is opened again
    touch_now(one)
    watching = True
    discover(later_s=6)
    watching = False
    assert any(path.endswith(one.name) for path in opened)


def test_a_refusal_holds_until_something_that_decides_changes(
    session: Path, add_scan: AddScan, discover: Discover
) -> None:
    add_scan("Au_xgrating", minutes_ago=90)
    add_scan("sample")
    manifest = discover()
    scan = next(dataset for dataset in manifest.datasets.values() if dataset.role == "sample")
    text = parameter("polar", manifest.settings, scan.source)
    record = session / "processing" / f"{scan.id}_polar.json"
    failure = FailureRecord(
        dataset="x", stage="polar", category="data", message="no calibration passed", parameter_sha256=digest(text)
    )
    write_record(failure_path(record), failure)
    held = discover().datasets[scan.id]
    assert (held.verdict, held.reason) == ("held", "polar refused it: no calibration passed")
    assert held.stages == ("convert", "calibration")
    # a new reference may calibrate it: released
    add_scan("Au_xgrating", minutes_ago=80)
    assert discover().datasets[scan.id].verdict == "ready"


def test_a_full_disk_does_not_hold(session: Path, add_scan: AddScan, discover: Discover) -> None:
    add_scan("sample")
    dataset = the_only(discover())
    text = parameter("convert", discover().settings, dataset.source)
    failure = FailureRecord(
        dataset="x", stage="convert", category="environment", message="disk full", parameter_sha256=digest(text)
    )
    write_record(failure_path(session / "processing" / f"{dataset.id}_convert.json"), failure)
    assert the_only(discover()).verdict == "ready"


def test_a_gold_that_is_held_is_no_candidate(session: Path, add_scan: AddScan, discover: Discover) -> None:
    add_scan("Au_xgrating", minutes_ago=90)
    add_scan("sample")
    manifest = discover()
    gold = next(dataset for dataset in manifest.datasets.values() if dataset.role == "gold")
    text = parameter("convert", manifest.settings, gold.source)
    failure = FailureRecord(dataset="x", stage="convert", category="data", message="bad", parameter_sha256=digest(text))
    write_record(failure_path(session / "processing" / f"{gold.id}_convert.json"), failure)
    scan = next(dataset for dataset in discover().datasets.values() if dataset.role == "sample")
    assert scan.gold_candidates == ()


def test_what_has_results_stays_listed_when_its_raw_file_goes(
    session: Path, add_scan: AddScan, discover: Discover
) -> None:
    raw = add_scan("sample")
    add_scan("never_processed", minutes_ago=70).unlink()
    before = discover()
    (dataset,) = before.datasets.values()
    raw.unlink()
    assert discover(previous=before).datasets == {}
    for ending in OUTPUTS["convert"]:
        result = session / "processing" / f"{dataset.id}_{ending}"
        result.parent.mkdir(parents=True, exist_ok=True)
        result.touch()
    kept = the_only(discover(previous=before))
    assert (kept.verdict, kept.reason) == ("archived", "its raw file is gone; its results are kept")
    assert kept.stages == ("convert",)
    (session / "processing" / f"{dataset.id}_data.hdf5").unlink()
    assert discover(previous=before).datasets == {}


def test_the_manifest_is_named_by_its_content(session: Path, add_scan: AddScan, discover: Discover) -> None:
    add_scan("sample")
    processing = session / "processing"
    first = freeze(discover(), processing)
    stamp = (processing / first.path).stat().st_mtime_ns
    assert freeze(discover(later_s=60), processing).path == first.path
    assert (processing / first.path).stat().st_mtime_ns == stamp
    assert read_latest(processing) == first
    add_scan("another", minutes_ago=70)
    assert freeze(discover(), processing).path != first.path


@pytest.mark.parametrize(
    ("stem", "safe"),
    [
        ("Merlin/Au/20241113_110035/20241113_110035_data", "Merlin/Au/20241113_110035/20241113_110035"),
        ("Merlin/20190101 120000/scan 1", None),
        ('Merlin/it\'s/a "quote"', None),
        ("Merlin/Probe_größe/µ", None),
        ("Merlin/{braces}/$(reboot)", None),
        ("Merlin/-rf/.hidden", None),
    ],
)
def test_ids_are_safe_and_stable(stem: str, safe: str | None) -> None:
    name = dataset_id(stem)
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-/")
    assert not any(part.startswith((".", "-")) for part in name.split("/"))
    assert name == dataset_id(stem)
    if safe is not None:
        assert name == safe


def test_ids_of_similar_names_differ() -> None:
    assert dataset_id("a b") != dataset_id("a_b") != dataset_id("a'b")
    assert label("Merlin/sub/20240101_000000/20240101_000000_data") == "sub/20240101_000000"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("two\nlines.mib", "its name holds a line break or control character; rename it"),
        ("a {dataset} b.mib", "its name holds {dataset}, which Snakemake takes for a variable; rename it"),
        ("a <sample> b.mib", "its name holds <sample>, which Snakemake takes for a variable; rename it"),
    ],
)
def test_a_name_that_cannot_be_worked_on_is_refused(
    add_scan: AddScan, discover: Discover, name: str, reason: str
) -> None:
    raw = add_scan("scan")
    raw.rename(raw.with_name(name))
    dataset = the_only(discover())
    assert (dataset.verdict, dataset.reason) == ("rejected", reason)


def test_a_value_that_the_microscope_cannot_have_is_not_believed(add_scan: AddScan, discover: Discover) -> None:
    add_scan("scan", voltage_kv=200_000.0)
    manifest = discover()
    dataset = the_only(manifest)
    assert dataset.microscope is not None
    assert dataset.microscope.voltage_kv is None
    assert dataset.microscope.nominal_camera_length_m == 0.2
    assert manifest.warnings == (f"{dataset.mib}: voltage_kv = 200000 is outside 30 to 300 and is not believed",)
    assert dataset.binding_reason == "no calibration: high tension or camera length of this scan is unknown"


def test_a_refusal_is_lifted_when_what_the_step_reads_is_made_again(
    session: Path, add_scan: AddScan, discover: Discover
) -> None:
    add_scan("Au_xgrating", minutes_ago=90)
    add_scan("sample")
    manifest = discover()
    scan = next(dataset for dataset in manifest.datasets.values() if dataset.role == "sample")
    text = parameter("polar", manifest.settings, scan.source)
    path = failure_path(session / "processing" / f"{scan.id}_polar.json")
    failure = FailureRecord(
        dataset="x", stage="polar", category="data", message="damaged", parameter_sha256=digest(text)
    )
    write_record(path, failure)
    calibration = session / "processing" / f"{scan.id}_calibration.json"
    calibration.touch()
    os.utime(calibration, ns=(0, path.stat().st_mtime_ns - 1))
    assert discover().datasets[scan.id].verdict == "held"
    os.utime(calibration, ns=(0, path.stat().st_mtime_ns + 1))
    assert discover().datasets[scan.id].verdict == "ready"


def test_a_session_yaml_of_another_encoding_is_refused(session: Path, add_scan: AddScan, discover: Discover) -> None:
    add_scan("scan")
    (session / "session.yaml").write_bytes("roles: {}".encode("utf-16"))
    with pytest.raises(UsageError, match="is not UTF-8 text"):
        discover()


def test_gain_references_are_bound_by_tension_shape_and_depth(add_scan: AddScan, discover: Discover) -> None:
    add_scan("gain", minutes_ago=300)
    add_scan("gain", minutes_ago=100, camera_length_m=0.9)
    add_scan("gain", minutes_ago=61, voltage_kv=300.0)
    add_scan("gain", minutes_ago=62, frame_px=16)
    add_scan("sample", minutes_ago=60)
    datasets = discover().datasets.values()
    assert {one.stages for one in datasets if one.role == "gain"} == {("convert", "gain")}
    (scan,) = (one for one in datasets if one.role == "sample")
    assert [candidate.split("/")[-1] for candidate in scan.gain_candidates] == ["20260301_102000", "20260301_070000"]
    assert scan.gain_reason == "2 gain references at 200 kV, detector (8, 8), 12 bit, nearest in time first"
    assert len(scan.source["gain"]) == 2  # type: ignore[arg-type]


def test_a_gain_of_another_counter_depth_does_not_serve(session: Path, add_scan: AddScan, discover: Discover) -> None:
    add_scan("gain", minutes_ago=70)
    add_scan("sample", minutes_ago=60)
    (gain,) = (one for one in discover().datasets.values() if one.role == "gain")
    raw = session / gain.mib
    raw.write_bytes(raw.read_bytes().replace(b",12,", b",24,"))
    os.utime(raw, (NOW.timestamp() - 4000, NOW.timestamp() - 4000))
    (scan,) = (one for one in discover().datasets.values() if one.role == "sample")
    assert scan.gain_candidates == ()
    assert scan.gain_reason == (
        "no gain correction: no gain reference at 200 kV, detector (8, 8), 12 bit among 1 in this session"
    )


def test_session_yaml_pins_a_gain_reference(session: Path, add_scan: AddScan, discover: Discover) -> None:
    add_scan("gain", minutes_ago=300)
    add_scan("gain", minutes_ago=100)
    add_scan("sample", minutes_ago=60)
    add_scan("other", minutes_ago=50)
    (session / "session.yaml").write_text(
        "gain: {'Merlin/sample': 'Merlin/gain/20260301_070000', 'Merlin/other': 'Merlin/nowhere'}\n"
    )
    scans = {one.label.split("/")[0]: one for one in discover().datasets.values() if one.role == "sample"}
    assert [one.split("/")[-1] for one in scans["sample"].gain_candidates] == ["20260301_070000"]
    assert scans["sample"].gain_reason == "pinned in session.yaml"
    assert scans["other"].gain_candidates == ()
    assert scans["other"].gain_reason == (
        "no gain correction: session.yaml pins 'Merlin/nowhere', which is no ready gain data set"
    )


def test_a_session_without_a_gain_reference_has_the_parameters_it_had(add_scan: AddScan, discover: Discover) -> None:
    add_scan("Au_xgrating", minutes_ago=90)
    add_scan("sample")
    manifest = discover()
    scan = next(one for one in manifest.datasets.values() if one.role == "sample")
    assert (scan.gain_candidates, scan.gain_reason) == ((), None)
    without = {key: value for key, value in scan.source.items() if key != "gain"}
    for stage in ("convert", "calibration", "polar"):
        assert parameter(stage, manifest.settings, scan.source) == parameter(stage, manifest.settings, without)
    # the counter-test: with one, calibration and what stands on it change, and conversion does not
    add_scan("gain", minutes_ago=80)
    served = discover().datasets[scan.id]
    for stage, same in (("convert", True), ("calibration", False), ("polar", False)):
        texts = [parameter(stage, manifest.settings, one.source) for one in (scan, served)]
        assert (texts[0] == texts[1]) is same


def test_a_new_gain_reference_lifts_a_hold(session: Path, add_scan: AddScan, discover: Discover) -> None:
    add_scan("Au_xgrating", minutes_ago=90)
    add_scan("gain", minutes_ago=85)
    add_scan("sample")
    manifest = discover()
    scan = next(one for one in manifest.datasets.values() if one.role == "sample")
    text = parameter("calibration", manifest.settings, scan.source)
    record = session / "processing" / f"{scan.id}_calibration.json"
    failure = FailureRecord(
        dataset="x", stage="calibration", category="data", message="no", parameter_sha256=digest(text)
    )
    write_record(failure_path(record), failure)
    assert discover().datasets[scan.id].verdict == "held"
    made = session / "processing" / f"{scan.gain_candidates[0]}_gain.json"
    made.parent.mkdir(parents=True, exist_ok=True)
    made.write_text("{}")
    later = failure_path(record).stat().st_mtime_ns + 10**9
    os.utime(made, ns=(later, later))
    assert discover().datasets[scan.id].verdict == "ready"
