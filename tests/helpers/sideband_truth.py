"""Small scans of thin crystals, cut to their bright field, and what their object is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from stemcal.geometry.aperture import Aperture
from stemcal.geometry.bright_field import BrightField
from stemcal.optics.aberrations import phase_at_edge, terms
from stemcal.optics.scan_affine import ScanAxes
from stemcal.phantoms.weak_phase import WeakPhasePlan, counted, crystal, expected_frames

ABERRATIONS_ANGSTROM = {"C10": -80.0, "C12a": 20.0, "C12b": -15.0, "C21a": 500.0, "C23b": 400.0, "C30": 20000.0}
SIDE = 48
INSIDE = (slice(6, -6), slice(6, -6))
"""The positions whose probe lies in the scan."""


@dataclass(frozen=True)
class Scan:
    """A simulated scan and its truth."""

    plan: WeakPhasePlan
    counts: np.ndarray

    @property
    def aperture(self) -> Aperture:
        row, col = self.plan.centre_px
        return Aperture(row, col, self.plan.disk_radius_px, 0.0, 0.0, 0.3, 0.01, 0.01, 1e-3, 1.0, False)

    @property
    def bright_field(self) -> BrightField:
        place = np.indices(self.plan.frame_shape) - np.reshape(self.plan.centre_px, (2, 1, 1))
        rows, cols = np.nonzero(np.hypot(*place) < 1.1 * self.plan.disk_radius_px)
        counts = np.ascontiguousarray(np.moveaxis(self.counts[:, :, rows, cols], 2, 0))
        shift = np.zeros((2, *self.plan.scan_shape), np.int16)
        return BrightField(counts, rows.astype(float), cols.astype(float), np.ones(rows.size, bool), 1, shift)

    @property
    def everywhere(self) -> np.ndarray:
        return np.ones(self.plan.scan_shape)

    @property
    def offsets(self) -> np.ndarray:
        """(2, det_row, det_col) px from the centre of the aperture."""
        return np.indices(self.plan.frame_shape) - np.reshape(self.plan.centre_px, (2, 1, 1))

    @property
    def adf(self) -> np.ndarray:
        outside = np.hypot(*self.offsets) > 1.15 * self.plan.disk_radius_px
        return self.counts[:, :, outside].sum(axis=2, dtype=float)

    @property
    def com(self) -> np.ndarray:
        """(2, scan_row, scan_col) centre of mass from the centre of the aperture, px."""
        flat = self.counts.reshape(-1, self.counts[0, 0].size).astype(np.float32)
        moments = flat @ self.offsets.reshape(2, -1).T.astype(np.float32)
        return (moments / flat.sum(axis=1, keepdims=True)).T.reshape(2, *self.plan.scan_shape).astype(float)

    @property
    def aberrations_rad(self) -> dict[str, float]:
        known = {term.name: term for term in terms(5)}
        wavelength, angle = self.plan.wavelength_angstrom, self.plan.semi_angle_mrad
        found = self.plan.aberrations_angstrom.items()
        return {name: phase_at_edge(known[name], value, wavelength, angle) for name, value in found}

    @property
    def phase(self) -> np.ndarray:
        """(scan_row, scan_col) true phase of the object at the positions, rad."""
        return np.angle(object_wave(self.plan))

    @property
    def frequencies(self) -> np.ndarray:
        """(K, 2) scan frequencies of the strongest beams, one of each pair, cycles per step."""
        thin = self.plan.thin
        order = np.argsort(-np.abs(thin.coefficients), kind="stable")
        half = [i for i in order if tuple(thin.indices[i]) > (0, 0)][:9]
        return thin.g_per_angstrom[half] @ self.plan.scan_matrix


def object_wave(plan: WeakPhasePlan) -> np.ndarray:
    steps = np.stack(np.meshgrid(*map(np.arange, plan.scan_shape), indexing="ij"), axis=-1).reshape(-1, 2)
    turns = np.exp(2j * np.pi * (steps @ plan.scan_matrix.T) @ plan.thin.g_per_angstrom.T)
    return (turns @ plan.thin.coefficients).reshape(plan.scan_shape)


@cache
def scan(
    kind: str = "hexagonal",
    *,
    flip: bool = False,
    theta_deg: float = 17.3,
    dose: float = 1e4,
    side: int = SIDE,
    defocus: float | None = None,
    lattice_constant_angstrom: float | None = None,
) -> Scan:
    """Return a scan with aberrations, or with a ``defocus`` (C10, angstrom) alone."""
    axes = ScanAxes(theta_deg, theta_deg + 1.2, 0.35, 0.36, flip)
    aberrations = ABERRATIONS_ANGSTROM if defocus is None else {"C10": defocus}
    thin = crystal(kind, angle_deg=7.0, lattice_constant_angstrom=lattice_constant_angstrom)
    plan = WeakPhasePlan(
        axes,
        thin,
        aberrations,
        scan_shape=(side, side),
        frame_shape=(48, 48),
        disk_radius_px=11.5,
        centre_px=(23.87, 22.89),
    )
    return Scan(plan, counted(expected_frames(plan), dose, seed=1))


def damaged(one: Scan, factors: np.ndarray) -> Scan:
    """Return the scan with the dose of each position multiplied."""
    return replace(one, counts=np.rint(one.counts * factors[:, :, None, None]).astype(np.uint16))


def hann(side: int) -> np.ndarray:
    one = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    return one[:, None] * one


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first[INSIDE].ravel(), second[INSIDE].ravel())[0, 1])
