"""The materials of a synthetic session, and how much of each every scan position sees."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stemcal.optics.descan import scan_coordinates
from stemcal.optics.rings import cubic_rings
from stemcal.phantoms.plan import SessionPlan
from stemcal.phantoms.powder import PowderPhase, gold_phase
from stemcal.phantoms.scan import Blob, ScanPlan

ALUMINIUM_ANGSTROM = 4.0495
SILICON_ANGSTROM = 5.4310

_CARBON_RINGS = ((0.47, 1.0), (0.83, 0.6))
"""Amorphous carbon's two halos: q in 1/angstrom and relative intensity."""
_CARBON_WIDTH_PER_ANGSTROM = 0.05
_GRAINS = {"Au": 12.0, "Si": 60.0, "Al": 60.0}
_MAX_INDEX_SQUARE = 24


def phase_maps(scan: ScanPlan) -> dict[str, NDArray[np.float64]]:
    """Return the relative scattered intensity of each phase of ``scan``, (scan_row, scan_col).

    Soft disks of one phase add up; ``vacuum`` takes its part away from all of them.
    """
    names = sorted({blob.phase for blob in scan.blobs} - {"vacuum"})
    maps = {name: np.zeros(scan.scan_shape) for name in names}
    matter = np.ones(scan.scan_shape)
    for blob in scan.blobs:
        disk = _soft_disk(blob, scan.scan_shape)
        if blob.phase == "vacuum":
            matter *= 1 - disk
        else:
            maps[blob.phase] += disk
    return {name: values * matter for name, values in maps.items()}


def phases_of(plan: SessionPlan, scan: ScanPlan) -> tuple[PowderPhase, ...]:
    """Return the phases of ``scan`` as they scatter, in the order of ``phase_maps``."""
    camera = plan.camera_of(scan)
    return tuple(_phase(name, plan.ring_width_px, camera.pixel_size_per_angstrom) for name in phase_maps(scan))


def _phase(name: str, ring_width_px: float, pixel_size_per_angstrom: float) -> PowderPhase:
    if name == "Au":
        return gold_phase(ring_width_px=ring_width_px, grains_per_frame=_GRAINS["Au"])
    if name == "C":
        width = math.hypot(ring_width_px, _CARBON_WIDTH_PER_ANGSTROM / pixel_size_per_angstrom)
        return PowderPhase("C", _CARBON_RINGS, width)
    rings = _silicon_rings() if name == "Si" else _aluminium_rings()
    return PowderPhase(name, rings, ring_width_px, _GRAINS[name])


def _aluminium_rings() -> tuple[tuple[float, float], ...]:
    rings = cubic_rings(ALUMINIUM_ANGSTROM, "F", max_index_square=_MAX_INDEX_SQUARE)
    return tuple((q, multiplicity * _falloff(q)) for _, q, multiplicity in rings)


def _silicon_rings() -> tuple[tuple[float, float], ...]:
    """Return the rings of diamond structure: |F|^2 = 32 f^2 for odd indices, 64 f^2 for h + k + l = 4 n, else 0."""
    rings = []
    for (h, k, l), q, multiplicity in cubic_rings(SILICON_ANGSTROM, "F", max_index_square=_MAX_INDEX_SQUARE):  # noqa: E741
        if h % 2 == 1:
            rings.append((q, 0.5 * multiplicity * _falloff(q)))
        elif (h + k + l) % 4 == 0:
            rings.append((q, multiplicity * _falloff(q)))
    return tuple(rings)


def _falloff(q: float) -> float:
    """Stand in for |f|^2 of a light element, times 1/q for the part of the reflections that are excited."""
    return math.exp(-0.5 * q * q) / ((1 + q * q / 0.3) ** 2 * q)


def _soft_disk(blob: Blob, scan_shape: tuple[int, int]) -> NDArray[np.float64]:
    v, u = scan_coordinates(scan_shape)
    distance = np.hypot(v - blob.row, u - blob.col).reshape(scan_shape)
    return np.asarray(blob.amount / (1 + np.exp((distance - blob.radius) / blob.softness)))
