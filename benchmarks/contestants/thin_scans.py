"""Random geometries of scan, camera and lens, and thin crystals scanned by them.

``TUNING_SEEDS`` are for looking at when something is changed; ``HELD_OUT_SEEDS`` are for reporting and have no seed in
common with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.formats import bitshuffle
from stemcal.formats.container import Layout, open_container
from stemcal.formats.extras import Extras
from stemcal.formats.hspy import Axis
from stemcal.optics.scan_affine import ScanAxes
from stemcal.phantoms.weak_phase import WeakPhasePlan, counted, crystal, expected_frames
from stemcal.records.microscope import Microscope

TUNING_SEEDS = range(100, 108)
HELD_OUT_SEEDS = range(1000, 1024)
_BLUR = {"source_sigma_angstrom": 0.35, "psf_sigma_px": 0.5, "focal_spread_angstrom": 25.0}
"""Half a probe, half a pixel and the spread of a cold emitter: what a good instrument has."""


@dataclass(frozen=True)
class Known:
    """What the step is told of a scan, and what is true of it.

    Attributes
    ----------
    scan_matrix_angstrom : ndarray
        S, (2, 2); None where the data hold no geometry.
    aberrations_angstrom : mapping
        By name; what is absent is 0. None where they are not compared.
    """

    scan_matrix_angstrom: NDArray[np.float64] | None
    voltage_kv: float
    semi_angle_mrad: float
    nominal_step_angstrom: float
    aberrations_angstrom: Mapping[str, float] | None = None


def random_plan(seed: int, *, blurred: bool = False, side: int = 128) -> WeakPhasePlan:
    """Return a plan whose geometry, crystal and aberrations are drawn; kinds and flips take turns."""
    draw = np.random.default_rng((seed, 5))
    ratio, step = draw.uniform(0.94, 1.06), draw.uniform(0.31, 0.39)
    theta = draw.uniform(-180, 180)
    axes = ScanAxes(theta, theta + draw.uniform(-1.5, 1.5), step / ratio**0.5, step * ratio**0.5, seed % 4 > 1)
    c12, c21, c23 = (limit * _in_circle(draw) for limit in (30.0, 1000.0, 1000.0))
    aberrations = {
        "C10": draw.uniform(-120, 120),
        **_pair("C12", c12),
        **_pair("C21", c21),
        **_pair("C23", c23),
        "C30": draw.uniform(-3e4, 3e4),
    }
    centre = tuple(31.5 + draw.uniform(-1, 1, 2))
    kind = ("square", "hexagonal")[seed % 2]
    thin = crystal(kind, angle_deg=draw.uniform(0, 90))
    plan = WeakPhasePlan(axes, thin, aberrations, (side, side), centre_px=(centre[0], centre[1]))
    return replace(plan, **_BLUR) if blurred else plan


def known(plan: WeakPhasePlan, seed: int) -> Known:
    """Return the truth of a plan; the commanded step is off by up to one percent."""
    area = plan.axes.step_fast * plan.axes.step_slow
    nominal = area**0.5 * np.random.default_rng((seed, 6)).uniform(0.99, 1.01)
    optics = plan.voltage_kv, plan.semi_angle_mrad
    return Known(plan.scan_matrix, *optics, nominal, plan.aberrations_angstrom)


def write(path: Path, counts: NDArray[np.uint16], given: Known) -> Path:
    """Write counts (scan_row, scan_col, det_row, det_col) as our HDF5, with what the microscope says."""
    names = ("scan_row", "scan_col", "det_row", "det_col")
    first, second, third, fourth = (Axis(name, "px", 1.0, 0.0) for name in names)
    rows, cols, *frame = counts.shape
    layout = Layout(path.stem, (rows, cols, frame[0], frame[1]), (first, second, third, fourth), counts.dtype)
    said = Microscope(
        voltage_kv=given.voltage_kv,
        convergence_semi_angle_mrad=given.semi_angle_mrad,
        scan_step_nm=given.nominal_step_angstrom / 10,
    )
    with open_container(path, layout) as writer:
        for row, line in enumerate(counts):
            chunks = [bitshuffle.compress(frame) for frame in line]
            writer.put(range(row * cols, (row + 1) * cols), chunks)
        writer.finish(Extras(microscope=said))
    return path


def make(
    container: str, plain: str, seed: int, blurred: bool, counts: float, changes: dict[str, Any]
) -> Callable[[], None]:
    """Return the making of a scan both as our HDF5 and as ``.npy``; ``changes`` are those of the plan."""

    def work() -> None:
        plan = replace(random_plan(seed, blurred=blurred), **changes)
        frames = counted(expected_frames(plan), counts, seed)
        np.save(plain, frames)
        write(Path(container), frames, known(plan, seed))

    return work


def object_phase(plan: WeakPhasePlan) -> NDArray[np.float64]:
    """Return the true phase (scan_row, scan_col) of the object where the probe was, in rad."""
    steps = np.stack(np.meshgrid(*map(np.arange, plan.scan_shape), indexing="ij"), axis=-1).reshape(-1, 2)
    turns = np.exp(2j * np.pi * (steps @ plan.scan_matrix.T) @ plan.thin.g_per_angstrom.T)
    return np.angle(turns @ plan.thin.coefficients).reshape(plan.scan_shape)


def _in_circle(draw: np.random.Generator) -> complex:
    return complex(np.sqrt(draw.random()) * np.exp(2j * np.pi * draw.random()))


def _pair(name: str, value: complex) -> dict[str, float]:
    return {f"{name}a": value.real, f"{name}b": value.imag}
