"""Symmetry orders: the Fourier coefficients of the intensity around each ring, without what counting adds.

Around a ring I(phi) = F_0 + sum 2 Re(F_n exp(i n phi)) = a_0 + sum (a_n cos n phi + b_n sin n phi) over the orders n,
so F_n = (a_n - i b_n) / 2. The coefficients are those of the least-squares fit to the raw counts, each pixel with the
weight W of ``stemcal.polar.operator``: gaps of a mask are left out and not taken for dark directions. cos and sin are
averages over the pixel. A fit and not a sum, because under a mask the harmonics are no longer orthogonal.

Counts scatter, and |F_n|^2 of a uniform ring is not 0 but what the scatter adds to it. With H = (H^T W H)^-1 H^T W the
fit, that is g sum_p (H_cp^2 + H_sp^2) I(phi_p) / 4 for ``counts_per_electron`` g. It is taken from each power, which is
then 0 on average where there is no symmetry, and may be negative.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.polar import symmetry_kernels as kernels
from stemcal.polar.operator import Geometry, RingOperator, RingOperators, ring_operator
from stemcal.polar.tables import FractionTables, Key, Shape

LEAST_EIGENVALUE = 0.1
"""Of the normal equations, 1 for a whole ring: below it the gaps leave an order open, and all are missing there."""
_POINTS_PX = [(row, col) for row in (-(12**-0.5), 12**-0.5) for col in (-(12**-0.5), 12**-0.5)]
"""Gauss's four points, whose average over a pixel is exact for polynomials of third degree."""
_KEPT_BYTES = 64 * 2**20


@dataclass(frozen=True)
class SymmetryOperator:
    """The fit for one origin.

    Attributes
    ----------
    rings : RingOperator
        Which pixels belong to a ring.
    harmonics : ndarray of float32
        (row, col, n_terms): 1, then cos n phi and sin n phi of each order.
    shift : tuple of int
        Where in ``harmonics`` pixel (0, 0) of the detector is.
    inverse : ndarray of float64
        (n_bins, n_terms, n_terms) inverse of the normal equations; NaN where they leave an order open.
    noise : ndarray of float64
        (n_bins, n_orders, n_terms) takes coefficients to the sum of squares that counting adds to an order.
    """

    rings: RingOperator
    harmonics: NDArray[np.float32]
    shift: Shape
    inverse: NDArray[np.float64]
    noise: NDArray[np.float64]


@dataclass(frozen=True)
class Symmetries:
    """Symmetry orders of m frames, each (m, n_orders, n_bins) float64; NaN = missing.

    Attributes
    ----------
    amplitude : ndarray
        abs(F_n) / F_0 as measured, counting noise included.
    power : ndarray
        abs(F_n)^2 / F_0^2 without counting noise; may be negative.
    angle_deg : ndarray
        Where the intensity of the order is highest, 0 to 360 / n degrees, from +col toward +row.
    """

    amplitude: NDArray[np.float64]
    power: NDArray[np.float64]
    angle_deg: NDArray[np.float64]


def harmonics_table(
    geometry: Geometry, orders: tuple[int, ...], shape: Shape, centre: tuple[float, float]
) -> NDArray[np.float32]:
    """Return 1 and cos n phi, sin n phi averaged over each pixel, (row, col, 1 + 2 n_orders) float32.

    Parameters
    ----------
    geometry : Geometry
        For the ellipse.
    orders : tuple of int
        Each at least 1.
    shape : tuple of int
        (row, col).
    centre : tuple of float
        Origin (row, col) in px.
    """
    (rr, rc), (cr, cc) = geometry.matrix
    sums = np.zeros((2 * len(orders), *shape))
    for d_row, d_col in _POINTS_PX:
        row = np.arange(shape[0])[:, None] - centre[0] + d_row
        col = np.arange(shape[1])[None, :] - centre[1] + d_col
        angle = np.arctan2(rr * row + rc * col, cr * row + cc * col)
        for place, order in enumerate(orders):
            sums[2 * place] += np.cos(order * angle)
            sums[2 * place + 1] += np.sin(order * angle)
    table = np.ones((*shape, 1 + 2 * len(orders)), np.float32)
    table[..., 1:] = np.moveaxis(sums, 0, -1) / len(_POINTS_PX)
    return table


