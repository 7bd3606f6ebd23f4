"""Flat fields with known truth: a detector whose pixels answer differently, under a beam that is nearly uniform."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Pixels = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class FlatField:
    """A detector under a uniform beam.

    Attributes
    ----------
    gain : ndarray
        (2, det_row, det_col) response of each pixel in the even and in the odd frames.
    dose : ndarray
        (det_row, det_col) electrons per pixel and frame.
    dead : tuple of (row, col)
        Pixels that count nothing.
    hot : tuple of (row, col)
        Pixels that count ``hot_counts`` more in every frame.
    noisy : tuple of (row, col)
        Pixels that switch between half and one and a half of their counts every ``_TELEGRAPH`` frames.
    hot_counts : float
        Mean of what a hot pixel adds.
    """

    gain: Array
    dose: Array
    dead: Pixels = ()
    hot: Pixels = ()
    noisy: Pixels = ()
    hot_counts: float = 400.0

    def frames(self, n_frames: int, seed: int, dtype: str = "uint16") -> NDArray[Any]:
        """Return (n_frames, det_row, det_col) counts; frame i is the same whatever ``n_frames``."""
        return np.concatenate(list(self.blocks(n_frames, seed, dtype)))

    def blocks(self, n_frames: int, seed: int, dtype: str = "uint16") -> Iterator[NDArray[Any]]:
        """Yield the frames one by one, (1, det_row, det_col); counts stop at the ceiling of ``dtype``."""
        ceiling = np.iinfo(dtype).max
        expected = [self._expected(side) for side in (0, 1)]
        for index in range(n_frames):
            generator = np.random.default_rng((seed, index))
            level = expected[index % 2].copy()
            for pixel in self.noisy:
                level[pixel] *= 0.5 if index // _TELEGRAPH % 2 else 1.5
            yield np.minimum(generator.poisson(level), ceiling).astype(dtype)[None]

    def _expected(self, side: int) -> Array:
        level: Array = self.gain[side] * self.dose
        for pixel in self.dead:
            level[pixel] = 0.0
        for pixel in self.hot:
            level[pixel] += self.hot_counts
        return level


_TELEGRAPH = 10
"""Frames between two switches of a noisy pixel."""


def gain_pattern(
    frame_shape: tuple[int, int], spread: float, *, parity_spread: float = 0.0, seed: int = 1
) -> NDArray[np.float64]:
    """Return the response of each pixel in even and odd frames.

    Parameters
    ----------
    frame_shape : tuple of int
        (det_row, det_col).
    spread : float
        Relative standard deviation over the pixels.
    parity_spread : float
        Relative standard deviation of half the difference between even and odd frames.
    seed : int
        Of the random pattern.

    Returns
    -------
    ndarray
        (2, det_row, det_col), the median of their mean is 1.
    """
    generator = np.random.default_rng((seed, 7001))
    common = generator.normal(1.0, spread, frame_shape)
    half = generator.normal(0.0, parity_spread, frame_shape) if parity_spread else np.zeros(frame_shape)
    both = np.stack([common + half, common - half])
    return np.asarray(np.clip(both / np.median(common), 0.05, None))


def tilted_dose(frame_shape: tuple[int, int], counts: float, tilt: tuple[float, float] = (0.0, 0.0)) -> Array:
    """Return a plane of ``counts`` in the middle that rises by the parts ``tilt`` from there to the last row, col."""
    v, u = (np.linspace(-1.0, 1.0, size) for size in frame_shape)
    return np.asarray(counts * (1 + tilt[0] * v[:, None] + tilt[1] * u[None, :]))


def thinned(
    frames: NDArray[np.integer[Any]], gain: NDArray[np.float64], first: int, seed: int
) -> NDArray[np.integer[Any]]:
    """Return ``frames`` as a detector counts them whose pixels miss electrons at random.

    Each electron is counted with a chance in proportion to the gain of its pixel (the best pixel counts all), so that
    Poisson counts stay Poisson counts.

    Parameters
    ----------
    frames : ndarray of integers
        (n, det_row, det_col) electrons.
    gain : ndarray
        (2, det_row, det_col) response in even and odd frames.
    first : int
        Number of the first frame in its acquisition.
    seed : int
        A frame's random numbers depend on it and on the number of the frame alone.
    """
    chance = gain / gain.max()
    counted = np.empty_like(frames)
    for index, frame in enumerate(frames, start=first):
        generator = np.random.default_rng((seed, index, 1))
        counted[index - first] = generator.binomial(frame, chance[index % 2])
    return counted
