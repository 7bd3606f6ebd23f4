"""What the step has found of one data set, in one place: the input of its images, its file and its figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry.aperture import Aperture
from stemcal.geometry.bright_field import BrightField, FrameSums
from stemcal.geometry.probe import Probe
from stemcal.optics.ellipse import correction_matrix, strain_matrix


@dataclass(frozen=True)
class Found:
    """A measured geometry and what it was measured on; everything in px of the full frame.

    Attributes
    ----------
    frame_shape : tuple of int
        (det_row, det_col).
    mean_pattern : ndarray of float64
        (det_row, det_col) counts per frame.
    aperture : Aperture
        The disk.
    bright_field : BrightField
        Its pixels.
    sums : FrameSums
        Sums of every frame.
    weights : ndarray of float64
        (scan_row, scan_col) factor on the counts, 0 = not usable.
    power_spectrum : ndarray of float64
        (scan_row, scan_col) of the scan, over that of shot noise, zero frequency in the middle.
    frequencies : ndarray of float64
        (K, 2) peaks, cycles per step, strongest first.
    indices : ndarray of int64 or None
        (K, 2) their indices on the lattice of the scan; 0, 0 = none.
    slices : ndarray of complex64
        (K, n_pix) spectrum of the pixels of ``bright_field`` at the peaks.
    amplitudes : ndarray of complex128 or None
        (K, 2) O_Q and O_-Q* of the thin model; None where it does not hold.
    disk_shift_px : ndarray of float64
        (2, 2) B of the round camera, half turn decided.
    centre_shift_px : tuple of float
        (row, col) of the optic axis from the centre of the aperture, round px.
    aberrations_rad : mapping or None
        Phases at the edge of the aperture by name; None where they are not known.
    scan : ndarray of float64
        (2, 2) S in ``length_unit`` per step.
    length_unit : str
        ``angstrom``, or ``step`` where no length is known.
    tilt_centre_px : tuple of float or None
        (row, col) on the detector of the crystal's zone axis.
    """

    frame_shape: tuple[int, int]
    mean_pattern: NDArray[np.float64]
    aperture: Aperture
    bright_field: BrightField
    sums: FrameSums
    weights: NDArray[np.float64]
    power_spectrum: NDArray[np.float64]
    frequencies: NDArray[np.float64]
    indices: NDArray[np.int64] | None
    slices: NDArray[np.complex64]
    amplitudes: NDArray[np.complex128] | None
    disk_shift_px: NDArray[np.float64]
    centre_shift_px: tuple[float, float]
    aberrations_rad: Mapping[str, float] | None
    scan: NDArray[np.float64]
    length_unit: str
    tilt_centre_px: tuple[float, float] | None

    @property
    def probe(self) -> Probe:
        """The probe, with the aberrations as far as they are known."""
        return Probe(self.aperture.radius_px, self.aperture.edge_px, self.aberrations_rad or {})

    def offsets(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return round offsets (row, col) of the bright field's pixels from the optic axis, each (n_pix,)."""
        row, col = self.aperture.round_offsets(self.bright_field.det_row, self.bright_field.det_col)
        return row - self.centre_shift_px[0], col - self.centre_shift_px[1]

    def deflection(self) -> NDArray[np.float64]:
        """Return the centre of mass of each frame from the centre of the aperture, (2, scan_row, scan_col), round px.

        NaN where a position is not usable.
        """
        row = self.sums.com_row - self.aperture.centre_row_px
        col = self.sums.com_col - self.aperture.centre_col_px
        matrix = correction_matrix(self.aperture.e1, self.aperture.e2)
        return np.where(self.weights > 0, np.tensordot(matrix, np.stack([row, col]), axes=1), np.nan)

    def on_detector(self, values: NDArray[Any]) -> tuple[NDArray[Any], tuple[float, float]]:
        """Return values (..., n_pix) of the bright field's pixels as images, NaN where there are none.

        Returns
        -------
        images : ndarray
            (..., row, col) of the (binned) pixels around the disk.
        first_px : tuple of float
            (row, col) of the centre of their pixel (0, 0) on the detector.
        """
        field = self.bright_field
        rows = np.rint((field.det_row - field.det_row.min()) / field.binning).astype(np.intp)
        cols = np.rint((field.det_col - field.det_col.min()) / field.binning).astype(np.intp)
        images = np.full((*values.shape[:-1], rows.max() + 1, cols.max() + 1), np.nan, values.dtype)
        images[..., rows, cols] = values
        return images, (float(field.det_row.min()), float(field.det_col.min()))

    def disk_centres(self) -> NDArray[np.float64]:
        """Return where the three disks of each peak lie on the detector: (K, 3, 2), direct, +Q, -Q, (row, col) px."""
        shifts = self.frequencies @ self.disk_shift_px.T
        offsets = np.stack([np.zeros_like(shifts), shifts, -shifts], axis=1)
        centre = np.array([self.aperture.centre_row_px, self.aperture.centre_col_px])
        return np.asarray(centre + offsets @ strain_matrix(self.aperture.e1, self.aperture.e2).T)
