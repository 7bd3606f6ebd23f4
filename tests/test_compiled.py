from __future__ import annotations

import numpy as np
import pytest
from numba.core.caching import CacheImpl

from stemcal.compiled import compiled


def double(values: np.ndarray) -> None:
    for index in range(values.size):
        values[index] *= 2


def test_kernels_work_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    values = np.arange(5)
    compiled(double)(values)
    assert values.tolist() == [0, 2, 4, 6, 8]
