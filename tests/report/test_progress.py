"""What a data set's files say of how far it came."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from stemcal.records.atomic import read_record
from stemcal.records.failure import FailureRecord
from stemcal.records.manifest import Dataset, Manifest
from stemcal.records.progress import Found, count_states, dataset_progress, judge, look
from stemcal.stages import digest, parameter

SETTINGS: dict[str, dict[str, object]] = {"polar": {"bin_width_px": 1.0}}
SOURCE: dict[str, object] = {"raw": {"identity": "x"}, "gold": []}


def dataset(**values: object) -> Dataset:
    defaults = {
        "id": "a/a", "label": "a", "role": "sample", "role_reason": "", "verdict": "ready", "reason": "complete",
        "mib": "a_data.mib", "hdr": None, "microscope_file": None, "identity": None, "n_frames_expected": None,
        "frame_shape": None, "itemsize": None, "acquired_at": None, "microscope": None,
        "stages": ("convert", "calibration", "polar"), "source": SOURCE,
    }  # fmt: skip
    return Dataset.model_validate(defaults | values)


def made(stage: str, verdict: str = "pass", *messages: str) -> Found:
    return Found(verdict, messages, json.loads(parameter(stage, SETTINGS, SOURCE)))


def refused(stage: str, category: str = "data", sha: str | None = None) -> Found:
    sha = sha or digest(parameter(stage, SETTINGS, SOURCE))
    return Found(
        failure=FailureRecord(dataset="a", stage=stage, category=category, message="no beam", parameter_sha256=sha)
    )


ALL = {stage: made(stage) for stage in ("convert", "calibration", "polar")}


def states(found: dict[str, Found], **values: object) -> tuple[str, dict[str, str]]:
    progress = judge(dataset(**values), found, SETTINGS)
    return progress.state, {stage.stage: stage.state for stage in progress.stages}


def test_all_done() -> None:
    assert states(ALL) == (
        "done",
        {
            "convert": "done",
            "gold": "absent",
            "gain": "absent",
            "geometry": "absent",
            "calibration": "done",
            "polar": "done",
        },
    )
    assert judge(dataset(), {**ALL, "polar": made("polar", "warn", "few counts")}, SETTINGS).verdict == "warn"


def test_what_is_not_there_yet_is_waiting() -> None:
    progress = judge(dataset(), {"convert": made("convert")}, SETTINGS)
    assert (progress.state, progress.reason) == ("waiting", "still to do: calibration, polar")


def test_a_verdict_of_fail_is_a_failure_with_its_words() -> None:
    progress = judge(dataset(), {**ALL, "polar": made("polar", "fail", "no rings", "no beam")}, SETTINGS)
    assert (progress.state, progress.reason) == ("failed", "polar: no rings; no beam")


def test_a_sample_whose_geometry_fails_is_a_sample_with_a_remark() -> None:
    stages = ("convert", "geometry", "calibration", "polar")
    found = {**ALL, "geometry": made("geometry", "fail", "no peaks")}
    progress = judge(dataset(stages=stages), found, SETTINGS)
    assert (progress.state, progress.verdict) == ("done", "warn")
    alone = judge(dataset(role="geometry", stages=stages[:2]), found, SETTINGS)
    assert (alone.state, alone.reason) == ("failed", "geometry: no peaks")


@pytest.mark.parametrize(
    ("category", "words"),
    [("data", "held until the file"), ("environment", "tried again"), ("bug", "please report it")],
)
def test_a_refusal_says_what_happens_next(category: str, words: str) -> None:
    progress = judge(dataset(), {**ALL, "polar": refused("polar", category)}, SETTINGS)
    assert progress.state == "failed"
    assert progress.reason.startswith("polar: no beam; ")
    assert words in progress.reason


def test_a_refusal_of_other_settings_no_longer_stands() -> None:
    assert states({**ALL, "polar": refused("polar", sha="0" * 64)})[0] == "waiting"


def test_a_record_of_another_input_or_setting_will_be_made_again() -> None:
    older = replace(made("polar"), made_by={**made("polar").made_by, "settings": {"bin_width_px": 2}})
    state, stages = states({**ALL, "polar": older})
    assert (state, stages["polar"]) == ("waiting", "waiting")


def test_a_whole_number_and_its_float_are_the_same_setting() -> None:
    same = replace(made("polar"), made_by={**made("polar").made_by, "settings": {"bin_width_px": 1}})
    assert states({**ALL, "polar": same})[0] == "done"


@pytest.mark.parametrize("verdict", ["growing", "incomplete", "rejected", "held", "ignored"])
def test_a_file_that_is_not_ready_keeps_the_word_of_discovery(verdict: str) -> None:
    progress = judge(dataset(verdict=verdict, reason="because", stages=()), {}, SETTINGS)
    assert (progress.state, progress.reason) == (verdict, "because")


def test_a_held_one_gives_the_cause_and_not_what_follows_from_it() -> None:
    found = {**ALL, "calibration": made("calibration", "fail", "no reference fits"), "polar": refused("polar")}
    progress = judge(dataset(verdict="held", reason="polar refused it: no calibration", stages=()), found, SETTINGS)
    assert (progress.state, progress.reason) == ("held", "calibration: no reference fits")


def test_an_archived_one_is_archived_with_what_it_has() -> None:
    progress = judge(dataset(verdict="archived", reason="its raw file is gone", stages=()), ALL, SETTINGS)
    assert progress.state == "archived"
    assert [stage.state for stage in progress.stages] == ["done", "absent", "absent", "absent", "done", "done"]


def test_an_unreadable_record_is_said(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a_convert.json").write_text("{")
    found = look(tmp_path, "a/a", "convert")
    progress = judge(dataset(), {"convert": found}, SETTINGS)
    assert progress.stages[0].state == "waiting"
    assert "cannot be read" in progress.stages[0].reason


def test_the_session_by_hand(hand_made) -> None:
    progress = dataset_progress(read_record(hand_made.manifest(), Manifest), hand_made.processing)
    assert count_states(progress) == {
        "failed": 1, "held": 1, "rejected": 1, "incomplete": 1, "growing": 1, "waiting": 1, "done": 3, "archived": 1,
    }  # fmt: skip
