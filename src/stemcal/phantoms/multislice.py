"""Multislice of plane waves through a thick crystal: what it scatters coherently, and what its thermal motion diffuses.

Two tables answer for a crystal of one thickness; both are plane-wave S-matrices (Ophus, Adv. Struct. Chem. Imaging 3
(2017) 13), so that any probe, tilt and camera follows from them.

Coherent
    The atoms move independently (Einstein), so the mean of the S-matrix over all motion is the S-matrix of the mean
    transmission of each slice, which has the period of one cell. It is absorbing: what it loses is diffuse.

Diffuse
    Frozen phonons (Loane, Xu & Silcox, Acta Cryst. A47 (1991) 267): plane waves through supercells with displaced
    atoms. Between the Bragg beams of such a wave there is diffuse intensity only, and Kikuchi bands in it, because
    electrons that were scattered by one slice are diffracted by those below. Under the Bragg beams it is taken as the
    mean of its neighbours.

The crystal is square, [001] along the beam, with mirrors at 0, 45, 90, 135 deg, so that waves are sent in from one
eighth of the directions only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy import constants

from stemcal.optics.wavelength import wavelength_angstrom
from stemcal.phantoms.lobato import scattering_factor

FINE = 8
"""Incident directions of the coherent table per reciprocal lattice vector."""
SUPERCELL = 3
"""Cells along a side of the supercell of the diffuse table."""
_BLOCK = 32
_BAND = 2 / 3


@dataclass(frozen=True)
class Atom:
    """An atom of a cell: element, fractional position (row, col) in its slice, Debye-Waller factor in angstrom^2."""

    element: str
    row: float
    col: float
    debye_waller: float


@dataclass(frozen=True)
class Crystal:
    """A square crystal seen along its four-fold axis.

    Attributes
    ----------
    side_angstrom : float
        Side of the cell.
    slices : tuple of tuple of Atom
        Atoms of each slice, in the order in which the beam meets them.
    slice_angstrom : float
        Distance of the slices.
    """

    side_angstrom: float
    slices: tuple[tuple[Atom, ...], ...]
    slice_angstrom: float

    @property
    def cell_angstrom(self) -> float:
        """Thickness of a cell."""
        return self.slice_angstrom * len(self.slices)


def strontium_titanate() -> Crystal:
    """Return SrTiO3 [001], a = 3.905 angstrom, with about the motion of room temperature."""
    strontium, titanium, oxygen = 0.62, 0.44, 0.73
    upper = (Atom("Sr", 0.0, 0.0, strontium), Atom("O", 0.5, 0.5, oxygen))
    lower = (Atom("Ti", 0.5, 0.5, titanium), Atom("O", 0.5, 0.0, oxygen), Atom("O", 0.0, 0.5, oxygen))
    return Crystal(3.905, (upper, lower), 3.905 / 2)


@dataclass(frozen=True)
class Beam:
    """The electrons and how finely the waves are sampled: ``samples`` points along the side of a cell."""

    voltage_kv: float
    samples: int = 32

    @property
    def wavelength_angstrom(self) -> float:
        """Wavelength."""
        return wavelength_angstrom(self.voltage_kv)

    @property
    def phase_per_factor(self) -> float:
        """Phase in rad angstrom of a wave per angstrom of scattering factor: wavelength times relativistic mass."""
        energy = constants.e * self.voltage_kv * 1e3
        return self.wavelength_angstrom * (1 + energy / (constants.m_e * constants.c**2))


@dataclass(frozen=True)
class CoherentTable:
    """Amplitudes of the beams of one thickness.

    Attributes
    ----------
    incident : ndarray of int64
        (n, 2) incident directions in units of 1 / (FINE * side), 0 <= col <= row.
    amplitudes : ndarray of complex64
        (n, samples, samples) of the beam that differs from the incident one by a reciprocal lattice vector, at the
        index of the latter that is `nearest` to the beam, in the order of a Fourier transform. The phase of free
        space, exp(-i pi wavelength t (k_in^2 + k_out^2) / 2), is taken out: the rest is smooth.
    thickness_angstrom : float
        Of the crystal.
    limit_per_angstrom : float
        Largest spatial frequency of a wave: beyond it there is nothing.
    """

    incident: NDArray[np.int64]
    amplitudes: NDArray[np.complex64]
    thickness_angstrom: float
    limit_per_angstrom: float


@dataclass(frozen=True)
class DiffuseTable:
    """Diffuse intensity of one thickness, one block for each configuration of the atoms.

    Attributes
    ----------
    offsets : ndarray of float64
        (n_configurations, 2) by how much the grid of directions of a block is displaced, in its own steps, which are
        1 / (SUPERCELL * side).
    incident : tuple of ndarray of float64
        (n, 2) incident directions of each block, 1/angstrom, in the first eighth.
    patterns : tuple of ndarray of float32
        (n, size, size) diffuse intensity per (1/angstrom)^2 for an incident intensity of 1, at (index - size // 2 +
        offset) steps.
    step_per_angstrom : float
        Step of the grids.
    """

    offsets: NDArray[np.float64]
    incident: tuple[NDArray[np.float64], ...]
    patterns: tuple[NDArray[np.float32], ...]
    step_per_angstrom: float


def coherent_tables(
    crystal: Crystal, beam: Beam, thicknesses_cells: tuple[int, ...], limit_mrad: float, *, motion: bool = True
) -> tuple[CoherentTable, ...]:
    """Return the mean amplitudes of the beams at rising thicknesses.

    Parameters
    ----------
    crystal, beam : Crystal, Beam
        What scatters what.
    thicknesses_cells : tuple of int
        Thicknesses in cells, rising.
    limit_mrad : float
        Largest incident angle.
    motion : bool
        Whether the atoms move; if not, nothing is absorbed.
    """
    side, wavelength = crystal.side_angstrom, beam.wavelength_angstrom
    reach = limit_mrad * 1e-3 / wavelength * FINE * side
    incident = np.array(
        [(i, j) for i in range(int(reach) + 1) for j in range(i + 1) if math.hypot(i, j) <= reach], dtype=np.int64
    )
    cell = _Cell(beam.samples, side, wavelength)
    slices = [cell.limited(_mean_transmission(atoms, crystal, beam, cell, motion)) for atoms in crystal.slices]
    stacks = [np.empty((len(incident), cell.n, cell.n), np.complex64) for _ in thicknesses_cells]
    for start in range(0, len(incident), _BLOCK):
        k = incident[start : start + _BLOCK] / (FINE * side)
        exits = cell.exit_waves(
            k, slices * thicknesses_cells[-1], crystal.slice_angstrom, _ends(crystal, thicknesses_cells)
        )
        squares = cell.squares(k) + np.sum(k * k, axis=1)[:, None, None]
        for stack, exit_, cells in zip(stacks, exits, thicknesses_cells, strict=True):
            half_path = 0.5 * np.pi * wavelength * cells * crystal.cell_angstrom
            stack[start : start + _BLOCK] = exit_ * np.exp(1j * half_path * squares)
    return tuple(
        CoherentTable(incident, stack, cells * crystal.cell_angstrom, cell.band)
        for stack, cells in zip(stacks, thicknesses_cells, strict=True)
    )


def diffuse_tables(
    crystal: Crystal,
    beam: Beam,
    thicknesses_cells: tuple[int, ...],
    limit_mrad: float,
    *,
    n_configurations: int,
    seed: int = 0,
) -> tuple[DiffuseTable, ...]:
    """Return the diffuse intensity at rising thicknesses by frozen phonons.

    Parameters
    ----------
    crystal, beam, thicknesses_cells, limit_mrad
        As in `coherent_tables`.
    n_configurations : int
        Configurations of the atoms; each has a grid of directions of its own.
    seed : int
        Of the displacements.
    """
    generator = np.random.default_rng(seed)
    width = SUPERCELL * crystal.side_angstrom
    cell = _Cell(SUPERCELL * beam.samples, width, beam.wavelength_angstrom)
    reach = limit_mrad * 1e-3 / beam.wavelength_angstrom * width
    offsets = generator.uniform(-0.5, 0.5, (n_configurations, 2))
    directions: list[NDArray[np.float64]] = []
    patterns: list[list[NDArray[np.float32]]] = []
    for offset in offsets:
        k = _first_eighth(offset, reach) / width
        slices = [
            cell.limited(_frozen_transmission(atoms, crystal, beam, cell, generator))
            for _ in range(thicknesses_cells[-1])
            for atoms in crystal.slices
        ]
        parts: list[list[NDArray[np.float32]]] = [[] for _ in thicknesses_cells]
        for start in range(0, len(k), _BLOCK):
            block = k[start : start + _BLOCK]
            exits = cell.exit_waves(block, slices, crystal.slice_angstrom, _ends(crystal, thicknesses_cells))
            for part, exit_ in zip(parts, exits, strict=True):
                part.append(_between_bragg_beams(exit_, cell, block))
        directions.append(k)
        patterns.append([np.concatenate(part) for part in parts])
    return tuple(
        DiffuseTable(offsets, tuple(directions), tuple(pattern[index] for pattern in patterns), 1 / width)
        for index in range(len(thicknesses_cells))
    )


def _ends(crystal: Crystal, thicknesses_cells: tuple[int, ...]) -> list[int]:
    return [cells * len(crystal.slices) for cells in thicknesses_cells]


@dataclass(frozen=True)
class _Cell:
    """A square cell with ``n`` samples along its side of ``side`` angstrom."""

    n: int
    side: float
    wavelength: float

    @property
    def band(self) -> float:
        """Largest spatial frequency that a product of two functions does not fold, 1/angstrom (Kirkland 2010, 6.8)."""
        return _BAND * self.n / (2 * self.side)

    @property
    def frequencies(self) -> NDArray[np.float64]:
        return np.asarray(np.fft.fftfreq(self.n, self.side / self.n))

    def squares(self, k: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the squares of the beams of incident directions ``k`` (m, 2), (m, n, n)."""
        rest = k - nearest(k * self.side) / self.side
        row = (self.frequencies + rest[:, :1]) ** 2
        col = (self.frequencies + rest[:, 1:]) ** 2
        return np.asarray(row[:, :, None] + col[:, None, :])

    def limited(self, transmission: NDArray[np.complex128]) -> NDArray[np.complex64]:
        f = self.frequencies
        spectrum = scipy.fft.fft2(transmission) * (f[:, None] ** 2 + f[None, :] ** 2 < self.band**2)
        return np.asarray(scipy.fft.ifft2(spectrum), dtype=np.complex64)

    def exit_waves(
        self, k: NDArray[np.float64], slices: list[NDArray[np.complex64]], distance: float, ends: list[int]
    ) -> list[NDArray[np.complex64]]:
        """Return the beams after ``ends`` slices of waves with incident directions ``k`` (m, 2), each (m, n, n)."""
        squares = self.squares(k)
        step = (np.exp(-1j * np.pi * self.wavelength * distance * squares) * (squares < self.band**2)).astype(
            np.complex64
        )
        first = nearest(k * self.side)
        spectrum = np.zeros((len(k), self.n, self.n), np.complex64)
        spectrum[np.arange(len(k)), first[:, 0] % self.n, first[:, 1] % self.n] = 1
        exits = []
        for number, transmission in enumerate(slices, start=1):
            wave = scipy.fft.ifft2(spectrum, overwrite_x=number - 1 not in ends)
            wave *= transmission
            spectrum = scipy.fft.fft2(wave, overwrite_x=True)
            spectrum *= step
            if number in ends:
                exits.append(spectrum)
            if number == ends[-1]:
                break
        return exits


