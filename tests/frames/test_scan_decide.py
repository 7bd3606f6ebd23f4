from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from stemcal.frames.scan import DoesNotFit, ScanLayout, by_slot, decide, intensity_agrees, place_frames

DWELL_NS, FLY_BACK_NS = 600_000, 40_000_000


def fly_back(rows: int, cols: int, lead: int = 0) -> NDArray[np.int64]:
    values = np.full((rows, cols), DWELL_NS, np.int64)
    values[:, -1] = FLY_BACK_NS
    return np.concatenate([np.full(lead, DWELL_NS, np.int64), values.ravel()])


def decided(n_slots: int, **said: object) -> ScanLayout:
    layout = decide(n_slots, **said)  # type: ignore[arg-type]
    assert isinstance(layout, ScanLayout)
    return layout


def flags(layout: ScanLayout) -> list[str]:
    return [flag.name for flag in layout.flags]


@pytest.mark.parametrize(
    ("n_slots", "said", "shape"),
    [
        (65536, {"hdr_scan": (256, 256)}, (256, 256)),
        (51200, {"hdr_scan": (200, 256)}, (200, 256)),
        (51200, {"frames_per_trigger": 256}, (200, 256)),
        (65536, {"scan_size_px": 256}, (256, 256)),
        (65280, {"scan_size_px": 256}, (255, 256)),
        (16256, {"scan_size_px": 128, "frames_per_trigger": 128}, (127, 128)),
        (65536, {"scan_size_px": 256, "frames_per_trigger": 65536}, (256, 256)),
        (65536, {"scan_size_px": 256, "frames_per_trigger": 1}, (256, 256)),
        (8, {"hdr_scan": (2, 4), "frames_per_trigger": 4}, (2, 4)),
        (65792, {"scan_size_px": 256, "frames_per_trigger": 257}, (256, 257)),
    ],
)
def test_settings_that_fit_the_count_are_believed(
    n_slots: int, said: dict[str, object], shape: tuple[int, int]
) -> None:
    layout = decided(n_slots, **said)
    assert layout.certain
    assert (layout.scan_shape, layout.first_slot, flags(layout)) == (shape, 0, [])


def test_an_unusual_scan_that_the_hdr_states_to_the_frame_is_believed() -> None:
    constant = np.full(7 * 13, DWELL_NS, np.int64)
    layout = decided(91, hdr_scan=(7, 13), exposure_ns=constant, time_ns=np.cumsum(constant))
    assert (layout.certain, layout.scan_shape) == (True, (7, 13))
    assert 0.5 <= layout.probability < 0.99, "it is the word of the .hdr that suffices, not the score"
    assert not decided(91, exposure_ns=constant).certain
    assert not decided(91, scan_size_px=13, exposure_ns=constant).certain
    for n_slots in (90, 92, 104):
        assert not decided(n_slots, hdr_scan=(7, 13), exposure_ns=constant[:1].repeat(n_slots)).certain


def test_an_hdr_that_states_another_scan_than_the_frames_show_is_not_believed() -> None:
    shown = fly_back(13, 7)
    layout = decided(91, hdr_scan=(7, 13), exposure_ns=shown)
    assert (layout.scan_shape, flags(layout)) == ((13, 7), ["scan_setting_overruled"])
    cut = fly_back(5, 7)
    assert not decided(35, hdr_scan=(7, 5), exposure_ns=cut).certain, "five lines are too few to overrule a setting"


def test_probabilities_and_evidence_are_stated() -> None:
    layout = decided(65536, exposure_ns=fly_back(256, 256), scan_size_px=256, hdr_scan=(256, 256))
    best = layout.candidates[0]
    assert best.scan_shape == (256, 256)
    assert best.probability == pytest.approx(layout.probability, abs=1e-6)
    assert set(best.sources) == {"exposures", "hdr_scan", "microscope", "frame_count"}
    assert [item.source for item in layout.evidence] == ["hdr_scan", "microscope", "exposures", "frame_count"]
    assert all(item.weight > 0 for item in layout.evidence)
    words = "exposures: 256 frames exposed for 40 ms against 0.6 ms; 256 of 256 lines have one at column 255"
    assert layout.evidence[2].statement == words


def test_a_single_frame_needs_no_witness() -> None:
    layout = decided(1, scan_size_px=256)
    assert (layout.scan_shape, layout.certain, layout.flags) == ((1, 1), True, ())


