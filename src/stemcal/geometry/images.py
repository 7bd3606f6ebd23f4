"""Images made from what was found: virtual detectors, and what the thin model leaves of the slices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry.found import Found

BRIGHT_RADII = (0.0, 0.5)
ANNULAR_RADII = (0.5, 1.0)
"""Of the virtual bright-field and annular bright-field detectors, in radii of the disk."""
_INSIDE = 0.5


def ring_image(found: Found, radii: tuple[float, float]) -> NDArray[np.float32]:
    """Return the counts of each position (scan_row, scan_col) in a ring of the disk; NaN where it is not usable.

    Parameters
    ----------
    found : Found
        The data.
    radii : tuple of float
        Inner and outer radius, in radii of the disk.
    """
    field = found.bright_field
    distance = np.hypot(*found.aperture.round_offsets(field.det_row, field.det_col)) / found.aperture.radius_px
    image = np.zeros(field.scan_shape)
    for pixel in np.flatnonzero(field.valid & (distance >= radii[0]) & (distance < radii[1])):
        image += field.counts[pixel]
    return usable_image(found, image)


def usable_image(found: Found, counts: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return counts of each position (scan_row, scan_col) times its weight; NaN where it is not usable."""
    return np.where(found.weights > 0, counts * found.weights, np.nan).astype(np.float32)


def residual_phases(found: Found) -> NDArray[np.float32]:
    """Return what the model leaves of the phases of the slices, in rad, (K, n_pix).

    In the overlap of the direct disk with one diffracted disk alone the phase of a slice is that of a single product of
    two probes and one amplitude; with the aberrations right, nothing is left but noise.

    Parameters
    ----------
    found : Found
        The data; its amplitudes must be known.

    Returns
    -------
    ndarray of float32
        NaN outside these overlaps.
    """
    if found.amplitudes is None:
        raise ValueError("no amplitudes are known")
    row, col = found.offsets()
    here = found.probe.wave(row, col)
    inside = np.abs(here) > _INSIDE
    left = np.full(found.slices.shape, np.nan, np.float32)
    for index, shift in enumerate(found.frequencies @ found.disk_shift_px.T):
        plus = found.probe.wave(row - shift[0], col - shift[1]) * here.conj()
        minus = here * found.probe.wave(row + shift[0], col + shift[1]).conj()
        in_plus, in_minus = inside & (np.abs(plus) > _INSIDE), inside & (np.abs(minus) > _INSIDE)
        for alone, model in (
            (in_plus & ~in_minus, found.amplitudes[index, 0] * plus),
            (in_minus & ~in_plus, found.amplitudes[index, 1] * minus),
        ):
            left[index, alone] = np.angle(found.slices[index, alone] * model[alone].conj())
    return left
