"""Scans of thin crystals, read and prepared as the geometry step does."""

import functools

import numpy as np

from stemcal.frames.base import BaseSource
from stemcal.geometry.preparation import Preparation
from stemcal.geometry.reading import read_scan
from stemcal.optics.scan_affine import ScanAxes
from stemcal.phantoms.weak_phase import WeakPhasePlan, crystal, expected_frames

AXES = ScanAxes(theta_fast_deg=37.0, theta_slow_deg=38.1, step_fast=0.35, step_slow=0.364, flip=False)
ABERRATIONS = {"C10": -80.0, "C12a": 15.0, "C12b": -10.0}


class ArraySource(BaseSource):
    """Frames in memory as a source."""

    def __init__(self, frames, path, **facts):
        super().__init__(path, frames.shape[:2], frames.shape[2:], frames.dtype, **facts)
        self._frames = frames.reshape(-1, *frames.shape[2:])

    def read(self, start, stop):
        self.check_range(start, stop)
        return self._frames[start:stop]


def plan(thin=None, **changes):
    """Return a scan of 64 x 64 positions and 48 x 48 pixels."""
    facts = {
        "aberrations_angstrom": ABERRATIONS,
        "scan_shape": (64, 64),
        "frame_shape": (48, 48),
        "disk_radius_px": 12.3,
        "centre_px": (23.8, 22.9),
    }
    return WeakPhasePlan(AXES, crystal("hexagonal", angle_deg=7.0) if thin is None else thin, **(facts | changes))


@functools.cache
def expected():
    """Return the noiseless frames of `plan`."""
    return expected_frames(plan())


def source(counts, tmp_path, **facts):
    """Return counts as a source."""
    return ArraySource(counts, tmp_path / "scan.npy", **facts)


def read(counts, tmp_path, **facts):
    """Return the reading of counts."""
    return read_scan(source(counts, tmp_path, **facts))


def plain(scan_shape, **changes):
    """Return the preparation of a scan that needs none."""
    facts = {
        "weights": np.ones(scan_shape),
        "normalised": False,
        "bad_lines": (),
        "beam_rms": 0.0,
        "descan_px_per_step": np.zeros((2, 2)),
        "findings": (),
    }
    return Preparation(**(facts | changes))


def off_lattice_bins(frequencies, plan_):
    """Return how far each frequency is from the crystal's nearest, in bins (K, 2)."""
    truth = plan_.thin.g_per_angstrom @ plan_.scan_matrix
    apart = (np.asarray(frequencies)[:, None] - truth) * np.array(plan_.scan_shape)
    nearest = np.hypot(*np.moveaxis(apart, 2, 0)).argmin(axis=1)
    return apart[np.arange(len(apart)), nearest]