@pytest.mark.parametrize("n_slots", range(2, 40))
def test_a_few_frames_are_never_a_scan_by_their_number(n_slots: int) -> None:
    constant = np.full(n_slots, DWELL_NS, np.int64)
    layout = decided(n_slots, exposure_ns=constant, time_ns=np.cumsum(constant))
    assert not layout.certain
    assert layout.scan_shape == (1, n_slots)


def test_unknown_exposures_say_nothing() -> None:
    unknown = np.full(65536, -1, np.int64)
    layout = decided(65536, exposure_ns=unknown, time_ns=unknown, scan_size_px=256)
    assert layout.certain
    assert [item.source for item in layout.evidence] == ["microscope", "frame_count"]


def test_exposures_without_an_ordinary_level_say_nothing() -> None:
    wild = (np.random.default_rng(0).pareto(0.5, 10_000) * 1e6).astype(np.int64)
    assert not decided(10_000, exposure_ns=wild).certain


def test_lost_frames_are_put_in_their_place_first() -> None:
    exposures, lost = fly_back(256, 256), [255, 5000, 50_000, 50_001]
    slots = place_frames(np.delete(np.arange(1, 65537), lost))
    layout = decided(slots.n_slots, exposure_ns=by_slot(slots, np.delete(exposures, lost)))
    assert layout.certain
    assert (layout.scan_shape, layout.fly_back_cols) == ((256, 256), (255,))


def test_frames_lost_without_a_number_are_seen_by_the_fly_back_that_moves() -> None:
    for lost in (300, 32_000, 65_000):
        layout = decided(65535, exposure_ns=np.delete(fly_back(256, 256), lost), scan_size_px=256)
        assert not layout.certain


class TestPerson:
    def test_decides_alone_where_the_product_fits(self) -> None:
        layout = decided(65536, user=(128, 512), scan_size_px=256)
        assert (layout.scan_shape, layout.certain, layout.flags) == ((128, 512), True, ())
        assert layout.evidence[0].source == "user"

    def test_is_warned_if_the_frames_show_other_lines(self) -> None:
        layout = decided(65536, user=(128, 512), exposure_ns=fly_back(256, 256))
        assert layout.scan_shape == (128, 512)
        assert flags(layout) == ["scan_shape_contradicted"]

    def test_is_placed_behind_the_lead_in_that_the_frames_show(self) -> None:
        layout = decided(65672, user=(256, 256), exposure_ns=fly_back(256, 256, lead=136))
        assert (layout.scan_shape, layout.first_slot, layout.flags) == ((256, 256), 136, ())

    def test_may_state_a_scan_that_was_cut_short(self) -> None:
        layout = decided(40_000, user=(256, 256), exposure_ns=fly_back(256, 256)[:40_000])
        assert (layout.scan_shape, layout.first_slot) == ((256, 256), 0)

    @pytest.mark.parametrize("n_slots", [65530, 65538])
    def test_less_than_a_line_over_or_lacking_is_accepted_with_a_flag(self, n_slots: int) -> None:
        layout = decided(n_slots, user=(256, 256))
        assert (layout.scan_shape, layout.first_slot) == ((256, 256), 0)
        assert flags(layout) == ["scan_start_assumed"]

    @pytest.mark.parametrize("user", [(3, 3), (255, 256), (512, 512)])
    def test_is_refused_where_there_is_no_room(self, user: tuple[int, int]) -> None:
        refused = decide(65536, user=user)
        assert isinstance(refused, DoesNotFit)
        assert f"{user[0]} x {user[1]}" in refused.problem
        assert "65536" in refused.problem


def picture(kind: str, rows: int, cols: int) -> NDArray[np.float64]:
    row, col = np.mgrid[:rows, :cols]
    noise = np.random.default_rng(1).normal(size=(rows, cols))
    pictures = {
        "empty": np.zeros((rows, cols)),
        "particles": gaussian_filter(noise, 3) * 4000,
        "fine": gaussian_filter(noise, 0.8) * 600,
        "edge": 500.0 * (col > 0.4 * cols),
        "lattice": 300 * np.cos(2 * np.pi * col / 7.3) * np.cos(2 * np.pi * row / 8.1),
    }
    return np.random.default_rng(2).poisson(np.maximum(pictures[kind] + 1500, 1)).astype(np.float64).ravel()


