"""Powder and amorphous diffraction with a known truth, drawn electron by electron.

Every electron of a frame is placed on the detector plane and counted in the pixel that it hits, so rings, ellipse and
descan are exact to any fraction of a pixel and the counts are Poisson by construction. The time goes with the number
of scattered electrons, not with the number of pixels.

What is drawn, in the ROUND frame: rings are ideal circles blurred by an isotropic 2-D Gaussian (the profile is
``stemcal.optics.rings.blurred_ring``), or by an image of the aperture as well; grain spots have the same blur at one
azimuth and, weaker, at its Friedel mate; the diffuse background falls off exponentially; the direct beam is a
soft-edged disk. All of it, blur and disk included, then goes through the camera: centre + strain_matrix @
(q / pixel_size) + descan.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from stemcal.errors import UsageError
from stemcal.optics.ellipse import correction_matrix, strain_from_ratio, strain_matrix
from stemcal.optics.rings import GOLD_LATTICE_CONSTANT_ANGSTROM, cubic_rings
from stemcal.optics.wavelength import projected_q, wavelength_angstrom

_DIFFUSE = ((0.75, 0.09), (0.25, 0.32))
"""Parts and decay lengths (1/angstrom) of the two exponentials that make the diffuse background."""
_EDGE_PX = 0.35
"""Width of the logistic edge of the bright disk: a tenth to nine tenths in 1.5 px."""


@dataclass(frozen=True)
class Camera:
    """The geometry that a calibration has to find.

    Attributes
    ----------
    frame_shape : tuple of int
        (det_row, det_col).
    centre_row_px, centre_col_px : float
        Undiffracted beam in the middle of the descan.
    pixel_size_per_angstrom : float
        Area-preserving reciprocal pixel size.
    ratio, angle_deg : float
        Major / minor axis of a drawn ring, and the direction of its major axis (``stemcal.optics.conventions``).
    voltage_kv : float, optional
        When given, rings are drawn where a flat detector sees them (tangent of the scattering angle).
    """

    frame_shape: tuple[int, int]
    centre_row_px: float
    centre_col_px: float
    pixel_size_per_angstrom: float
    ratio: float = 1.0
    angle_deg: float = 0.0
    voltage_kv: float | None = None

    @property
    def strain(self) -> tuple[float, float]:
        """(e1, e2) of the ellipse."""
        return strain_from_ratio(self.ratio, math.radians(self.angle_deg))

    def radius_px(self, q_per_angstrom: float) -> float:
        """Return the area-preserving radius in px at which a ring of q (1/angstrom) is drawn."""
        wavelength = None if self.voltage_kv is None else wavelength_angstrom(self.voltage_kv)
        return float(projected_q(q_per_angstrom, wavelength)) / self.pixel_size_per_angstrom


@dataclass(frozen=True)
class PowderPhase:
    """One phase that scatters into rings.

    Attributes
    ----------
    name : str
        For the reader.
    rings : tuple of (float, float)
        (q in 1/angstrom, relative number of electrons in the whole ring).
    ring_width_px : float
        Standard deviation of the isotropic 2-D Gaussian blur; broad rings make an amorphous phase.
    grains_per_frame : float
        Mean number of Friedel pairs on each ring of a frame; 0 for a smooth ring (grains without number).
    spot_radius_px : float
        Radius of the aperture's image that every spot is, evenly lit; 0 for a parallel beam.
    """

    name: str
    rings: tuple[tuple[float, float], ...]
    ring_width_px: float
    grains_per_frame: float = 0.0
    spot_radius_px: float = 0.0


def gold_phase(
    *,
    ring_width_px: float = 1.3,
    grains_per_frame: float = 12.0,
    max_index_square: int = 27,
    spot_radius_px: float = 0.0,
) -> PowderPhase:
    """Return polycrystalline gold with plausible relative intensities.

    Multiplicity times a two-Lorentzian stand-in for |f|^2, a Debye-Waller factor (B = 0.6 angstrom^2), and 1/q for the
    part of the reflections that are excited.
    """
    rings = []
    for _, q, multiplicity in cubic_rings(GOLD_LATTICE_CONSTANT_ANGSTROM, "F", max_index_square=max_index_square):
        s_square = (q / 2) ** 2
        scattering = 5.5 / (1 + s_square / 0.05) + 3.0 / (1 + s_square / 0.6)
        rings.append((q, multiplicity * scattering**2 * math.exp(-0.3 * q * q) / q))
    return PowderPhase("Au", tuple(rings), ring_width_px, grains_per_frame, spot_radius_px)


def powder_frames(
    camera: Camera,
    phases: tuple[PowderPhase, ...],
    weights: NDArray[np.floating[Any]],
    descan_px: NDArray[np.floating[Any]],
    *,
    counts_per_frame: float,
    direct_beam_fraction: float,
    disk_radius_px: float,
    seed: int,
    diffuse_fraction: float = 0.35,
    grain: NDArray[np.intp] | None = None,
    block: int = 64,
    dtype: DTypeLike = np.uint16,
) -> Iterator[NDArray[np.unsignedinteger[Any]]]:
    """Yield blocks of frames; each frame has its own generator, so that the blocks do not matter.

    The expected counts of a frame (before losses off the detector) are ``counts_per_frame`` times
    (``direct_beam_fraction`` + (1 - ``direct_beam_fraction``) * sum of its weights): intensities are linear in the
    weights, and a frame of weight 0 is vacuum.

    Parameters
    ----------
    camera : Camera
        The truth.
    phases : tuple of PowderPhase
        What may scatter.
    weights : numpy.ndarray
        (n_frames, n_phases), not negative.
    descan_px : numpy.ndarray
        (n_frames, 2) (row, col) displacement of the whole pattern.
    counts_per_frame : float
        Electrons per frame for a sum of weights of 1.
    direct_beam_fraction : float
        Part of them in the bright disk.
    disk_radius_px : float
        Radius of the bright disk in the round frame.
    seed : int
        With the frame's index it seeds the frame.
    diffuse_fraction : float
        Part of the scattered electrons in the diffuse background.
    grain : numpy.ndarray, optional
        (n_frames,) which grain the beam stands on: frames of one grain have their spots at the same places, equally
        strong. Without it every frame has spots of its own.
    block : int
        Frames per yielded array.
    dtype : numpy dtype
        uint16 or uint32; counts saturate at its maximum as a counter does.

    Yields
    ------
    numpy.ndarray
        (n, det_row, det_col) with n <= ``block``.

    Raises
    ------
    UsageError
        If weights or descan do not fit each other or the phases.
    """
    n_frames = len(weights)
    if weights.shape != (n_frames, len(phases)) or descan_px.shape != (n_frames, 2):
        raise UsageError(
            f"weights {weights.shape} and descan {descan_px.shape} must be (n_frames, {len(phases)}) and (n_frames, 2)"
        )
    scattered = counts_per_frame * (1 - direct_beam_fraction)
    painter = _Painter(
        camera, phases, disk_radius_px, counts_per_frame * direct_beam_fraction, scattered, diffuse_fraction
    )
    ceiling = np.iinfo(np.dtype(dtype)).max
    for start in range(0, n_frames, block):
        stop = min(start + block, n_frames)
        frames = np.empty((stop - start, *camera.frame_shape), dtype)
        for index in range(start, stop):
            generator = np.random.default_rng((seed, index))
            layout = generator if grain is None else np.random.default_rng((seed, int(grain[index]), 1))
            counts = painter.frame(generator, layout, weights[index], descan_px[index])
            frames[index - start] = np.minimum(counts, ceiling)
        yield frames


@dataclass(frozen=True)
class _Painter:
    """Draws the electrons of one frame."""

    camera: Camera
    phases: tuple[PowderPhase, ...]
    disk_radius_px: float
    direct: float
    scattered: float
    diffuse_fraction: float

    def frame(
        self,
        generator: np.random.Generator,
        layout: np.random.Generator,
        weights: NDArray[np.floating[Any]],
        descan: NDArray[np.floating[Any]],
    ) -> NDArray[np.int64]:
        centre = np.array([self.camera.centre_row_px, self.camera.centre_col_px]) + descan
        clouds = [self._diffuse(generator, self.scattered * self.diffuse_fraction * float(weights.sum()))]
        for phase, weight in zip(self.phases, weights, strict=True):
            expected = self.scattered * (1 - self.diffuse_fraction) * float(weight)
            clouds.append(self._rings(generator, layout, phase, expected))
        counts = self._counted(np.concatenate(clouds, axis=1), centre)
        self._add_disk(generator, counts, centre)
        return counts

    def _diffuse(self, generator: np.random.Generator, expected: float) -> NDArray[np.float32]:
        radii = []
        for part, decay in _DIFFUSE:
            n = generator.poisson(expected * part)
            # a radius of Gamma(2) law is a density exp(-r / decay) per unit area
            radii.append(generator.standard_gamma(2.0, n, dtype=np.float32) * np.float32(decay))
        radius = np.concatenate(radii) / np.float32(self.camera.pixel_size_per_angstrom)
        return _on_circle(radius, _azimuths(generator, radius.size))

    def _rings(
        self, generator: np.random.Generator, layout: np.random.Generator, phase: PowderPhase, expected: float
    ) -> NDArray[np.float32]:
        total = sum(intensity for _, intensity in phase.rings)
        radii, azimuths = [], []
        for q, intensity in phase.rings:
            mean = expected * intensity / total
            azimuth = _ring_azimuths(generator, layout, mean, phase.grains_per_frame)
            azimuths.append(azimuth)
            radii.append(np.full(azimuth.size, self.camera.radius_px(q), np.float32))
        points = _on_circle(np.concatenate(radii), np.concatenate(azimuths))
        points += np.float32(phase.ring_width_px) * generator.standard_normal(points.shape, dtype=np.float32)
        if phase.spot_radius_px > 0:
            off = np.float32(phase.spot_radius_px) * np.sqrt(generator.random(len(points[0]), dtype=np.float32))
            points += _on_circle(off, _azimuths(generator, off.size))
        return points

    def _counted(self, points: NDArray[np.float32], centre: NDArray[np.float64]) -> NDArray[np.int64]:
        """Send round offsets (2, n) through the camera and count them per pixel."""
        matrix = strain_matrix(*self.camera.strain).astype(np.float32)
        n_row, n_col = self.camera.frame_shape
        # half a pixel more and truncation toward zero would fold -1 < x < 0 onto pixel 0: the test below is on floats
        position = matrix @ points + (centre[:, None] + 0.5).astype(np.float32)
        inside = (position[0] >= 0) & (position[0] < n_row) & (position[1] >= 0) & (position[1] < n_col)
        pixel = position[:, inside].astype(np.int64)
        flat = pixel[0] * n_col + pixel[1]
        return np.bincount(flat, minlength=n_row * n_col).reshape(n_row, n_col)

    def _add_disk(self, generator: np.random.Generator, counts: NDArray[np.int64], centre: NDArray[np.float64]) -> None:
        half = math.ceil(self.disk_radius_px * math.sqrt(self.camera.ratio) + 12 * _EDGE_PX) + 1
        middle = np.rint(centre).astype(int)
        offset = np.arange(-half, half + 1)
        rows, cols = middle[0] + offset, middle[1] + offset
        d_row, d_col = np.meshgrid(rows - centre[0], cols - centre[1], indexing="ij")
        matrix = correction_matrix(*self.camera.strain)
        radius = np.hypot(matrix[0, 0] * d_row + matrix[0, 1] * d_col, matrix[1, 0] * d_row + matrix[1, 1] * d_col)
        disk = 1 / (1 + np.exp(np.minimum((radius - self.disk_radius_px) / _EDGE_PX, 60.0)))
        drawn = generator.poisson(self.direct * disk / disk.sum())
        row_in = (rows >= 0) & (rows < counts.shape[0])
        col_in = (cols >= 0) & (cols < counts.shape[1])
        counts[np.ix_(rows[row_in], cols[col_in])] += drawn[np.ix_(row_in, col_in)]


def _azimuths(generator: np.random.Generator, n: int) -> NDArray[np.float32]:
    return generator.random(n, dtype=np.float32) * np.float32(2 * np.pi)


def _ring_azimuths(
    generator: np.random.Generator, layout: np.random.Generator, mean: float, grains: float
) -> NDArray[np.float32]:
    """Draw the azimuths of the electrons of one ring: anywhere, or in Friedel pairs of spots of unequal strength."""
    if grains <= 0:
        return _azimuths(generator, int(generator.poisson(mean)))
    n_pairs = int(layout.poisson(grains))
    azimuth = layout.uniform(0, 2 * np.pi, n_pairs)
    strength = layout.gamma(1.2, 1 / 1.2, n_pairs) * mean / grains
    share = layout.uniform(0.4, 1.0, n_pairs)
    # the pair's strength is kept whatever the share of the mate, so that the mean over frames is the ring's intensity
    electrons = generator.poisson(np.concatenate([strength / (1 + share), strength * share / (1 + share)]))
    return np.repeat(np.concatenate([azimuth, azimuth + np.pi]).astype(np.float32), electrons)


def _on_circle(radius: NDArray[np.float32], azimuth: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([radius * np.sin(azimuth), radius * np.cos(azimuth)])
