"""The profile of a ring whose every point is an image of the aperture, blurred.

A spot of a crystal is an image of the bright disk: evenly lit, with an edge that the source, the lenses and the size of
a pixel blur. The ring of such spots is the circle of radius R, convolved in two dimensions with a disk and a Gaussian.
Convolving with the disk alone spreads the circle into circles of radii R' = |R + offset|, whose density
2 R' / (pi a^2) arccos((R'^2 + R^2 - a^2) / (2 R R')) is an arc of R' inside the disk; a Gauss-Chebyshev rule sums them,
each blurred exactly (``stemcal.optics.rings.blurred_ring``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from stemcal.optics.rings import blurred_ring

Array = NDArray[np.float64]

_REACH = 6.0
"""A ring is zero beyond this many standard deviations of the Gaussian outside the disk: 1e-8 of its peak."""
_NODES_PER_SIGMA = 1.2
"""Distance of the circles in standard deviations of their blur: the ripple on their sum is 2e-6."""
_POINTS_PER_SIGMA = 5.0
_FEWEST_NODES = 3
_SMALLEST_APERTURE = 1e-3
_DIFFERENCE = 1e-4


@dataclass(frozen=True)
class RingShape:
    """Profiles of the rings at n pixels, peak about 1, and their derivatives per px, each (n, n_rings)."""

    value: Array
    by_radius: Array
    by_ring_radius: Array
    by_sigma: Array
    by_aperture: Array


def ring_shapes(radius_px: Array, ring_px: Array, sigma_px: Array, aperture_px: float) -> RingShape:
    """Evaluate rings at round radii.

    Parameters
    ----------
    radius_px : numpy.ndarray
        (n,) where.
    ring_px, sigma_px : numpy.ndarray
        (n_rings,) radius of the rings and standard deviation of the Gaussian.
    aperture_px : float
        Radius of the disk.
    """
    shape = (radius_px.size, ring_px.size)
    value, by_radius, by_ring, by_sigma, by_aperture = (np.zeros(shape) for _ in range(5))
    for k, (ring, sigma) in enumerate(zip(ring_px, sigma_px, strict=True)):
        reach = aperture_px + _REACH * sigma
        near = np.flatnonzero(np.abs(radius_px - ring) < reach)
        if near.size == 0:
            continue
        table = _table(float(ring), float(sigma), aperture_px, reach)
        found = table(radius_px[near])
        value[near, k], by_ring[near, k], by_sigma[near, k], by_aperture[near, k] = found.T
        by_radius[near, k] = table(radius_px[near], 1)[:, 0]
    return RingShape(value, by_radius, by_ring, by_sigma, by_aperture)


def _table(ring: float, sigma: float, aperture: float, reach: float) -> CubicSpline:
    """Return the profile and its derivatives by ring radius, sigma and aperture over the radius."""
    n_points = int(np.ceil(2 * reach * _POINTS_PER_SIGMA / sigma)) + 1
    radius = np.linspace(max(ring - reach, 0.0), ring + reach, n_points)
    n_nodes = max(_FEWEST_NODES, int(np.ceil(np.pi * aperture / (_NODES_PER_SIGMA * sigma))))
    step = _DIFFERENCE * sigma
    columns = [profile(radius, ring, sigma, aperture, n_nodes)]
    for change in np.eye(3) * step:
        up = profile(radius, ring + change[0], sigma + change[1], aperture + change[2], n_nodes)
        down = profile(radius, ring - change[0], sigma - change[1], aperture - change[2], n_nodes)
        columns.append((up - down) / (2 * step))
    return CubicSpline(radius, np.stack(columns, axis=1))


def profile(radius: Array, ring: float, sigma: float, aperture: float, n_nodes: int) -> Array:
    """Return the profile of one ring at ``radius`` (n,), scaled so that a narrow Gaussian ring has a peak of 1.

    Parameters
    ----------
    radius : numpy.ndarray
        (n,) px.
    ring, sigma, aperture : float
        Radius of the ring, standard deviation of the Gaussian, radius of the disk, px; the disk is narrower than the
        ring.
    n_nodes : int
        Circles that the disk is made of.
    """
    aperture = max(aperture, _SMALLEST_APERTURE)
    turn = np.pi * np.arange(1, n_nodes + 1) / (n_nodes + 1)
    circles = ring + aperture * np.cos(turn)
    cosine = (circles**2 + ring**2 - aperture**2) / (2 * ring * circles)
    weight = circles * np.arccos(np.clip(cosine, -1.0, 1.0)) * np.sin(turn)
    density = blurred_ring(radius[:, None], circles, sigma) @ (weight / weight.sum())
    width = np.hypot(sigma, aperture / 2)
    return np.asarray(density * (2 * np.pi) ** 1.5 * ring * width)
