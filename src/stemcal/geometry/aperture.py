"""The probe-forming aperture as the camera sees it: a soft-edged ellipse fitted to the rim of the disk.

The mean pattern of a crystal has structure inside the disk and diffracted disks outside it. Only a ring around the edge
is fitted, with an inner level, an inner slope and an outer level that are free to change with the azimuth; what stays
is weighed down. The position of the edge at every azimuth then follows from the step alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from stemcal.optics.ellipse import correction_matrix

Array = NDArray[np.float64]

_REACHES_PX = (0.7, 1.4, 2.8)
_LEAST_WEIGHT = 0.05
_SMALLEST_RADIUS_PX = 3.0
_LEAST_CONTRAST = 1.5
_LEAST_FILLED = 0.6
_LEAST_DROP = 0.2
_LEAST_ARC = 0.6
_SECTORS = 24
_SATURATED_PART = 0.05
_CEILINGS = tuple(float(2**bits - 1) for bits in (6, 8, 10, 12, 14, 15, 16, 24, 32))
_HIGHEST_HARMONIC = 6
_ROUNDS = 30
_CHOICES = 5
"""Rounds in which the ring of pixels follows the edge; then it stays, so that the fit can settle."""
_CONVERGED_PX = 1e-4
_ROBUST_CUT = 3.0
_BAND_PX, _BAND_PART = 3.0, 0.3
_NARROW_BAND_PX = 2.0
_BAND_MISFIT = 2.5
"""By how much more than between two bands the radius is wrong in multislice simulations of crystals."""
_EDGE_RANGE_PX = (0.1, 8.0)
_INSIDE_PIXEL = (-0.375, -0.125, 0.125, 0.375)
_PIXEL_VARIANCE = 1 / 12
_LEAST_PROFILE = 1e-9
_CENTRE, _RADIUS, _EDGE, _STRAIN = slice(0, 2), 2, 3, slice(4, 6)


@dataclass(frozen=True)
class Aperture:
    """The undiffracted disk.

    Attributes
    ----------
    centre_row_px, centre_col_px : float
        Centre on the detector.
    radius_px : float
        Area-preserving radius, sqrt(a b), of the sharp disk whose blur is seen.
    e1, e2 : float
        Strain of the disk as in ``stemcal.optics.ellipse``; 0 where it is not significant.
    edge_px : float
        Standard deviation of the Gaussian that blurs the edge, the width of a pixel included.
    sigma_centre_px, sigma_radius_px, sigma_strain : float
        Standard uncertainties; that of the centre is along one axis, that of the radius knows of a structured rim.
    mean_inside : float
        Mean counts per frame and pixel inside the disk.
    ellipse_significant : bool
        Whether the disk is taken for an ellipse.
    """

    centre_row_px: float
    centre_col_px: float
    radius_px: float
    e1: float
    e2: float
    edge_px: float
    sigma_centre_px: float
    sigma_radius_px: float
    sigma_strain: float
    mean_inside: float
    ellipse_significant: bool

    def round_offsets(
        self, row_px: NDArray[np.float64], col_px: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return offsets (row, col) in px from the centre, as a round camera would have drawn them.

        Parameters
        ----------
        row_px, col_px : ndarray
            Positions on the detector, of one shape.
        """
        matrix = correction_matrix(self.e1, self.e2)
        row, col = row_px - self.centre_row_px, col_px - self.centre_col_px
        return matrix[0, 0] * row + matrix[0, 1] * col, matrix[1, 0] * row + matrix[1, 1] * col


@dataclass(frozen=True)
class NoAperture:
    """There is no disk that can be measured, and why."""

    reason: str


@dataclass(frozen=True)
class _Start:
    centre_px: tuple[float, float]
    radius_px: float


def find_aperture(
    mean_pattern: NDArray[np.floating[Any]],
    valid: NDArray[np.bool_] | None = None,
    *,
    ellipse_sigmas: float = 5.0,
    least_ellipticity: float = 0.01,
) -> Aperture | NoAperture:
    """Fit the edge of the undiffracted disk of a mean pattern.

    Parameters
    ----------
    mean_pattern : ndarray
        (det_row, det_col) mean counts per frame.
    valid : ndarray of bool, optional
        (det_row, det_col), True = valid.
    ellipse_sigmas, least_ellipticity : float
        The disk is an ellipse only where its strain is at least so many standard uncertainties, and its axes differ
        by at least this part.

    Returns
    -------
    Aperture or NoAperture
        An expected failure is a value with its reason.
    """
    pattern = np.asarray(mean_pattern, np.float64)
    usable = np.isfinite(pattern) if valid is None else valid & np.isfinite(pattern)
    start = _start(pattern, usable)
    if isinstance(start, NoAperture):
        return start
    oval = _fit(pattern, usable, start, oval=True)
    if isinstance(oval, NoAperture):
        return oval
    strain = math.hypot(oval.e1, oval.e2)
    significant = strain > ellipse_sigmas * oval.sigma_strain and math.expm1(2 * strain) > least_ellipticity
    if significant:
        return _with_misfit(replace(oval, ellipse_significant=True), pattern, usable, start)
    fitted = _fit(pattern, usable, start, oval=False)
    return fitted if isinstance(fitted, NoAperture) else _with_misfit(fitted, pattern, usable, start)


