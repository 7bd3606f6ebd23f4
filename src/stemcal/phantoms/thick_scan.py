"""Scans of a thick crystal with a known geometry: mean pattern, scan harmonics, counts.

The intensity at the camera's spatial frequency k and the probe position R is ::

    I(k, R) = | sum_G S(k, k - G) P(k - G) exp(2 pi i G.R) |^2 + D(k) y(R)

with the coherent table S and the diffuse pattern D of ``stemcal.phantoms.multislice``, and the probe of
``stemcal.optics.aberrations``. The diffuse pattern is taken not to change over the scan, only its yield y(R) does,
which is what the coherent beams have lost. The crystal may be turned by any angle: S is interpolated at the pixels,
and no pattern is resampled but the diffuse one, which has no edges. A tilt moves the crystal's zone axis on the camera
and leaves the aperture where it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.special import roots_hermite

from stemcal.optics.aberrations import aberration_phase
from stemcal.phantoms.multislice import FINE, CoherentTable, DiffuseTable, nearest

FloatArray = NDArray[np.float64]

_OPERATIONS = tuple(
    np.array(matrix, dtype=np.int64)
    for matrix in (
        [[1, 0], [0, 1]],
        [[-1, 0], [0, 1]],
        [[1, 0], [0, -1]],
        [[-1, 0], [0, -1]],
        [[0, 1], [1, 0]],
        [[0, -1], [1, 0]],
        [[0, 1], [-1, 0]],
        [[0, -1], [-1, 0]],
    )
)
_FOCAL_NODES = 5
_POSITIONS_AT_ONCE = 2048


@dataclass(frozen=True)
class ThickScene:
    """A crystal under a probe, and the camera below.

    Attributes
    ----------
    coherent : CoherentTable
        What the crystal does.
    diffuse : DiffuseTable or None
        Its thermal diffuse scattering; without it there are no Kikuchi bands.
    side_angstrom, wavelength_angstrom : float
        Of the crystal's cell and of the beam.
    shape : tuple of int
        (det_row, det_col).
    centre_px : tuple of float
        (row, col) of the aperture's centre.
    mrad_per_px, semi_angle_mrad : float
        Of the camera and of the aperture.
    rotation_deg : float
        By how much the crystal's axes are turned from the camera's, from +col toward +row.
    tilt_mrad : tuple of float
        (row, col) of the crystal's zone axis on the camera, from the aperture's centre.
    aberrations_angstrom : mapping
        As in ``stemcal.optics.aberrations``.
    focal_spread_angstrom : float
        Standard deviation of the defocus.
    """

    coherent: CoherentTable
    diffuse: DiffuseTable | None
    side_angstrom: float
    wavelength_angstrom: float
    shape: tuple[int, int] = (64, 64)
    centre_px: tuple[float, float] = (31.7, 31.2)
    mrad_per_px: float = 1.25
    semi_angle_mrad: float = 25.0
    rotation_deg: float = 0.0
    tilt_mrad: tuple[float, float] = (0.0, 0.0)
    aberrations_angstrom: Mapping[str, float] = field(default_factory=dict)
    focal_spread_angstrom: float = 0.0

    @property
    def axes(self) -> FloatArray:
        """(2, 2): its columns are the crystal's (row, col) axes on the camera."""
        angle = math.radians(self.rotation_deg)
        return np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])

    def angles_mrad(self) -> FloatArray:
        """Return the angles (row, col) of the pixels from the aperture's centre, (2, n_pix)."""
        indices = np.indices(self.shape).reshape(2, -1)
        return np.asarray((indices - np.array(self.centre_px)[:, None]) * self.mrad_per_px)

    def scan_lattice(self, scan_angstrom: FloatArray) -> FloatArray:
        """Return the frequencies in cycles per step of the crystal's reciprocal axes, one in a row, for the scan S."""
        return np.asarray((self.axes / self.side_angstrom).T @ scan_angstrom)


@dataclass(frozen=True)
class _Waves:
    """Waves that meet in each pixel: amplitude at (n_pix, 2 h + 1, 2 h + 1), less the probe's aberrations."""

    amplitudes: NDArray[np.complex128]
    row_mrad: FloatArray
    col_mrad: FloatArray


def mean_pattern(scene: ThickScene) -> FloatArray:
    """Return the fraction of the beam in each pixel, averaged over all positions of the probe, (det_row, det_col)."""
    amplitudes = _waves(scene).amplitudes
    coherent = np.sum(amplitudes.real**2 + amplitudes.imag**2, axis=(1, 2)) * _pixel_fraction(scene)
    return np.asarray(coherent + diffuse_pattern(scene).ravel()).reshape(scene.shape)


