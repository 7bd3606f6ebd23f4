"""Truth by construction: what the measurement has to find, and what it has to refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stemcal.errors import DataError
from stemcal.frames.base import BaseSource
from stemcal.frames.ranks import SERIAL
from stemcal.gain.checks import Case, judge
from stemcal.gain.measure import Attempt, measure
from stemcal.gain.settings import GainSettings
from stemcal.gain.sums import FlatSums, accumulate
from stemcal.phantoms.gain import FlatField, gain_pattern, tilted_dose

SHAPE = (128, 144)
SETTINGS = GainSettings()
DEAD = ((10, 12), (100, 40), (101, 40))
HOT = ((30, 30), (0, 143))
NOISY = ((60, 70), (127, 5))


class MemorySource(BaseSource):
    def __init__(self, frames: np.ndarray, valid: np.ndarray | None = None, status: np.ndarray | None = None) -> None:
        shape = (1, len(frames)), frames.shape[1:]
        super().__init__(Path("memory.npy"), *shape, frames.dtype, valid=valid, frame_status=status)
        self.frames = frames

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.frames[start:stop]


def sums_of(frames: np.ndarray, threads: int = 1, **facts: np.ndarray) -> FlatSums:
    sums = accumulate(MemorySource(frames, **facts), 16, threads=threads, world=SERIAL, progress=None)
    assert sums is not None
    return sums


def measured(frames: np.ndarray, valid: np.ndarray | None = None, settings: GainSettings = SETTINGS) -> Attempt:
    return measure(sums_of(frames), np.ones(frames.shape[1:], bool) if valid is None else valid, settings)


def flags(frames: np.ndarray, settings: GainSettings = SETTINGS) -> tuple[str, list[str]]:
    sums = sums_of(frames)
    attempt = measure(sums, np.ones(frames.shape[1:], bool), settings)
    quality = judge(Case(sums, attempt, 200.0, settings))
    return quality.verdict, [flag.name for flag in quality.flags]


def field(spread: float = 0.04, counts: float = 20.0, parity: float = 0.0, seed: int = 1) -> FlatField:
    pattern = gain_pattern(SHAPE, spread, parity_spread=parity, seed=seed)
    return FlatField(pattern, tilted_dose(SHAPE, counts, (0.15, -0.1)), DEAD, HOT, NOISY)


@pytest.fixture(scope="module")
def flat() -> np.ndarray:
    return field().frames(160, 3)


@pytest.fixture(scope="module")
def attempt(flat: np.ndarray) -> Attempt:
    return measured(flat)


def test_the_gain_is_recovered_within_its_sigma(attempt: Attempt) -> None:
    gain = attempt.gain
    assert gain is not None
    assert gain.parity == "joint"
    known = np.isfinite(gain.factor)
    true = field().gain[0]
    score = (gain.factor - np.median(true[known]) / true)[known] / gain.sigma[known]
    assert float((score**2).mean()) == pytest.approx(1.0, abs=0.05)
    assert float((np.abs(score) < 1).mean()) == pytest.approx(0.683, abs=0.015)
    assert float((np.abs(score) < 2).mean()) == pytest.approx(0.954, abs=0.01)
    assert gain.sigma_runs is not None
    ratio = (gain.sigma_runs[known] / gain.sigma[known]) ** 2
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.02)
    assert gain.spread == pytest.approx(0.04, rel=0.03)
    assert gain.noise == pytest.approx(160**-0.5 * 20**-0.5, rel=0.03)


def test_the_median_factor_is_one_and_the_dose_is_the_true_plane(attempt: Attempt) -> None:
    assert attempt.dose is not None
    assert attempt.response is not None
    assert float(np.median(attempt.response[attempt.faults.good])) == pytest.approx(1.0, abs=1e-12)
    truth = tilted_dose(SHAPE, 20.0, (0.15, -0.1)) * 160
    # 18 000 pixels of 4.4 percent scatter know a plane to 0.03 percent in its middle, twice that in a corner
    np.testing.assert_allclose(attempt.dose.counts, truth, rtol=3e-3)


def test_every_fault_is_found_and_nothing_else(attempt: Attempt) -> None:
    for mask, true in ((attempt.faults.dead, DEAD), (attempt.faults.hot, HOT), (attempt.faults.noisy, NOISY)):
        assert {(int(row), int(col)) for row, col in np.argwhere(mask)} == set(true)
    assert not attempt.faults.masked.any()
    assert set(np.unique(attempt.faults.codes)) == {0, 2, 3, 4}
    assert attempt.faults.dispersion == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_a_sound_detector_loses_no_pixel(seed: int) -> None:
    sound = FlatField(gain_pattern(SHAPE, 0.03, seed=seed), tilted_dose(SHAPE, 25.0)).frames(96, seed)
    assert measured(sound).faults.n_new == 0


def test_what_the_mask_knows_is_not_measured_and_not_counted_as_new() -> None:
    valid = np.ones(SHAPE, bool)
    valid[63:65] = False
    frames = field().frames(100, 3)
    frames[:, 63:65] *= 3
    attempt = measured(frames, valid)
    assert attempt.gain is not None
    assert np.isnan(attempt.gain.factor[63:65]).all()
    assert attempt.faults.n_new == len(DEAD) + len(HOT) + len(NOISY)
    # the counter-test: without the mask the same rows are hot
    assert measured(frames).faults.hot[63:65].all()


def test_corrected_frames_have_the_variance_of_counting(flat: np.ndarray, attempt: Attempt) -> None:
    assert attempt.gain is not None
    assert attempt.dose is not None
    good = attempt.faults.good
    raw = field(seed=1).frames(8, 77)[:, good].astype(float)
    dose = attempt.dose.counts[good] / len(flat)
    for frames, low, high in ((raw * attempt.gain.factor[good], 0.99, 1.02), (raw, 1.02, 1.06)):
        ratio = float(((frames - dose) ** 2 / dose).mean())
        assert low < ratio < high


def test_odd_and_even_are_kept_apart_only_when_they_differ() -> None:
    apart = measured(field(parity=0.03).frames(160, 5))
    assert apart.gain is not None
    assert apart.gain.parity == "separate"
    assert apart.gain.factor.shape == (2, *SHAPE)
    assert apart.parity is not None
    # 3200 counts with half a difference of 3 percent: 1 + 3200 * 0.03^2
    assert apart.parity.reduced_chi_square == pytest.approx(1 + 3200 * 0.03**2, rel=0.1)
    known = np.isfinite(apart.gain.factor).all(axis=0)
    for side in (0, 1):
        factor, true = apart.gain.factor[side][known], field(parity=0.03).gain[side][known]
        score = (factor - np.median(factor * true) / true) / apart.gain.sigma[side][known]
        assert float((score**2).mean()) == pytest.approx(1.0, abs=0.06)
    alike = measured(field().frames(160, 5))
    assert alike.parity is not None
    assert abs(alike.parity.sigmas) < 4


def test_a_difference_that_costs_more_than_it_brings_is_noted_and_left() -> None:
    frames = field(parity=0.008).frames(160, 5)
    verdict, names = flags(frames)
    assert (verdict, names) == ("pass", ["parity"])


def test_a_level_that_differs_between_the_counters_is_taken_out_with_the_pattern() -> None:
    pattern = gain_pattern(SHAPE, 0.04, parity_spread=0.03)
    pattern[1] *= 1.05
    attempt = measured(FlatField(pattern, tilted_dose(SHAPE, 20.0)).frames(160, 9))
    assert attempt.gain is not None
    even, odd = (float(np.nanmedian(side)) for side in attempt.gain.factor)
    assert even / odd == pytest.approx(1.05, abs=0.003)


def edge(radius_px: float) -> FlatField:
    rows, cols = np.indices(SHAPE)
    distance = np.hypot(rows - 60, cols - 70)
    return FlatField(gain_pattern(SHAPE, 0.04), 20 / (1 + np.exp((distance - radius_px) / 2)))


def rings(amplitude: float) -> FlatField:
    rows, cols = np.indices(SHAPE)
    return FlatField(gain_pattern(SHAPE, 0.04), 20 * (1 + amplitude * np.cos(np.hypot(rows - 60, cols - 70) / 3)))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: edge(50).frames(100, 1), "not_uniform"),
        (lambda: edge(80).frames(100, 1), "not_uniform"),
        (lambda: rings(0.08).frames(100, 1), "not_uniform"),
        (lambda: field().frames(20, 1), "too_few_counts"),
        (lambda: field(counts=0.02).frames(40, 1), "too_few_counts"),
        (lambda: field(spread=0.0).frames(60, 1), "too_few_counts"),
        (lambda: field().frames(1, 1), "few_frames"),
        (lambda: np.zeros((20, *SHAPE), np.uint16), "no_counts"),
        (lambda: np.minimum(field(counts=55.0).frames(40, 1), 63), "saturated"),
        (lambda: np.ones((20, 8, 8), np.uint16), "small_frames"),
    ],
)
def test_what_is_no_flat_field_is_refused(make: Callable[[], np.ndarray], reason: str) -> None:
    frames = make()
    assert flags(frames) == ("fail", [reason])
    attempt = measured(frames)
    assert attempt.gain is None
    assert attempt.refusal is not None
    assert attempt.refusal.message


def test_too_few_counts_says_how_many_frames_would_do() -> None:
    refusal = measured(field().frames(20, 1)).refusal
    assert refusal is not None
    # 20 counts a frame: half the spread of 4 percent takes 2500 counts
    assert "take about 12" in refusal.message


def test_weak_structure_and_short_scans_warn() -> None:
    assert flags(rings(0.025).frames(160, 1)) == ("warn", ["structure"])
    bright = FlatField(gain_pattern(SHAPE, 0.04), tilted_dose(SHAPE, 900.0))
    assert flags(bright.frames(6, 1)) == ("warn", ["few_frames"])
    assert flags(field().frames(60, 1)) == ("warn", ["gain_noise"])


def test_a_beam_that_drifts_makes_no_pixel_noisy() -> None:
    pattern = gain_pattern(SHAPE, 0.04)
    levels = [tilted_dose(SHAPE, 20.0 * (1 + 0.3 * np.sin(step)), (0.006 * step, 0.0)) for step in range(16)]
    frames = np.concatenate([FlatField(pattern, dose).frames(10, step) for step, dose in enumerate(levels)])
    attempt = measured(frames)
    assert attempt.faults.n_new == 0
    assert attempt.gain is not None


def test_frames_that_are_not_ok_do_not_count(flat: np.ndarray) -> None:
    status = np.zeros(160, np.uint8)
    status[[5, 6, 100]] = (1, 2, 3)
    broken = flat.copy()
    broken[[5, 6, 100]] = 50000
    sums = sums_of(broken, status=status)
    assert sums.n_frames == 157
    np.testing.assert_array_equal(sums.total, np.delete(flat, [5, 6, 100], axis=0).sum(axis=0, dtype=np.int64))
    np.testing.assert_array_equal(
        sums.per_parity[0], flat[::2].sum(axis=0, dtype=np.int64) - flat[[6, 100]].sum(axis=0)
    )


def test_the_sums_are_exact_and_do_not_depend_on_threads(flat: np.ndarray) -> None:
    one, three = sums_of(flat), sums_of(flat, threads=3)
    np.testing.assert_array_equal(one.counts, three.counts)
    np.testing.assert_array_equal(one.per_parity[1], flat[1::2].sum(axis=0, dtype=np.int64))
    assert one.frames.tolist() == [[5, 5]] * 16


def test_numbers_that_are_no_counts_are_refused() -> None:
    with pytest.raises(DataError, match="holds float32, not counts in whole numbers"):
        sums_of(np.ones((8, 32, 32), np.float32))
