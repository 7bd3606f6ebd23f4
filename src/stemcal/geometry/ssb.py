"""Single-sideband reconstruction: the object wave from the interference of the direct disk with the diffracted ones.

To first order in the scattered amplitudes the spectrum of a pixel k over the scan, at the frequency f whose disks are
displaced by d = B f, is ::

    G(k, f) = O_Q O_0* P(k - d) P*(k)  +  O_0 O_-Q* P(k) P*(k + d)

so that each frequency is a linear least-squares problem for two complex numbers over all pixels of the disk. Both
sidebands are used, also where they overlap, and the aberrations of the probe P = A exp(-i chi) are corrected by being
in the weights. Combinations of the two numbers that no pixel measures (the phase of long waves in focus) are damped,
not amplified.

Sources: Rodenburg, McCallum & Nellist, Ultramicroscopy 48 (1993) 304, eq. 4, for the two sidebands; Pennycook et al.,
Ultramicroscopy 151 (2015) 160, and Yang et al., Nat. Commun. 7 (2016) 12532, for the reconstruction and its correction.
The least squares over both sidebands, triple overlap included, is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import rfft2

from stemcal.errors import UsageError
from stemcal.frames.plan import Block, owner, plan_blocks
from stemcal.frames.ranks import SERIAL, World
from stemcal.frames.stream import stream_plan
from stemcal.geometry.aperture import Aperture
from stemcal.geometry.bright_field import BrightField
from stemcal.geometry.probe import Probe, probe_table
from stemcal.geometry.ssb_kernels import RUN, add_sidebands, contrast

BLOCK_BYTES = 16 * 2**20
"""Size of the images of one block as float32: what a thread has in work, and what one partial sum stands for."""
DAMPING = 0.08
"""Weight, relative to that of an undisturbed disk, below which a combination of amplitudes is damped."""
_LEAST_AMPLITUDE = 0.02
"""Pixels where the probe is weaker than this tell nothing."""


@dataclass(frozen=True)
class Ssb:
    """The reconstructed object.

    Attributes
    ----------
    wave : ndarray of complex64
        (scan_row, scan_col) object wave over its mean.
    transfer : ndarray of float32
        (scan_row, scan_col // 2 + 1) weight with which the phase of each frequency (numpy's rfft2) is measured,
        relative to that of an undisturbed disk; below `DAMPING` it is damped.
    """

    wave: NDArray[np.complex64]
    transfer: NDArray[np.float32]

    @property
    def phase(self) -> NDArray[np.float32]:
        """(scan_row, scan_col) phase in rad; its mean is 0 but for a constant."""
        return np.asarray(np.angle(self.wave), np.float32)

    @property
    def amplitude(self) -> NDArray[np.float32]:
        """(scan_row, scan_col) amplitude; 1 is the mean."""
        return np.asarray(np.abs(self.wave), np.float32)


@dataclass(frozen=True)
class _Task:
    """What every rank needs beside the counts.

    Attributes
    ----------
    pixels : ndarray of float64
        (n_pix, 2) round offsets from the optic axis, px.
    weights : ndarray of float64
        (scan_row, scan_col).
    shifts, places : ndarray
        (n, 2) shifts of the disks in px and (n,) places in the spectrum, of the frequencies whose disks overlap; the
        last is repeated until they make up whole runs.
    tables, densities, direct : tuple
        For each probe its table, the nodes per px, and its values at the pixels.
    plan : tuple of Block
        Which pixels go together.
    """

    pixels: NDArray[np.float64]
    weights: NDArray[np.float64]
    shifts: NDArray[np.float64]
    places: NDArray[np.int64]
    tables: tuple[NDArray[np.complex64], ...]
    densities: tuple[float, ...]
    direct: tuple[NDArray[np.complex64], ...]
    plan: tuple[Block, ...]


_Read = Callable[[Block], NDArray[Any]]
"""Gives the images (n_pix, scan_row, scan_col) of a block of pixels."""


def single_sideband(
    bright_field: BrightField | None,
    weights: NDArray[np.float64],
    disk_shift_px: ArrayLike,
    aperture: Aperture,
    aberrations_rad: Sequence[Mapping[str, float]],
    *,
    centre_shift_px: tuple[float, float] = (0.0, 0.0),
    threads: int = 1,
    world: World = SERIAL,
) -> tuple[Ssb, ...]:
    """Reconstruct the object once for each set of aberrations, in one pass over the pixels.

    Parameters
    ----------
    bright_field : BrightField or None
        The disk; rank 0 has it and the others, which get their share of the pixels, have None.
    weights : ndarray of float64
        (scan_row, scan_col) factor on the counts of a position, 0 = not usable; such a position is taken to show no
        contrast.
    disk_shift_px : array_like
        (2, 2) B in px of the full frame, of the round camera, per cycle per step.
    aperture : Aperture
        The disk's centre, radius, edge and ellipse, in px of the full frame.
    aberrations_rad : sequence of mapping
        Sets of coefficients as phases at the edge of the aperture, by name; an empty one corrects nothing.
    centre_shift_px : tuple of float
        (row, col) of the optic axis from the centre of the aperture, round px.
    threads : int
        Worker threads on each rank.
    world : World
        The ranks; on others than 0 the result is empty.

    Returns
    -------
    tuple of Ssb
        One for each set. The same to the bit for any number of threads and ranks.

    Raises
    ------
    UsageError
        If B is singular, a name is not that of an aberration, or no pixel lies in the disk.
    """
    prepared = None
    if bright_field is not None:
        probes = [Probe(aperture.radius_px, _edge_px(aperture, bright_field), one) for one in aberrations_rad]
        prepared = _prepare(
            bright_field, weights, np.asarray(disk_shift_px, np.float64), aperture, probes, centre_shift_px
        )
    task = world.bcast(prepared[0] if prepared else None)
    read = _shared(bright_field, prepared[1] if prepared else None, task.plan, world)
    sums = [np.zeros((8, len(task.places))) for _ in task.tables]
    mean = np.zeros(len(task.pixels))
    blocks = stream_plan(task.plan, lambda block: _block_sums(read(block), task, block), threads=threads, world=world)
    for block, (means, parts) in blocks:
        mean[block.start : block.stop] = means
        for total, part in zip(sums, parts, strict=True):
            total += part
    if world.rank != 0:
        return ()
    return tuple(_object(task, total, _disk_counts(mean, here)) for total, here in zip(sums, task.direct, strict=True))


def _edge_px(aperture: Aperture, bright_field: BrightField) -> float:
    """Return the blur of the edge, which pixels that were added up make softer."""
    return float(np.hypot(aperture.edge_px, np.sqrt((bright_field.binning**2 - 1) / 12)))


def _prepare(
    bright_field: BrightField,
    weights: NDArray[np.float64],
    disk_shift_px: NDArray[np.float64],
    aperture: Aperture,
    probes: Sequence[Probe],
    centre_shift_px: tuple[float, float],
) -> tuple[_Task, NDArray[np.intp]]:
    """Return what every rank needs, and which pixels of the crop are used."""
    if not np.linalg.det(disk_shift_px):
        raise UsageError(f"disk shift matrix {disk_shift_px.tolist()} is singular; its columns must be independent")
    row, col = aperture.round_offsets(bright_field.det_row, bright_field.det_col)
    offsets = np.stack([row - centre_shift_px[0], col - centre_shift_px[1]], axis=1)
    used = np.flatnonzero(bright_field.valid & (probes[0].amplitude(*offsets.T) > _LEAST_AMPLITUDE))
    if not used.size:
        raise UsageError("no valid pixel lies in the bright-field disk; check the aperture and the detector mask")
    shifts, places = _overlapping(disk_shift_px, bright_field.scan_shape, 2 * probes[0].reach_px)
    pixels = offsets[used]
    tables = [probe_table(probe) for probe in probes]
    image_bytes = 4 * bright_field.counts[0].size
    task = _Task(
        pixels=pixels,
        weights=weights,
        shifts=shifts,
        places=places,
        tables=tuple(table for table, _ in tables),
        densities=tuple(density for _, density in tables),
        direct=tuple(probe.wave(*pixels.T).astype(np.complex64) for probe in probes),
        plan=plan_blocks(used.size, image_bytes, BLOCK_BYTES),
    )
    return task, used


def _overlapping(
    disk_shift_px: NDArray[np.float64], scan_shape: tuple[int, int], reach_px: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return shifts and places of the frequencies, but the first, whose disks are shifted by less than ``reach_px``."""
    rows, cols = np.meshgrid(np.fft.fftfreq(scan_shape[0]), np.fft.rfftfreq(scan_shape[1]), indexing="ij")
    shifts = np.stack([rows.ravel(), cols.ravel()], axis=1) @ disk_shift_px.T
    near = np.hypot(*shifts.T) < reach_px
    near[0] = False
    places = np.flatnonzero(near).astype(np.int64)
    places = np.pad(places, (0, -len(places) % RUN), mode="edge") if len(places) else places
    return shifts[places], places


def _shared(
    bright_field: BrightField | None, used: NDArray[np.intp] | None, plan: tuple[Block, ...], world: World
) -> _Read:
    """Return how this rank reads its blocks, after rank 0 has given every other rank its own."""
    if bright_field is None or used is None:
        mine = {block.index: world.recv(0) for block in plan if owner(block, world.size) == world.rank}
        return lambda block: np.asarray(mine[block.index])

    def read(block: Block) -> NDArray[Any]:
        return np.asarray(bright_field.counts[used[block.start : block.stop]])

    for block in plan:
        if owner(block, world.size) != 0:
            world.send(read(block), owner(block, world.size))
    return read


def _block_sums(
    counts: NDArray[Any], task: _Task, block: Block
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Return the mean counts of each pixel of a block, and the sums of `add_sidebands` for each probe."""
    images = np.empty(counts.shape, np.float32)
    # without its mean an image has no large zero frequency that would cost the digits of the others
    means = contrast(counts, task.weights.astype(np.float32), images)
    spectra = np.asarray(rfft2(images, axes=(1, 2), overwrite_x=True), np.complex64).reshape(len(images), -1)
    part = slice(block.start, block.stop)
    parts = []
    for table, density, direct in zip(task.tables, task.densities, task.direct, strict=True):
        sums = np.empty((8, len(task.places)))
        nodes = (task.pixels[part] * density + (len(table) - 1) / 2).astype(np.float32)
        shifts = (task.shifts.T * density).astype(np.float32)
        waves, here, probe = (_pairs(one) for one in (spectra, direct[part, None], table[..., None]))
        add_sidebands(waves, nodes, here, shifts, task.places, probe, sums)
        parts.append(sums)
    return means, parts


def _pairs(values: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Return real and imaginary parts in turn along the last axis."""
    return np.ascontiguousarray(values).view(np.float32)


def _disk_counts(mean: NDArray[np.float64], direct: NDArray[np.complex64]) -> float:
    """Return the counts per frame of a pixel in the middle of the disk, |O_0|^2, by least squares over its pixels."""
    weight = np.abs(direct).astype(np.float64) ** 2
    return float((mean * weight).sum() / (weight * weight).sum())


def _object(task: _Task, sums: NDArray[np.float64], disk_counts: float) -> Ssb:
    """Solve the normal equations of every frequency and return the object."""
    n_used = max(1, np.count_nonzero(task.weights > 0))
    undisturbed = max(float(np.abs(task.direct[0] ** 4).sum()), 1e-30)
    first, second, phase_weight = _solved(sums, DAMPING * undisturbed)
    rows, cols = task.weights.shape
    half = (rows, cols // 2 + 1)
    scale = 1 / max(n_used * disk_counts, 1e-30)
    plus, minus = _spread(first * scale, task.places, half), _spread(second * scale, task.places, half)
    spectrum = np.zeros((rows, cols), np.complex128)
    # O_-Q* at f is O_Q at -f
    spectrum[np.ix_((-np.arange(rows)) % rows, (-np.arange(half[1])) % cols)] = minus.conj()
    spectrum[:, : half[1]] = plus
    wave = 1 + np.fft.ifft2(spectrum) * spectrum.size
    transfer = _spread(phase_weight / undisturbed, task.places, half)
    return Ssb(wave.astype(np.complex64), transfer.real.astype(np.float32))


def _solved(
    sums: NDArray[np.float64], least_weight: float
) -> tuple[NDArray[np.complex128], NDArray[np.complex128], NDArray[np.float64]]:
    """Return both amplitudes of every frequency and the weight with which its phase is measured.

    The normal matrix is inverted along its two principal directions; one that is weighted less than ``least_weight``
    is damped instead of amplified.
    """
    seen = np.stack([sums[0] + 1j * sums[1], sums[2] + 1j * sums[3]], axis=1)
    mixed = sums[6] + 1j * sums[7]
    normal = np.empty((len(mixed), 2, 2), np.complex128)
    normal[:, 0, 0], normal[:, 1, 1] = sums[4], sums[5]
    normal[:, 0, 1], normal[:, 1, 0] = mixed, mixed.conj()
    weights, directions = np.linalg.eigh(normal)
    along = np.einsum("nji,nj->ni", directions.conj(), seen) / np.maximum(weights, least_weight)
    solved = np.einsum("nij,nj->ni", directions, along)
    # a real phase has the amplitudes (i phi, -i phi)
    phase_weight = 0.5 * (sums[4] + sums[5]) - sums[6]
    return solved[:, 0], solved[:, 1], phase_weight


def _spread(values: NDArray[Any], places: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.complex128]:
    whole = np.zeros(shape[0] * shape[1], np.complex128)
    whole[places] = values
    return whole.reshape(shape)
