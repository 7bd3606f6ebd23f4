"""Gold data sets with known truth, in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stemcal.frames.base import BaseSource
from stemcal.frames.ranks import SERIAL
from stemcal.gold.pattern import Powder, accumulate
from stemcal.optics.descan import evaluate
from stemcal.phantoms.powder import Camera, PowderPhase, gold_phase, powder_frames

DESCAN_ROW = (0.0, 1.5, -0.6, 0.15, 0.0, 0.0)
DESCAN_COL = (0.0, 0.5, 1.1, -0.1, 0.0, 0.05)
CAMERA = Camera((192, 192), 106.3, 80.4, 0.0156, 1.025, 30.0, 200.0)
NOMINAL_M = 0.068
"""The true camera length is 0.1406 m, 2.07 times that."""


class MemorySource(BaseSource):
    def __init__(self, frames, scan_shape, valid=None, frame_status=None):
        super().__init__(
            Path("memory.npy"), scan_shape, frames.shape[1:], frames.dtype, valid=valid, frame_status=frame_status
        )
        self.frames = frames

    def read(self, start, stop):
        return self.frames[start:stop]


def gold_source(seed, camera=CAMERA, scan_shape=(12, 12), phases=None, counts=6e4, disk_radius_px=3.0, grains=8.0):
    """A spotty gold scan with 2 px of descan, a dead cross that the mask knows, and Poisson counts."""
    phases = (gold_phase(grains_per_frame=grains, ring_width_px=1.2),) if phases is None else phases
    n_frames = scan_shape[0] * scan_shape[1]
    blocks = powder_frames(
        camera,
        phases,
        np.ones((n_frames, len(phases))),
        evaluate(DESCAN_ROW, DESCAN_COL, 2, scan_shape),
        counts_per_frame=counts,
        direct_beam_fraction=0.35,
        disk_radius_px=disk_radius_px,
        seed=seed,
    )
    frames = np.concatenate(list(blocks))
    valid = np.ones(camera.frame_shape, bool)
    row, col = camera.frame_shape[0] // 2, camera.frame_shape[1] // 2
    valid[row - 1 : row + 2] = False
    valid[:, col - 1 : col + 2] = False
    frames[:, ~valid] = 0
    return MemorySource(frames, scan_shape, valid)


def powder_of(source, threads=1) -> Powder:
    powder = accumulate(source, descan_degree=2, tiles=4, threads=threads, world=SERIAL, progress=None)
    assert powder is not None
    return powder


def amorphous() -> PowderPhase:
    return PowderPhase("amorphous", ((0.42, 1.0), (0.78, 0.4)), 6.0)
