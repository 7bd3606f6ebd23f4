"""Images that are the potential whose gradient the deflection is: iCOM from the centre of mass, iDPC from segments.

In px a frequency f of the scan is the shift d = B f of a disk, and the deflection F is a shift as well, so that the
phase is ::

    phi(f) = -i d.F(f) / |d|^2        [rad]

whatever the units of scan and camera. It is that of the object seen by the probe's intensity. Long waves, which have
little deflection and much noise, are damped.

Source: Lazic, Bosch & Lazar, Ultramicroscopy 160 (2016) 265, eq. 15 and 27; with an affine scan it is ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry.aperture import Aperture
from stemcal.geometry.bright_field import BrightField

_DAMPED_BINS = 1.5
"""Waves longer than the scan over this are damped."""


def integrated(
    field_px: NDArray[np.float64], weights: NDArray[np.float64], disk_shift_px: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the phase in rad, (scan_row, scan_col), of mean 0, whose gradient a deflection is.

    Parameters
    ----------
    field_px : ndarray of float64
        (2, scan_row, scan_col) deflection (row, col), round px; NaN where there is none.
    weights : ndarray of float64
        (scan_row, scan_col); where it is 0 the deflection is taken to be the mean one.
    disk_shift_px : ndarray of float64
        (2, 2) B, in the same px.
    """
    usable = np.isfinite(field_px).all(axis=0) & (weights > 0)
    if not usable.any():
        return np.zeros(weights.shape, np.float32)
    mean = field_px[:, usable].mean(axis=1)
    row, col = np.fft.rfft2(np.where(usable, field_px - mean[:, None, None], 0))
    rows, cols = np.meshgrid(np.fft.fftfreq(weights.shape[0]), np.fft.rfftfreq(weights.shape[1]), indexing="ij")
    shift_row = disk_shift_px[0, 0] * rows + disk_shift_px[0, 1] * cols
    shift_col = disk_shift_px[1, 0] * rows + disk_shift_px[1, 1] * cols
    square = shift_row**2 + shift_col**2
    bin_px = max(np.hypot(*disk_shift_px[:, axis]) / weights.shape[axis] for axis in (0, 1))
    damping = (_DAMPED_BINS * bin_px) ** 2
    phase = -1j * (shift_row * row + shift_col * col) * square / (square**2 + damping**2)
    return np.asarray(np.fft.irfft2(phase, s=weights.shape), np.float32)


def segment_deflection(bright_field: BrightField, aperture: Aperture) -> NDArray[np.float64]:
    """Return the deflection in px that a four-quadrant detector sees, (2, scan_row, scan_col).

    A disk that is shifted as a whole by a small s makes opposite halves differ by 4 s / (pi r) of all counts.

    Parameters
    ----------
    bright_field : BrightField
        The disk.
    aperture : Aperture
        Its centre and radius.
    """
    row, col = aperture.round_offsets(bright_field.det_row, bright_field.det_col)
    inside = bright_field.valid & (np.hypot(row, col) < aperture.radius_px)
    total = np.zeros(bright_field.scan_shape)
    halves = np.zeros((2, *bright_field.scan_shape))
    for pixel in np.flatnonzero(inside):
        counts = bright_field.counts[pixel]
        total += counts
        halves[0] += np.sign(row[pixel]) * counts
        halves[1] += np.sign(col[pixel]) * counts
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(total > 0, np.pi / 4 * aperture.radius_px * halves / total, np.nan))
