"""The history of an instrument: what is compared with what, what is told, and what two runs at once leave."""

from __future__ import annotations

import math
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from gold_truth import gold_source
from history_truth import entry

from stemcal.cli import main
from stemcal.errors import DataError
from stemcal.formats.image import write_pattern
from stemcal.history.drift import DriftLimits, drift_between
from stemcal.history.entries import data_identity, previous_of
from stemcal.history.file import merge_history, read_history
from stemcal.optics.ellipse import strain_from_ratio
from stemcal.phantoms.powder import Camera, gold_phase
from stemcal.records.atomic import read_record
from stemcal.records.base import Quantity
from stemcal.records.gold import GoldRecord

LIMITS = DriftLimits()


def size(value, sigma=1e-6):
    return {"pixel_size": Quantity(value=value, sigma=sigma, unit="1/angstrom")}


def ellipse(ratio, angle_deg, sigma=1e-4):
    return {
        "ellipse_ratio": Quantity(value=ratio, sigma=sigma, unit="1"),
        "ellipse_angle_deg": Quantity(value=angle_deg, sigma=math.degrees(sigma / (2 * math.log(ratio))), unit="deg"),
    }


def names(drift):
    return [flag.name for flag in drift.quality.flags]


def test_a_change_has_to_be_large_and_significant():
    before = entry("a", **size(0.0100))
    assert names(drift_between(entry("b", **size(0.0101)), before, LIMITS)) == ["drift_pixel_size"]
    small = drift_between(entry("b", **size(0.01004)), before, LIMITS)
    assert names(small) == []
    assert small.pixel_size_change == pytest.approx(0.004)
    assert small.pixel_size_change_sigmas == pytest.approx(28.3, abs=0.1)
    vague = drift_between(entry("b", **size(0.0101, 3e-5)), before, LIMITS)
    assert names(vague) == []
    assert vague.quality.verdict == "pass"
    # nobody can say that a change without an uncertainty is chance
    assert names(drift_between(entry("b", **size(0.0101, None)), before, LIMITS)) == ["drift_pixel_size"]


def test_the_sentence():
    drift = drift_between(entry("b", **size(0.0101, 1e-5)), entry("a", **size(0.01, 1e-5)), LIMITS)
    assert drift.quality.flags[0].message == (
        "the pixel size has changed by +1.00% (7 sigma) since 2026-05-12 10:00:00 (session/a)"
    )


def test_ellipses_are_compared_as_vectors():
    """An angle that goes through 180 degrees is no change, the same ratio turned by a right angle is twice as much."""
    before = entry("a", **ellipse(1.02, 179.5))
    through = drift_between(entry("b", **ellipse(1.02, 0.5)), before, LIMITS)
    assert names(through) == []
    assert through.angle_change_deg == pytest.approx(1.0)
    turned = drift_between(entry("b", **ellipse(1.02, 89.5)), before, LIMITS)
    assert names(turned) == ["drift_ellipse"]
    assert turned.ratio_change == 0
    expected = np.subtract(strain_from_ratio(1.02, math.radians(89.5)), strain_from_ratio(1.02, math.radians(179.5)))
    assert turned.strain_change == pytest.approx(float(np.hypot(*expected)))
    # a round camera has no angle: it may say what it likes
    one, other = (entry(name, **ellipse(1.0002, angle)) for name, angle in (("a", 10.0), ("b", 80.0)))
    assert names(drift_between(other, one, LIMITS)) == []


def test_compared_with_the_last_that_passed_with_the_same_settings():
    now = entry("now", "2026-05-12T10:00:00")
    history = [
        entry("old", "2026-05-01T10:00:00"),
        entry("last", "2026-05-10T10:00:00"),
        entry("doubtful", "2026-05-11T10:00:00", verdict="warn"),
        entry("later", "2026-05-13T10:00:00"),
        entry("longer", "2026-05-11T10:00:00", nominal_camera_length_m=0.25),
        entry("slower", "2026-05-11T10:00:00", voltage_kv=80.0),
        entry("binned", "2026-05-11T10:00:00", frame_shape=(257, 257)),
        entry("elsewhere", "2026-05-11T10:00:00", instrument="other"),
    ]
    assert previous_of(now, history).identity == "last"
    assert previous_of(now, history[2:]).identity == "doubtful"
    assert previous_of(now, history[3:]) is None
    assert previous_of(now, [now]) is None
    # zones count: 09:30 in UTC+2 is before 08:00 UTC
    zoned = entry("now", "2026-05-12T08:00:00+00:00")
    assert previous_of(zoned, [entry("a", "2026-05-12T09:30:00+02:00")]) is not None


