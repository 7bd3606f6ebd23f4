"""The benchmarks are no package: their folder is put on the path."""

from __future__ import annotations

import pytest


@pytest.fixture
def benchmarks(checkout, monkeypatch):
    folder = checkout / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    return folder