def _with_misfit(aperture: Aperture, pattern: Array, usable: NDArray[np.bool_], start: _Start) -> Aperture:
    """Return the aperture with the misfit of the rim in the uncertainty of its radius.

    A crystal's pattern changes across the rim in ways that no smooth level follows. How much that matters is seen from
    a fit to a narrower ring around the edge.
    """
    narrow = _fit(pattern, usable, start, oval=aperture.ellipse_significant, band_px=_NARROW_BAND_PX)
    if isinstance(narrow, NoAperture):
        return aperture
    misfit = _BAND_MISFIT * (narrow.radius_px - aperture.radius_px)
    return replace(aperture, sigma_radius_px=math.hypot(aperture.sigma_radius_px, misfit))


def smoothed(pattern: Array, usable: NDArray[np.bool_]) -> Array:
    """Smooth over the usable pixels only; what is wider than the smoothing is filled from farther away."""
    filled = np.where(usable, pattern, 0.0)
    smooth, dark = np.zeros(pattern.shape), np.ones(pattern.shape, np.bool_)
    for reach in _REACHES_PX:
        weight = ndimage.gaussian_filter(usable.astype(np.float64), reach, mode="nearest")
        total = ndimage.gaussian_filter(filled, reach, mode="nearest")
        near = dark & (weight > _LEAST_WEIGHT)
        smooth[near] = total[near] / weight[near]
        dark &= ~near
    return smooth


def _start(pattern: Array, usable: NDArray[np.bool_]) -> _Start | NoAperture:
    """Return where the disk roughly is: the largest patch above the level that parts bright from dark best."""
    if not usable.any() or not (pattern[usable] > 0).any():
        return NoAperture("the mean pattern is empty: no valid pixel has counts")
    smooth = np.maximum(smoothed(pattern, usable), 0)
    root = np.sqrt(smooth)
    bright = root > _parting_level(root[usable])
    patch = ndimage.binary_fill_holes(_largest_patch(bright))
    inside, outside = patch & usable, ~ndimage.binary_dilation(patch, iterations=2) & usable
    rows, cols = np.nonzero(patch)
    radius = math.sqrt(rows.size / math.pi)
    if radius < _SMALLEST_RADIUS_PX:
        return NoAperture(f"the bright patch has a radius of {radius:.1f} px, less than {_SMALLEST_RADIUS_PX:g}")
    if not outside.any():
        return NoAperture("the bright patch fills the frame: no edge of the disk is on it")
    level, floor = float(np.median(pattern[inside])), float(np.median(pattern[outside]))
    if level < _LEAST_CONTRAST * max(floor, 0.0) or level <= 0:
        return NoAperture(f"no disk stands out: the bright patch has {level:.3g} counts, its surroundings {floor:.3g}")
    if _saturated(pattern[inside]):
        return NoAperture("the disk is saturated: its pixels stand at the highest count of the detector")
    row, col = float(rows.mean()), float(cols.mean())
    filled = float(bright[np.hypot(*_offsets(pattern.shape, row, col)) < 0.8 * radius].mean())
    if filled < _LEAST_FILLED:
        return NoAperture(f"the bright patch is hollow: {filled:.0%} of its inside is bright")
    return _Start((row, col), radius)


