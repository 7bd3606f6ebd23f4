"""Patterns for the rings, and the comparison of their profiles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np


def make(patterns: str, container: str, frame_px: int, n: int, rows: int) -> Callable[[], None]:
    """Return the making of Poisson patterns of rings, 0.5 counts per pixel, as ``.npy`` and as a container."""
    from stemcal.formats import bitshuffle
    from stemcal.formats.container import Layout, open_container
    from stemcal.formats.extras import Extras
    from stemcal.formats.hspy import Axis

    def work() -> None:
        row, col = np.indices((frame_px, frame_px)) - frame_px / 2
        radius = np.hypot(row - 0.25, col + 1.5)
        ring = np.exp(-0.5 * ((radius / frame_px - 0.22) / 0.02) ** 2)
        expected = np.exp(-radius / (0.2 * frame_px)) + 0.3 * ring + 0.05
        counts = np.random.default_rng(1).poisson(0.5 * expected / expected.mean(), (n, frame_px, frame_px))
        frames = counts.astype(np.uint16)
        np.save(patterns, frames)
        chunks = [bitshuffle.compress(frame) for frame in frames]
        names = ("scan_row", "scan_col", "det_row", "det_col")
        first, second, third, fourth = (Axis(name, "px", 1.0, 0.0) for name in names)
        layout = Layout("a", (rows, n, frame_px, frame_px), (first, second, third, fourth), frames.dtype)
        with open_container(Path(container), layout) as writer:
            for at in range(rows):
                writer.put(range(at * n, (at + 1) * n), chunks)
            writer.finish(Extras())

    return work


def difference(mine: str, theirs: str) -> Callable[[], float]:
    """Return the median relative difference of the mean profiles, over the rings that are not the innermost."""

    def work() -> float:
        profiles = [np.load(name)["mean"] for name in (mine, theirs)]
        n = min(map(len, profiles))
        ours, others = (profile[:n, 5:].mean(axis=0) for profile in profiles)
        return float(np.median(np.abs(others / ours - 1)))

    return work
