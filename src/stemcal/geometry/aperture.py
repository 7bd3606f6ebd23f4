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
from scipy import ndimage

from stemcal.geometry.rim import EDGE, RADIUS, Rim, offsets, round_distance
from stemcal.optics.ellipse import correction_matrix

Array = NDArray[np.float64]

_REACHES_PX = (0.7, 1.4, 2.8)
_LEAST_WEIGHT = 0.05
_SMALLEST_RADIUS_PX = 3.0
_LEAST_CONTRAST = 1.5
_LEAST_FILLED = 0.6
_LEAST_DROP = 0.2
_LEAST_ARC = 0.6
_SATURATED_PART = 0.05
_CEILINGS = tuple(float(2**bits - 1) for bits in (6, 8, 10, 12, 14, 15, 16, 24, 32))
_ROUNDS = 30
_CHOICES = 5
"""Rounds in which the ring of pixels follows the edge; then it stays, so that the fit can settle."""
_CONVERGED_PX = 1e-4
_BAND_PX = 3.0
_NARROW_BAND_PX = 2.0
_BAND_MISFIT = 2.5
"""By how much more than between two bands the radius is wrong in multislice simulations of crystals."""
_EDGE_RANGE_PX = (0.1, 8.0)
_PIXEL_VARIANCE = 1 / 12
_CENTRE, _STRAIN = slice(0, 2), slice(4, 6)


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
    filled = float(bright[np.hypot(*offsets(pattern.shape, row, col)) < 0.8 * radius].mean())
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


def _fit(
    pattern: Array, usable: NDArray[np.bool_], start: _Start, *, oval: bool, band_px: float = _BAND_PX
) -> Aperture | NoAperture:
    """Return the aperture by robust Gauss-Newton on the ring around the edge."""
    parameters = np.array([*start.centre_px, start.radius_px, 0.7, 0.0, 0.0])
    free = np.arange(6 if oval else 4)
    for done in range(_ROUNDS):
        if done < _CHOICES:
            chosen = parameters
        ring = Rim.around(pattern, usable, parameters, chosen, band_px)
        if ring.arc < _LEAST_ARC:
            return NoAperture(f"only {ring.arc:.0%} of the edge of the disk is on valid pixels of the frame")
        solution = ring.step(parameters, free)
        limit = 0.3 * parameters[RADIUS]
        last, parameters = parameters, parameters + np.clip(solution.change, -limit, limit)
        parameters[EDGE] = np.clip(parameters[EDGE], *_EDGE_RANGE_PX)
        if not np.isfinite(parameters).all() or not 0.3 < parameters[RADIUS] / start.radius_px < 3:
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
        radius_px=float(parameters[RADIUS]),
        e1=float(parameters[4]),
        e2=float(parameters[5]),
        edge_px=math.sqrt(float(parameters[EDGE]) ** 2 + _PIXEL_VARIANCE),
        sigma_centre_px=float(np.sqrt((sigma[_CENTRE] ** 2).mean())),
        sigma_radius_px=float(sigma[RADIUS]),
        sigma_strain=float(np.sqrt((sigma[_STRAIN] ** 2).mean())),
        mean_inside=_mean_inside(pattern, usable, parameters),
        ellipse_significant=False,
    )


def _mean_inside(pattern: Array, usable: NDArray[np.bool_], parameters: Array) -> float:
    distance = round_distance(*offsets(pattern.shape, parameters[0], parameters[1]), parameters)[0]
    inside = usable & (distance < parameters[RADIUS] - 2 * parameters[EDGE])
    return float(pattern[inside].mean()) if inside.any() else float("nan")
