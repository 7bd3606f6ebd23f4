"""Scans of a powder standard with a known truth and the faults that real ones have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.optics.descan import evaluate
from stemcal.phantoms.powder import Camera, PowderPhase, powder_frames

_DESCAN_ROW_PX = (0.0, 1.5, -0.6, 0.15, 0.0, 0.0)
_DESCAN_COL_PX = (0.0, 0.5, 1.1, -0.1, 0.0, 0.05)
_HOT_COUNTS = 400.0


@dataclass(frozen=True)
class StandardScan:
    """What is scanned, with which camera, and what is wrong with it.

    Attributes
    ----------
    camera : Camera
        The truth.
    phase : PowderPhase
        The standard.
    scan_shape : tuple of int
        (scan_row, scan_col).
    counts_per_frame : float
        Electrons in a frame.
    direct_beam_fraction, diffuse_fraction : float
        Parts in the bright disk, and of the rest in the diffuse background.
    disk_radius_px : float
        Bright disk.
    descan : float
        Times the usual 2 px.
    n_grains : int
        Grains of the scan, each with spots of its own; 0 for new ones in every frame.
    cross_px : int
        Width of the dead cross in the middle of the detector.
    cross_in_mask : bool
        Whether the mask of the detector tells of the cross.
    n_hot : int
        Hot pixels that no mask tells of.
    ceiling : int
        Where the counter stops.
    seed : int
        Of everything drawn.
    """

    camera: Camera
    phase: PowderPhase
    scan_shape: tuple[int, int] = (12, 12)
    counts_per_frame: float = 6e4
    direct_beam_fraction: float = 0.35
    diffuse_fraction: float = 0.35
    disk_radius_px: float = 3.0
    descan: float = 1.0
    n_grains: int = 0
    cross_px: int = 0
    cross_in_mask: bool = True
    n_hot: int = 0
    ceiling: int = 2**16 - 1
    seed: int = 0


def standard_frames(scan: StandardScan) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Draw the scan.

    Returns
    -------
    frames : numpy.ndarray
        (n_frames, det_row, det_col) counts.
    valid : numpy.ndarray
        (det_row, det_col) mask of the detector, True = valid.
    """
    n_frames = scan.scan_shape[0] * scan.scan_shape[1]
    blocks = powder_frames(
        scan.camera,
        (scan.phase,),
        np.ones((n_frames, 1)),
        scan.descan * evaluate(_DESCAN_ROW_PX, _DESCAN_COL_PX, 2, scan.scan_shape),
        counts_per_frame=scan.counts_per_frame,
        direct_beam_fraction=scan.direct_beam_fraction,
        disk_radius_px=scan.disk_radius_px,
        diffuse_fraction=scan.diffuse_fraction,
        grain=None if scan.n_grains == 0 else grain_map(scan.scan_shape, scan.n_grains, scan.seed),
        seed=scan.seed,
    )
    frames = np.concatenate(list(blocks)).astype(np.uint16, copy=False)
    _add_hot_pixels(frames, scan)
    np.minimum(frames, scan.ceiling, out=frames)
    valid = np.ones(scan.camera.frame_shape, np.bool_)
    if scan.cross_px > 0:
        row, col = (
            slice(n // 2 - scan.cross_px // 2, n // 2 - scan.cross_px // 2 + scan.cross_px) for n in valid.shape
        )
        valid[row] = False
        valid[:, col] = False
        frames[:, ~valid] = 0
    return frames, valid if scan.cross_in_mask else np.ones_like(valid)


def grain_map(scan_shape: tuple[int, int], n_grains: int, seed: int) -> NDArray[np.intp]:
    """Return the grain of every position, (n_frames,): the nearest of as many random points."""
    points = np.random.default_rng((seed, n_grains, 2)).uniform(0, scan_shape, (n_grains, 2))
    places = np.stack([axis.ravel() for axis in np.indices(scan_shape)], axis=1) + 0.5
    return np.asarray(np.square(places[:, None] - points).sum(axis=2).argmin(axis=1), dtype=np.intp)


def _add_hot_pixels(frames: NDArray[np.uint16], scan: StandardScan) -> None:
    generator = np.random.default_rng((scan.seed, scan.n_hot, 3))
    place = generator.choice(frames[0].size, scan.n_hot, replace=False)
    flat = frames.reshape(len(frames), -1)
    flat[:, place] += generator.poisson(_HOT_COUNTS, (len(frames), scan.n_hot)).astype(np.uint16)
