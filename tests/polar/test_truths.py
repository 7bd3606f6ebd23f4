"""Profiles against what is known: counting statistics, speckle of known contrast, and geometry that must not matter."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from stemcal.optics.ellipse import correction_matrix, strain_from_ratio
from stemcal.polar.operator import Geometry, RadialGrid, RingOperator, ring_operator
from stemcal.polar.statistics import ring_statistics

N_BINS = 38
ROUND = np.eye(2)
FIRST = 3
"""Rings within it hold fewer than 20 pixels: their scatter needs more frames than these tests have."""


@dataclass(frozen=True)
class View:
    """How the same round specimen lies on the camera."""

    centre: tuple[float, float] = (47.5, 47.5)
    matrix: np.ndarray = field(default_factory=lambda: ROUND)
    shape: tuple[int, int] = (96, 96)
    crossed: bool = False

    @property
    def valid(self) -> np.ndarray:
        valid = np.ones(self.shape, bool)
        if self.crossed:
            valid[55:58] = valid[:, 40:43] = False
        return valid

    @property
    def radius(self) -> np.ndarray:
        """(9, row, col): true radius of 3 x 3 points of each pixel."""
        offsets = [(r, c) for r in (-1 / 3, 0, 1 / 3) for c in (-1 / 3, 0, 1 / 3)]
        row, col = np.indices(self.shape)
        places = [np.stack([row + r - self.centre[0], col + c - self.centre[1]]) for r, c in offsets]
        return np.stack([np.hypot(*np.tensordot(self.matrix, place, axes=1)) for place in places])

    def operator(self, **changes: object) -> RingOperator:
        parts = {"valid": self.valid, "matrix": self.matrix, "grid": RadialGrid(1.0, N_BINS), "subsamples": 4}
        return ring_operator(Geometry(**{**parts, **changes}), self.centre)  # type: ignore[arg-type]


def brightness(radius: np.ndarray) -> np.ndarray:
    return 8 + 12 * np.exp(-radius / 15) + 6 * np.exp(-0.5 * ((radius - 25) / 3) ** 2)


def contrast(radius: np.ndarray) -> np.ndarray:
    """Normalised variance of the speckle: a peak on a smooth floor."""
    return 0.05 + 0.4 * np.exp(-0.5 * ((radius - 22) / 4) ** 2)


def speckle(view: View, n: int, seed: int, size: int = 1) -> np.ndarray:
    """Counts of Gamma-distributed intensities; speckles are squares of ``size`` pixels."""
    generator = np.random.default_rng(seed)
    mean, variance = (function(view.radius).mean(axis=0) for function in (brightness, contrast))
    drawn = -(-view.shape[0] // size), -(-view.shape[1] // size)
    shape_parameter = 1 / variance[::size, ::size]
    factor = generator.gamma(shape_parameter, 1 / shape_parameter, (n, *drawn))
    factor = factor.repeat(size, axis=1).repeat(size, axis=2)[:, : view.shape[0], : view.shape[1]]
    counts = generator.poisson(factor * mean).astype(np.uint16)
    counts[:, ~view.valid] = 0
    return counts


def profiles(frames: np.ndarray, operator: RingOperator) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and excess variance over the frames with their standard errors, (2, n_bins) each."""
    mean, variance = ring_statistics(frames, operator, 2.0)
    both = np.stack([mean, variance - mean])
    return both.mean(axis=1), both.std(axis=1, ddof=1) / np.sqrt(len(frames))


def test_flat_counts_have_the_dispersion_of_counting_within_two_percent_in_every_ring() -> None:
    """Small rings need many frames, large ones many pixels: so two sizes of detector."""
    matrix = correction_matrix(*strain_from_ratio(1.06, 0.7))
    for shape, n, rings in (((20, 21), 20000, slice(1, 8)), ((96, 96), 640, slice(8, 60))):
        frames = np.random.default_rng(4).poisson(2.0, (n, *shape)).astype(np.uint16)
        valid = np.ones(shape, bool)
        valid[shape[0] // 2 + 5] = False
        centre = (shape[0] / 2 - 0.7, shape[1] / 2 + 0.4)
        operator = ring_operator(Geometry(valid, matrix, RadialGrid(1.0, rings.stop), 4), centre)
        mean, variance = ring_statistics(frames, operator, 2.0)
        ratio = variance.mean(axis=0) / mean.mean(axis=0)
        assert np.abs(ratio - 1)[rings].max() < 0.02


def test_the_contrast_of_speckle_is_recovered() -> None:
    view = View()
    (mean, excess), (_, error) = profiles(speckle(view, 300, 1), view.operator())
    centres = RadialGrid(1.0, N_BINS).centres_px
    truth = contrast(centres) * brightness(centres) ** 2
    slope = np.gradient(brightness(centres)) ** 2 / 12
    assert (np.abs(excess - truth - slope) < 4 * error + 0.02 * truth)[FIRST:].all()
    assert np.abs(excess / mean**2 - contrast(centres))[FIRST:].max() < 0.05
    # With the shot noise left in, the floor would be three times as high.
    assert ((excess + mean) / mean**2)[-1] > 2.5 * contrast(centres)[-1]


def test_speckles_larger_than_a_pixel_lose_one_part_in_their_number() -> None:
    """A ring of n speckles knows its mean only to 1 / n of the variance, and cannot tell: docs/polar.md, Limits."""
    view, size = View(), 2
    (_, excess), (_, error) = profiles(speckle(view, 300, 2, size), view.operator())
    centres = RadialGrid(1.0, N_BINS).centres_px
    truth = contrast(centres) * brightness(centres) ** 2
    lost = size**2 / (2 * np.pi * centres)
    outer = slice(12, None)
    assert (np.abs(excess - truth * (1 - lost)) < 4 * error + 0.05 * truth)[outer].all()


CASES = {
    "masked": View(crossed=True),
    "off centre": View(centre=(39.3, 56.7)),
    "elliptical": View(matrix=correction_matrix(*strain_from_ratio(1.08, 0.5))),
    "all": View((43.25, 51.6), correction_matrix(*strain_from_ratio(1.08, 2.1)), crossed=True),
}
IGNORED = {
    "masked": {"valid": np.ones((96, 96), bool)},
    "elliptical": {"matrix": ROUND},
    "all": {"matrix": ROUND},
}


@pytest.fixture(scope="module")
def reference() -> tuple[np.ndarray, np.ndarray]:
    return profiles(speckle(View(), 300, 10), View().operator())


@pytest.mark.parametrize("name", CASES)
def test_masked_off_centre_and_elliptical_patterns_give_the_profiles_of_the_plain_one(
    name: str, reference: tuple[np.ndarray, np.ndarray]
) -> None:
    view = CASES[name]
    frames = speckle(view, 300, 11)
    whole = slice(FIRST, 34)
    found, error = profiles(frames, view.operator())
    sigmas = np.abs(found - reference[0]) / np.hypot(error, reference[1])
    assert sigmas[:, whole].max() < 4.5
    assert np.sqrt((sigmas[:, whole] ** 2).mean()) < 1.3
    if name in IGNORED:
        wrong, _ = profiles(frames, view.operator(**IGNORED[name]))
        assert (np.abs(wrong - reference[0]) / np.hypot(error, reference[1]))[:, whole].max() > 6
