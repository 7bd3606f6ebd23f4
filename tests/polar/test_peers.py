"""The azimuthal mean beside pyFAI's, on a distorted camera with dead pixels."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from stemcal.optics.ellipse import correction_matrix, strain_from_ratio
from stemcal.polar.operator import Geometry, RadialGrid, ring_operator
from stemcal.polar.statistics import ring_statistics

SHAPE = (128, 144)
CENTRE = (60.4, 75.7)
MATRIX = correction_matrix(*strain_from_ratio(1.07, np.radians(48.0)))
N_BINS = 70


def pyfai_mean(frame: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Full pixel splitting; each pixel's corners are given where the corrected geometry puts them, 1 px = 1 mm."""
    integrators: Any = pytest.importorskip("pyFAI.integrator.azimuthal")
    detectors: Any = pytest.importorskip("pyFAI.detectors")
    logging.getLogger("pyFAI").setLevel(logging.ERROR)
    row, col = np.indices(SHAPE)
    corners = np.zeros((*SHAPE, 4, 3), np.float32)
    for index, (d_row, d_col) in enumerate(((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))):
        offset = np.stack([row + d_row - CENTRE[0], col + d_col - CENTRE[1]])
        corners[:, :, index, 1:] = 1e-3 * np.moveaxis(np.tensordot(MATRIX, offset, axes=1), 0, -1)
    detector = detectors.Detector(1e-3, 1e-3, max_shape=SHAPE)
    detector.set_pixel_corners(corners)
    integrator = integrators.AzimuthalIntegrator(dist=1.0, detector=detector)
    result = integrator.integrate1d(
        frame,
        N_BINS,
        radial_range=(0, N_BINS),
        unit="r_mm",
        method=("full", "csr", "cython"),
        correctSolidAngle=False,
        mask=~valid,
    )
    return np.asarray(result.intensity)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("exposures", "subsamples"), [(64, 4), (1, 8)])
def test_every_ring_of_the_mean_is_that_of_pyfai_within_two_in_a_thousand(exposures: int, subsamples: int) -> None:
    """A whole scan with the points of the default; a single pattern of 3 to 180 counts with twice as many."""
    row, col = np.indices(SHAPE)
    radius = np.hypot(*np.tensordot(MATRIX, np.stack([row - CENTRE[0], col - CENTRE[1]]), axes=1))
    expected = 200 * np.exp(-radius / 20) + 30 * np.exp(-0.5 * ((radius - 40) / 4) ** 2)
    frame = np.random.default_rng(2).poisson(exposures * expected).astype(np.float64)
    valid = np.ones(SHAPE, bool)
    valid[30:33] = valid[:, 100:103] = False
    operator = ring_operator(Geometry(valid, MATRIX, RadialGrid(1.0, N_BINS), subsamples), CENTRE)
    ours, variance = ring_statistics(frame[None], operator, 2.0)
    theirs = pyfai_mean(frame, valid)
    # pyFAI puts what lies beyond the range partly into its last bin.
    compared = slice(2, N_BINS - 1)
    difference = np.abs(ours[0] / theirs - 1)[compared]
    assert difference.max() < 2e-3
    assert np.median(difference) < 5e-4
    in_errors = (np.abs(ours[0] - theirs) / np.sqrt(variance[0] / operator.n_effective))[compared]
    assert in_errors.max() < 0.3, "far below the counting error of the profile itself"
    # Without the ellipse the two differ by much more.
    undistorted = ring_operator(Geometry(valid, np.eye(2), RadialGrid(1.0, N_BINS), subsamples), CENTRE)
    wrong, _ = ring_statistics(frame[None], undistorted, 2.0)
    assert np.abs(wrong[0] / theirs - 1)[compared].max() > 6e-3
