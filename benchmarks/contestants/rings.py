"""Ways to mean and variance on rings: ours and those of others, on the same patterns about the same origin."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Work = Callable[[], None]
FEW_ROWS = 2
"""Scan rows that py4DSTEM works on where the others take all: its time per pattern is constant, and long."""
_N_ANNULAR = 180
"""py4DSTEM's own number of angles."""


def ours(patterns: str, answer: str, centre: list[float], n_bins: int) -> Work:
    """Return ours, the operator included in the work as it is in a job."""
    from stemcal.polar.operator import Geometry, RadialGrid, ring_operator
    from stemcal.polar.statistics import ring_statistics

    frames = np.load(patterns)
    geometry = Geometry(np.ones(frames.shape[1:], bool), np.eye(2), RadialGrid(1.0, n_bins), 4)

    def work() -> None:
        operator = ring_operator(geometry, (centre[0], centre[1]))
        _save(answer, *ring_statistics(frames, operator, 2.0))

    work()
    return work


def pyfai(patterns: str, answer: str, centre: list[float], n_bins: int) -> Work:
    """Return pyFAI's azimuthal mean and standard deviation: full splitting, a sparse matrix, its compiled loops."""
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

    frames = np.load(patterns)
    size = 1e-4
    place = {"poni1": (centre[0] + 0.5) * size, "poni2": (centre[1] + 0.5) * size}
    integrator = AzimuthalIntegrator(dist=1, pixel1=size, pixel2=size, wavelength=1e-10, **place)
    options = {"unit": "r_mm", "radial_range": (0, n_bins * size * 1e3), "correctSolidAngle": False}

    def one(frame: NDArray[np.uint16]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        found = integrator.integrate1d_ng(
            frame, n_bins, method=("full", "csr", "cython"), error_model="azimuthal", **options
        )
        return found.intensity, found.std**2

    def work() -> None:
        means, variances = zip(*map(one, frames), strict=True)
        _save(answer, np.stack(means), np.stack(variances))

    one(frames[0])
    return work


def py4dstem(patterns: str, answer: str, centre: list[float], n_bins: int) -> Work:
    """Return py4DSTEM's ``calculate_FEM_local``, which ePSIC's profiles come from."""
    import py4DSTEM

    frames = np.load(patterns)

    def polar(some: NDArray[np.uint16]) -> py4DSTEM.PolarDatacube:
        data = py4DSTEM.DataCube(data=some[None])
        data.calibration.set_origin((centre[0], centre[1]))
        return py4DSTEM.PolarDatacube(data, qmin=0.0, qmax=float(n_bins), qstep=1.0, n_annular=_N_ANNULAR)

    def work() -> None:
        cube = polar(frames)
        cube.calculate_FEM_local(plot_normalized_variance=False, progress_bar=False)
        _save(answer, cube.local_radial_mean[0], cube.local_radial_var[0])

    polar(frames[:2]).calculate_FEM_local(plot_normalized_variance=False, progress_bar=False)
    return work


def pyxem(patterns: str, answer: str, centre: list[float], n_bins: int) -> Work:
    """Return pyxem's ``get_azimuthal_integral1d``; it has no variance.

    What it cuts the pixels into is kept from before the clock: that takes it seconds, once for a data set.
    """
    import pyxem
    from pyxem.utils.calibration import Calibration

    Calibration.get_slices1d = _once(Calibration.get_slices1d)
    signal = pyxem.signals.Diffraction2D(np.load(patterns)[None])
    signal.calibration.center = (centre[1], centre[0])

    def work() -> None:
        found = signal.get_azimuthal_integral1d(npt=n_bins, mean=True, radial_range=(0, n_bins), show_progressbar=False)
        mean = np.asarray(found.data)[0]
        _save(answer, mean, np.full_like(mean, np.nan))

    work()
    return work


def _once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that computes once for all arguments that print alike."""
    kept: dict[str, Any] = {}

    def method(instance: object, *args: object, **options: object) -> Any:
        key = repr((args, sorted(options.items())))
        if key not in kept:
            kept[key] = function(instance, *args, **options)
        return kept[key]

    return method


def whole_ours(container: str, answer: str, centre: list[float], n_bins: int, threads: int) -> Work:
    """Return the profiles of a compressed container, by as many threads on as many ranks as there are."""
    from stemcal.frames.plan import Block
    from stemcal.frames.ranks import open_world
    from stemcal.frames.source import open_source
    from stemcal.frames.stream import stream_blocks
    from stemcal.polar.operator import Geometry, RadialGrid, RingOperators
    from stemcal.polar.statistics import RingStatistics, block_statistics, joined

    world, steps = open_world(), 4
    key = np.rint(np.array(centre) * steps).astype(np.int64)

    def work() -> None:
        with open_source(Path(container)) as source:
            keys = np.broadcast_to(key, (source.n_frames, 2))
            geometry = Geometry(source.valid, np.eye(2), RadialGrid(1.0, n_bins), 4)
            operators = RingOperators(geometry, keys, steps, 2**27)

            def measure(frames: NDArray[np.uint16], _block: Block) -> RingStatistics:
                usable = np.ones(len(frames), bool)
                return block_statistics(frames, usable, keys[: len(frames)], operators, n_bins, 2.0)

            parts = [part for _block, part in stream_blocks(source, measure, threads=threads, world=world)]
        if world.rank == 0:
            found = joined(parts)
            _save(answer, found.mean, found.variance)

    work()
    return work


def whole_ranks(container: str, answer: str, centre: list[float], n_bins: int, ranks: int) -> Callable[[], float]:
    """Return the same by MPI ranks of one thread each; it answers with the seconds from when all were ready."""
    launcher = Path(sys.executable).with_name("mpiexec")
    arguments = {"container": container, "answer": answer, "centre": centre, "n_bins": n_bins, "threads": 1}
    command = [str(launcher), "-n", str(ranks), sys.executable, "-m", "contestants.rank", json.dumps(arguments)]

    def work() -> float:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return float(done.stdout)

    return work


def whole_py4dstem(container: str, answer: str, centre: list[float], n_bins: int) -> Work:
    """Return the same with py4DSTEM on patterns that h5py has read; on the first `FEW_ROWS`."""
    import h5py
    import hdf5plugin  # noqa: F401 (its filters)
    import py4DSTEM

    def work() -> None:
        with h5py.File(container) as file:
            (name,) = file["Experiments"]
            data = py4DSTEM.DataCube(data=file["Experiments"][name]["data"][:FEW_ROWS])
        data.calibration.set_origin((centre[0], centre[1]))
        cube = py4DSTEM.PolarDatacube(data, qmin=0.0, qmax=float(n_bins), qstep=1.0, n_annular=_N_ANNULAR)
        cube.calculate_FEM_local(plot_normalized_variance=False, progress_bar=False)
        rows, cols, _ = cube.local_radial_mean.shape
        flat = (one.reshape(rows * cols, -1) for one in (cube.local_radial_mean, cube.local_radial_var))
        _save(answer, *flat)

    work()
    return work


def _save(answer: str, mean: NDArray[np.floating], variance: NDArray[np.floating]) -> None:
    np.savez(answer, mean=np.asarray(mean, np.float64), variance=np.asarray(variance, np.float64))
