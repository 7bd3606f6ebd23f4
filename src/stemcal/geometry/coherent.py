"""The coherent fit: geometry and aberrations from the complex slices, every slice's two amplitudes eliminated.

At the scan frequency f of a spatial frequency Q, a thin object gives, with d = B f, ::

    G(k, f) = a P(k - d) P*(k) + b P(k) P*(k + d),      a ~ O_Q O_0*,   b ~ O_0 O_-Q*

It is linear in a and b, so that these are projected out exactly and the search runs over what all slices share: B, the
centre, the aberrations and the focal spread. Phases are never unwrapped, because complex numbers are compared.

The radius stays at the aperture's. It trades with the scale of B and with the spherical aberration.

Sources: Ning et al., Microsc. Microanal. 28 (2022) 622 for the model with one slice at a time; variable projection with
the Jacobian of Kaufman, BIT 15 (1975) 49; Marquardt, J. SIAM 11 (1963) 431. The joint fit is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry import coherent_kernels as kernels
from stemcal.geometry.slices import Slices
from stemcal.optics.aberrations import Term, terms

SHARED = 7
"""Parameters before the aberrations: B (4), centre (2), square of the focal spread."""

SPREAD = 6
PIXEL_BLUR = 12**-0.5
REACH_BLURS = 4.0
MARGIN_BLURS = 0.0
SOFT = 0.3
VARIANCE_FLOOR = 0.25
"""Of the median variance of a pixel; in the dark the noise is small and the model is not that good."""


@dataclass(frozen=True)
class Whitened:
    """Slices in units of their noise.

    Attributes
    ----------
    values : ndarray of complex128
        (K, n_pix); shot noise has a mean square of 1, real and imaginary part together.
    weight : ndarray of float64
        (n_pix,) what the slices were multiplied by.
    frequencies : ndarray of float64
        (K, 2) cycles per step.
    row_px, col_px : ndarray of float64
        (n_pix,) round offsets from the aperture's centre.
    radius_px, blur_px : float
        Of the aperture.
    noise : float
        Expected sum of the squares of the noise.
    """

    values: NDArray[np.complex128]
    weight: NDArray[np.float64]
    frequencies: NDArray[np.float64]
    row_px: NDArray[np.float64]
    col_px: NDArray[np.float64]
    radius_px: float
    blur_px: float
    noise: float

    @property
    def energy(self) -> float:
        """Sum of the squares."""
        return float((np.abs(self.values) ** 2).sum())

    def every(self, stride: int) -> Whitened:
        """Return every ``stride``-th pixel."""
        if stride == 1:
            return self
        return replace(
            self,
            values=np.ascontiguousarray(self.values[:, ::stride]),
            weight=np.ascontiguousarray(self.weight[::stride]),
            row_px=np.ascontiguousarray(self.row_px[::stride]),
            col_px=np.ascontiguousarray(self.col_px[::stride]),
            noise=self.noise / stride,
        )


@dataclass(frozen=True)
class Solution:
    """Parameters of the coherent model, and how well they fit.

    Attributes
    ----------
    parameters : ndarray of float64
        B (row-major), centre (row, col) in px, square of the focal spread in rad^2, phases at the edge.
    order : int
        Of the aberrations.
    free : ndarray of bool
        Which parameters were fitted.
    amplitudes : ndarray of complex128
        (K, 2) of the two sidebands.
    residual : float
        Sum of the squares of what is left.
    mean_square : float
        Its mean, 1 for shot noise.
    normal : ndarray of float64
        Normal matrix of the free parameters.
    converged : bool
        Whether the last step was negligible.
    """

    parameters: NDArray[np.float64]
    order: int
    free: NDArray[np.bool_]
    amplitudes: NDArray[np.complex128]
    residual: float
    mean_square: float
    normal: NDArray[np.float64]
    converged: bool

    @property
    def b(self) -> NDArray[np.float64]:
        """B, (2, 2)."""
        return self.parameters[:4].reshape(2, 2)


def fitted_pixels(slices: Slices) -> NDArray[np.bool_]:
    """Return which pixels are fitted, (n_pix,): the usable ones inside the aperture and on its edge."""
    return slices.usable & (np.hypot(slices.row_px, slices.col_px) < slices.radius_px + MARGIN_BLURS * slices.edge_px)


def whiten(slices: Slices, without_tile: int | None = None, weight: NDArray[np.float64] | None = None) -> Whitened:
    """Return the slices of all tiles together, or of all but one, in units of their noise.

    Parameters
    ----------
    slices : Slices
        Of the scan.
    without_tile : int, optional
        Tile that is left out; its frequencies are then those found without it.
    weight : ndarray, optional
        (n_pix,) weights that are used instead of those of the noise.
    """
    used = fitted_pixels(slices)
    values = slices.values[:, :, used].sum(axis=0, dtype=np.complex128)
    variance = slices.variance[:, used].sum(axis=0)
    frequencies = slices.frequencies
    if without_tile is not None:
        values = values - slices.values[without_tile][:, used]
        variance = variance - slices.variance[without_tile][used]
        frequencies = slices.tile_frequencies[without_tile]
    if weight is None:
        weight = 1.0 / np.sqrt(np.maximum(variance, VARIANCE_FLOOR * np.median(variance)))
    return Whitened(
        values=values * weight,
        weight=weight,
        frequencies=np.ascontiguousarray(frequencies, dtype=np.float64),
        row_px=np.ascontiguousarray(slices.row_px[used], dtype=np.float64),
        col_px=np.ascontiguousarray(slices.col_px[used], dtype=np.float64),
        radius_px=float(slices.radius_px),
        blur_px=max(float(slices.edge_px), PIXEL_BLUR),
        noise=float((variance * weight**2).sum() * len(frequencies)),
    )


def term_table(order: int) -> NDArray[np.int64]:
    """Return the aberrations up to ``order`` as the kernels take them: m, power of the squared angle, 1 = sine."""
    return np.array([_row(term) for term in terms(order)], dtype=np.int64)


def _row(term: Term) -> tuple[int, int, int]:
    return term.m, (term.n + 1 - term.m) // 2, int(term.sine)


def start(b: NDArray[np.float64], order: int, phases: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a vector of parameters with B and the first phases given, the rest 0."""
    parameters = np.zeros(SHARED + len(terms(order)))
    parameters[:4] = b.ravel()
    parameters[SHARED : SHARED + phases.size] = phases
    return parameters


