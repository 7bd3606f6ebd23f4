"""The page says everything, in one file, in the same bytes at every run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from geometry_record_truth import geometry_record, scan_to_camera
from PIL import Image

from stemcal.errors import DataError
from stemcal.records.atomic import read_record
from stemcal.records.calibration import BoundGain, BoundScanToCamera
from stemcal.records.session import SessionRecord
from stemcal.report.page import headline
from stemcal.report.pictures import picture, thumbnail, width_for
from stemcal.report.run import run_report

from .conftest import Builder, quality


class Reader(HTMLParser):
    """Collects what a browser would see: text, rows, references, images."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.references, self.states, self.images, self.tags = "", [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        self.references += [value for key, value in attrs if key in {"src", "href", "srcset", "poster", "action"}]
        if tag == "tr" and "data-state" in values:
            self.states.append(values["data-state"])
        if tag == "img":
            self.images.append(values)

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def reported(hand_made):
    record = run_report(hand_made.manifest(), hand_made.processing, source={})
    html = (hand_made.processing / "session.html").read_text(encoding="utf-8")
    return record, html, Reader(html)


def test_one_row_per_file(reported, hand_made) -> None:
    assert len(reported[2].states) == len(hand_made.datasets) == 10


def test_every_reference_stays_inside_the_file(reported) -> None:
    _, html, page = reported
    assert page.references
    assert all(reference.startswith(("data:", "#")) for reference in page.references)
    assert not re.search(r"https?://|//[a-z]|@import|url\(", re.sub(r"data:image/webp;base64,[^\"]*", "", html))
    assert "default-src 'none'" in html


def test_every_sentence_of_a_refusal_is_on_the_page(reported) -> None:
    for sentence in (
        "no beam found in 40 % of the frames; look at its overview; it is held until the file, its settings or the",
        "it holds 41216 of 65536 frames; the acquisition was stopped",
        "it is no Merlin file: the first bytes are not MQ1",
        "no scan shape fits 65531 frames",
        "ring 331 lies half outside the detector: it was not used",
        "raw/odd.txt belongs to no acquisition",
        "the only reference at 200 kV and 0.2 m, 61 minutes apart",
        "3 of 10 data sets are done. 4 need a person to look and 2 are still under way.",
        "0.0048213 ± 0.0000027\u00a0Å⁻¹",
    ):
        assert sentence in reported[2].text, sentence


def test_naughty_names_are_text(reported, hand_made) -> None:
    _, html, page = reported
    label = next(one.label for one in hand_made.datasets.values() if "<script>" in one.label)
    assert label in page.text
    assert "<script>alert" not in html
    assert page.tags.count("script") == 1
    assert "cm33902-5 <b>" in page.text
    assert "b" not in page.tags[: page.tags.index("h1") + 3]


def test_every_image_has_words_and_a_size(reported) -> None:
    images = reported[2].images
    assert len(images) > 12
    assert all(one["alt"] and one["width"] and one["height"] for one in images)


def test_the_record_holds_the_same_facts(reported, hand_made) -> None:
    record = read_record(hand_made.processing / "session.json", SessionRecord)
    assert record == reported[0]
    assert record.quality.verdict == "warn"
    assert {flag.name for flag in record.quality.flags} == {"failed", "held", "rejected", "incomplete"}
    scan = next(one for one in record.result.datasets if one.id.endswith("110100"))
    assert scan.calibrated_by == "Au_xgrating/20260301_100000"
    gold = record.result.calibrations[0]
    assert len(gold.serves) == 3
    (group,) = record.result.factorisations
    assert (group.state, group.n_components) == ("done", 3)


def test_another_run_gives_the_same_bytes(reported, hand_made) -> None:
    first = contents(hand_made.processing)
    command = [sys.executable, "-c", "import sys; from stemcal.cli import main; sys.exit(main())", "report"]
    arguments = [str(hand_made.manifest()), "-o", str(hand_made.processing)]
    subprocess.run([*command, *arguments], check=True, stdout=subprocess.DEVNULL)
    assert contents(hand_made.processing) == first


def contents(processing: Path) -> list[str]:
    """Page and record without the commit, which may change while the tests run in a checkout that is worked in."""
    texts = [(processing / name).read_text(encoding="utf-8") for name in ("session.html", "session.json")]
    commit = read_record(processing / "session.json", SessionRecord).provenance.commit
    return [text.replace(commit, "commit") if commit else text for text in texts]


def test_broken_files_are_said_and_do_not_stop_the_page(hand_made, tmp_path: Path) -> None:
    processing = tmp_path / "processing"
    shutil.copytree(hand_made.processing, processing)
    scan = next(one for one in hand_made.datasets if one.endswith("110100"))
    (processing / f"{scan}_calibration.json").write_text('{"schema": "stemcal/calibration/0"}')
    (processing / f"{scan}_overview.png").write_bytes(b"no picture")
    (processing / "nmf" / "200kV_200mm_515x515" / "nmf.json").write_text("{")
    record = run_report(processing / ".stemcal" / "manifest.json", processing, source={})
    entry = next(one for one in record.result.datasets if one.id == scan)
    assert entry.state == "waiting"
    assert any("is not a CalibrationRecord record" in remark.message for remark in entry.remarks)
    assert record.result.factorisations[0].state == "failed"


def test_a_session_without_data_sets_has_a_page(tmp_path: Path, hand_made) -> None:
    manifest = json.loads(hand_made.manifest().read_text())
    processing = tmp_path / "processing"
    processing.mkdir()
    (processing / "manifest.json").write_text(json.dumps(manifest | {"datasets": {}}))
    record = run_report(processing / "manifest.json", processing, source={})
    assert record.result.datasets == ()
    assert headline(record.result) == "No data set has been found yet."
    assert record.quality.verdict == "pass"


