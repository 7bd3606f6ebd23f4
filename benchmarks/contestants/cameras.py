"""Random cameras, doses, grains and materials."""

from __future__ import annotations

import math

import numpy as np

from stemcal.optics.rings import GOLD_LATTICE_CONSTANT_ANGSTROM, cubic_rings
from stemcal.phantoms.powder import Camera, PowderPhase, gold_phase
from stemcal.phantoms.standard_scan import StandardScan

COVERAGE_SETS = ("new spots in every frame", "30 grains")
_FRAME_PX = 192
_OTHERS = {"Si": (5.431, "F"), "W": (3.165, "I"), "Po": (3.359, "P")}
_PART_OF_OTHERS = 0.25


def coverage_scan(name: str, seed: int) -> StandardScan:
    """Return a scan of gold by a random camera that is not round."""
    draw = np.random.default_rng((seed, COVERAGE_SETS.index(name), 11))
    camera = _camera(draw, 1.01 + 0.06 * draw.random(), draw.uniform(0.0125, 0.017), 25.0)
    grains = 30 if name == COVERAGE_SETS[1] else 0
    phase = gold_phase(
        ring_width_px=draw.uniform(0.9, 1.5),
        grains_per_frame=1.5 if grains else draw.uniform(3.0, 20.0),
        spot_radius_px=draw.uniform(0.0, 2.5),
    )
    counts = math.exp(draw.uniform(math.log(1e4), math.log(1e5)))
    return StandardScan(camera, phase, counts_per_frame=counts, n_grains=grains, seed=seed)


def blind_scan(seed: int) -> tuple[str, StandardScan]:
    """Return the material and a scan of it by a camera of which nothing is known."""
    draw = np.random.default_rng((seed, 12))
    pixel_size = 0.009 * math.exp(draw.uniform(0.0, math.log(3.0)))
    camera = _camera(draw, 1.0 + 0.15 * draw.random(), pixel_size, _FRAME_PX / 4 - 4)
    material = str(draw.choice(["amorphous", *_OTHERS])) if draw.random() < _PART_OF_OTHERS else "Au"
    grains, width = draw.choice([0.0, 3.0, 10.0]), draw.uniform(0.9, 1.6)
    phase = _phase(material, float(grains), width)
    counts = math.exp(draw.uniform(math.log(3e3), math.log(1e5)))
    return material, StandardScan(camera, phase, (8, 8), counts, seed=seed)


def _camera(draw: np.random.Generator, ratio: float, pixel_size: float, reach_px: float) -> Camera:
    row, col = (_FRAME_PX - 1) / 2 + draw.uniform(-reach_px, reach_px, 2)
    voltage = float(draw.choice([80.0, 200.0, 300.0]))
    return Camera((_FRAME_PX, _FRAME_PX), row, col, pixel_size, ratio, draw.uniform(0, 180), voltage)


def _phase(material: str, grains: float, width: float) -> PowderPhase:
    if material == "Au":
        return gold_phase(ring_width_px=width, grains_per_frame=grains)
    if material == "amorphous":
        return PowderPhase(material, ((0.42, 1.0), (0.78, 0.4)), 6.0)
    constant, centring = _OTHERS[material]
    limit = round(44 * (constant / GOLD_LATTICE_CONSTANT_ANGSTROM) ** 2)
    rings = [
        (ring.q_per_angstrom, ring.multiplicity / ring.q_per_angstrom**2)
        for ring in cubic_rings(constant, centring, max_index_square=limit)
        if material != "Si" or sum(ring.hkl) % 2 == 1 or sum(ring.hkl) % 4 == 0
    ]
    return PowderPhase(material, tuple(rings), width, grains)
