"""How the undiffracted beam moves over the scan: a polynomial per detector axis.

Terms are powers of v (scan row) and u (scan column), each scaled to [-1, 1] over the scan and 0 where the scan has
one line only, in the order 1, v, u, v^2, vu, u^2, v^3, ...: by rising total degree, v before u.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stemcal.errors import UsageError

_MAD_TO_SIGMA = 1.4826
_ROUNDS = 10


def n_terms(degree: int) -> int:
    """Return the number of terms of a polynomial of total ``degree`` in two variables."""
    if degree < 0:
        raise UsageError(f"descan degree is {degree}, must be 0 or more; 2 serves most microscopes")
    return (degree + 1) * (degree + 2) // 2


def scan_coordinates(scan_shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (v, u), each (n_frames,) in raster order: scan row and column scaled to [-1, 1]."""
    v, u = (np.linspace(-1.0, 1.0, n) if n > 1 else np.zeros(1) for n in scan_shape)
    grid = np.meshgrid(v, u, indexing="ij")
    return grid[0].ravel(), grid[1].ravel()


def scan_basis(scan_shape: tuple[int, int], degree: int) -> NDArray[np.float64]:
    """Return the terms of the polynomial at every scan position.

    Parameters
    ----------
    scan_shape : tuple of int
        (scan_row, scan_col).
    degree : int
        Total degree.

    Returns
    -------
    numpy.ndarray
        (n_frames, n_terms), raster order.
    """
    n_terms(degree)
    v, u = scan_coordinates(scan_shape)
    return np.stack([v ** (total - j) * u**j for total in range(degree + 1) for j in range(total + 1)], axis=1)


def evaluate(
    coefficients_row: ArrayLike, coefficients_col: ArrayLike, degree: int, scan_shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the beam position (row, col) in px at every scan position, (n_frames, 2), raster order.

    Raises
    ------
    UsageError
        If the number of coefficients is not that of the degree.
    """
    coefficients = np.stack([np.asarray(coefficients_row, float), np.asarray(coefficients_col, float)], axis=1)
    if len(coefficients) != n_terms(degree):
        raise UsageError(
            f"{len(coefficients)} descan coefficients for degree {degree}, must be {n_terms(degree)}; "
            "take coefficients and degree from the same record"
        )
    return np.asarray(scan_basis(scan_shape, degree) @ coefficients)


@dataclass(frozen=True)
class DescanFit:
    """A robust polynomial through measured beam positions.

    Attributes
    ----------
    degree : int
        Total degree.
    coefficients_row_px, coefficients_col_px : numpy.ndarray
        (n_terms,), in the order of this module.
    fitted_px : numpy.ndarray
        (n_frames, 2) polynomial at every scan position, measured or not.
    used : numpy.ndarray
        (n_frames,) True where the measured position was kept.
    residual_rms_px : float
        Root mean square distance of the kept positions from the polynomial.
    """

    degree: int
    coefficients_row_px: NDArray[np.float64]
    coefficients_col_px: NDArray[np.float64]
    fitted_px: NDArray[np.float64]
    used: NDArray[np.bool_]
    residual_rms_px: float


def fit_descan(
    positions_px: NDArray[np.float64], scan_shape: tuple[int, int], degree: int, *, cut_sigma: float = 4.0
) -> DescanFit | None:
    """Fit a polynomial to beam positions, leaving out those that do not belong to it.

    Starting from the median position, least squares and a cut at ``cut_sigma`` robust standard deviations (1.4826
    times the median distance along each axis) alternate until the kept set no longer changes.

    Parameters
    ----------
    positions_px : numpy.ndarray
        (n_frames, 2) measured (row, col) in px, NaN where there is none.
    scan_shape : tuple of int
        (scan_row, scan_col).
    degree : int
        Total degree; lowered where the scan has too few lines to carry it.
    cut_sigma : float
        Cut in robust standard deviations of the residual.

    Returns
    -------
    DescanFit or None
        ``None`` when fewer positions are finite than there are terms.
    """
    degree = min(degree, *(n - 1 for n in scan_shape if n > 1)) if max(scan_shape) > 1 else 0
    basis = scan_basis(scan_shape, degree)
    finite = np.isfinite(positions_px).all(axis=1)
    # a single line leaves the terms in v at zero; least squares of least norm then keeps their coefficients there
    needed = int(basis.any(axis=0).sum())
    if finite.sum() < needed:
        return None
    used = finite & _near(positions_px - np.median(positions_px[finite], axis=0), finite, 3 * cut_sigma)
    for _ in range(_ROUNDS):
        coefficients = np.linalg.lstsq(basis[used], positions_px[used], rcond=None)[0]
        kept = finite & _near(positions_px - basis @ coefficients, used, cut_sigma)
        if kept.sum() < needed or np.array_equal(kept, used):
            break
        used = kept
    fitted = basis @ coefficients
    residual = positions_px[used] - fitted[used]
    rms = float(np.sqrt((residual**2).sum(axis=1).mean()))
    return DescanFit(degree, coefficients[:, 0], coefficients[:, 1], fitted, used, rms)


def _near(residual: NDArray[np.float64], among: NDArray[np.bool_], cut_sigma: float) -> NDArray[np.bool_]:
    """Return where both components are within the cut; the floor keeps exact positions from rejecting each other."""
    spread = np.maximum(_MAD_TO_SIGMA * np.median(np.abs(residual[among]), axis=0), 1e-3)
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(residual) <= cut_sigma * spread).all(axis=1))


def middle_sigma(fit: DescanFit, scan_shape: tuple[int, int]) -> float:
    """Return how uncertain the way from the mean of the positions to the middle of the scan is, px along one axis.

    The curvature of the polynomial decides it: the residuals make its coefficients uncertain.

    Parameters
    ----------
    fit : DescanFit
        The polynomial.
    scan_shape : tuple of int
        (scan_row, scan_col).
    """
    basis = scan_basis(scan_shape, fit.degree)
    used = basis[fit.used]
    from_mean = -used.mean(axis=0)
    from_mean[0] += 1
    leverage = float(from_mean @ np.linalg.pinv(used.T @ used, hermitian=True) @ from_mean)
    return float(np.sqrt(leverage / 2)) * fit.residual_rms_px
