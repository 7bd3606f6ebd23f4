from __future__ import annotations

from typing import Any

import pytest
from calibration_truth import CAMERA, gold_record

from stemcal.calibration.binding import Offer, bind
from stemcal.calibration.settings import CalibrationSettings
from stemcal.records.agreement import Scan

SCAN = Scan(200.0, 0.2, CAMERA.frame_shape, "2026-05-12T10:12:00+00:00")
SETTINGS = CalibrationSettings()


def offer(name: str = "a", verdict: str = "pass", **changes: Any) -> Offer:
    return Offer(name, gold_record(verdict, **changes))


def test_the_nearest_passing_one_is_chosen_and_says_why() -> None:
    far = offer("b", acquired_at="2026-05-12T06:00:00+00:00")
    binding = bind(SCAN, (offer("a"), far), SETTINGS)
    assert binding.chosen == 0
    assert binding.why == "nearest in time of 2 passing references at 200 kV and 0.2 m: 12 min earlier"
    assert binding.reasons == (binding.why, "fits, but another one comes first")
    assert binding.flags == ()


def test_the_given_order_is_respected_and_not_called_nearest() -> None:
    far = offer("b", acquired_at="2026-05-12T06:00:00+00:00")
    binding = bind(SCAN, (far, offer("a")), SETTINGS)
    assert binding.chosen == 0
    assert binding.why.startswith("first in the given order of 2 passing references")
    assert binding.why.endswith("4 h earlier")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"voltage_kv": 300.0}, "wrong voltage: 300 kV, the data have 200 kV (33 % apart, at most 0.5 %)"),
        ({"voltage_kv": None}, "the reference does not say its voltage"),
        (
            {"nominal_camera_length_m": 0.25},
            "wrong nominal camera length: 0.25 m, the data have 0.2 m (20 % apart, at most 1 %)",
        ),
        ({"frame_shape": (256, 256)}, "wrong frame shape: 256 x 256, the data have 96 x 112"),
        ({"frame_shape": None}, "wrong frame shape: not stated, the data have 96 x 112"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_reason(changes: dict[str, Any], reason: str) -> None:
    binding = bind(SCAN, (offer("b", **changes), offer("a")), SETTINGS)
    assert binding.chosen == 1
    assert binding.reasons[0] == reason


def test_within_the_tolerance_it_fits() -> None:
    near = offer(voltage_kv=200.4, nominal_camera_length_m=0.201)
    assert bind(SCAN, (near,), SETTINGS).chosen == 0
    tight = CalibrationSettings(camera_length_tolerance_percent=0.1)
    assert bind(SCAN, (near,), tight).chosen is None


def test_a_failed_reference_is_refused_with_its_first_flag() -> None:
    binding = bind(SCAN, (offer("b", "fail"),), SETTINGS)
    assert binding.chosen is None
    assert binding.why == "none of 1 references fits: b: the reference failed: the comb of rings is ambiguous"


def test_an_unreadable_reference_is_refused() -> None:
    binding = bind(SCAN, (Offer("b", None, "cannot be read (No such file or directory)"), offer("a")), SETTINGS)
    assert binding.chosen == 1
    assert binding.reasons[0] == "unreadable: cannot be read (No such file or directory)"


def test_a_passing_one_is_preferred_to_a_nearer_warned_one() -> None:
    binding = bind(SCAN, (offer("near", "warn"), offer("far", acquired_at="2026-05-11T10:30:00+00:00")), SETTINGS)
    assert binding.chosen == 1
    assert binding.reasons[0] == "fits, but carries a warning and another passed: the comb of rings is ambiguous"
    assert binding.why == "the only passing reference at 200 kV and 0.2 m: 24 h earlier"


def test_a_warned_one_serves_with_a_flag() -> None:
    binding = bind(SCAN, (offer("near", "warn"), offer("bad", "fail")), SETTINGS)
    assert binding.chosen == 0
    assert [flag.name for flag in binding.flags] == ["reference_warns"]
    assert binding.why.startswith("the only warned reference")


def test_an_old_reference_serves_with_a_flag() -> None:
    binding = bind(SCAN, (offer(acquired_at="2026-05-15T10:12:00+00:00"),), SETTINGS)
    assert binding.chosen == 0
    assert binding.why.endswith("3 d later")
    assert [flag.name for flag in binding.flags] == ["reference_age"]


@pytest.mark.parametrize("time", [None, "yesterday", "2026-05-12T10:00:00"])
def test_times_that_cannot_be_compared_are_not_guessed(time: str | None) -> None:
    binding = bind(SCAN, (offer(acquired_at=time),), SETTINGS)
    assert binding.chosen == 0
    assert binding.why.endswith("how far away in time is not known")


def test_a_scan_that_does_not_say_its_voltage_gets_none() -> None:
    binding = bind(Scan(None, 0.2, CAMERA.frame_shape, None), (offer(),), SETTINGS)
    assert binding.chosen is None
    assert binding.reasons == ("the data set does not say its voltage",)


def test_nothing_offered() -> None:
    assert bind(SCAN, (), SETTINGS).why == "no reference was offered"
