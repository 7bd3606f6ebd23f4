"""Scans in files for processes of their own, our step on them, and what the answers are worth."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from contestants.thin_scans import known, object_phase, random_plan, write
from stemcal.optics.scan_affine import ScanAxes
from stemcal.phantoms.weak_phase import WeakPhasePlan, amorphous, counted, expected_frames

_STRIP = 64
_COMMAND = "from stemcal.cli import main; raise SystemExit(main())"
_FILM = {"C10": -800.0, "C12a": 100.0, "C12b": 50.0, "C30": 2e4}


def film(seed: int) -> WeakPhasePlan:
    """Return an amorphous film far from focus in coarse steps: what shifts of virtual images are made for."""
    axes = random_plan(seed).axes
    coarse = ScanAxes(axes.theta_fast_deg, axes.theta_slow_deg, 5 * axes.step_fast, 5 * axes.step_slow, axes.flip)
    thin = amorphous(0.1, n_waves=150, largest_per_angstrom=0.5, seed=seed)
    small = {"scan_shape": (64, 64), "frame_shape": (48, 48), "centre_px": (23.6, 23.4)}
    return WeakPhasePlan(coarse, thin, _FILM, **small)  # type: ignore[arg-type]


PLANS: dict[str, Callable[[int], WeakPhasePlan]] = {
    "crystal near focus": random_plan,
    "crystal, blurred": lambda seed: random_plan(seed, blurred=True),
    "film, 80 nm from focus": film,
}


def make(kind: str, seed: int, counts: str, container: str, truth: str) -> Callable[[], dict[str, Any]]:
    """Return the making of a scan as ``.npy`` and as our HDF5, its true phase, and what peers are told."""

    def work() -> dict[str, Any]:
        plan = PLANS[kind](seed)
        frames = counted(expected_frames(plan), 1e4, seed)
        np.save(counts, frames)
        np.save(truth, object_phase(plan))
        given = known(plan, seed)
        write(Path(container), frames, given)
        return told(plan, given.nominal_step_angstrom)

    return work


def told(plan: WeakPhasePlan, nominal_step_angstrom: float) -> dict[str, Any]:
    """Return everything that is known of a plan, for JSON; a way takes of it what its users know."""
    return {
        "voltage_kv": plan.voltage_kv,
        "semi_angle_mrad": plan.semi_angle_mrad,
        "nominal_step_angstrom": nominal_step_angstrom,
        "mrad_per_px": plan.mrad_per_px,
        "wavelength_angstrom": plan.wavelength_angstrom,
        "radius_px": plan.disk_radius_px,
        "centre_px": plan.centre_px,
        "disk_shift_px": plan.disk_shift_matrix.tolist(),
        "rotation_deg": (plan.axes.theta_fast_deg + plan.axes.theta_slow_deg) / 2,
        "flip": plan.axes.flip,
        "aberrations": dict(plan.aberrations_angstrom),
    }


def make_large(container: str, counts: str, scan_px: int, frame_px: int) -> Callable[[], dict[str, Any]]:
    """Return the making of one large scan in strips; the disk has a radius of 0.235 frames."""

    def work() -> dict[str, Any]:
        plan = random_plan(1001, blurred=True)
        plan = replace(
            plan,
            scan_shape=(min(_STRIP, scan_px), scan_px),
            frame_shape=(frame_px, frame_px),
            disk_radius_px=0.235 * frame_px,
            centre_px=(frame_px / 2 - 0.6, frame_px / 2 + 0.3),
        )
        out = np.lib.format.open_memmap(counts, "w+", np.uint16, (scan_px, scan_px, frame_px, frame_px))
        for start in range(0, scan_px, _STRIP):
            strip = expected_frames(plan, lambda steps, start=start: steps + np.array([start, 0]))
            out[start : start + len(strip)] = counted(strip, 1e4, start)
            del strip
        out.flush()
        given = known(plan, 1001)
        write(Path(container), out, given)
        return told(plan, given.nominal_step_angstrom)

    return work


def calibrate(container: str, record: str, threads: int = 1, ranks: int = 1) -> Callable[[], dict[str, Any]]:
    """Return ours on the container: the command as a whole when on ranks, else the step; answers are read back."""
    from stemcal.geometry.run import GeometryPaths, run_geometry
    from stemcal.geometry.settings import GeometrySettings

    def alone() -> dict[str, Any]:
        paths = GeometryPaths.of(Path(record))
        run_geometry(Path(container), paths, settings=GeometrySettings(), threads=threads)
        return digests(record)

    def together() -> dict[str, Any]:
        command = [str(Path(sys.executable).with_name("mpiexec")), "-n", f"{ranks}", sys.executable, "-c", _COMMAND]
        command += ["geometry", container, "-o", record, "--ranks", f"{ranks}", "--threads", f"{threads}"]
        subprocess.run(command, check=True, capture_output=True)
        return digests(record)

    return alone if ranks == 1 else together


def digests(record: str) -> dict[str, Any]:
    """Return the SHA-256 of the record and of the images beside it."""
    name = Path(record).name.removesuffix("_geometry.json")
    files = (Path(record), Path(record).with_name(f"{name}_ssb.hdf5"))
    return {path.name.removeprefix(name): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
