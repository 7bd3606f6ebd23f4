"""The ring of pixels around the edge of the disk, and one step of the fit to it.

Parameters are the centre (row, col) in px, the radius, the Gaussian width of the edge, and the strain (e1, e2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from stemcal.optics.ellipse import correction_matrix

Array = NDArray[np.float64]

RADIUS, EDGE = 2, 3
"""Places of the radius and of the width of the edge among the parameters."""
_SECTORS = 24
_HIGHEST_HARMONIC = 6
_ROBUST_CUT = 3.0
_BAND_PART = 0.3
_INSIDE_PIXEL = (-0.375, -0.125, 0.125, 0.375)
_LEAST_PROFILE = 1e-9


def offsets(shape: tuple[int, ...], row: float, col: float) -> tuple[Array, Array]:
    """Return the offsets (row, col) of all pixels of a frame from a place on it, each (det_row, det_col)."""
    rows, cols = np.indices(shape, dtype=np.float64)
    return rows - row, cols - col


def round_distance(row: Array, col: Array, parameters: Array) -> tuple[Array, Array, Array]:
    """Return the length and the direction (row, col) of offsets drawn round."""
    matrix = correction_matrix(parameters[4], parameters[5])
    round_row, round_col = matrix[0, 0] * row + matrix[0, 1] * col, matrix[1, 0] * row + matrix[1, 1] * col
    distance = np.maximum(np.hypot(round_row, round_col), 1e-9)
    return distance, round_row / distance, round_col / distance


@dataclass(frozen=True)
class RimStep:
    """A step of the parameters, and what its covariance and the drop of the counts across the edge follow from."""

    change: Array
    design: Array
    residual: Array
    drop: float


@dataclass(frozen=True)
class Rim:
    """The usable pixels around the edge."""

    counts: Array
    distance: Array
    towards: Array
    sector: NDArray[np.intp]
    arc: float

    @classmethod
    def around(cls, pattern: Array, usable: NDArray[np.bool_], parameters: Array, near: Array, band_px: float) -> Rim:
        """Return the pixels around the edge ``near``, as seen from that of ``parameters``."""
        row, col = offsets(pattern.shape, near[0], near[1])
        radius, edge = near[RADIUS], near[EDGE]
        width = min(max(band_px + 2.5 * edge, 0.12 * radius), max(_BAND_PART * radius, 2.5))
        chosen = usable & (np.abs(round_distance(row, col, near)[0] - radius) < width)
        row, col = offsets(pattern.shape, parameters[0], parameters[1])
        distance, towards_row, towards_col = round_distance(row, col, parameters)
        angle = np.arctan2(towards_row, towards_col)
        sector = ((angle[chosen] / (2 * np.pi) + 0.5) * _SECTORS).astype(np.intp) % _SECTORS
        per_sector = 2 * np.pi * radius / _SECTORS * 2 * width
        seen = np.bincount(sector, minlength=_SECTORS) > 0.5 * per_sector
        towards = np.stack([towards_row[chosen], towards_col[chosen]])
        return cls(pattern[chosen], distance[chosen], towards, sector, float(seen.mean()))

    def step(self, parameters: Array, free: NDArray[np.intp]) -> RimStep:
        """Return one Gauss-Newton step of the edge, all levels solved for exactly."""
        radius, edge = parameters[RADIUS], parameters[EDGE]
        profile, slope_per_level, blur_per_level = self._edge(radius, edge)
        levels = self._levels(profile, radius)
        weight = np.full(self.counts.shape, 1.0)
        for _ in range(3):
            amplitudes = np.linalg.lstsq(levels * weight[:, None], self.counts * weight, rcond=None)[0]
            residual = self.counts - levels @ amplitudes
            noise = max(1.4826 * float(np.median(np.abs(residual))), 1e-3 * float(np.abs(self.counts).mean()), 1e-300)
            weight = 1 / np.sqrt(1 + (residual / (_ROBUST_CUT * noise)) ** 2)
        n_inner = levels.shape[1] - self._harmonics(radius).shape[1]
        inner = levels[:, :n_inner] @ amplitudes[:n_inner] / np.maximum(profile, _LEAST_PROFILE)
        height = np.where(profile > _LEAST_PROFILE, inner, 0.0)
        derivatives = self._derivatives(slope_per_level * height, blur_per_level * height)
        jacobian = np.stack(derivatives, axis=1)[:, free]
        full = np.concatenate([jacobian, self._smear(blur_per_level * height), levels], axis=1) * weight[:, None]
        right = (residual * weight)[:, None]
        solved = np.linalg.lstsq(full, right, rcond=None)[0][:, 0]
        change = np.zeros(6)
        change[free] = solved[: len(free)]
        left = right[:, 0] - full @ solved
        outer = levels[:, n_inner:] @ amplitudes[n_inner:] / np.maximum(1 - profile, _LEAST_PROFILE)
        return RimStep(change, full, left, float(np.median(1 - outer / np.maximum(inner, _LEAST_PROFILE))))

    def _edge(self, radius: float, edge: float) -> tuple[Array, Array, Array]:
        """Return the profile of the edge averaged over each pixel, and its change with radius and with edge."""
        # blurring a disk pulls the level of one half inward by sigma^2 / (2 r)
        across = self.distance - radius + edge**2 / (2 * radius)
        profile, slope, blur = (np.zeros(across.shape) for _ in range(3))
        for row in _INSIDE_PIXEL:
            for col in _INSIDE_PIXEL:
                depth = (across + row * self.towards[0] + col * self.towards[1]) / edge
                gauss = np.exp(-(depth**2) / 2) / (math.sqrt(2 * math.pi) * edge)
                profile += special.ndtr(-depth)
                slope += gauss
                blur += gauss * depth
        count = len(_INSIDE_PIXEL) ** 2
        return profile / count, slope / count, blur / count

    def _harmonics(self, radius: float) -> Array:
        """Return 1, cos m phi, sin m phi at every pixel, no finer than the pixels on the edge can tell."""
        highest = int(np.clip(radius / 2.5, 2, _HIGHEST_HARMONIC))
        phase = np.arctan2(self.towards[0], self.towards[1])[:, None] * np.arange(1, highest + 1)
        return np.concatenate([np.ones((len(phase), 1)), np.cos(phase), np.sin(phase)], axis=1)

    def _levels(self, profile: Array, radius: float) -> Array:
        around = self._harmonics(radius)
        inward = self.distance / radius - 1
        low = around[:, [0, 1, 2, 1 + around.shape[1] // 2, 2 + around.shape[1] // 2]]
        inner = np.concatenate([around, low * inward[:, None]], axis=1)
        return np.concatenate([inner * profile[:, None], around * (1 - profile)[:, None]], axis=1)

    def _derivatives(self, slope: Array, blur: Array) -> tuple[Array, ...]:
        """Return the change of the counts with centre, radius, edge and strain."""
        row, col = self.towards
        return (
            slope * row,
            slope * col,
            slope,
            blur,
            slope * self.distance * (col**2 - row**2),
            slope * self.distance * 2 * row * col,
        )

    def _smear(self, blur: Array) -> Array:
        """Return the change of the counts with a smear along one direction, as by descan; else an ellipse takes it."""
        row, col = self.towards
        return np.stack([blur * (col**2 - row**2), blur * 2 * row * col], axis=1)

    def covariance(self, solution: RimStep) -> Array:
        """Return the covariance that allows for structure: residuals of one sector may belong together.

        The larger, per direction of the diagonal, of the usual covariance and the one from the sums of each sector.
        """
        full, residual = solution.design, solution.residual
        inverse = np.linalg.pinv(full.T @ full, hermitian=True)
        spread = float(residual @ residual) / max(len(residual) - full.shape[1], 1)
        per_sector = np.stack([full[self.sector == one].T @ residual[self.sector == one] for one in range(_SECTORS)])
        clustered = inverse @ (per_sector.T @ per_sector) @ inverse * _SECTORS / (_SECTORS - 1)
        usual = inverse * spread
        return usual if np.trace(usual[:4, :4]) > np.trace(clustered[:4, :4]) else clustered
