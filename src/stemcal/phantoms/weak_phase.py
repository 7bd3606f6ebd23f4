"""Scans of a thin crystal with known geometry, aberrations and blur, exact for a multiplicative object.

A probe at R gives the pattern |sum_g O_g P(k - g) exp(2 pi i g.R)|^2, where O_g are the Fourier coefficients of
exp(i phase). Sorted by the difference Q of two beams that is a sum over few spatial frequencies ::

    I(k, R) = sum_Q G(k, Q) exp(2 pi i Q.R),   G(k, Q) = sum_g O_(g+Q) O_g* P(k-g-Q) P*(k-g)

so that a scan is one matrix product, there is no wrap-around, and incoherence is exact: a Gaussian source multiplies
G(k, Q) by exp(-2 pi^2 s^2 Q^2), a Gaussian focal spread each of its terms by
exp(-(pi lambda d)^2 (|k-g-Q|^2 - |k-g|^2)^2 / 2), the detector's point spread blurs it along k.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from stemcal.optics.aberrations import aberration_phase
from stemcal.optics.scan_affine import ScanAxes, disk_shift_matrix, scan_matrix
from stemcal.optics.wavelength import wavelength_angstrom

FloatArray = NDArray[np.float64]
Warp = Callable[[FloatArray], FloatArray]
"""Takes positions (n_frames, 2) in steps to where the probe really was."""

_OVERSAMPLING = 4
_CELL_SAMPLES = 96
_LARGEST_INDEX = 7
_FAINTEST = 1e-5
"""Beams weaker than this are left out; the direct beam is about 1."""
_BLOCK = 1024


@dataclass(frozen=True)
class PhaseObject:
    """A thin crystal: beams g in 1/angstrom along the camera's (row, col), (n_beams, 2), and their coefficients.

    ``indices`` (n_beams, 2) tells which beams differ by the same Q. ``only_with_direct`` leaves out the interference of
    diffracted beams with each other, which is of second order; the first beam is then the direct one.
    """

    g_per_angstrom: FloatArray
    indices: NDArray[np.int64]
    coefficients: NDArray[np.complex128]
    only_with_direct: bool = False


def crystal(
    kind: str, *, lattice_constant_angstrom: float | None = None, strength: float = 1.0, angle_deg: float = 0.0
) -> PhaseObject:
    """Return a square (3.905 angstrom, four atoms, as of STO) or hexagonal (3.16 angstrom, two, as of MoS2) crystal.

    Parameters
    ----------
    kind : str
        ``square`` or ``hexagonal``.
    lattice_constant_angstrom : float, optional
        Replaces that of the kind.
    strength : float
        Factor on the phase; at 1 the columns shift it by 0.14 to 0.55 rad.
    angle_deg : float
        Turns the crystal in the camera, from col toward row.
    """
    cells = {
        "square": (3.905, np.eye(2), (((0, 0), 0.55, 0.42), ((0.5, 0.5), 0.45, 0.40), ((0.5, 0), 0.14, 0.40))),
        "hexagonal": (
            3.16,
            np.array([[0, 1], [math.sqrt(3) / 2, 0.5]]),
            (((1 / 3, 1 / 3), 0.55, 0.42), ((2 / 3, 2 / 3), 0.42, 0.42)),
        ),
    }
    constant, cell, columns = cells[kind]
    if kind == "square":
        columns = (*columns, ((0, 0.5), 0.14, 0.40))
    vectors = (lattice_constant_angstrom or constant) * cell
    u = np.arange(_CELL_SAMPLES) / _CELL_SAMPLES
    place = u[:, None, None] * vectors[0] + u[None, :, None] * vectors[1]
    phase = np.zeros((_CELL_SAMPLES, _CELL_SAMPLES))
    for (first, second), amplitude, sigma in columns:
        for image in np.ndindex(5, 5):
            centre = (first + image[0] - 2) * vectors[0] + (second + image[1] - 2) * vectors[1]
            phase += strength * amplitude * np.exp(-((place - centre) ** 2).sum(axis=-1) / (2 * sigma**2))
    spectrum = np.fft.fft2(np.exp(1j * phase)) / phase.size
    side = np.arange(-_LARGEST_INDEX, _LARGEST_INDEX + 1)
    indices = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    return _turned(PhaseObject(indices @ np.linalg.inv(vectors).T, indices, spectrum[tuple(indices.T)]), angle_deg)


def gratings(g_per_angstrom: FloatArray, amplitude_rad: float) -> PhaseObject:
    """Return an object of few sine waves (n, 2) of a small ``amplitude_rad``: one, for instance, has no second axis."""
    n = len(g_per_angstrom)
    beams = np.concatenate([np.zeros((1, 2)), g_per_angstrom, -g_per_angstrom])
    step = 1000 ** np.arange(n)
    labels = np.concatenate([[0], step, -step])
    coefficients = np.concatenate([[1.0], np.full(2 * n, 0.5j * amplitude_rad)])
    return PhaseObject(beams, np.stack([labels, 0 * labels], axis=1), coefficients.astype(np.complex128))


def vacuum() -> PhaseObject:
    """Return an object that is not there."""
    return gratings(np.zeros((0, 2)), 0.0)


def amorphous(
    amplitude_rad: float, *, n_waves: int = 300, largest_per_angstrom: float = 1.2, seed: int = 0
) -> PhaseObject:
    """Return random waves of a root mean square phase of ``amplitude_rad``, which should be small; no lattice."""
    random = np.random.default_rng(seed)
    radius = largest_per_angstrom * np.sqrt(random.random(n_waves))
    angle = 2 * np.pi * random.random(n_waves)
    g = radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    strength = amplitude_rad / math.sqrt(2 * n_waves) * np.exp(2j * np.pi * random.random(n_waves))
    labels = np.arange(1, n_waves + 1)
    return PhaseObject(
        np.concatenate([np.zeros((1, 2)), g, -g]),
        np.stack([np.concatenate([[0], labels, -labels])] * 2, axis=1),
        np.concatenate([[1.0], 1j * strength, 1j * strength.conj()]),
        only_with_direct=True,
    )


def _turned(thin: PhaseObject, angle_deg: float) -> PhaseObject:
    angle = math.radians(angle_deg)
    row, col = thin.g_per_angstrom.T
    g = np.stack([row * math.cos(angle) + col * math.sin(angle), col * math.cos(angle) - row * math.sin(angle)], axis=1)
    return replace(thin, g_per_angstrom=g)


@dataclass(frozen=True)
class WeakPhasePlan:
    """A scan to simulate.

    Attributes
    ----------
    axes : ScanAxes
        How the scan lies in the camera, steps in angstrom.
    thin : PhaseObject
        The object.
    aberrations_angstrom : mapping
        Coefficients by name, see ``stemcal.optics.aberrations``.
    centre_px : tuple of float
        Of the bright disk, (row, col).
    source_sigma_angstrom, psf_sigma_px, focal_spread_angstrom : float
        Standard deviations of the source, the detector's point spread and the focus.
    """

    axes: ScanAxes
    thin: PhaseObject
    aberrations_angstrom: Mapping[str, float] = field(default_factory=dict)
    scan_shape: tuple[int, int] = (128, 128)
    frame_shape: tuple[int, int] = (64, 64)
    voltage_kv: float = 80.0
    semi_angle_mrad: float = 25.0
    disk_radius_px: float = 15.3
    centre_px: tuple[float, float] = (31.87, 30.89)
    source_sigma_angstrom: float = 0.0
    psf_sigma_px: float = 0.0
    focal_spread_angstrom: float = 0.0

    @property
    def wavelength_angstrom(self) -> float:
        """Wavelength of the beam."""
        return wavelength_angstrom(self.voltage_kv)

    @property
    def mrad_per_px(self) -> float:
        """Angle of a detector pixel."""
        return self.semi_angle_mrad / self.disk_radius_px

    @property
    def scan_matrix(self) -> FloatArray:
        """S in angstrom per step, see ``stemcal.optics.scan_affine``."""
        return scan_matrix(self.axes)

    @property
    def disk_shift_matrix(self) -> FloatArray:
        """B in detector px per cycle per step."""
        return disk_shift_matrix(self.scan_matrix, self.wavelength_angstrom, self.mrad_per_px)


def expected_frames(plan: WeakPhasePlan, warp: Warp | None = None) -> NDArray[np.float32]:
    """Return the noiseless scan (scan_row, scan_col, det_row, det_col); the mean frame has the sum 1.

    Parameters
    ----------
    plan : WeakPhasePlan
        What to simulate.
    warp : callable, optional
        Where the probe really was, of positions in steps.
    """
    q, patterns = _spectrum(plan)
    mean, rest = patterns[0].real, patterns[1:]
    steps = np.stack(np.meshgrid(*map(np.arange, plan.scan_shape), indexing="ij"), axis=-1).reshape(-1, 2)
    positions = (warp(steps.astype(np.float64)) if warp else steps) @ plan.scan_matrix.T
    frames = np.empty((len(positions), mean.size), np.float32)
    waves = np.concatenate([2 * rest.real, -2 * rest.imag]).reshape(-1, mean.size).astype(np.float32)
    for start in range(0, len(positions), _BLOCK):
        phase = 2 * np.pi * (positions[start : start + _BLOCK] @ q[1:].T)
        turns = np.concatenate([np.cos(phase), np.sin(phase)], axis=1).astype(np.float32)
        frames[start : start + _BLOCK] = turns @ waves + mean.ravel().astype(np.float32)
    np.maximum(frames, 0, out=frames)
    frames /= frames.sum(axis=1, dtype=np.float64).mean()
    return frames.reshape(*plan.scan_shape, *plan.frame_shape)


def counted(expected: NDArray[np.float32], counts_per_frame: float, seed: int = 0) -> NDArray[np.uint16]:
    """Return a scan as a counting detector sees it; a frame depends on ``seed`` and its place alone."""
    counts = np.empty(expected.shape, np.uint16)
    for line, frames in enumerate(expected):
        random = np.random.default_rng([seed, line])
        counts[line] = random.poisson(counts_per_frame * frames.astype(np.float64))
    return counts


def _spectrum(plan: WeakPhasePlan) -> tuple[FloatArray, NDArray[np.complex128]]:
    """Return Q (n, 2) of one of each pair +-Q, 0 first, and G(k, Q) on the detector, (n, det_row, det_col)."""
    thin = _on_detector(plan)
    row, col = _grid(plan)
    probes, squares = _probes(plan, thin, row, col)
    place = {tuple(index): number for number, index in enumerate(thin.indices.tolist())}
    found, patterns = [], []
    for difference, pairs in _pairs(thin, place):
        fine = np.zeros(row.shape, np.complex128)
        for upper, lower in pairs:
            waves = probes[upper] * probes[lower].conj() if upper != lower else np.abs(probes[upper])
            term = thin.coefficients[upper] * thin.coefficients[lower].conj() * waves
            if plan.focal_spread_angstrom > 0:
                path = squares[upper] - squares[lower]
                term *= np.exp(-0.5 * (np.pi * plan.wavelength_angstrom * plan.focal_spread_angstrom * path) ** 2)
            fine += term
        q = thin.g_per_angstrom[pairs[0][0]] - thin.g_per_angstrom[pairs[0][1]] if difference != (0, 0) else np.zeros(2)
        blur = math.exp(-2 * (np.pi * plan.source_sigma_angstrom) ** 2 * float(q @ q))
        found.append(q)
        patterns.append(blur * _on_pixels(fine, plan))
    return np.array(found), np.stack(patterns)


def _on_detector(plan: WeakPhasePlan) -> PhaseObject:
    reach_mrad = plan.mrad_per_px * math.hypot(*plan.frame_shape) / 2 + plan.semi_angle_mrad
    thin = plan.thin
    angle = np.hypot(*thin.g_per_angstrom.T) * plan.wavelength_angstrom * 1e3
    keep = (angle < reach_mrad) & (np.abs(thin.coefficients) > _FAINTEST)
    return replace(
        thin,
        g_per_angstrom=thin.g_per_angstrom[keep],
        indices=thin.indices[keep],
        coefficients=thin.coefficients[keep],
    )


def _pairs(
    thin: PhaseObject, place: Mapping[tuple[int, ...], int]
) -> Iterator[tuple[tuple[int, ...], list[tuple[int, int]]]]:
    """Yield each difference of two beams, one of +-, with the pairs of beams (upper, lower) that have it; 0 first."""
    together: dict[tuple[int, ...], list[tuple[int, int]]] = {(0, 0): []}
    strongest = np.abs(thin.coefficients).max()
    for one, first in place.items():
        for other, second in place.items():
            difference = tuple(a - b for a, b in zip(one, other, strict=True))
            product = abs(thin.coefficients[first] * thin.coefficients[second])
            left_out = thin.only_with_direct and 0 not in (first, second) and first != second
            if difference >= (0, 0) and product > _FAINTEST * strongest**2 and not left_out:
                together.setdefault(difference, []).append((first, second))
    yield from together.items()


def _grid(plan: WeakPhasePlan) -> tuple[FloatArray, FloatArray]:
    """Return angles (row, col) in mrad of the parts of the pixels, each (det_row * n, det_col * n)."""
    part = (np.arange(_OVERSAMPLING) - (_OVERSAMPLING - 1) / 2) / _OVERSAMPLING
    sides = [
        ((np.arange(size)[:, None] + part).ravel() - centre) * plan.mrad_per_px
        for size, centre in zip(plan.frame_shape, plan.centre_px, strict=True)
    ]
    row, col = np.meshgrid(*sides, indexing="ij")
    return row, col


def _probes(
    plan: WeakPhasePlan, thin: PhaseObject, row: FloatArray, col: FloatArray
) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Return P(k - g) and |k - g|^2 in 1/angstrom^2 of each beam, (n_beams, rows, cols).

    On the edge |P| is the part of the place that the aperture leaves open, and so is |P|^2, of a sharp aperture.
    """
    wavelength = plan.wavelength_angstrom
    probes = np.zeros((len(thin.indices), *row.shape), np.complex64)
    squares = np.zeros(probes.shape, np.float32)
    edge_mrad = plan.mrad_per_px / _OVERSAMPLING
    for number, (g_row, g_col) in enumerate(thin.g_per_angstrom * wavelength * 1e3):
        r, c = row - g_row, col - g_col
        angle = np.hypot(r, c)
        amplitude = np.clip((plan.semi_angle_mrad - angle) / edge_mrad + 0.5, 0, 1)
        inside = amplitude > 0
        chi = aberration_phase(plan.aberrations_angstrom, r[inside], c[inside], wavelength)
        probes[number][inside] = amplitude[inside] * np.exp(-1j * chi)
        squares[number] = (angle * 1e-3 / wavelength) ** 2
    return probes, squares


def _on_pixels(fine: NDArray[np.complex128], plan: WeakPhasePlan) -> NDArray[np.complex128]:
    rows, cols = plan.frame_shape
    pixels: NDArray[np.complex128] = fine.reshape(rows, _OVERSAMPLING, cols, _OVERSAMPLING).mean(axis=(1, 3))
    if plan.psf_sigma_px > 0:
        blurred = [gaussian_filter(part, plan.psf_sigma_px, mode="constant") for part in (pixels.real, pixels.imag)]
        pixels = blurred[0] + 1j * blurred[1]
    return pixels
