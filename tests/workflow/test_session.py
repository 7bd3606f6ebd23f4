"""The whole way: a raw session goes in, results and a page come out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 (registers the filters)
import numpy as np
import pytest

from stemcal.formats.chip_gap import insert_gap
from stemcal.records.atomic import read_record
from stemcal.records.convert import ConvertRecord
from stemcal.records.frozen import read_latest
from stemcal.records.gold import GoldRecord
from stemcal.records.manifest import Manifest
from stemcal.records.nmf import NmfRecord

from .conftest import digests, stemcal

pytestmark = pytest.mark.session

PER_SAMPLE = (
    "data.hdf5",
    "convert.json",
    "overview.png",
    "calibration.json",
    "calibration.png",
    "azimuthal_mean.hspy",
    "azimuthal_var.hspy",
    "polar.hdf5",
    "polar.json",
    "polar.png",
)


def truths(session: Path) -> dict[str, dict[str, Any]]:
    return dict(json.loads((session / "truth.json").read_text())["datasets"])


@pytest.fixture(scope="module")
def session(processed_once: tuple[Path, str]) -> Path:
    return processed_once[0]


@pytest.fixture(scope="module")
def manifest(session: Path) -> Manifest:
    found = read_latest(session / "processing")
    assert found is not None
    return found


def test_it_ends_by_naming_the_page(processed_once: tuple[Path, str]) -> None:
    folder, said = processed_once
    page = folder / "processing" / "session.html"
    assert said.splitlines()[-1] == f"session page: {page}"
    assert page.stat().st_size > 10_000


def test_every_file_has_the_verdict_that_the_truth_says(session: Path, manifest: Manifest) -> None:
    expected = {name: truth["expected_verdict"] for name, truth in truths(session).items()}
    assert {one.mib: one.verdict for one in manifest.datasets.values()} == expected
    assert set(expected.values()) == {"ready", "growing", "incomplete", "rejected"}


def test_every_result_is_there(session: Path, manifest: Manifest) -> None:
    processing = session / "processing"
    for one in manifest.datasets.values():
        if one.role == "sample" and one.verdict == "ready":
            missing = [end for end in PER_SAMPLE if not (processing / f"{one.id}_{end}").is_file()]
            assert missing == []
            assert one.group is not None
            assert (processing / "nmf" / one.group / "nmf.hdf5").is_file()
    assert not list(processing.rglob("*.partial*"))
    assert not list(processing.rglob("*.failure.json"))


def test_converted_frames_equal_the_raw_ones(session: Path, manifest: Manifest) -> None:
    from rsciio.quantumdetector import file_reader

    one = next(one for one in manifest.datasets.values() if one.verdict == "ready" and one.role == "gold")
    record = read_record(session / "processing" / f"{one.id}_convert.json", ConvertRecord)
    assert record.result is not None
    (expected,) = file_reader(str(session / one.mib), navigation_shape=record.result.scan_shape[::-1])
    with h5py.File(session / "processing" / f"{one.id}_data.hdf5") as file:
        (experiment,) = file["Experiments"].values()
        with_gap = insert_gap(np.asarray(expected["data"]), record.result.chip_gap_px)
        np.testing.assert_array_equal(experiment["data"][...], with_gap)
        assert record.result.chip_gap_px == 3


def test_gold_is_measured_within_its_own_uncertainty(session: Path, manifest: Manifest) -> None:
    one = next(one for one in manifest.datasets.values() if one.verdict == "ready" and one.role == "gold")
    truth = truths(session)[one.mib]
    result = read_record(session / "processing" / f"{one.id}_gold.json", GoldRecord).result
    assert result is not None
    for quantity, true in (
        (result.ellipse.ratio, truth["ellipse_ratio"]),
        (result.ellipse.angle_deg, truth["ellipse_angle_flipped_deg"]),
        (result.pixel_size.area_preserving, truth["pixel_size_per_angstrom"]),
        (result.pixel_size.minor_axis, truth["pixel_size_minor_axis_per_angstrom"]),
    ):
        assert quantity.sigma is not None
        assert abs(quantity.value - true) <= 4 * quantity.sigma


def test_the_factorisation_took_all_samples(session: Path, manifest: Manifest) -> None:
    samples = [one for one in manifest.datasets.values() if one.role == "sample" and one.verdict == "ready"]
    record = read_record(session / "processing" / "nmf" / str(samples[0].group) / "nmf.json", NmfRecord)
    assert [member.used for member in record.members] == [True] * len(samples)


def test_every_class_has_its_pattern_and_the_edx_map_found_its_scan(session: Path, manifest: Manifest) -> None:
    samples = [one for one in manifest.datasets.values() if one.role == "sample" and one.verdict == "ready"]
    folder = session / "processing" / "nmf" / str(samples[0].group)
    record = read_record(folder / "nmf.json", NmfRecord)
    assert [one.no_patterns for one in record.classes] == [None] * len(samples)
    assert [one.no_area for one in record.classes] == [None] * len(samples)
    (bound,) = [one for one in samples if one.edx]
    (entry,) = record.edx
    assert bound.edx is not None
    assert (folder / entry.path).resolve() == (session / bound.edx.file).resolve()
    assert bound.id.endswith(entry.dataset)
    assert entry.reason is None
    compared = {line.name for line in entry.lines if line.compared}
    assert {"Al K", "Si K"} <= compared
    with h5py.File(folder / "nmf_classes.hdf5") as file:
        group = file[f"datasets/{entry.dataset}"]
        assert np.nanmax(group["mean_patterns"][...]) > 0
        assert group["edx/net_counts"].shape[1:] == entry.scan_shape


def test_bytes_do_not_depend_on_place_time_or_cores(session: Path, raw: Path) -> None:
    stemcal("process", raw, "--cores", "1")
    assert digests(raw / "processing") == digests(session / "processing")


def test_snakemake_makes_its_own_report_with_captions(processed: Path) -> None:
    target = processed / "report.html"
    stemcal("process", processed, "--snakemake", "--report", target)
    text = target.read_text(encoding="utf-8")
    for caption in ("virtual bright and dark field", "Rings of gold in", "Factorisation of the radial profiles"):
        assert caption in text


def test_status_says_where_everything_stands(session: Path) -> None:
    said = stemcal("status", session)
    for word in ("done", "growing", "incomplete", "rejected"):
        assert word in said
