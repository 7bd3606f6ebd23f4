"""The cases that a flow of fly-back pulses, a table of frame counts and a median gap are known to get wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from stemcal.frames.scan import DoesNotFit, ScanLayout, decide

DWELL_NS, FLY_BACK_NS = 600_000, 40_000_000
COUNT_TABLE = {262144: (512, 512), 261632: (511, 512), 65536: (256, 256), 65280: (255, 256), 16384: (128, 128)}


def exposures(
    rows: int,
    cols: int,
    col: int | None = -1,
    *,
    lead: int = 0,
    trail: int = 0,
    dwell_ns: int = DWELL_NS,
    fly_back_ns: int = FLY_BACK_NS,
) -> NDArray[np.int64]:
    """Return the exposures of a scan whose column ``col`` is fly-back, (lead + rows * cols + trail,)."""
    scan = np.full((rows, cols), dwell_ns, np.int64)
    if col is not None:
        scan[:, col] = fly_back_ns
    return np.concatenate([np.full(lead, dwell_ns, np.int64), scan.ravel(), np.full(trail, dwell_ns, np.int64)])


def with_spikes(values: NDArray[np.int64], *slots: int) -> NDArray[np.int64]:
    values = values.copy()
    values[list(slots)] = FLY_BACK_NS
    return values


def jittered(values: NDArray[np.int64], relative: float) -> NDArray[np.int64]:
    """Return ``values`` with a uniform jitter; no two of a million are alike."""
    factor = 1 + relative * np.random.default_rng(5).uniform(-1, 1, values.size)
    return (values * factor).astype(np.int64) + np.arange(values.size) % 997


def lead_in(dwell_ns: int, pulses_ns: tuple[int, ...], frames: int) -> NDArray[np.int64]:
    values = np.full(frames, dwell_ns, np.int64)
    values[np.linspace(1, frames - 20, len(pulses_ns)).astype(int)] = pulses_ns
    return values


def decided(values: NDArray[np.int64] | int, **said: object) -> ScanLayout:
    if isinstance(values, int):
        values = np.full(values, DWELL_NS, np.int64)
    layout = decide(values.size, exposure_ns=values, **said)  # type: ignore[arg-type]
    assert not isinstance(layout, DoesNotFit)
    return layout


@dataclass(frozen=True)
class Case:
    values: NDArray[np.int64] | int
    shape: tuple[int, int]
    first_slot: int = 0
    fly_back: tuple[int, ...] = ()
    spikes: int = 0
    said: dict[str, object] = field(default_factory=dict)


FULL = exposures(256, 256)
SPIKES = [slot for slot in np.random.default_rng(4).choice(65536, 300, replace=False) if slot % 256 != 255]
DECIDED = {
    "256 last": Case(FULL, (256, 256), 0, (255,)),
    "256 first": Case(exposures(256, 256, 0), (256, 256), 0, (0,)),
    "512 last": Case(exposures(512, 512), (512, 512), 0, (511,)),
    "128 last": Case(exposures(128, 128), (128, 128), 0, (127,)),
    "64 last": Case(exposures(64, 64), (64, 64), 0, (63,)),
    "32 last": Case(exposures(32, 32), (32, 32), 0, (31,)),
    "16 last": Case(exposures(16, 16), (16, 16), 0, (15,)),
    "136 lead-in": Case(exposures(256, 256, lead=136), (256, 256), 136, (255,)),
    "136 lead-in, first": Case(exposures(256, 256, 0, lead=136), (256, 256), 136, (0,)),
    "cut at 40000": Case(FULL[:40000], (157, 256), 0, (255,)),
    "spike at 30000": Case(with_spikes(FULL, 30000), (256, 256), 0, (255,), 1),
    "spike in last row": Case(with_spikes(FULL, 65_315), (256, 256), 0, (255,), 1),
    "spikes in every line": Case(with_spikes(FULL, *SPIKES), (256, 256), 0, (255,), len(SPIKES)),
    "one lost, hole": Case(np.where(np.arange(65536) == 50000, -1, FULL), (256, 256), 0, (255,)),
    "fly-back 4x": Case(exposures(256, 256, fly_back_ns=4 * DWELL_NS), (256, 256), 0, (255,)),
    "fly-back 2x, jitter 2.5 %": Case(
        jittered(exposures(256, 256, dwell_ns=903_000, fly_back_ns=1_806_000), 0.0125), (256, 256), 0, (255,)
    ),
    "all values distinct": Case(FULL + np.arange(65536) % 399, (256, 256), 0, (255,)),
    "EDX 256": Case(65280, (255, 256)),
    "EDX 128": Case(16256, (127, 128)),
    "EDX 256, stated": Case(65280, (255, 256), said={"scan_size_px": 256}),
    "EDX 128, stated": Case(16256, (127, 128), said={"scan_size_px": 128}),
    "EDX 200, stated": Case(39800, (199, 200), said={"scan_size_px": 200}),
    "EDX, 40 spikes": Case(
        with_spikes(np.full(65280, DWELL_NS), *np.random.default_rng(1).choice(65280, 40, replace=False)),
        (255, 256),
        spikes=40,
    ),
    "200 x 256": Case(exposures(200, 256), (200, 256), 0, (255,)),
    "2 rows": Case(exposures(2, 256), (2, 256), 0, (255,)),
    "line skip 257": Case(exposures(256, 257), (256, 257), 0, (256,), said={"scan_size_px": 256}),
    "line skip 257, unstated": Case(exposures(256, 257), (256, 257), 0, (256,)),
    "2 extra before": Case(exposures(256, 256, lead=2), (256, 256), 2, (255,)),
    "2 extra behind": Case(exposures(256, 256, trail=2), (256, 256), 0, (255,)),
    "1 before, 1 behind": Case(exposures(256, 256, lead=1, trail=1), (256, 256), 1, (255,)),
    "setting wrong": Case(FULL, (256, 256), 0, (255,), said={"scan_size_px": 512}),
    "rectangle with lead-in": Case(exposures(300, 411, lead=90), (300, 411), 90, (410,)),
}
PULSES = {
    "0.7 ms, 136": (700_000, (39_200_000, 41_300_000, 12_625_000), 136, 42_000_000),
    "1 ms, 101": (1_000_000, (64_000_000, 67_000_000, 17_607_000), 101, 65_000_000),
    "1 ms, 68": (1_000_000, (18_260_000, 66_000_000), 68, 65_000_000),
    "1 ms, 90": (1_000_000, (66_000_000, 71_000_000, 17_825_000), 90, 65_000_000),
}
OPEN = {
    "one lost, no hole": (np.delete(FULL, 50000), {}),
    "one lost, no hole, stated": (np.delete(FULL, 50000), {"scan_size_px": 256}),
    "1 row": (exposures(1, 256), {}),
    "2 extra, no fly-back": (65538, {}),
    "2 extra, no fly-back, stated": (65538, {"scan_size_px": 256}),
    "free scan": (12345, {}),
    "free scan, stated": (12345, {"scan_size_px": 256}),
    "free scan, pulses": (with_spikes(np.full(12345, DWELL_NS), *np.cumsum(np.arange(20, 140))), {"scan_size_px": 128}),
    "plain series of 9": (9, {}),
    "plain series of 9, one trigger": (9, {"frames_per_trigger": 9}),
    "plain series of 12": (12, {}),
    "plain series of 1000": (1000, {"frames_per_trigger": 1}),
    "bare square": (65536, {}),
    "round square": (10000, {}),
    "EDX of an unusual size": (39800, {}),
    "two scans": (np.concatenate([FULL, FULL]), {"restarts": (65536,)}),
    "two settings against the frames": (exposures(512, 128), {"scan_size_px": 256, "hdr_scan": (256, 256)}),
    "settings contradict": (65536, {"scan_size_px": 256, "hdr_scan": (128, 512)}),
    "setting contradicts the count": (65536, {"scan_size_px": 128}),
    "trigger contradicts": (65536, {"scan_size_px": 256, "frames_per_trigger": 128}),
    "line skip, no fly-back": (65792, {"scan_size_px": 256}),
}


@pytest.mark.parametrize("name", DECIDED)
def test_layout_is_found(name: str) -> None:
    case = DECIDED[name]
    layout = decided(case.values, **case.said)
    assert layout.certain
    assert layout.probability >= 0.99
    assert (layout.scan_shape, layout.first_slot, layout.fly_back_cols) == (case.shape, case.first_slot, case.fly_back)
    assert layout.spikes.size == case.spikes
    overruled = ["scan_setting_overruled"] if name == "setting wrong" else []
    assert [flag.name for flag in layout.flags] == overruled


@pytest.mark.parametrize("name", PULSES)
def test_lead_in_with_pulses_as_recorded(name: str) -> None:
    dwell, pulses, frames, fly_back = PULSES[name]
    scan = exposures(256, 256, 0, dwell_ns=dwell, fly_back_ns=fly_back)
    layout = decided(np.concatenate([lead_in(dwell, pulses, frames), scan]))
    assert layout.certain
    assert (layout.scan_shape, layout.first_slot, layout.fly_back_cols) == ((256, 256), frames, (0,))
    assert layout.spikes.size == len(pulses)


@pytest.mark.parametrize("name", OPEN)
def test_what_cannot_be_known_stays_one_line(name: str) -> None:
    values, said = OPEN[name]
    layout = decided(values, **said)
    assert not layout.certain
    n_slots = values if isinstance(values, int) else values.size
    assert (layout.scan_shape, layout.first_slot, layout.fly_back_cols) == ((1, n_slots), 0, ())
    assert [flag.name for flag in layout.flags] == ["scan_shape_uncertain"]
    assert "--scan-shape ROWS,COLS" in layout.flags[0].message


def stamps(intervals_ns: list[int]) -> NDArray[np.int64]:
    return np.cumsum([1_600_000_000_000_000_000, *intervals_ns])


REAL_2X4 = [101999990, 102000000, 101999980, 102020820, 102000000, 102000000, 101999990]
"""The intervals of a real file of 2 lines of 4 frames: a pause of 21 us at the end of a line that lasts 408 ms."""
REAL_PLAIN = [2095240, 2095240, *[2095250] * 6]
"""The intervals of a real plain series: rounding by 10 ns, which has been taken for a 3 x 3 scan."""


def test_a_single_small_pause_is_a_candidate_and_with_the_hdr_a_scan() -> None:
    alone = decide(8, time_ns=stamps(REAL_2X4))
    stated = decide(8, time_ns=stamps(REAL_2X4), hdr_scan=(2, 4))
    assert isinstance(alone, ScanLayout)
    assert isinstance(stated, ScanLayout)
    assert not alone.certain
    assert alone.candidates[0].scan_shape == (2, 4)
    assert stated.certain
    assert stated.scan_shape == (2, 4)


def test_rounding_of_time_stamps_is_no_scan() -> None:
    layout = decide(9, time_ns=stamps(REAL_PLAIN), frames_per_trigger=1)
    assert isinstance(layout, ScanLayout)
    assert not layout.certain
    assert "timestamps: all alike" in " ".join(item.statement for item in layout.evidence)


@pytest.mark.parametrize("size", [7, 32, 100])
def test_rounding_of_time_stamps_is_no_scan_at_any_length(size: int) -> None:
    rounding = np.random.default_rng(0).choice([2_095_000, 2_096_000], size * size - 1)
    layout = decide(size * size, time_ns=stamps(rounding.tolist()))
    assert isinstance(layout, ScanLayout)
    assert not layout.certain


@pytest.mark.parametrize("jitter_ns", [0, 10, 2000])
def test_a_pause_of_21_us_in_every_line_is_a_scan(jitter_ns: int) -> None:
    rng = np.random.default_rng(2)
    intervals = np.full(40 * 31, 102_000_000) + rng.integers(-jitter_ns, jitter_ns + 1, 40 * 31)
    intervals[30::31] += 21_000
    layout = decide(40 * 31, time_ns=stamps(intervals[:-1].tolist()))
    assert isinstance(layout, ScanLayout)
    assert layout.certain
    assert (layout.scan_shape, layout.fly_back_cols) == ((40, 31), ())


def first_gap_shape(values: NDArray[np.int64]) -> tuple[int, int]:
    """Return what a reader sees that takes the first two long exposures for the length of all lines."""
    first, second = np.flatnonzero(values > 5 * np.bincount(values // 1000).argmax() * 1000)[:2]
    return values.size // int(second - first), int(second - first)


def test_counter_the_count_table_and_the_first_gap_fail_where_this_does_not() -> None:
    assert COUNT_TABLE.get(65672) is None
    assert COUNT_TABLE[65536] == decided(FULL).scan_shape
    early_spike = with_spikes(FULL, 300)
    assert first_gap_shape(early_spike) != (256, 256)
    assert decided(early_spike).scan_shape == (256, 256)
    transposed_count = exposures(512, 128)
    assert COUNT_TABLE[transposed_count.size] == (256, 256)
    assert decided(transposed_count).scan_shape == (512, 128)


def test_every_frame_of_a_full_scan_is_kept() -> None:
    layout = decided(FULL)
    assert layout.scan_shape[0] * layout.scan_shape[1] == FULL.size
    pulses = np.flatnonzero(FULL > DWELL_NS)
    assert {int(slot) % 256 for slot in pulses} == set(layout.fly_back_cols)
    assert all(later - earlier == 256 for earlier, later in pairwise(pulses.tolist()))
