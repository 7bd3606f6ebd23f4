"""Slices of simulated scans at the crystal's true frequencies, without the steps that measure them in real data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry.lattice import ScanLattice
from stemcal.geometry.slices import Slices
from stemcal.optics.scan_affine import scan_axes, scan_of_disk_shift
from stemcal.phantoms.weak_phase import WeakPhasePlan, counted, expected_frames

TILES = 4


@dataclass(frozen=True)
class Error:
    """Fitted less true, the half turn chosen to fit."""

    angle_deg: float
    ratio: float
    scale: float
    sign: int


_simulated: dict[int, tuple[WeakPhasePlan, NDArray[np.float32]]] = {}


def _expected(plan: WeakPhasePlan) -> NDArray[np.float32]:
    if id(plan) not in _simulated:
        _simulated[id(plan)] = (plan, expected_frames(plan))
    return _simulated[id(plan)][1]


def error_of(b: NDArray[np.float64], plan: WeakPhasePlan) -> Error:
    """Return how far B is from that of the plan: the larger angle of both axes, ratio of steps, scale."""
    sign = 1 if np.linalg.norm(b - plan.disk_shift_matrix) < np.linalg.norm(b + plan.disk_shift_matrix) else -1
    found = scan_axes(scan_of_disk_shift(sign * b, plan.wavelength_angstrom, plan.mrad_per_px))
    true = plan.axes
    turns = [found.theta_fast_deg - true.theta_fast_deg, found.theta_slow_deg - true.theta_slow_deg]
    return Error(
        angle_deg=max(abs((turn + 180) % 360 - 180) for turn in turns),
        ratio=abs(found.step_ratio / true.step_ratio - 1),
        scale=abs(float(np.sqrt(abs(np.linalg.det(b) / np.linalg.det(plan.disk_shift_matrix)))) - 1),
        sign=sign,
    )


def slices_of(
    plan: WeakPhasePlan, counts_per_frame: float, *, whole_bins: bool = False, seed: int = 0, edge_px: float = 12**-0.5
) -> tuple[Slices, ScanLattice]:
    """Return the slices of a scan of the plan and the lattice of their frequencies.

    Parameters
    ----------
    plan : WeakPhasePlan
        What is simulated; the object a crystal.
    counts_per_frame : float
        Mean.
    whole_bins : bool
        Round the frequencies to bins of the scan's spectrum.
    seed : int
        Of the noise.
    edge_px : float
        What the aperture's edge is said to be.
    """
    row, col = np.indices(plan.frame_shape)
    row_px, col_px = (row - plan.centre_px[0]).ravel(), (col - plan.centre_px[1]).ravel()
    disk = np.hypot(row_px, col_px) < 1.1 * plan.disk_radius_px
    frames = counted(_expected(plan), counts_per_frame, seed).reshape(-1, disk.size)[:, disk].astype(np.float64)
    indices, frequencies = _peaks(plan)
    basis = np.linalg.lstsq(indices.astype(np.float64), frequencies, rcond=None)[0]
    if whole_bins:
        frequencies = np.round(frequencies * plan.scan_shape) / plan.scan_shape
    step = np.indices(plan.scan_shape).reshape(2, -1)
    window = np.outer(*(_taper(n) for n in plan.scan_shape)).ravel()
    turns = np.exp(-2j * np.pi * (frequencies @ step)) * window
    tile = np.ravel_multi_index(tuple(step * TILES // np.array(plan.scan_shape)[:, None]), (TILES, TILES))
    mean = frames.mean(axis=0)
    parts = [tile == t for t in range(TILES**2)]
    slices = Slices(
        values=np.stack([turns[:, p] @ (frames[p] - mean) for p in parts]).astype(np.complex64),
        variance=np.stack([window[p] ** 2 @ frames[p] for p in parts]),
        mean=mean,
        sum_window=float(window.sum()),
        frequencies=frequencies,
        row_px=row_px[disk],
        col_px=col_px[disk],
        radius_px=plan.disk_radius_px,
        edge_px=edge_px,
        usable=np.ones(int(disk.sum()), dtype=bool),
        scan_shape=plan.scan_shape,
        tile_frequencies=np.repeat(frequencies[None], TILES**2, axis=0),
    )
    return slices, ScanLattice(basis, indices, np.zeros((2, 2)), 0.0, len(indices), frequencies)


def _peaks(plan: WeakPhasePlan) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return indices and frequencies of one of each pair of beams that overlaps the direct one well."""
    g, indices = plan.thin.g_per_angstrom, plan.thin.indices
    shift_mrad = np.hypot(*g.T) * plan.wavelength_angstrom * 1e3
    frequencies = g @ plan.scan_matrix
    half = (indices[:, 0] > 0) | ((indices[:, 0] == 0) & (indices[:, 1] > 0))
    strong = np.abs(plan.thin.coefficients) > 0.01
    keep = half & strong & (shift_mrad < 1.7 * plan.semi_angle_mrad) & (np.abs(frequencies).max(axis=1) < 0.5)
    return indices[keep], frequencies[keep]


def _taper(n: int, part: float = 0.3) -> NDArray[np.float64]:
    """Return Tukey's window (n,)."""
    x = (np.arange(n) + 0.5) / n
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.clip(np.minimum(x, 1 - x) / part, 0, 0.5))
