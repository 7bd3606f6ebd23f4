from __future__ import annotations

import pytest

from stemcal.frames.scan_shape import Disagreement, ScanShape, Witness, decide, witnesses


def decided(n_frames: int, **said: object) -> ScanShape | Disagreement:
    user = said.pop("user", None)
    return decide(n_frames, witnesses(n_frames, **said), user)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("n_frames", "said", "shape", "sources"),
    [
        (65536, {"hdr_scan": (256, 256)}, (256, 256), ["hdr_scan", "frame_count"]),
        (51200, {"hdr_scan": (200, 256)}, (200, 256), ["hdr_scan"]),
        (51200, {"frames_per_trigger": 256}, (200, 256), ["hdr_frames_per_trigger"]),
        (65536, {"scan_size_px": 256}, (256, 256), ["microscope", "frame_count"]),
        (65280, {"scan_size_px": 256}, (255, 256), ["microscope"]),
        (16256, {"scan_size_px": 128, "frames_per_trigger": 128}, (127, 128), ["hdr_frames_per_trigger", "microscope"]),
        (65536, {"scan_size_px": 256, "frames_per_trigger": 65536}, (256, 256), ["microscope", "frame_count"]),
        (65536, {"scan_size_px": 256, "frames_per_trigger": 1}, (256, 256), ["microscope", "frame_count"]),
        (8, {"hdr_scan": (2, 4), "frames_per_trigger": 4}, (2, 4), ["hdr_scan", "hdr_frames_per_trigger"]),
    ],
)
def test_witnesses_that_agree_are_believed(
    n_frames: int, said: dict[str, object], shape: tuple[int, int], sources: list[str]
) -> None:
    decision = decided(n_frames, **said)
    assert isinstance(decision, ScanShape)
    assert decision.scan_shape == shape
    assert [item.source for item in decision.evidence] == sources
    assert decision.flags == ()


@pytest.mark.parametrize(
    ("n_frames", "said", "words"),
    [
        (65536, {"hdr_scan": (128, 512), "scan_size_px": 256}, ["128 x 512", "256 x 256"]),
        (65538, {"scan_size_px": 256}, ["scan size 256 px (does not fit 65538 frames)"]),
        (65535, {"frames_per_trigger": 256}, ["256 frames per trigger (does not fit 65535 frames)"]),
        (65536, {"frames_per_trigger": 128, "scan_size_px": 256}, ["512 x 128", "256 x 256"]),
    ],
)
def test_disagreement_is_never_resolved_by_a_guess(n_frames: int, said: dict[str, object], words: list[str]) -> None:
    decision = decided(n_frames, **said)
    assert isinstance(decision, Disagreement)
    for word in words:
        assert word in decision.statements


def test_a_person_wins_over_all_and_the_others_stay_on_record() -> None:
    decision = decided(65536, user=(128, 512), scan_size_px=256)
    assert isinstance(decision, ScanShape)
    assert decision.scan_shape == (128, 512)
    assert [item.source for item in decision.evidence] == ["user", "microscope", "frame_count"]


def test_a_square_number_of_frames_is_believed_with_a_warning() -> None:
    decision = decided(9, frames_per_trigger=9)
    assert isinstance(decision, ScanShape)
    assert decision.scan_shape == (3, 3)
    assert [flag.name for flag in decision.flags] == ["scan_shape_guessed"]


def test_without_any_witness_the_frames_stay_a_line() -> None:
    decision = decided(8)
    assert isinstance(decision, ScanShape)
    assert decision.scan_shape == (1, 8)
    assert [flag.name for flag in decision.flags] == ["scan_shape_unknown"]
    assert "--scan-shape ROWS,COLS" in decision.flags[0].message


def test_a_single_frame_needs_no_witness() -> None:
    decision = decided(1, scan_size_px=256)
    assert isinstance(decision, ScanShape)
    assert decision.scan_shape == (1, 1)
    assert decision.flags == ()


def test_a_square_does_not_overrule_a_witness() -> None:
    decision = decided(16, frames_per_trigger=8)
    assert isinstance(decision, ScanShape)
    assert decision.scan_shape == (2, 8)
    assert decision.flags == ()


def test_witnesses_come_in_the_order_of_their_weight() -> None:
    heard = witnesses(64, hdr_scan=(8, 8), frames_per_trigger=8, scan_size_px=8)
    assert [witness.source for witness in heard] == ["hdr_scan", "hdr_frames_per_trigger", "microscope", "frame_count"]
    assert all(isinstance(witness, Witness) and witness.scan_shape == (8, 8) for witness in heard)