def test_one_acquisition_is_known_by_its_first_header():
    raw = {"size_bytes": 5, "n_frames": 2, "first_header_sha256": "ab", "first_timestamp": "t", "hdr_sha256": None}
    assert data_identity(raw) == data_identity({"first_frame_sha256": "x", **raw, "size_bytes": 7})
    assert data_identity(raw) != data_identity(raw | {"first_timestamp": "u"})
    assert data_identity({"sha256": "a"}) != data_identity({"sha256": "b"})


def test_no_line_twice_and_always_in_order(tmp_path):
    path = tmp_path / "shared" / "history.jsonl"
    assert merge_history(path, [entry("b", "2026-05-02T10:00:00"), entry("a", "2026-05-01T10:00:00")]) == 2
    before = path.read_bytes()
    assert merge_history(path, [entry("a", "2026-05-01T10:00:00")]) == 0
    assert path.read_bytes() == before
    assert merge_history(path, [entry("a", "2026-05-01T10:00:00", revision=3)]) == 1
    assert [(one.identity, one.revision) for one in read_history(path)] == [("a", 3), ("b", 2)]
    assert len(path.read_text().splitlines()) == 2


def _add(path: Path, worker: int) -> None:
    for number in range(5):
        merge_history(path, [entry(f"{worker}-{number}", f"2026-05-{10 + worker}T10:00:0{number}")])


def test_sessions_that_end_together_lose_nothing(tmp_path):
    workers = [get_context("fork").Process(target=_add, args=(tmp_path / "h.jsonl", n)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(read_history(tmp_path / "h.jsonl")) == 20


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "line 2 is no calibration"),
        ('{"identity": "x"}', "line 2 is no calibration: label: Field required"),
        (entry("b").model_dump_json(by_alias=True)[:-40], "line 2 is no calibration"),
    ],
)
def test_a_broken_file_is_named_and_left_alone(tmp_path, text, problem):
    path = tmp_path / "h.jsonl"
    path.write_text(f"{entry('a').model_dump_json(by_alias=True)}\n{text}\n", encoding="utf-8")
    before = path.read_bytes()
    for action in (read_history, lambda broken: merge_history(broken, [entry("c")])):
        with pytest.raises(DataError, match=problem) as caught:
            action(path)
        assert "mend or remove the line, or move the file away" in str(caught.value)
    assert path.read_bytes() == before


def test_plain_files(tmp_path, capsys):
    """Two patterns with pixels 1 % apart, the second compared with the first; a broken history blocks nothing."""
    for name, pixel in (("a", 0.0200), ("b", 0.0202)):
        camera = Camera((116, 116), 59.3, 55.4, pixel, 1.03, 35.0, 200.0)
        source = gold_source(5, camera, scan_shape=(1, 1), phases=(gold_phase(grains_per_frame=0),), counts=2e6)
        write_pattern(tmp_path / f"{name}.tif", source.frames[0].astype(np.float32))

    def gold(name, day):
        words = ["gold", str(tmp_path / f"{name}.tif"), "--voltage-kv", "200", "--nominal-camera-length-m", "0.055"]
        words += ["--acquired-at", f"2026-05-{day}T10:00:00", "--history", str(tmp_path / "history.jsonl")]
        assert main([*words, "--instrument", "E02", "--no-progress", "-o", str(tmp_path / f"{name}.json")]) == 0
        return read_record(tmp_path / f"{name}.json", GoldRecord)

    assert gold("a", 10).drift is None
    drift = gold("b", 11).drift
    assert drift.previous.label == "a.tif"
    assert drift.pixel_size_change == pytest.approx(0.01, abs=3e-4)
    assert [flag.name for flag in drift.quality.flags] == ["drift_pixel_size"]
    before = (tmp_path / "history.jsonl").read_bytes() + b"half a li"
    (tmp_path / "history.jsonl").write_bytes(before)
    capsys.readouterr()
    assert gold("b", 11).drift is None
    assert "history.jsonl: line 3 is no calibration" in capsys.readouterr().err
    assert (tmp_path / "history.jsonl").read_bytes() == before


def test_the_verb_lists_and_draws(tmp_path, capsys):
    path = tmp_path / "h.jsonl"
    days = ((1, 0.0048), (2, 0.0048), (3, 0.0050))
    merge_history(path, [entry(f"{day}", f"2026-05-0{day}T10:00:00", **size(value)) for day, value in days])
    assert main(["history", str(path), "-o", str(tmp_path / "h.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ["moved" in line for line in lines] == [False, False, True]
    assert "pixel +4.17%" in lines[2]
    assert (tmp_path / "h.png").stat().st_size > 10_000
    assert main(["history", str(tmp_path / "absent")]) == 1
    assert "there is no such file" in capsys.readouterr().err