def diffuse_pattern(scene: ThickScene) -> FloatArray:
    """Return the fraction of the beam that is diffuse in each pixel, (det_row, det_col)."""
    if scene.diffuse is None:
        return np.zeros(scene.shape)
    table = scene.diffuse
    beam = -_in_crystal(scene, np.array(scene.tilt_mrad)[:, None])[:, 0]
    pixels = _in_crystal(scene, scene.angles_mrad() - np.array(scene.tilt_mrad)[:, None])
    density, weight = np.zeros(pixels.shape[1]), 0.0
    for offset, incident, patterns in zip(table.offsets, table.incident, table.patterns, strict=True):
        for operation in _OPERATIONS:
            direction = (incident @ operation.T - beam) * scene.wavelength_angstrom * 1e3
            inside = _aperture(scene, direction[:, 0], direction[:, 1]) ** 2
            pattern = np.tensordot(inside, patterns, axes=1)
            index = operation.T @ pixels / table.step_per_angstrom - offset[:, None] + patterns.shape[1] // 2
            density += map_coordinates(pattern, index, order=1)
            weight += float(inside.sum())
    return np.asarray(density / weight * _pixel_area(scene)).reshape(scene.shape)


def harmonics(scene: ThickScene, indices: NDArray[np.int64]) -> NDArray[np.complex128]:
    """Return the amplitudes of the scan's harmonics exp(2 pi i H.R), H in indices of the crystal, (K, n_pix).

    The diffuse intensity has no part in them.
    """
    waves = _waves(scene)
    found = np.zeros((len(indices), waves.amplitudes.shape[0]), np.complex128)
    for defocus, weight in _focal_nodes(scene):
        amplitudes = waves.amplitudes * _probe_phase(scene, waves, defocus)
        for number, (row, col) in enumerate(indices):
            upper = amplitudes[:, _overlap(row), _overlap(col)]
            lower = amplitudes[:, _overlap(-row), _overlap(-col)]
            found[number] += weight * np.sum(upper * lower.conj(), axis=(1, 2))
    return found * _pixel_fraction(scene)


def scan_counts(
    scene: ThickScene,
    scan_angstrom: FloatArray,
    scan_shape: tuple[int, int],
    electrons_per_frame: float | None,
    *,
    seed: int = 0,
) -> NDArray[np.float32] | NDArray[np.uint16]:
    """Return a scan, (scan_row, scan_col, det_row, det_col).

    Parameters
    ----------
    scene : ThickScene
        What is scanned.
    scan_angstrom : ndarray
        (2, 2) the matrix S of ``stemcal.optics.scan_affine``.
    scan_shape : tuple of int
        (scan_row, scan_col).
    electrons_per_frame : float or None
        Electrons of the beam per position; None gives the fraction of the beam in each pixel, without noise.
    seed : int
        Of the noise.
    """
    waves = _waves(scene)
    steps = np.indices(scan_shape).reshape(2, -1)
    positions = scene.axes.T @ np.asarray(scan_angstrom) @ steps / scene.side_angstrom
    half = waves.amplitudes.shape[1] // 2
    beams = np.stack(np.meshgrid(*[np.arange(-half, half + 1)] * 2, indexing="ij")).reshape(2, -1)
    coherent = np.zeros((steps.shape[1], waves.amplitudes.shape[0]), np.float32)
    for defocus, weight in _focal_nodes(scene):
        amplitudes = (waves.amplitudes * _probe_phase(scene, waves, defocus)).reshape(len(waves.amplitudes), -1).T
        amplitudes = np.ascontiguousarray(amplitudes * math.sqrt(weight * _pixel_fraction(scene)), dtype=np.complex64)
        for start in range(0, steps.shape[1], _POSITIONS_AT_ONCE):
            block = slice(start, start + _POSITIONS_AT_ONCE)
            exit_ = np.exp(2j * np.pi * positions[:, block].T @ beams).astype(np.complex64) @ amplitudes
            coherent[block] += exit_.real**2 + exit_.imag**2
    lost = np.clip(1 - coherent.sum(axis=1, dtype=np.float64), 0, None)
    coherent += np.outer(lost / max(float(lost.mean()), 1e-12), diffuse_pattern(scene)).astype(np.float32)
    whole: NDArray[np.float32] = coherent.reshape(*scan_shape, *scene.shape)
    if electrons_per_frame is None:
        return whole
    generator = np.random.default_rng(seed)
    noisy: NDArray[np.uint16] = np.stack([generator.poisson(line * electrons_per_frame) for line in whole]).astype(
        np.uint16
    )
    return noisy


def _overlap(shift: int) -> slice:
    return slice(max(shift, 0), None if shift >= 0 else shift)


def _in_crystal(scene: ThickScene, angles_mrad: FloatArray) -> FloatArray:
    return np.asarray(scene.axes.T @ angles_mrad * 1e-3 / scene.wavelength_angstrom)


def _pixel_area(scene: ThickScene) -> float:
    return (scene.mrad_per_px * 1e-3 / scene.wavelength_angstrom) ** 2


def _pixel_fraction(scene: ThickScene) -> float:
    """Return the part of the beam in a pixel inside the aperture."""
    return scene.mrad_per_px**2 / (math.pi * scene.semi_angle_mrad**2)