def _parting_level(values: Array) -> float:
    """Return Otsu's threshold: the one with the largest variance between the two classes."""
    counts, edges = np.histogram(values, bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = below[-1] + counts[-1] - below
    part = np.cumsum(counts * centres)
    between = np.where(
        (below > 0) & (above > 0),
        below * above * (part[:-1] / np.maximum(below, 1) - (part[-1] - part[:-1]) / np.maximum(above, 1)) ** 2.0,
        0.0,
    )
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(edges[1:-1][best].mean())


def _largest_patch(bright: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, n_patches = ndimage.label(bright)
    sizes = np.bincount(labels.ravel(), minlength=n_patches + 1)
    sizes[0] = 0
    return np.asarray(labels == int(sizes.argmax()))


def _saturated(inside: Array) -> bool:
    """Return whether many pixels have one and the same mean, and that is the highest count of a counter."""
    top = float(inside.max())
    return top in _CEILINGS and float((inside == top).mean()) > _SATURATED_PART


def _offsets(shape: tuple[int, ...], row: float, col: float) -> tuple[Array, Array]:
    rows, cols = np.indices(shape, dtype=np.float64)
    return rows - row, cols - col


def _fit(
    pattern: Array, usable: NDArray[np.bool_], start: _Start, *, oval: bool, band_px: float = _BAND_PX
) -> Aperture | NoAperture:
    """Return the aperture by robust Gauss-Newton on the ring around the edge."""
    parameters = np.array([*start.centre_px, start.radius_px, 0.7, 0.0, 0.0])
    free = np.arange(6 if oval else 4)
    for done in range(_ROUNDS):
        if done < _CHOICES:
            chosen = parameters
        ring = _Ring.around(pattern, usable, parameters, chosen, band_px)
        if ring.arc < _LEAST_ARC:
            return NoAperture(f"only {ring.arc:.0%} of the edge of the disk is on valid pixels of the frame")
        solution = ring.step(parameters, free)
        limit = 0.3 * parameters[_RADIUS]
        last, parameters = parameters, parameters + np.clip(solution.change, -limit, limit)
        parameters[_EDGE] = np.clip(parameters[_EDGE], *_EDGE_RANGE_PX)
        if not np.isfinite(parameters).all() or not 0.3 < parameters[_RADIUS] / start.radius_px < 3:
            return NoAperture("the fit of the edge of the disk does not settle")
        if done >= _CHOICES and np.abs(parameters - last).max() < _CONVERGED_PX:
            break
    if not solution.drop > _LEAST_DROP:
        return NoAperture(f"the bright patch has no edge: the counts drop by {solution.drop:.0%} across it")
    sigma = np.zeros(6)
    sigma[free] = np.sqrt(np.diag(ring.covariance(solution)))[: len(free)]
    return Aperture(
        centre_row_px=float(parameters[0]),
        centre_col_px=float(parameters[1]),
        radius_px=float(parameters[_RADIUS]),
        e1=float(parameters[4]),
        e2=float(parameters[5]),
        edge_px=math.sqrt(float(parameters[_EDGE]) ** 2 + _PIXEL_VARIANCE),
        sigma_centre_px=float(np.sqrt((sigma[_CENTRE] ** 2).mean())),
        sigma_radius_px=float(sigma[_RADIUS]),
        sigma_strain=float(np.sqrt((sigma[_STRAIN] ** 2).mean())),
        mean_inside=_mean_inside(pattern, usable, parameters),
        ellipse_significant=False,
    )


def _mean_inside(pattern: Array, usable: NDArray[np.bool_], parameters: Array) -> float:
    distance = _round_distance(*_offsets(pattern.shape, parameters[0], parameters[1]), parameters)[0]
    inside = usable & (distance < parameters[_RADIUS] - 2 * parameters[_EDGE])
    return float(pattern[inside].mean()) if inside.any() else float("nan")


def _round_distance(row: Array, col: Array, parameters: Array) -> tuple[Array, Array, Array]:
    """Return the length and the direction (row, col) of offsets drawn round."""
    matrix = correction_matrix(parameters[4], parameters[5])
    round_row, round_col = matrix[0, 0] * row + matrix[0, 1] * col, matrix[1, 0] * row + matrix[1, 1] * col
    distance = np.maximum(np.hypot(round_row, round_col), 1e-9)
    return distance, round_row / distance, round_col / distance


@dataclass(frozen=True)
class _Solution:
    change: Array
    design: Array
    residual: Array
    drop: float


@dataclass(frozen=True)
class _Ring:
    """The usable pixels around the edge."""

    counts: Array
    distance: Array
    towards: Array
    sector: NDArray[np.intp]
    arc: float

    @classmethod
    def around(cls, pattern: Array, usable: NDArray[np.bool_], parameters: Array, near: Array, band_px: float) -> _Ring:
        """Return the pixels around the edge ``near``, as seen from that of ``parameters``."""
        row, col = _offsets(pattern.shape, near[0], near[1])
        radius, edge = near[_RADIUS], near[_EDGE]
        width = min(max(band_px + 2.5 * edge, 0.12 * radius), max(_BAND_PART * radius, 2.5))
        chosen = usable & (np.abs(_round_distance(row, col, near)[0] - radius) < width)
        row, col = _offsets(pattern.shape, parameters[0], parameters[1])
        distance, towards_row, towards_col = _round_distance(row, col, parameters)
        angle = np.arctan2(towards_row, towards_col)
        sector = ((angle[chosen] / (2 * np.pi) + 0.5) * _SECTORS).astype(np.intp) % _SECTORS
        per_sector = 2 * np.pi * radius / _SECTORS * 2 * width
        seen = np.bincount(sector, minlength=_SECTORS) > 0.5 * per_sector
        towards = np.stack([towards_row[chosen], towards_col[chosen]])
        return cls(pattern[chosen], distance[chosen], towards, sector, float(seen.mean()))

    def step(self, parameters: Array, free: NDArray[np.intp]) -> _Solution:
        """Return one Gauss-Newton step of the edge, all levels solved for exactly."""
        radius, edge = parameters[_RADIUS], parameters[_EDGE]
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
        return _Solution(change, full, left, float(np.median(1 - outer / np.maximum(inner, _LEAST_PROFILE))))

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

    def covariance(self, solution: _Solution) -> Array:
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