def test_a_manifest_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match="is not a Manifest"):
        run_report(tmp_path / "manifest.json", tmp_path, source={})


def test_figures_shrink_as_they_get_many() -> None:
    widths = [width_for(number) for number in (1, 60, 61, 240, 600, 2000)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] >= 1100
    assert widths[-1] >= 500


def test_the_preview_is_the_upper_row_of_an_overview(tmp_path: Path) -> None:
    for name, size in (("two_rows", (800, 400)), ("one_row", (800, 200))):
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    assert thumbnail(tmp_path / "two_rows.png").height == thumbnail(tmp_path / "one_row.png").height
    assert thumbnail(tmp_path / "absent.png") is None


def test_a_picture_keeps_its_proportions(hand_made) -> None:
    path = next(hand_made.processing.rglob("*_overview.png"))
    large, small = picture(path, 5000), picture(path, 200)
    assert small.width == 200
    assert small.height == pytest.approx(large.height * 200 / large.width, abs=1)
    assert len(small.uri) < len(large.uri)


def test_a_gain_reference_has_a_table_of_its_own(tmp_path: Path, reported) -> None:
    session = Builder(tmp_path)
    good, bad = (session.dataset(f"20260301_1000{second}0", role="gain") for second in (0, 1))
    for gain in (good, bad):
        session.convert(gain)
    session.gain(good)
    session.gain(bad, quality("fail", "the gain is known to 9 % only"), None)
    scan = session.dataset("20260301_110100", gain_candidates=(good.id,), gain_reason="one gain reference")
    session.convert(scan)
    path = "../../gain/20260301_100000/20260301_100000_gain"
    bound = BoundGain(source=f"{path}.json", file=f"{path}.hdf5", sha256="0", parity="separate", why="1 h earlier")
    session.calibration(scan, bound)
    record = run_report(session.manifest(), session.processing, source={})
    assert [(one.verdict, one.gain_spread, one.n_faulty_pixels) for one in record.result.gains] == [
        ("pass", 0.0412, 42),
        ("fail", None, None),
    ]
    assert record.result.gains[0].serves == (scan.label,)
    told = next(one for one in record.result.datasets if one.id == scan.id)
    assert (told.gain_by, told.gain_reason) == (good.label, "1 h earlier")
    page = Reader((session.processing / "session.html").read_text(encoding="utf-8"))
    assert "Gain of the detector" in page.text
    for words in ("4.1", "corrected apart", "the gain is known to 9 % only", "Gain of the detector's pixels"):
        assert words in page.text
    # the counter-test: a session without one says nothing of it
    assert "Gain of the detector" not in reported[2].text


def test_geometries_have_a_table_of_their_own(tmp_path: Path, reported) -> None:
    session = Builder(tmp_path)
    stages = ("convert", "geometry", "calibration", "polar")
    good, bad = (session.dataset(f"20260301_1000{second}0", stages=stages) for second in (0, 1))
    scan = session.dataset("20260301_110100")
    for one in (good, bad, scan):
        session.convert(one)
    session.geometry(good, geometry_record())
    session.geometry(bad, geometry_record("fail"))
    measured = scan_to_camera().model_dump(exclude={"scale_source", "disk_shift_px"})
    path = "../20260301_100000/20260301_100000_geometry.json"
    bound = BoundScanToCamera(
        **measured,
        geometry_source="pooled",
        scale_source="measured",
        sources=(path,),
        chi_square=None,
        degrees_of_freedom=0,
        why="not measured on this data set",
    )
    session.calibration(scan, geometry=bound)
    record = run_report(session.manifest(), session.processing, source={})
    assert [(one.verdict, one.flip, one.serves) for one in record.result.geometries] == [
        ("pass", False, (scan.label,)),
        ("fail", None, ()),
    ]
    told = {one.id: one for one in record.result.datasets}
    assert told[scan.id].geometry_reason == "not measured on this data set"
    assert [one.message for one in told[bad.id].remarks] == ["2 peaks, at least 4 are needed"]
    page = Reader((session.processing / "session.html").read_text(encoding="utf-8"))
    for words in ("Scan and camera", "31.00 ± 0.05°", "not flipped", "half turn known", "2 peaks, at least 4"):
        assert words in page.text
    # the counter-test: a session without one says nothing of it
    assert "Scan and camera" not in reported[2].text


def test_the_camera_over_time(hand_made) -> None:
    """This session's gold is compared with the last that passed, which is not the last there is."""
    record = run_report(hand_made.manifest(), hand_made.processing, source={})
    *past, last = record.result.history
    assert [point.entry.identity for point in past] == ["3", "10", "17", "24"]
    assert not any(point.of_this_session for point in past)
    assert last.of_this_session
    assert last.drift is not None
    assert last.drift.previous.identity == "17"
    (flag,) = last.drift.quality.flags
    assert flag.message == "the pixel size has changed by -1.00% (12 sigma) since 2026-02-17 10:00:00 (session/17)"
    assert flag.message in record.result.calibrations[0].remarks
    html = (hand_made.processing / "session.html").read_text(encoding="utf-8")
    assert "The camera over time" in html
    assert html.count("has moved") == 2
    assert "nothing to compare with" in html


def test_no_past_no_section(hand_made, tmp_path: Path) -> None:
    shutil.copytree(hand_made.processing, tmp_path / "processing")
    manifest = json.loads(hand_made.manifest().read_text())
    path = tmp_path / "processing" / "manifest.json"
    path.write_text(json.dumps(manifest | {"gold_history": []}))
    record = run_report(path, tmp_path / "processing", source={})
    assert [point.drift for point in record.result.history] == [None]
    assert "The camera over time" not in (tmp_path / "processing" / "session.html").read_text(encoding="utf-8")
