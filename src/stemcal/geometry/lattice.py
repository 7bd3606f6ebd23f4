"""The lattice of the scan spectrum: four numbers for the frequencies of all peaks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TOLERANCE_BINS = 0.5
_SIGMAS = 5.0
_LARGEST_TOLERANCE_BINS = 1.0
_STRONGEST = 10
_MOST_CANDIDATES = 40
_SHORTEST_BINS = 3.0
_LEAST_SINE = 0.25
_LEAST_INDEXED = 4
_LEAST_SHARE = 0.8
_ROUNDS = 6


@dataclass(frozen=True)
class ScanLattice:
    """The coarsest lattice of scan frequencies that indexes the peaks.

    Attributes
    ----------
    vectors : ndarray of float64
        (2, 2) rows are the basis in cycles per step (row, col), reduced.
    indices : ndarray of int64
        (K, 2) indices of the peaks in that basis; 0, 0 where a peak does not belong to the lattice.
    sigma : ndarray of float64
        (2, 2) standard uncertainty of ``vectors``.
    rms_bins : float
        Root mean square distance of the indexed peaks, each measured alone, from the lattice, in bins of the scan
        spectrum, weighted by how well each is known.
    n_indexed : int
        Number of peaks that belong to the lattice.
    frequencies : ndarray of float64
        (K, 2) the lattice's own frequency of an indexed peak, else the measured one.
    """

    vectors: NDArray[np.float64]
    indices: NDArray[np.int64]
    sigma: NDArray[np.float64]
    rms_bins: float
    n_indexed: int
    frequencies: NDArray[np.float64]


@dataclass(frozen=True)
class NoLattice:
    """The peaks do not belong to one lattice, and why."""

    reason: str


def fit_lattice(frequencies: Array, sigma: Array, power: Array, scan_shape: tuple[int, int]) -> ScanLattice | NoLattice:
    """Find the coarsest lattice that indexes the peaks.

    Every pair of peaks, and of their sums and differences, is a candidate. A peak counts by how unlikely it is that it
    lies as near to a point of that lattice by chance, log(cell / tolerance area): so a lattice of half the cell,
    which indexes everything as well, is worth less, and one of twice the cell indexes half of the peaks. The basis
    is then fitted to the peaks by weighted least squares, and reduced.

    Parameters
    ----------
    frequencies : ndarray
        (K, 2) cycles per step.
    sigma : ndarray
        (K, 2) their standard uncertainty.
    power : ndarray
        (K,) power over that of the noise; what is not indexed must not have more than a fifth of the logarithms.
    scan_shape : tuple of int
        (scan_row, scan_col); the bins.

    Returns
    -------
    ScanLattice or NoLattice
        An expected failure (moire, several grains) is a value with its reason.
    """
    n_peaks = len(frequencies)
    if n_peaks < 2:
        return NoLattice(f"{n_peaks} peaks, a lattice needs two")
    bins = frequencies * np.array(scan_shape)
    sigma_bins = np.maximum(sigma * np.array(scan_shape), 1e-3)
    reach = np.clip(_SIGMAS * np.hypot(*sigma_bins.T), _TOLERANCE_BINS, _LARGEST_TOLERANCE_BINS)
    basis = _best_basis(bins, reach)
    if basis is None:
        return NoLattice("all peaks lie along one direction")
    for _ in range(_ROUNDS):
        indices, belongs = _index(bins, basis, reach)
        if np.linalg.matrix_rank(indices[belongs]) < 2:
            return NoLattice("no two directions of the lattice have peaks of their own")
        basis, covariance = _least_squares(bins[belongs], sigma_bins[belongs], indices[belongs])
    basis, change = _reduced(basis)
    indices, belongs = _index(bins, basis, reach)
    weight = np.log1p(np.maximum(power, 0))
    share = float(weight[belongs].sum() / weight.sum())
    n_indexed = int(belongs.sum())
    if n_indexed < min(_LEAST_INDEXED, n_peaks) or share < _LEAST_SHARE:
        return NoLattice(f"the best lattice indexes {n_indexed} of {n_peaks} peaks: several lattices, or none")
    off, certain = (bins - indices @ basis)[belongs], 1 / sigma_bins[belongs] ** 2
    spread = np.sqrt(np.einsum("ia,abj,ib->ij", change, covariance, change))
    return ScanLattice(
        vectors=basis / np.array(scan_shape),
        indices=np.where(belongs[:, None], indices, 0),
        sigma=spread / np.array(scan_shape),
        rms_bins=float(np.sqrt(2 * (certain * off**2).sum() / certain.sum())),
        n_indexed=n_indexed,
        frequencies=np.where(belongs[:, None], indices @ basis / np.array(scan_shape), frequencies),
    )


def _best_basis(bins: Array, reach: Array) -> Array | None:
    """Return the candidate (2, 2) that is worth most."""
    strong = bins[:_STRONGEST]
    pairs = [(i, j) for i in range(len(strong)) for j in range(i)]
    combined = [strong[i] + sign * strong[j] for i, j in pairs for sign in (-1, 1)]
    candidates = np.array([*strong, *combined])
    length = np.hypot(*candidates.T)
    candidates = candidates[np.argsort(length, kind="stable")]
    candidates = candidates[np.sort(length) >= _SHORTEST_BINS][:_MOST_CANDIDATES]
    best, basis = -math.inf, None
    for j in range(len(candidates)):
        for i in range(j):
            trial = candidates[[i, j]]
            cell = abs(float(np.linalg.det(trial)))
            if cell < _LEAST_SINE * float(np.prod(np.hypot(*trial.T))):
                continue
            _, belongs = _index(bins, trial, reach)
            worth = float(np.log(np.maximum(cell / (math.pi * reach[belongs] ** 2), 1.0)).sum())
            if worth > best:
                best, basis = worth, trial
    return basis


def _index(bins: Array, basis: Array, reach: Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the nearest lattice point of each peak, and whether it is near enough."""
    indices = np.rint(bins @ np.linalg.inv(basis)).astype(np.int64)
    belongs = np.hypot(*(bins - indices @ basis).T) < reach
    return indices, belongs & (indices != 0).any(axis=1)


def _least_squares(bins: Array, sigma: Array, indices: NDArray[np.int64]) -> tuple[Array, Array]:
    """Return the basis (2, 2) and the covariance of its two rows for each axis, (2, 2, 2) [row, row, axis]."""
    basis, covariance = np.empty((2, 2)), np.empty((2, 2, 2))
    for axis in range(2):
        weight = 1 / sigma[:, axis]
        design = indices * weight[:, None]
        basis[:, axis] = np.linalg.lstsq(design, bins[:, axis] * weight, rcond=None)[0]
        covariance[:, :, axis] = np.linalg.inv(design.T @ design)
    return basis, covariance


def _reduced(basis: Array) -> tuple[Array, Array]:
    """Return the shortest basis of the same lattice (Gauss), and the matrix that makes it of the old one."""
    change = np.eye(2)
    while True:
        if np.hypot(*(change[1] @ basis)) < np.hypot(*(change[0] @ basis)):
            change = change[::-1].copy()
        first, second = change @ basis
        steps = np.rint(first @ second / (first @ first))
        if steps == 0:
            return change @ basis, change
        change[1] -= steps * change[0]
