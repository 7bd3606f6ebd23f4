"""What every test may lean on: the shared real data, and the project's own folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def checkout() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        message = f"the real data of {folder.relative_to(ROOT.parent)} are not beside the checkout"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the long files first, so that no worker is left alone with one of them at the end."""

    def long_first(item: pytest.Item) -> int:
        return next((rank for rank, mark in enumerate(("slurm", "session")) if item.get_closest_marker(mark)), 2)

    items.sort(key=long_first)
