"""The compiled model of one slice: the two sidebands, and how they change with every parameter."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stemcal.compiled import compiled

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Index = NDArray[np.int64]

HIGHEST_POWER = 7
"""Powers of z = col + i row that are needed: those of the highest aberration, and 0."""

FAR = 6.0
"""Standard deviations inside the edge from which on the aperture is open."""

FIRST_TERM = 5
"""Where the aberrations begin in the derivatives of a slice: before them are shift (2), centre (2) and spread."""


@compiled
def powers(row: float, col: float, real: Real, imag: Real, rho: Real) -> None:
    """Write the powers of z = col + i row, and of its squared modulus, for one point."""
    real[0], imag[0], rho[0] = 1.0, 0.0, 1.0
    for m in range(1, real.size):
        real[m] = real[m - 1] * col - imag[m - 1] * row
        imag[m] = real[m - 1] * row + imag[m - 1] * col
    square = row * row + col * col
    for p in range(1, rho.size):
        rho[p] = rho[p - 1] * square


@compiled
def term_values(real: Real, imag: Real, rho: Real, terms: Index, values: Real) -> None:
    """Write the value of every aberration's function at the point whose powers are given.

    Parameters
    ----------
    real, imag, rho : ndarray
        Of `powers`.
    terms : ndarray of int64
        (n, 3) azimuthal symmetry m, power of the squared modulus, 1 = sine.
    values : ndarray
        (n,) written to.
    """
    for t in range(terms.shape[0]):
        m, p, sine = terms[t, 0], terms[t, 1], terms[t, 2]
        values[t] = (imag[m] if sine == 1 else real[m]) * rho[p]


@compiled
def term_slopes(
    row: float, col: float, real: Real, imag: Real, rho: Real, terms: Index, phase: Real
) -> tuple[float, float]:
    """Return the gradient (row, col) of the aberration function with these phases at the edge."""
    down = right = 0.0
    for t in range(terms.shape[0]):
        m, p, sine = terms[t, 0], terms[t, 1], terms[t, 2]
        value = imag[m] if sine == 1 else real[m]
        if m > 0:
            along_col = m * (imag[m - 1] if sine == 1 else real[m - 1]) * rho[p]
            along_row = m * (real[m - 1] if sine == 1 else -imag[m - 1]) * rho[p]
        else:
            along_col = along_row = 0.0
        if p > 0:
            radial = 2.0 * p * value * rho[p - 1]
            along_row += radial * row
            along_col += radial * col
        down += phase[t] * along_row
        right += phase[t] * along_col
    return down, right


@compiled
def edge(distance: float, radius: float, blur: float) -> float:
    """Return the transmission of the aperture, blurred by a Gaussian, at a distance from its centre."""
    x = (distance - radius) / blur
    if x < -FAR:
        return 1.0
    return 0.5 * math.erfc(x * math.sqrt(0.5))


@compiled
def edge_slope(distance: float, radius: float, blur: float) -> float:
    """Return the derivative of `edge` by the distance."""
    x = (distance - radius) / blur
    if x < -FAR:
        return 0.0
    return -math.exp(-0.5 * x * x) / (blur * math.sqrt(2.0 * math.pi))


@compiled
def sidebands(
    row: Real,
    col: Real,
    nodes: Real,
    shift: Real,
    optics: Real,
    phase: Real,
    terms: Index,
    reach: float,
    plus: Complex,
    minus: Complex,
) -> None:
    """Write P(k - d) P*(k) and P(k) P*(k + d) of one slice, with the envelope of the focal spread.

    Parameters
    ----------
    row, col : ndarray
        (n_pix,) offsets from the nominal centre in px.
    nodes : ndarray
        (n_nodes, 2) points of a pixel over which the product is averaged, px from its centre.
    shift : ndarray
        (2,) displacement d in px.
    optics : ndarray
        Centre (row, col) in px, square of the focal spread in rad^2, radius and blur of the aperture in px.
    phase : ndarray
        (n_terms,) aberrations as phases at the edge of the aperture.
    terms : ndarray
        Of `term_values`.
    reach : float
        Distance in px from a disk's centre from which on it counts as dark.
    plus, minus : ndarray
        (n_pix,) written to.
    """
    radius, blur = optics[3], optics[4]
    here, there = np.empty(terms.shape[0]), np.empty(terms.shape[0])
    real, imag, rho = np.empty(HIGHEST_POWER), np.empty(HIGHEST_POWER), np.empty(4)
    plus[:] = 0.0
    minus[:] = 0.0
    for j in range(row.size * nodes.shape[0]):
        i, node = divmod(j, nodes.shape[0])
        y, x = row[i] + nodes[node, 0] - optics[0], col[i] + nodes[node, 1] - optics[1]
        distance = math.hypot(y, x)
        if distance > reach:
            continue
        middle = edge(distance, radius, blur)
        powers(y / radius, x / radius, real, imag, rho)
        term_values(real, imag, rho, terms, here)
        for side in range(2):
            sign = 1.0 - 2.0 * side
            v, u = y - sign * shift[0], x - sign * shift[1]
            away = math.hypot(v, u)
            if away > reach:
                continue
            powers(v / radius, u / radius, real, imag, rho)
            term_values(real, imag, rho, terms, there)
            chi = 0.0
            for t in range(phase.size):
                chi += phase[t] * (here[t] - there[t])
            defocus = (distance * distance - away * away) / (radius * radius)
            size = middle * edge(away, radius, blur) * math.exp(-0.5 * optics[2] * defocus * defocus)
            value = size * complex(math.cos(chi), sign * math.sin(chi))
            if side == 0:
                plus[i] += value / nodes.shape[0]
            else:
                minus[i] += value / nodes.shape[0]


@compiled
def slice_slopes(
    row: Real,
    col: Real,
    nodes: Real,
    shift: Real,
    optics: Real,
    phase: Real,
    terms: Index,
    reach: float,
    amplitude: Complex,
    slopes: Complex,
) -> None:
    """Write the derivatives of ``amplitude[0]`` * plus + ``amplitude[1]`` * minus of `sidebands`.

    Parameters
    ----------
    row, col, nodes, shift, optics, phase, terms, reach : ndarray or float
        As for `sidebands`.
    amplitude : ndarray
        (2,) of the two sidebands.
    slopes : ndarray
        (5 + n_terms, n_pix) written to: by shift (row, col), centre (row, col), square of the spread, aberrations.
    """
    radius, blur, spread = optics[3], optics[4], optics[2]
    n_terms = terms.shape[0]
    here, there = np.empty(n_terms), np.empty(n_terms)
    real, imag, rho = np.empty(HIGHEST_POWER), np.empty(HIGHEST_POWER), np.empty(4)
    slopes[:] = 0.0
    share = 1.0 / nodes.shape[0]
    for j in range(row.size * nodes.shape[0]):
        i, node = divmod(j, nodes.shape[0])
        y, x = row[i] + nodes[node, 0] - optics[0], col[i] + nodes[node, 1] - optics[1]
        distance = math.hypot(y, x)
        if distance > reach:
            continue
        middle, middle_slope = edge(distance, radius, blur), edge_slope(distance, radius, blur)
        powers(y / radius, x / radius, real, imag, rho)
        term_values(real, imag, rho, terms, here)
        down_here, right_here = term_slopes(y / radius, x / radius, real, imag, rho, terms, phase)
        unit_y = y / distance if distance > 0 else 0.0
        unit_x = x / distance if distance > 0 else 0.0
        for side in range(2):
            sign = 1.0 - 2.0 * side
            v, u = y - sign * shift[0], x - sign * shift[1]
            away = math.hypot(v, u)
            if away > reach:
                continue
            powers(v / radius, u / radius, real, imag, rho)
            term_values(real, imag, rho, terms, there)
            down, right = term_slopes(v / radius, u / radius, real, imag, rho, terms, phase)
            chi = 0.0
            for t in range(n_terms):
                chi += phase[t] * (here[t] - there[t])
            defocus = (distance * distance - away * away) / (radius * radius)
            outer, outer_slope = edge(away, radius, blur), edge_slope(away, radius, blur)
            wave = amplitude[side] * complex(math.cos(chi), sign * math.sin(chi))
            wave *= share * math.exp(-0.5 * spread * defocus * defocus)
            value = wave * middle * outer
            unit_v = v / away if away > 0 else 0.0
            unit_u = u / away if away > 0 else 0.0
            for axis in range(2):
                direction, at_here, at_there = (unit_y, y, v) if axis == 0 else (unit_x, x, u)
                outward = unit_v if axis == 0 else unit_u
                slope_here, slope_there = (down_here, down) if axis == 0 else (right_here, right)
                by_outer = wave * middle * outer_slope * outward + value * (
                    -1j * sign * slope_there / radius + spread * defocus * 2.0 * at_there / (radius * radius)
                )
                by_here = wave * outer * middle_slope * direction + value * (
                    1j * sign * slope_here / radius - spread * defocus * 2.0 * at_here / (radius * radius)
                )
                slopes[axis, i] -= sign * by_outer
                slopes[2 + axis, i] -= by_outer + by_here
            slopes[4, i] -= 0.5 * defocus * defocus * value
            for t in range(n_terms):
                slopes[FIRST_TERM + t, i] += 1j * sign * (here[t] - there[t]) * value


@compiled
def disks(
    row: Real, col: Real, shifts: Real, optics: Real, phase: Real, terms: Index, reach: float, waves: Complex
) -> None:
    """Write P(k - d) of every shift.

    Parameters
    ----------
    row, col, optics, phase, terms, reach : ndarray or float
        As for `sidebands`.
    shifts : ndarray
        (n, 2) displacements in px.
    waves : ndarray
        (n, n_pix) written to.
    """
    radius, blur = optics[3], optics[4]
    values = np.empty(terms.shape[0])
    real, imag, rho = np.empty(HIGHEST_POWER), np.empty(HIGHEST_POWER), np.empty(4)
    for k in range(shifts.shape[0]):
        for i in range(row.size):
            y, x = row[i] - optics[0] - shifts[k, 0], col[i] - optics[1] - shifts[k, 1]
            distance = math.hypot(y, x)
            waves[k, i] = 0.0
            if distance > reach:
                continue
            powers(y / radius, x / radius, real, imag, rho)
            term_values(real, imag, rho, terms, values)
            chi = 0.0
            for t in range(phase.size):
                chi += phase[t] * values[t]
            waves[k, i] = edge(distance, radius, blur) * complex(math.cos(chi), -math.sin(chi))


@compiled
def add_pairs(waves: Complex, squares: Real, triples: Index, strength: Real, spread: float, out: Complex) -> None:
    """Add the interference of pairs of diffracted beams to the slices.

    Parameters
    ----------
    waves : ndarray
        (n_beams, n_pix) amplitude times P(k - d) of every beam.
    squares : ndarray
        (n_beams, n_pix) |k - d|^2 in radii of the aperture.
    triples : ndarray of int64
        (n, 3) slice, upper and lower beam.
    strength : ndarray
        (n,) factor.
    spread : float
        Square of the focal spread in rad^2.
    out : ndarray
        (K, n_pix) added to.
    """
    for t in range(triples.shape[0]):
        k, upper, lower = triples[t]
        for i in range(out.shape[1]):
            both = waves[upper, i] * waves[lower, i].conjugate()
            if both == 0:
                continue
            if spread > 0:
                path = squares[upper, i] - squares[lower, i]
                both *= math.exp(-0.5 * spread * path * path)
            out[k, i] += strength[t] * both
