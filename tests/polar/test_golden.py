"""Numbers that change only with a new revision of the step (``stemcal.stages.STAGES``)."""

from __future__ import annotations

import numpy as np

from stemcal.calibration.origin import fit_origin
from stemcal.calibration.settings import CalibrationSettings
from stemcal.optics.disk import window_centroid
from stemcal.optics.ellipse import correction_matrix
from stemcal.polar.operator import Geometry, RadialGrid, choose_n_bins, ring_operator
from stemcal.polar.statistics import ring_statistics
from stemcal.stages import STAGES

SCAN = (6, 8)
SHAPE = (48, 56)
GOLDEN_N_BINS = 34
GOLDEN_MEAN = (898.3461538462, 251.6674107143, 37.80431848853, 1.103206412826)
GOLDEN_VARIANCE = (50.33965096647, 17720.9772181, 179.7060602224, 0.9916766475226)
GOLDEN_N = (4.361290322581, 38.94140473419, 134.9756637168, 185.9083527765)
GOLDEN_ROW = (23.37237694843, 0.2527852567393, -0.1774208137936)
GOLDEN_COL = (28.11712718249, 0.0002860733052928, 0.7018192147429)
GOLDEN_SIGMA = (0.001159960152297, 0.0009090817786233)
REMEDY = "numbers changed: raise the revision of the step in stemcal.stages and write the new numbers here"


def pattern(centre_row: float, centre_col: float) -> np.ndarray:
    """A disk and a ring in whole numbers, without any random generator."""
    row, col = np.indices(SHAPE)
    radius = np.hypot(row - centre_row, col - centre_col)
    disk = 900 / (1 + np.exp((radius - 4) / 0.5))
    grain = 1 + 0.5 * np.cos(7 * np.arctan2(row - centre_row, col - centre_col))
    return np.rint(disk + 40 * grain * np.exp(-0.5 * ((radius - 15) / 2) ** 2)).astype(np.uint16)


def test_polar() -> None:
    assert STAGES["polar"].revision == 2, REMEDY
    matrix = correction_matrix(0.02, -0.01)
    valid = np.ones(SHAPE, bool)
    valid[30:32] = False
    operator = ring_operator(Geometry(valid, matrix, RadialGrid(1.0, 24), 4), (23.25, 27.5))
    mean, variance = ring_statistics(pattern(23.3, 27.4)[None], operator, 2.0)
    assert choose_n_bins(valid, matrix, (23.25, 27.5), 1.0, 0.1) == GOLDEN_N_BINS, REMEDY
    np.testing.assert_allclose(mean[0, [0, 4, 15, 20]], GOLDEN_MEAN, rtol=1e-9, err_msg=REMEDY)
    np.testing.assert_allclose(variance[0, [1, 4, 15, 20]], GOLDEN_VARIANCE, rtol=1e-9, err_msg=REMEDY)
    np.testing.assert_allclose(operator.n_effective[[0, 4, 15, 20]], GOLDEN_N, rtol=1e-9, err_msg=REMEDY)


def test_calibration() -> None:
    assert STAGES["calibration"].revision == 1, REMEDY
    v, u = np.indices(SCAN).reshape(2, -1)
    frames = np.stack([pattern(23.3 + 0.1 * r - 0.05 * c, 27.4 + 0.2 * c) for r, c in zip(v, u, strict=True)])
    origin = fit_origin(window_centroid(frames, (23.0, 27.0), 4.0), SCAN, CalibrationSettings(max_descan_degree=1))
    assert origin is not None
    assert origin.fit.degree == 1, REMEDY
    np.testing.assert_allclose(origin.fit.coefficients_row_px, GOLDEN_ROW, rtol=1e-9, err_msg=REMEDY)
    np.testing.assert_allclose(origin.fit.coefficients_col_px, GOLDEN_COL, rtol=1e-9, err_msg=REMEDY)
    np.testing.assert_allclose(origin.sigma_px, GOLDEN_SIGMA, rtol=1e-6, err_msg=REMEDY)