def quadrature(blur_px: float, nodes_per_axis: int) -> tuple[NDArray[np.float64], float]:
    """Return points of a pixel (n, 2) and the blur of a disk's edge at each of them, which together give ``blur_px``.

    A pixel averages the interference, not the disks: where an edge cuts it, the average is over the lit part, and so is
    its phase. The points carry half of the variance of the blur, the edges the other half.
    """
    if nodes_per_axis == 1:
        return np.zeros((1, 2)), blur_px
    steps = np.arange(nodes_per_axis) - (nodes_per_axis - 1) / 2
    variance = float((steps**2).mean())
    spacing = blur_px / np.sqrt(variance + SOFT**2)
    row, col = np.meshgrid(steps * spacing, steps * spacing, indexing="ij")
    return np.stack([row.ravel(), col.ravel()], axis=1), float(SOFT * spacing)


def freedom(order: int, *, geometry: bool, centre: bool, spread: bool) -> NDArray[np.bool_]:
    """Return which parameters are free; the aberrations always are."""
    return np.array([geometry] * 4 + [centre] * 2 + [spread] + [True] * len(terms(order)))


class CoherentModel:
    """The model of all slices, bound to the slices and to an order of the aberrations."""

    def __init__(self, data: Whitened, order: int, nodes_per_axis: int = 1) -> None:
        self.data = data
        self.order = order
        self.terms = term_table(order)
        self.nodes_per_axis = nodes_per_axis
        self.nodes_px, self.soft_px = quadrature(data.blur_px, nodes_per_axis)
        self.reach_px = data.radius_px + REACH_BLURS * self.soft_px

    def _optics(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([*parameters[4:7], self.data.radius_px, self.soft_px])

    def shifts(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the displacements (K, 2) in px."""
        return np.ascontiguousarray(self.data.frequencies @ parameters[:4].reshape(2, 2).T)

    def templates(self, parameters: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return the two sidebands of every slice, (K, 2, n_pix), in units of the noise."""
        data, optics = self.data, self._optics(parameters)
        out = np.empty((len(data.frequencies), 2, data.weight.size), dtype=np.complex128)
        phase = np.ascontiguousarray(parameters[SHARED:])
        for shift, pair in zip(self.shifts(parameters), out, strict=True):
            kernels.sidebands(
                data.row_px,
                data.col_px,
                self.nodes_px,
                shift,
                optics,
                phase,
                self.terms,
                self.reach_px,
                pair[0],
                pair[1],
            )
        out *= data.weight
        return out

    def disks(
        self, parameters: NDArray[np.float64], frequencies: NDArray[np.float64], node_px: NDArray[np.float64]
    ) -> NDArray[np.complex128]:
        """Return P(k - B f) of any frequencies, (n, n_pix), at one node of the pixels."""
        data = self.data
        waves = np.empty((len(frequencies), data.weight.size), dtype=np.complex128)
        shifts = np.ascontiguousarray(frequencies @ parameters[:4].reshape(2, 2).T)
        phase = np.ascontiguousarray(parameters[SHARED:])
        kernels.disks(
            data.row_px + node_px[0],
            data.col_px + node_px[1],
            shifts,
            self._optics(parameters),
            phase,
            self.terms,
            self.reach_px,
            waves,
        )
        return waves

    def project(
        self, parameters: NDArray[np.float64]
    ) -> tuple[NDArray[np.complex128], NDArray[np.complex128], NDArray[np.complex128], NDArray[np.complex128]]:
        """Return what the best amplitudes leave (K, n_pix), these (K, 2), templates and their inverse Gram matrices."""
        templates = self.templates(parameters)
        gram = np.einsum("kip,kjp->kij", templates.conj(), templates)
        inverse = _inverse(gram)
        amplitudes = np.einsum("kij,kjp,kp->ki", inverse, templates.conj(), self.data.values, optimize=True)
        residual = self.data.values - np.einsum("ki,kip->kp", amplitudes, templates)
        return residual, amplitudes, templates, inverse

    def residual(self, parameters: NDArray[np.float64]) -> float:
        """Return the sum of the squares of what the best amplitudes leave."""
        return float((np.abs(self.project(parameters)[0]) ** 2).sum())

    def normal_equations(
        self, parameters: NDArray[np.float64], free: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], float, NDArray[np.complex128]]:
        """Return the normal matrix, the gradient, the sum of squares and the amplitudes at these parameters.

        Both are of the log-likelihood: half the second derivative of the sum of the squares of complex residuals with
        a mean square of 1 is the inverse of the covariance divided by 2.
        """
        residual, amplitudes, templates, inverse = self.project(parameters)
        data, optics = self.data, self._optics(parameters)
        phase = np.ascontiguousarray(parameters[SHARED:])
        n = parameters.size
        matrix, gradient = np.zeros((n, n)), np.zeros(n)
        slopes = np.empty((kernels.FIRST_TERM + len(self.terms), data.weight.size), dtype=np.complex128)
        full = np.empty((n, data.weight.size), dtype=np.complex128)
        for k, (shift, f) in enumerate(zip(self.shifts(parameters), data.frequencies, strict=True)):
            kernels.slice_slopes(
                data.row_px,
                data.col_px,
                self.nodes_px,
                shift,
                optics,
                phase,
                self.terms,
                self.reach_px,
                amplitudes[k],
                slopes,
            )
            slopes *= data.weight
            full[0:2], full[2:4] = slopes[0] * f[:, None], slopes[1] * f[:, None]
            full[4:] = slopes[2:]
            coupling = templates[k].conj() @ full.T
            matrix += (full.conj() @ full.T - coupling.conj().T @ inverse[k] @ coupling).real
            gradient += (full.conj() @ residual[k]).real
        keep = np.flatnonzero(free)
        return matrix[np.ix_(keep, keep)], gradient[keep], float((np.abs(residual) ** 2).sum()), amplitudes

    def fit(
        self, parameters: NDArray[np.float64], free: NDArray[np.bool_], max_steps: int = 40, tolerance: float = 0.02
    ) -> Solution:
        """Return the parameters of least squares near these, by Marquardt's method.

        Parameters
        ----------
        parameters : ndarray
            Start.
        free : ndarray of bool
            Which of them are fitted.
        max_steps : int
            Accepted and refused steps together.
        tolerance : float
            Converged where a full step would move every parameter by less than this in standard deviations of the
            noise, or gain nothing.
        """
        damping = 1e-3
        now = parameters.copy()
        matrix, gradient, residual, amplitudes = self.normal_equations(now, free)
        converged = False
        for _ in range(max_steps):
            diagonal = np.diag(matrix) + 1e-12 * np.diag(matrix).max()
            step = np.linalg.solve(matrix + damping * np.diag(diagonal), gradient)
            gain = float(step @ gradient)
            if gain < tolerance**2 * max(1.0, residual / self.data.values.size):
                converged = True
                break
            trial = now.copy()
            trial[free] += step
            attempt = self.residual(trial)
            if attempt < residual:
                now, damping = trial, max(damping / 8, 1e-9)
                matrix, gradient, residual, amplitudes = self.normal_equations(now, free)
            elif damping > 1e6:
                break
            else:
                damping *= 6
        mean_square = residual / self.data.noise
        return Solution(now, self.order, free, amplitudes, residual, mean_square, matrix, converged)

    def with_values(self, values: NDArray[np.complex128]) -> CoherentModel:
        """Return the same model of other values of the slices."""
        return CoherentModel(replace(self.data, values=values), self.order, self.nodes_per_axis)


def _inverse(gram: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return the inverses of (K, 2, 2) Hermitian matrices; a sideband without light gets amplitude 0."""
    plus, minus, cross = gram[:, 0, 0].real, gram[:, 1, 1].real, gram[:, 0, 1]
    largest = max(float(plus.max()), float(minus.max()), 1e-300)
    plus, minus = plus + 1e-9 * largest, minus + 1e-9 * largest
    determinant = np.maximum(plus * minus - np.abs(cross) ** 2, 1e-6 * plus * minus)
    inverse = np.empty_like(gram)
    inverse[:, 0, 0], inverse[:, 1, 1] = minus / determinant, plus / determinant
    inverse[:, 0, 1], inverse[:, 1, 0] = -cross / determinant, -cross.conj() / determinant
    return inverse
