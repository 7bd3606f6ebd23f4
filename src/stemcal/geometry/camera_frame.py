"""Images of the scan carried to the camera's coordinates: undistorted, in angstrom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform


@dataclass(frozen=True)
class CameraFrame:
    """Square pixels along the camera's axes that hold the whole scan.

    Attributes
    ----------
    scan : ndarray of float64
        (2, 2) S, angstrom (or any unit of length) per step.
    pixel_size : float
        Side of a pixel, in the unit of S: as many pixels cover an area as there are scan positions.
    shape : tuple of int
        (row, col).
    corner : ndarray of float64
        (2,) where pixel (0, 0) lies from the first scan position, (row, col), in the unit of S.
    """

    scan: NDArray[np.float64]
    pixel_size: float
    shape: tuple[int, int]
    corner: NDArray[np.float64]

    @classmethod
    def around(cls, scan: NDArray[np.float64], scan_shape: tuple[int, int]) -> CameraFrame:
        """Return the frame that just holds a scan of ``scan_shape`` positions."""
        last = np.array(scan_shape) - 1
        corners = np.array([[0, 0], [last[0], 0], [0, last[1]], last]) @ scan.T
        size = float(np.sqrt(abs(np.linalg.det(scan))))
        extent = corners.max(axis=0) - corners.min(axis=0)
        # a hair less, that rounding adds no empty row
        rows, cols = (int(np.ceil(side / size - 1e-9)) + 1 for side in extent)
        return cls(scan, size, (rows, cols), corners.min(axis=0))

    def carried(self, image: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return an image (scan_row, scan_col) in this frame by cubic splines; NaN outside the scan.

        Parameters
        ----------
        image : ndarray
            Finite everywhere but where it is missing; what is missing, and the positions beside it, become NaN.
        """
        inverse = np.linalg.inv(self.scan)
        matrix, offset = inverse * self.pixel_size, inverse @ self.corner
        known = np.isfinite(image)
        filled = np.where(known, image, image[known].mean() if known.any() else 0).astype(np.float64)
        carried = affine_transform(filled, matrix, offset, self.shape, order=3, mode="nearest")
        inside = affine_transform(known.astype(np.float64), matrix, offset, self.shape, order=1, cval=0.0)
        return np.where(inside > 1 - 1e-6, carried, np.nan).astype(np.float32)