@pytest.mark.parametrize("kind", ["particles", "fine", "edge"])
def test_intensity_agrees_with_the_true_columns_only(kind: str) -> None:
    totals = picture(kind, 128, 160)
    assert intensity_agrees(totals, (128, 160)) == "agrees"
    for cols in (159, 161, 128, 80, 320):
        assert intensity_agrees(totals, (totals.size // cols, cols)) != "agrees"


def test_intensity_contradicts_columns_that_shear_the_picture() -> None:
    totals = picture("fine", 128, 160)
    assert intensity_agrees(totals, (128, 156)) == "contradicts"
    assert intensity_agrees(totals, (64, 320)) == "contradicts"


def test_a_lattice_is_alike_everywhere_and_says_nothing() -> None:
    totals = picture("lattice", 128, 160)
    said = {cols: intensity_agrees(totals, (totals.size // cols, cols)) for cols in (160, 159, 161, 80, 320, 146)}
    assert set(said.values()) == {"silent"}, said


def test_intensity_without_structure_says_nothing() -> None:
    totals = picture("empty", 128, 160)
    assert {intensity_agrees(totals, (totals.size // cols, cols)) for cols in (160, 128, 159)} == {"silent"}
    assert intensity_agrees(np.full(20, np.nan), (4, 5)) == "silent"


def test_intensity_of_missing_frames_and_fly_back_is_left_out() -> None:
    totals = picture("empty", 128, 160)
    totals[159::160] += 1e6
    assert intensity_agrees(totals, (128, 160)) == "agrees"
    assert intensity_agrees(totals, (128, 160), fly_back_cols=(159,)) == "silent"
    holes = picture("fine", 128, 160)
    holes[::97] = np.nan
    assert intensity_agrees(np.concatenate([np.full(11, 3.0), holes]), (128, 160), first_slot=11) == "agrees"


def test_intensity_makes_a_bare_square_certain_and_an_empty_one_not() -> None:
    assert not decided(128 * 128).certain
    assert not decided(128 * 128, totals=picture("empty", 128, 128)).certain
    layout = decided(128 * 128, totals=picture("particles", 128, 128))
    assert layout.certain
    assert "intensity" in layout.candidates[0].sources


def test_a_million_frames_are_decided() -> None:
    exposures = fly_back(1000, 1000, lead=90)
    layout = decided(exposures.size, exposure_ns=exposures, time_ns=np.cumsum(exposures))
    assert (layout.certain, layout.scan_shape, layout.first_slot) == (True, (1000, 1000), 90)


@dataclass
class Truth:
    """What a random acquisition is; ``rows`` 0 is no scan."""

    rows: int = 0
    cols: int = 0
    lead: int = 0
    side: str = "none"
    cut: bool = False
    lost: int | None = None


def scanned(rng: Generator, truth: Truth, factor: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return exposures and pauses before each frame, in ns, without defects."""
    dwell = float(rng.choice([600_000, 900_000, 102_000_000]))
    if not truth.rows:
        n_slots = int(rng.choice([int(rng.integers(5, 20_000)), 100, 1000, 10_000]))
        return np.full(n_slots, dwell), np.zeros(n_slots)
    trail = int(rng.integers(1, 4)) if rng.random() < 0.1 else 0
    grid = np.full((truth.rows, truth.cols), dwell)
    if truth.side != "none":
        grid[:, 0 if truth.side == "first" else -1] *= factor
    before = np.full(truth.lead, dwell)
    if truth.lead > 10:
        before[rng.integers(0, truth.lead, 3)] *= factor
    exposures = np.concatenate([before, grid.ravel(), np.full(trail, dwell)])
    pauses = np.zeros(exposures.size)
    if rng.random() < 0.3:
        pauses[truth.lead + truth.cols * np.arange(1, truth.rows)] = rng.choice([21_000, 500_000, 5_000_000])
    return exposures, pauses


def kind_of(rng: Generator) -> tuple[Truth, int]:
    """Return a random layout and the size that a microscope would state for it."""
    cols = int(rng.choice([32, 64, 128])) if rng.random() < 0.6 else int(rng.integers(12, 160))
    kind = rng.choice(["square", "edx", "rectangle", "none", "skip"], p=[0.4, 0.15, 0.25, 0.1, 0.1])
    lead = int(rng.choice([1, 2, int(rng.integers(60, 140))])) if rng.random() < 0.25 else 0
    side = str(rng.choice(["first", "last", "none"], p=[0.25, 0.45, 0.3]))
    shapes = {"square": (cols, cols), "edx": (cols - 1, cols), "skip": (cols, cols + 1), "none": (0, 0)}
    rows, columns = shapes.get(str(kind), (int(rng.integers(2, 140)), cols))
    return Truth(rows, columns, lead if rows else 0, "none" if kind == "edx" else side), cols


def acquisition(rng: Generator) -> tuple[Truth, int, dict[str, object]]:
    """Return a random scan, or none, with random defects: truth, number of slots, what is said of it."""
    truth, size = kind_of(rng)
    factor = float(np.exp(rng.uniform(np.log(2), np.log(70))))
    exposures, pauses = scanned(rng, truth, factor)
    if rng.random() < 0.5:
        exposures *= 1 + rng.choice([1e-6, 1e-3, 0.01, 0.015]) * rng.uniform(-1, 1, exposures.size)
    if rng.random() < 0.3:
        exposures[rng.integers(0, exposures.size, int(rng.integers(1, 60)))] *= factor
    noise = rng.choice([0, 10, 1000]) * rng.uniform(-1, 1, exposures.size)
    times = np.concatenate([[0], np.cumsum(exposures + 2000)[:-1]]) + np.cumsum(pauses) + noise + 1e15
    keep = np.ones(exposures.size, bool)
    least = truth.lead + 2 * truth.cols + 1
    if truth.rows and rng.random() < 0.2 and exposures.size > least:
        keep[int(rng.integers(least, exposures.size)) :] = False
        truth.cut = True
    if truth.rows and rng.random() < 0.08:
        truth.lost = int(rng.integers(truth.lead, np.count_nonzero(keep)))
        keep[truth.lost] = False
    columns = {"exposure_ns": exposures[keep].astype(np.int64), "time_ns": times[keep].astype(np.int64)}
    n_slots = int(np.count_nonzero(keep))
    if rng.random() < 0.3:
        for values in columns.values():
            values[rng.integers(0, n_slots, int(rng.integers(1, 30)))] = -1
    said: dict[str, object] = {name: values for name, values in columns.items() if rng.random() < 0.7}
    if rng.random() < 0.4:
        right = truth.rows in (size, size - 1) and rng.random() < 0.85
        said["scan_size_px"] = size if right else int(rng.choice([128, 256, 512]))
    if rng.random() < 0.25:
        right = bool(truth.rows) and rng.random() < 0.85
        said["hdr_scan"] = (truth.rows, truth.cols) if right else (256, 256)
    if rng.random() < 0.3:
        said["frames_per_trigger"] = int(rng.choice([1, n_slots, max(truth.cols, 1), int(rng.integers(2, 300))]))
    return truth, n_slots, said


def verdict(truth: Truth, n_slots: int, layout: ScanLayout) -> str:
    """Say whether a decision is open, right, wrong, or right but for a line at an end.

    The latter has a flag, or a pulse of the lead-in lay just where the fly-back of one more line would lie.
    """
    if not layout.certain:
        return "open"
    (rows, cols), first = layout.scan_shape, layout.first_slot
    if cols != truth.cols:
        return "wrong"
    if truth.lost is not None:
        ends = truth.lost < first + cols or truth.lost >= n_slots - 2 * cols
        return "right" if ends else "wrong"
    same_pixels = {"none": (0,), "last": (0, 1), "first": (0, cols - 1)}[truth.side]
    if (truth.lead - first) % cols not in same_pixels:
        return "wrong"
    whole = -(-(n_slots - truth.lead) // cols) if truth.cut else truth.rows
    if abs(rows - whole) <= (1 if truth.cut else 0) and abs(first - truth.lead) <= 1:
        return "right"
    a_line = truth.lead > 10 and abs(rows - whole) <= 1
    return "a line" if a_line or "scan_rows_uncertain" in flags(layout) else "wrong"


def lost_and_extra_cancel(truth: Truth, n_slots: int) -> bool:
    """Whether a frame that was lost without a number is made up for by an extra one, or by a cut: no count shows it."""
    return truth.lost is not None and n_slots % max(truth.cols, 1) == 0


def test_random_acquisitions_are_right_or_open_and_never_wrong() -> None:
    results: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    for seed in range(200):
        truth, n_slots, said = acquisition(np.random.default_rng(seed))
        layout = decided(n_slots, **said)
        result = verdict(truth, n_slots, layout)
        assert result != "wrong" or lost_and_extra_cancel(truth, n_slots), (seed, truth, layout)
        results[result] += 1
        if truth.side != "none" and truth.rows > 4 and truth.lost is None and "exposure_ns" in said:
            shown[result] += 1
    assert results["right"] > 0.5 * results.total()
    assert shown["right"] > 0.85 * shown.total()
