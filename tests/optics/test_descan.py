from __future__ import annotations

import numpy as np
import pytest

from stemcal.errors import UsageError
from stemcal.optics.descan import evaluate, fit_descan, n_terms, scan_basis

ROW = (131.0, 1.5, -0.6, 0.15, 0.0, 0.2)
COL = (122.0, 0.5, 1.1, -0.1, 0.3, 0.0)


def test_order_of_terms():
    basis = scan_basis((3, 5), 2)
    assert basis.shape == (15, n_terms(2)) == (15, 6)
    v, u = -1.0, 0.5
    np.testing.assert_allclose(basis[3], [1, v, u, v * v, v * u, u * u])
    np.testing.assert_allclose(scan_basis((3, 5), 3)[3, 6:], [v**3, v * v * u, v * u * u, u**3])


def test_a_single_line_has_no_row_coordinate():
    basis = scan_basis((1, 4), 1)
    np.testing.assert_array_equal(basis[:, 1], 0)
    np.testing.assert_allclose(basis[:, 2], [-1, -1 / 3, 1 / 3, 1])


def test_number_of_coefficients_must_fit_the_degree():
    with pytest.raises(UsageError, match="3 descan coefficients for degree 2, must be 6"):
        evaluate([1, 2, 3], [1, 2, 3], 2, (4, 4))
    with pytest.raises(UsageError, match="degree is -1"):
        n_terms(-1)


def test_robust_fit_leaves_out_what_does_not_belong():
    truth = evaluate(ROW, COL, 2, (20, 24))
    generator = np.random.default_rng(1)
    measured = truth + generator.normal(0, 0.02, truth.shape)
    outliers = generator.choice(480, 90, replace=False)
    measured[outliers] += generator.uniform(3, 20, (90, 2))
    measured[generator.choice(480, 30, replace=False)] = np.nan
    fit = fit_descan(measured, (20, 24), 2)
    assert fit is not None
    np.testing.assert_allclose(fit.coefficients_row_px, ROW, atol=0.01)
    np.testing.assert_allclose(fit.coefficients_col_px, COL, atol=0.01)
    assert not fit.used[outliers].any()
    assert fit.residual_rms_px == pytest.approx(0.02 * np.sqrt(2), rel=0.1)
    plain = np.linalg.lstsq(scan_basis((20, 24), 2)[fit.used], measured[fit.used], rcond=None)[0]
    np.testing.assert_allclose(fit.coefficients_row_px, plain[:, 0])


def test_degree_gives_way_to_short_scans():
    fit = fit_descan(np.array([[1.0, 2.0], [2.0, 3.0]]), (1, 2), 3)
    assert fit is not None
    assert fit.degree == 1
    assert fit_descan(np.full((1, 2), 5.0), (1, 1), 2).degree == 0
    assert fit_descan(np.full((16, 2), np.nan), (4, 4), 1) is None