def nearest(beams: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the reciprocal lattice vectors nearest to ``beams``, a half being rounded down."""
    return np.asarray(np.ceil(beams - 0.5), dtype=np.int64)


def _atom_transmission(element: str, cell: _Cell, beam: Beam, debye_waller: float) -> NDArray[np.complex128]:
    """Return the spectrum of the mean of exp(i phase) - 1 over the motion of one atom at the origin."""
    f = cell.frequencies
    squares = f[:, None] ** 2 + f[None, :] ** 2
    phase = _phase(scattering_factor(element, squares), cell, beam)
    scattered = scipy.fft.fft2(np.exp(1j * scipy.fft.ifft2(phase).real) - 1)
    return np.asarray(scattered * np.exp(-debye_waller / 4 * squares))


def _phase(factor: NDArray[np.float64], cell: _Cell, beam: Beam) -> NDArray[np.float64]:
    return factor * (beam.phase_per_factor / cell.side**2 * cell.n**2)


def _mean_transmission(
    atoms: tuple[Atom, ...], crystal: Crystal, beam: Beam, cell: _Cell, motion: bool
) -> NDArray[np.complex128]:
    f = cell.frequencies
    whole = np.ones((cell.n, cell.n), np.complex128)
    for atom in atoms:
        place = (
            _ramp(f, atom.row * crystal.side_angstrom)[:, None] * _ramp(f, atom.col * crystal.side_angstrom)[None, :]
        )
        spectrum = _atom_transmission(atom.element, cell, beam, atom.debye_waller if motion else 0.0)
        whole *= 1 + scipy.fft.ifft2(spectrum * place)
    return whole


def _frozen_transmission(
    atoms: tuple[Atom, ...], crystal: Crystal, beam: Beam, cell: _Cell, generator: np.random.Generator
) -> NDArray[np.complex128]:
    """Return the transmission of one slice of a supercell with all atoms displaced."""
    f = cell.frequencies
    corners = np.array([(i, j) for i in range(SUPERCELL) for j in range(SUPERCELL)], dtype=np.float64)
    squares = f[:, None] ** 2 + f[None, :] ** 2
    spectrum = np.zeros((cell.n, cell.n), np.complex128)
    for atom in atoms:
        sites = (corners + np.array([atom.row, atom.col])) * crystal.side_angstrom
        sites += generator.normal(0, math.sqrt(atom.debye_waller / (8 * np.pi**2)), sites.shape)
        structure = _ramp(f, sites[:, :1]).T @ _ramp(f, sites[:, 1:])
        spectrum += _phase(scattering_factor(atom.element, squares), cell, beam) * structure
    return np.asarray(np.exp(1j * scipy.fft.ifft2(spectrum).real))


def _ramp(frequencies: NDArray[np.float64], place: float | NDArray[np.float64]) -> NDArray[np.complex128]:
    return np.asarray(np.exp(-2j * np.pi * frequencies * place))


def _first_eighth(offset: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    """Return the points of the unit grid displaced by ``offset`` that have 0 <= col <= row and length <= ``reach``."""
    axis = np.arange(-1, int(reach) + 2)
    row, col = np.meshgrid(axis + offset[0], axis + offset[1], indexing="ij")
    inside = (col >= 0) & (col <= row) & (np.hypot(row, col) <= reach)
    return np.stack([row[inside], col[inside]], axis=1)


def _between_bragg_beams(exit_: NDArray[np.complex64], cell: _Cell, k: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the intensity per (1/angstrom)^2 with the Bragg beams replaced, zero frequency in the middle."""
    intensity = (exit_.real**2 + exit_.imag**2) * np.float32(cell.side**2)
    around = (
        sum((np.roll(intensity, shift, axis) for shift in (1, -1) for axis in (1, 2)), np.zeros_like(intensity)) / 4
    )
    remainder = nearest(k * cell.side) % SUPERCELL
    index = np.arange(cell.n) % SUPERCELL
    bragg = (index == remainder[:, :1])[:, :, None] & (index == remainder[:, 1:])[:, None, :]
    diffuse = np.fft.fftshift(np.where(bragg, around, intensity), axes=(1, 2))
    half = min(math.ceil(cell.band * cell.side) + 1, cell.n // 2)
    middle = slice(cell.n // 2 - half, cell.n // 2 + half)
    return np.ascontiguousarray(diffuse[:, middle, middle], dtype=np.float32)