def _aperture(scene: ThickScene, row_mrad: FloatArray, col_mrad: FloatArray) -> FloatArray:
    """Return the amplitude of the probe; its square falls over one pixel, as pixels that add up their area see it."""
    distance_px = (scene.semi_angle_mrad - np.hypot(row_mrad, col_mrad)) / scene.mrad_per_px
    return np.asarray(np.sqrt(np.clip(distance_px + 0.5, 0, 1)))


def _focal_nodes(scene: ThickScene) -> list[tuple[float, float]]:
    if scene.focal_spread_angstrom == 0:
        return [(0.0, 1.0)]
    nodes, weights = roots_hermite(_FOCAL_NODES)
    defocus = math.sqrt(2) * scene.focal_spread_angstrom * nodes
    return list(zip(defocus.tolist(), (weights / math.sqrt(math.pi)).tolist(), strict=True))


def _probe_phase(scene: ThickScene, waves: _Waves, defocus: float) -> NDArray[np.complex128]:
    coefficients = dict(scene.aberrations_angstrom)
    coefficients["C10"] = coefficients.get("C10", 0.0) + defocus
    chi = aberration_phase(coefficients, waves.row_mrad, waves.col_mrad, scene.wavelength_angstrom)
    return np.asarray(np.exp(-1j * chi))


def _waves(scene: ThickScene) -> _Waves:
    """Return the waves S(k, k - G) A(k - G) with the vectors G for which k - G can be inside the aperture."""
    side, wavelength = scene.side_angstrom, scene.wavelength_angstrom
    angles = scene.angles_mrad()
    to_beam = _in_crystal(scene, angles) * side
    to_axis = _in_crystal(scene, angles - np.array(scene.tilt_mrad)[:, None]) * side
    half = math.ceil(scene.semi_angle_mrad * 1e-3 / wavelength * side + 0.5)
    window = np.stack(np.meshgrid(*[np.arange(-half, half + 1)] * 2, indexing="ij"))
    vectors = nearest(to_beam)[:, :, None, None] + window[:, None]
    offset = np.einsum("ij,jpab->ipab", scene.axes * (wavelength * 1e3 / side), vectors)
    row_mrad, col_mrad = angles[:, :, None, None] - offset
    probe = _aperture(scene, row_mrad, col_mrad)
    probe[np.hypot(*to_axis) / side > scene.coherent.limit_per_angstrom] = 0
    inside = probe > 0
    incident = (to_axis[:, :, None, None] - vectors)[:, inside]
    path = 0.5 * np.pi * wavelength * scene.coherent.thickness_angstrom / side**2
    met = _interpolated(scene.coherent, incident, vectors[:, inside])
    amplitudes = np.zeros(probe.shape, np.complex128)
    amplitudes[inside] = probe[inside] * met * np.exp(-1j * path * np.sum(incident**2, axis=0))
    return _Waves(amplitudes, row_mrad, col_mrad)


def _interpolated(table: CoherentTable, incident: FloatArray, vectors: NDArray[np.int64]) -> NDArray[np.complex128]:
    """Return amplitudes from ``incident`` to ``incident`` + ``vectors``, both (2, ...) in units of 1 / side.

    Cubic convolution (Keys, IEEE Trans. ASSP 29 (1981) 1153) between the incident directions.
    """
    fine = incident * FINE
    base = np.floor(fine).astype(np.int64)
    row_weights, col_weights = (_keys(part) for part in fine - base)
    size = int(table.incident.max()) + 1
    place = np.full((size, size), -1)
    place[table.incident[:, 0], table.incident[:, 1]] = np.arange(len(table.incident))
    found = np.zeros(incident.shape[1:], np.complex128)
    for i in range(4):
        for j in range(4):
            neighbour = base + np.array([i - 1, j - 1]).reshape(2, *[1] * (incident.ndim - 1))
            found += row_weights[i] * col_weights[j] * _amplitudes(table, place, neighbour, vectors)
    return found


def _keys(t: FloatArray) -> tuple[FloatArray, ...]:
    """Return the weights of the samples at -1, 0, 1, 2 for the value at 0 <= t < 1."""
    return (
        ((-0.5 * t + 1) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1,
        ((-1.5 * t + 2) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )


def _amplitudes(
    table: CoherentTable, place: NDArray[np.int64], fine: NDArray[np.int64], vectors: NDArray[np.int64]
) -> NDArray[np.complex64]:
    """Return amplitudes of incident directions on the table's grid, 0 where it has none, by the crystal's mirrors."""
    sign = np.where(fine < 0, -1, 1)
    fine, vectors = fine * sign, vectors * sign
    swap = fine[0] < fine[1]
    fine, vectors = np.where(swap, fine[::-1], fine), np.where(swap, vectors[::-1], vectors)
    inside = fine[0] < len(place)
    entry = place[np.where(inside, fine[0], 0), np.where(inside, fine[1], 0)]
    beam = nearest(fine / FINE) + vectors
    n = table.amplitudes.shape[1]
    known = inside & (entry >= 0) & (np.abs(beam).max(axis=0) < n // 2)
    return np.asarray(np.where(known, table.amplitudes[entry, beam[0] % n, beam[1] % n], 0))