class SymmetryOperators:
    """The fits for many origins; safe for threads.

    Parameters
    ----------
    rings : RingOperators
        The rings of the same origins.
    orders : tuple of int
        Symmetry orders.
    counts_per_electron : float
        Variance over mean of the detector under uniform light.
    keys, steps_per_px, max_bytes :
        As for `RingOperators`.
    """

    def __init__(
        self,
        rings: RingOperators,
        orders: tuple[int, ...],
        counts_per_electron: float,
        keys: NDArray[np.int64],
        steps_per_px: int,
        max_bytes: int,
    ) -> None:
        self.orders = orders
        self.counts_per_electron = counts_per_electron
        self._rings = rings
        rows, cols = rings.geometry.valid.shape
        build = partial(harmonics_table, rings.geometry, orders)
        self._tables = FractionTables(build, (rows, cols), keys, steps_per_px, max_bytes)
        self._fits: OrderedDict[Key, tuple[NDArray[np.float64], NDArray[np.float64]]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Key) -> SymmetryOperator:
        """Return the fit for ``key``."""
        rings, (harmonics, shift) = self._rings.get(key), self._tables.get(key)
        with self._lock:
            fit = self._fits.get(key)
        if fit is None:
            fit = _fit(rings, harmonics, shift)
        with self._lock:
            self._fits[key] = fit
            self._fits.move_to_end(key)
            while len(self._fits) * sum(part.nbytes for part in fit) > _KEPT_BYTES and len(self._fits) > 1:
                self._fits.popitem(last=False)
        return SymmetryOperator(rings, harmonics, shift, *fit)


def symmetry_operator(geometry: Geometry, orders: tuple[int, ...], centre_px: tuple[float, float]) -> SymmetryOperator:
    """Build the fit for an origin at ``centre_px``; parameters as `harmonics_table` takes them."""
    rings = ring_operator(geometry, centre_px)
    rows, cols = geometry.valid.shape
    harmonics = harmonics_table(geometry, orders, (rows, cols), centre_px)
    return SymmetryOperator(rings, harmonics, (0, 0), *_fit(rings, harmonics, (0, 0)))


def _fit(
    rings: RingOperator, harmonics: NDArray[np.float32], shift: Shape
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the inverse of the normal equations and what counting adds."""
    n_bins, n_terms = rings.points.size, harmonics.shape[2]
    n_orders = (n_terms - 1) // 2
    where = (rings.table, rings.shift, harmonics, shift, rings.valid)
    products = np.empty((rings.n_sums, n_terms, n_terms))
    kernels.add_products(*where, products)
    inverse = _inverse(products[:n_bins], rings.points)
    noise = np.empty((n_bins, n_orders, n_terms))
    kernels.add_noise(*where, inverse, noise)
    return inverse, noise


def _inverse(products: NDArray[np.float64], points: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return the inverse of each matrix, NaN where the ring does not determine every order."""
    # cos^2 and sin^2 are 1/2 on average: scaled by it the equations of a whole ring are the unit matrix
    scale = np.full(products.shape[1], np.sqrt(2.0))
    scale[0] = 1.0
    both = scale[:, None] * scale[None, :]
    filled = points > 0
    normal = products[filled] * both / points[filled, None, None]
    enough = np.linalg.eigvalsh(normal)[:, 0] >= LEAST_EIGENVALUE
    known = np.flatnonzero(filled)[enough]
    inverse = np.full(products.shape, np.nan)
    inverse[known] = np.linalg.inv(normal[enough]) * both / points[known, None, None]
    return inverse


def symmetries(
    frames: NDArray[Any],
    operator: SymmetryOperator,
    orders: tuple[int, ...],
    counts_per_electron: float,
    members: NDArray[np.int64],
) -> Symmetries:
    """Return the symmetry orders of every ring in some frames.

    Parameters
    ----------
    frames : ndarray
        (n, det_row, det_col) counts, or counts with their gain.
    operator : SymmetryOperator
        The fit about the origin of these frames.
    orders : tuple of int
        Of ``operator``.
    counts_per_electron : float
        Variance over mean of the detector under uniform light.
    members : ndarray of int64
        (m,) the frames.
    """
    n_bins, n_terms = operator.inverse.shape[:2]
    found = np.empty((len(members), n_bins, n_terms + len(orders)))
    sums = np.empty((operator.rings.n_sums, n_terms))
    rings = operator.rings
    for index, member in enumerate(members):
        kernels.add_harmonics(
            frames[member], rings.table, rings.shift, operator.harmonics, operator.shift, rings.valid, sums
        )
        kernels.solve(sums, operator.inverse, operator.noise, found[index])
    return _symmetries(np.moveaxis(found, -1, 1), orders, counts_per_electron)


def _symmetries(found: NDArray[np.float64], orders: tuple[int, ...], gain: float) -> Symmetries:
    """Turn coefficients and noise, (m, n_terms + n_orders, n_bins), into what is written."""
    n_terms = 1 + 2 * len(orders)
    level = np.where(found[:, :1] > 0, found[:, :1], np.nan)
    cosine, sine, noise = found[:, 1:n_terms:2], found[:, 2:n_terms:2], found[:, n_terms:]
    square = cosine**2 + sine**2
    period = 360 / np.array(orders)[:, None]
    angle = np.degrees(np.arctan2(sine, cosine)) / np.array(orders)[:, None] % period
    return Symmetries(
        np.sqrt(square) / (2 * level), (square - gain * noise) / (4 * level**2), np.where(level > 0, angle, np.nan)
    )
