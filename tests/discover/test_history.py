"""What a gold data set is compared with is looked up once, and frozen."""

from __future__ import annotations

from pathlib import Path

from history_truth import entry

from stemcal.discover.history import history_path
from stemcal.history.file import merge_history
from stemcal.records.frozen import freeze
from stemcal.records.manifest import Dataset, Manifest
from stemcal.stages import parameter

from .conftest import AddScan, Discover

GOLD = "Au_xgrating"


def gold_of(manifest: Manifest) -> Dataset:
    return next(one for one in manifest.datasets.values() if one.role == "gold")


def compared_with(manifest: Manifest) -> list[str]:
    history = gold_of(manifest).source.get("history", [])
    assert isinstance(history, list)
    return [one["identity"] for one in history]


def earlier(name: str, day: int, **changes: object):
    return entry(name, f"2026-02-{day:02}T10:00:00", instrument="test", **changes)


def test_the_last_of_each_frame_shape_is_frozen(session: Path, add_scan: AddScan, discover: Discover) -> None:
    add_scan(GOLD)
    add_scan("sample")
    history = [earlier("a", 1), earlier("b", 2), earlier("c", 3, frame_shape=(8, 8)), earlier("d", 4, voltage_kv=80)]
    history += [entry("e", "2026-04-01T10:00:00", instrument="test"), entry("f", "2026-02-05T10:00:00")]
    merge_history(session / "processing" / ".stemcal" / "gold-history.jsonl", history)
    manifest = discover()
    assert compared_with(manifest) == ["c", "b"]
    assert [one.identity for one in manifest.gold_history] == ["a", "b", "c"]
    others = [one.source for one in manifest.datasets.values() if one.role != "gold"]
    assert not any("history" in source for source in others)
    assert '"identity":"b"' in parameter("gold", manifest.settings, gold_of(manifest).source)
    assert [one.identity for one in discover(history_length=1).gold_history] == ["c"]


def test_what_comes_to_be_known_later_runs_nothing_again(session: Path, add_scan: AddScan, discover: Discover) -> None:
    shared = session.parent / "e02.jsonl"
    add_scan(GOLD)
    before = freeze(discover(history_file=str(shared)), session / "processing")
    assert "history" not in gold_of(before).source
    merge_history(shared, [earlier("a", 1)])
    again = discover(history_file=str(shared), previous=before)
    assert again.model_copy(update={"path": before.path}) == before
    # a gold data set that is new in this tick is compared with what is known now
    add_scan(f"{GOLD}_2", minutes_ago=50)
    both = discover(history_file=str(shared), previous=before)
    new = next(one for one in both.datasets.values() if one.label.startswith(f"{GOLD}_2"))
    assert [one["identity"] for one in new.source["history"]] == ["a"]  # type: ignore[attr-defined]
    assert "history" not in both.datasets[gold_of(before).id].source
    assert [one.identity for one in both.gold_history] == ["a"]


def test_a_broken_history_blocks_nothing(session: Path, add_scan: AddScan, discover: Discover) -> None:
    add_scan(GOLD)
    path = history_path(session / "processing", ".stemcal/gold-history.jsonl")
    path.parent.mkdir(parents=True)
    path.write_text("{}\n", encoding="utf-8")
    manifest = discover()
    assert gold_of(manifest).stages == ("convert", "gold")
    (warning,) = manifest.warnings
    assert warning == (
        ".stemcal/gold-history.jsonl: line 1 is no calibration: identity: Field required; mend or remove the line, or "
        "move the file away; until then nothing is compared with it or added to it"
    )
