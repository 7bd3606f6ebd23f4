"""Scans with faults, which have to give the same geometry, and scans that hold none, which have to be refused.

Seeds are those of `contestants.thin_scans`: a geometry of its own for every scan, with the blur of a good instrument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from contestants.thin_scans import Known, known, random_plan
from stemcal.phantoms import scan_faults
from stemcal.phantoms.weak_phase import (
    PhaseObject,
    Warp,
    WeakPhasePlan,
    amorphous,
    counted,
    expected_frames,
    gratings,
    vacuum,
)

Frames = NDArray[np.float32]
_Fault = Callable[[Frames, WeakPhasePlan, int], Frames]
_FIRST_RING_PER_ANGSTROM = 0.36
"""Of the hexagonal crystal."""
_WAVE_RAD = 0.1


@dataclass(frozen=True)
class BadScan:
    """One scan: what is wrong with it, its counts, and what is known of it."""

    name: str
    counts: NDArray[np.uint16]
    given: Known


def bad_scans(seed: int, side: int, counts: float = 1e4) -> Iterator[BadScan]:
    """Yield every scan of a seed's geometry, one at a time for the memory.

    Parameters
    ----------
    seed : int
        Seed of the geometry, of the faults and of the noise.
    side : int
        Of the square scan.
    counts : float
        Electrons per frame where the name says nothing else.
    """
    plan = random_plan(seed, blurred=True, side=side)
    truth = known(plan, seed)
    yield from _faulty(plan, truth, seed, counts)
    for name, (warp, steps) in _warps(side, side, seed).items():
        drifted = _drifted(truth, steps / side)
        yield BadScan(name, counted(expected_frames(plan, warp), counts, seed), drifted)
    for name, defocus in _DEFOCUS_ANGSTROM.items():
        away = replace(plan, aberrations_angstrom={**plan.aberrations_angstrom, "C10": defocus})
        yield BadScan(name, counted(expected_frames(away), counts, seed), known(away, seed))
    for name, thin in _NOTHING.items():
        empty = replace(plan, thin=thin(seed))
        yield BadScan(name, counted(expected_frames(empty), counts, seed), replace(truth, scan_matrix_angstrom=None))


def _faulty(plan: WeakPhasePlan, truth: Known, seed: int, counts: float) -> Iterator[BadScan]:
    frames = expected_frames(plan)
    for name, fault in _FAULTS.items():
        yield BadScan(name, counted(fault(frames, plan, seed), counts, seed), truth)
    for percent in (4, 30):
        told = replace(truth, nominal_step_angstrom=(1 + percent / 100) * truth.nominal_step_angstrom)
        yield BadScan(f"commanded step {percent} % off", counted(frames, counts, seed), told)


def _dose(factor: float) -> _Fault:
    return lambda frames, _plan, _seed: np.asarray(frames * np.float32(factor))


def _descan(px: float) -> _Fault:
    """Return a fault by which the disk moves by +-``px`` along each axis of the scan."""

    def fault(frames: Frames, plan: WeakPhasePlan, _seed: int) -> Frames:
        rows, cols = plan.scan_shape
        return scan_faults.descanned(frames, px * np.array([[2 / rows, 0.6 / cols], [-0.4 / rows, -2 / cols]]))

    return fault


def _half_vacuum(frames: Frames, plan: WeakPhasePlan, _seed: int) -> Frames:
    empty = expected_frames(replace(plan, thin=vacuum(), scan_shape=(1, 1)))[0, 0]
    return scan_faults.half_vacuum(frames, empty)


def _zero_lines(frames: Frames, plan: WeakPhasePlan, seed: int) -> Frames:
    lines = np.random.default_rng((seed, 7)).choice(plan.scan_shape[0], 4, replace=False)
    return scan_faults.blanked(frames, sorted(lines.tolist()))


def _beam(frames: Frames, _plan: WeakPhasePlan, seed: int) -> Frames:
    return scan_faults.unsteady(frames, drop=0.2, ripple=0.05, seed=seed)


def _pixels(frames: Frames, plan: WeakPhasePlan, seed: int) -> Frames:
    angle, radius = np.random.default_rng((seed, 8)).random((2, 8)) * [[2 * np.pi], [0.95 * plan.disk_radius_px]]
    places = np.rint(np.array(plan.centre_px)[:, None] + radius * np.stack([np.sin(angle), np.cos(angle)]))
    pixels = [(int(row), int(col)) for row, col in places.T]
    return scan_faults.faulty_pixels(frames, pixels[:4], pixels[4:])


_FAULTS: dict[str, _Fault] = {
    "nothing wrong": _dose(1.0),
    "300 electrons per frame": _dose(0.03),
    "100 electrons per frame": _dose(0.01),
    "half vacuum": _half_vacuum,
    "descan of 0.5 px": _descan(0.5),
    "descan of 4 px": _descan(4.0),
    "four lines without counts": _zero_lines,
    "beam -20 %, ripple 5 %": _beam,
    "eight hot or dead pixels": _pixels,
}
"""Done to the frames of 1e4 electrons."""
_DEFOCUS_ANGSTROM = {"defocus of 40 nm": 400.0, "defocus of -60 nm": -600.0}
_NOTHING: dict[str, Callable[[int], PhaseObject]] = {
    "vacuum": lambda _seed: vacuum(),
    "amorphous film": lambda seed: amorphous(_WAVE_RAD, seed=seed),
    "three peaks": lambda seed: gratings(_ring(seed), _WAVE_RAD),
    "one direction": lambda seed: gratings(_ring(seed)[:1] * np.arange(1, 4)[:, None], _WAVE_RAD),
}
"""Objects that do not determine a geometry."""


def _warps(rows: int, cols: int, seed: int) -> dict[str, tuple[Warp, float]]:
    """Return warps, and by how many steps each drifts over the scan along the fast axis, by the line through it.

    The line through a parabola rises as far as the parabola does.
    """
    return {
        "line jitter of 0.3 steps": (scan_faults.jittered_steps(rows, 0.3, seed), 0.0),
        "quadratic drift of 0.4 steps": (scan_faults.drifting_steps(rows, 0.4), 0.4),
        "quadratic drift of 4 steps": (scan_faults.drifting_steps(rows, 4.0), 4.0),
        "fly-back in 3 columns": (scan_faults.fly_back_steps(cols, 3), 0.0),
    }


def _drifted(truth: Known, steps_per_line: float) -> Known:
    """Return the truth with the mean drift in it: a sheared scan is what the probe did."""
    assert truth.scan_matrix_angstrom is not None
    shear = np.array([[1.0, 0.0], [steps_per_line, 1.0]])
    return replace(truth, scan_matrix_angstrom=truth.scan_matrix_angstrom @ shear)


def _ring(seed: int) -> NDArray[np.float64]:
    """Return the three waves of a hexagonal lattice's first ring, (3, 2)."""
    angle = math.tau * np.random.default_rng((seed, 9)).random() + np.array([0, np.pi / 3, 2 * np.pi / 3])
    return _FIRST_RING_PER_ANGSTROM * np.stack([np.sin(angle), np.cos(angle)], axis=1)
