"""Rings as rows of spots: what each spot brings to each pixel at one geometry.

A spot is an image of the aperture, a disk blurred by a Gaussian. Spots stand on their ring close enough together that
a row of them is flat and follows any other spot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.interpolate import CubicSpline
from scipy.special import roots_legendre

from stemcal.gold.model import Annulus, Array, RingWidths, ring_widths, round_radius
from stemcal.optics.rings import blurred_ring

_SPACING = 1.3
"""Distance of the spots in their standard deviations: a row of them is flat to 1e-3 and follows any other spot."""
_REACH = 5.0
_NODES = 24
_FEWEST = 8
_NEAREST = 1e-9
_DIFFERENCE = 1e-3
_ORDERS = 2
"""The background may vary over the azimuth up to this order."""


@dataclass(frozen=True)
class Design:
    """The spots at one geometry.

    Attributes
    ----------
    value, by_row, by_col, by_width, by_part : sparse array
        (n, n_spots) spot at the pixel and its derivatives by the round offset of the pixel, LOG_WIDTH and APERTURE.
    spot : numpy.ndarray
        (2, n_spots) round offsets (row, col) of the spots.
    bounds : numpy.ndarray
        (n_rings + 1,) where the spots of each ring begin.
    background : numpy.ndarray
        (n, k).
    """

    value: sparse.csr_array
    by_row: sparse.csr_array
    by_col: sparse.csr_array
    by_width: sparse.csr_array
    by_part: sparse.csr_array
    spot: Array
    bounds: NDArray[np.intp]
    background: Array


def design_of(annulus: Annulus, q: Array, geometry: Array) -> Design:
    """Place the spots of rings at ``q`` (n_rings,), 1/angstrom, for a geometry (8,)."""
    radius, *offset = round_radius(annulus.rows, annulus.cols, geometry)
    widths = ring_widths(q, geometry)
    rows = [_row_of_spots(widths, k, radius, np.stack(offset)) for k in range(q.size)]
    bounds = np.concatenate([[0], np.cumsum([row.spot.shape[1] for row in rows])])
    pixel = np.concatenate([row.pixel for row in rows])
    number = np.concatenate([row.number + first for row, first in zip(rows, bounds[:-1], strict=True)])
    value, by_row, by_col, by_width, by_part = (
        sparse.csr_array((part, (pixel, number)), shape=(radius.size, int(bounds[-1])))
        for part in np.concatenate([row.values for row in rows], axis=1)
    )
    azimuth = np.arctan2(*offset)
    waves = [np.ones_like(azimuth)]
    waves += [wave(order * azimuth) for order in range(1, _ORDERS + 1) for wave in (np.cos, np.sin)]
    return Design(
        value=value,
        by_row=by_row,
        by_col=by_col,
        by_width=by_width,
        by_part=by_part,
        spot=np.concatenate([row.spot for row in rows], axis=1),
        bounds=bounds.astype(np.intp),
        background=np.concatenate([annulus.background * wave[:, None] for wave in waves], axis=1),
    )


class _Row(NamedTuple):
    """The spots of one ring.

    Attributes
    ----------
    pixel, number : numpy.ndarray
        (m,) pairs of a pixel and a spot that reaches it.
    values : numpy.ndarray
        (5, m) spot at the pixel, its derivatives by the round offset (row, col), LOG_WIDTH and APERTURE.
    spot : numpy.ndarray
        (2, n) round offsets of the spots.
    """

    pixel: NDArray[np.intp]
    number: NDArray[np.intp]
    values: Array
    spot: Array


def _row_of_spots(widths: RingWidths, k: int, radius: Array, offset: Array) -> _Row:
    """Place spots on ring ``k`` and find what they bring to pixels at round ``radius`` (n,) and ``offset`` (2, n)."""
    ring, sigma, aperture = float(widths.ring[k]), float(widths.sigma[k]), widths.aperture
    reach = aperture + _REACH * sigma
    n = max(_FEWEST, int(np.ceil(2 * np.pi * ring / _spacing(sigma, aperture))))
    turn = 2 * np.pi / n
    spot = ring * np.stack([np.sin(np.arange(n) * turn), np.cos(np.arange(n) * turn)])
    near = np.flatnonzero(np.abs(radius - ring) < reach)
    # the chord of the reach, with a tenth and a spot to spare: what is farther is sorted out below
    half = min((n - 1) // 2, int(np.ceil(2.2 * np.arcsin(min(1.0, reach / (2 * ring))) / turn)) + 1)
    first = np.floor(np.arctan2(*offset[:, near]) / turn).astype(np.intp)
    number = (first[:, None] + np.arange(-half, half + 1)) % n
    away = offset[:, near][:, :, None] - spot[:, number]
    distance = np.hypot(*away)
    reached = distance < reach
    table, far = _table(sigma, aperture, reach), np.maximum(distance[reached], _NEAREST)
    value, by_sigma, by_aperture = table(far).T
    by_place = away[:, reached] * (table(far, 1)[:, 0] / far)
    by_shape = by_sigma * widths.sigma_by[:2, k, None] + by_aperture * widths.aperture_by[:, None]
    pixel = np.broadcast_to(near[:, None], reached.shape)[reached]
    return _Row(pixel, number[reached], np.concatenate([value[None], by_place, by_shape]), spot)


def _spacing(sigma: float, aperture: float) -> float:
    """Return the distance of spots in px; the sharper their edge, the closer they have to be."""
    width = np.hypot(sigma, aperture / 2)
    return float(_SPACING * min(width, max(1.6 * sigma, 0.6 * width)))


def _table(sigma: float, aperture: float, reach: float) -> CubicSpline:
    """Return a spot and its derivatives by sigma and aperture over the distance from its middle."""
    distance = np.linspace(0.0, reach, int(np.ceil(10 * reach / sigma)) + 2)
    step = _DIFFERENCE * sigma
    columns = [_spot(distance, sigma, aperture)]
    for change in np.eye(2) * step:
        up, down = (_spot(distance, sigma + sign * change[0], aperture + sign * change[1]) for sign in (1, -1))
        columns.append((up - down) / (2 * step))
    return CubicSpline(distance, np.stack(columns, axis=1), bc_type="natural")


def _spot(distance: Array, sigma: float, aperture: float) -> Array:
    """Return a disk blurred by a Gaussian, 1 in the middle: circles that fill it, each blurred."""
    points, weights = roots_legendre(_NODES)
    circles = aperture * (points + 1) / 2
    values = blurred_ring(np.append(distance, 0.0)[:, None], circles, sigma) @ (weights * circles)
    return np.asarray(values[:-1] / values[-1])
