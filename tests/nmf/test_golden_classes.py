"""Numbers of classes and EDX that change only with a new revision of the step (``stemcal.stages.STAGES``)."""

from __future__ import annotations

import numpy as np

from stemcal.formats.edx import EnergyAxis
from stemcal.nmf.class_settings import ClassSettings
from stemcal.nmf.classes import clusters, otsu
from stemcal.nmf.edx_lines import line_windows
from stemcal.nmf.edx_settings import EdxSettings
from stemcal.nmf.surrogates import correlate
from stemcal.stages import STAGES

REMEDY = "numbers changed: raise the revision of the step in stemcal.stages and write the new numbers here"

GOLDEN_COEFFICIENT = (0.6708240502851072, 0.12313389305358734)
GOLDEN_P_VALUE = (0.185, 0.69)
GOLDEN_OTSU = (1.0800265073776245, 0.6263220629959968)
GOLDEN_SIZES = [103, 52, 34]
GOLDEN_MOMENTS = (
    0.0480694616,
    0.01644780026,
    -0.05177451217,
    -0.1927444992,
    0.06352153077,
    0.6709156506,
    -0.393656633,
    1.039224178,
    -1.520731132,
    2.552804121,
    -2.353854873,
    3.695270324,
    1.59926729,
)


def waves() -> np.ndarray:
    """Three smooth maps without any random generator; the third has something of the first."""
    rows, cols = np.indices((20, 24))
    first = np.sin(rows / 3.0) * np.cos(cols / 4.0)
    second = np.cos(rows / 5.0 + cols / 3.0)
    return np.stack([first, second, first + 0.8 * np.sin(cols / 2.0 - rows / 3.5)])


def test_classes_and_edx() -> None:
    assert STAGES["nmf"].revision == 2, REMEDY
    maps = waves()
    valid = np.ones(maps.shape[1:], dtype=bool)
    valid[:4, :5] = False
    found = correlate(maps[:2], maps[2:], valid, 199, [0])
    np.testing.assert_allclose(found.coefficient.ravel(), GOLDEN_COEFFICIENT, rtol=1e-9, err_msg=REMEDY)
    np.testing.assert_allclose(found.p_value.ravel(), GOLDEN_P_VALUE, atol=0.006, err_msg=REMEDY)
    loading = (1 + maps[0]).astype(np.float32)
    value, separability = otsu(loading)
    np.testing.assert_allclose((value, separability), GOLDEN_OTSU, rtol=1e-6, err_msg=REMEDY)
    sizes = [one.n_positions for one in clusters(loading >= value, loading, ClassSettings())[1]]
    assert sizes == GOLDEN_SIZES, REMEDY
    settings = EdxSettings()
    weights = [line_windows(line, EnergyAxis(-0.2, 0.01), 1100, settings) for line in settings.lines]
    energy = np.arange(1100.0)
    moments = [float(np.cos(energy / 40) @ one.weights) for one in weights if one is not None]
    np.testing.assert_allclose(moments, GOLDEN_MOMENTS, rtol=1e-6, err_msg=REMEDY)
