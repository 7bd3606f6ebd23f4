from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stemcal.convert.sequence import count_frames, frame_flags
from stemcal.formats.merlin.writer import write_mib
from stemcal.frames.mib import MibSource
from stemcal.records.convert import FrameCounts

GOOD = FrameCounts(
    in_file=60,
    positions=60,
    ok=60,
    missing=0,
    fly_back=0,
    spikes=0,
    outside_scan=0,
    duplicates=0,
    unreadable=0,
    restarts=(),
    first_number=1,
)


def numbers(*parts: int | range) -> NDArray[np.int64]:
    return np.array([n for part in parts for n in ([part] if isinstance(part, int) else part)], np.int64)


def counted(path: Path, sequence: NDArray[np.int64], scan_shape: tuple[int, int]) -> FrameCounts:
    """Write tiny frames with these numbers, an unreadable header for -1, and count them."""
    layout = write_mib(path, [np.ones((len(sequence), 2, 2), np.uint16)], sequence=np.maximum(sequence, 0))
    with path.open("r+b") as file:
        for frame in np.flatnonzero(sequence < 0):
            file.seek(int(frame) * layout.stride_bytes)
            file.write(b"?" * 10)
    with MibSource(path, scan_shape) as source:
        return count_frames(source)


@pytest.mark.parametrize(
    ("sequence", "scan_shape", "wanted"),
    [
        (numbers(range(1, 61)), (6, 10), {}),
        (numbers(range(1, 31), range(33, 61)), (6, 10), {"in_file": 58, "ok": 58, "missing": 2}),
        (numbers(range(1, 31), 30, range(31, 61)), (6, 10), {"in_file": 61, "outside_scan": 1, "duplicates": 1}),
        (numbers(range(1, 31), range(1, 31)), (6, 10), {"restarts": (30,)}),
        (numbers(1, 2, 4, 3, range(5, 61)), (6, 10), {}),
        (numbers(range(1, 31), -1, range(32, 61)), (6, 10), {"unreadable": 1}),
        (numbers(range(5, 65)), (6, 10), {"first_number": 5}),
        (numbers(range(1, 64)), (6, 10), {"in_file": 63, "outside_scan": 3}),
        (numbers(range(1, 57)), (6, 10), {"in_file": 56, "ok": 56, "missing": 4}),
    ],
)
def test_what_became_of_every_frame_is_counted(
    tmp_path: Path, sequence: NDArray[np.int64], scan_shape: tuple[int, int], wanted: dict[str, object]
) -> None:
    counts = counted(tmp_path / "a.mib", sequence, scan_shape)
    assert counts == GOOD.model_copy(update=wanted)
    assert counts.positions - counts.missing + counts.outside_scan == counts.in_file


def test_a_good_acquisition_raises_no_flag() -> None:
    assert frame_flags(GOOD) == ()
    assert frame_flags(GOOD.model_copy(update={"fly_back": 6, "outside_scan": 2, "ok": 54})) == ()
    assert frame_flags(GOOD.model_copy(update={"first_number": None})) == ()


@pytest.mark.parametrize(
    ("update", "name", "value", "words"),
    [
        ({"missing": 2}, "frames_missing", 2, "2 of 60 positions have no frame"),
        ({"duplicates": 3}, "frames_twice", 3, "3 frames have a number that came before"),
        ({"unreadable": 1}, "headers_unreadable", 1, "1 frames have no readable number"),
        ({"restarts": (30, 45)}, "numbering_restarts", 2, "begins again at frame 31, 46"),
        ({"first_number": 5}, "sequence_start", 5, "the first frame is number 5, not 1"),
        ({"spikes": 4}, "exposure_spikes", 4, "4 frames were exposed for longer"),
    ],
)
def test_each_thing_that_is_wrong_is_one_flag(update: dict[str, object], name: str, value: int, words: str) -> None:
    (flag,) = frame_flags(GOOD.model_copy(update=update))
    assert (flag.name, flag.value) == (name, value)
    assert words in flag.message
