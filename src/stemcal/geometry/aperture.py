"""The probe-forming aperture as the camera sees it: a soft-edged ellipse fitted to the mean pattern."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.optics.ellipse import correction_matrix


@dataclass(frozen=True)
class Aperture:
    """The undiffracted disk.

    Attributes
    ----------
    centre_row_px, centre_col_px : float
        Centre on the detector.
    radius_px : float
        Area-preserving radius, sqrt(a b), where the intensity is half of that inside.
    e1, e2 : float
        Strain of the disk as in ``stemcal.optics.ellipse``; 0 where it is not significant.
    edge_px : float
        Standard deviation of the Gaussian that blurs the edge.
    sigma_centre_px, sigma_radius_px, sigma_strain : float
        Standard uncertainties of the fit; that of the centre is along one axis.
    mean_inside : float
        Mean counts per frame and pixel inside the disk.
    ellipse_significant : bool
        Whether the disk is taken for an ellipse.
    """

    centre_row_px: float
    centre_col_px: float
    radius_px: float
    e1: float
    e2: float
    edge_px: float
    sigma_centre_px: float
    sigma_radius_px: float
    sigma_strain: float
    mean_inside: float
    ellipse_significant: bool

    def round_offsets(
        self, row_px: NDArray[np.float64], col_px: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return offsets (row, col) in px from the centre, as a round camera would have drawn them.

        Parameters
        ----------
        row_px, col_px : ndarray
            Positions on the detector, of one shape.
        """
        matrix = correction_matrix(self.e1, self.e2)
        row, col = row_px - self.centre_row_px, col_px - self.centre_col_px
        return matrix[0, 0] * row + matrix[0, 1] * col, matrix[1, 0] * row + matrix[1, 1] * col


@dataclass(frozen=True)
class NoAperture:
    """There is no disk that can be measured, and why."""

    reason: str
