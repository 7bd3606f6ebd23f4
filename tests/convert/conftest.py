from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stemcal.formats.merlin.writer import write_mib
from stemcal.formats.microscope import write_microscope
from stemcal.records.checkout import commit
from stemcal.records.microscope import Microscope


@pytest.fixture(autouse=True)
def no_git(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A commit that somebody makes meanwhile must not become part of the provenance of one of two runs.

    What was asked for without git must not be remembered for the tests of other folders, nor the other way round.
    """
    monkeypatch.setenv("GIT_DIR", os.devnull)
    commit.cache_clear()
    yield
    commit.cache_clear()


@pytest.fixture(scope="session")
def scan_counts() -> NDArray[np.uint16]:
    """A 5 x 6 scan of a disk that moves, with a dead line and a dead pixel."""
    rng = np.random.default_rng(11)
    rows, cols = np.mgrid[:64, :64]
    scan = []
    for place in range(30):
        row, col = 30 + 0.2 * (place // 6), 34 - 0.3 * (place % 6)
        radius = np.hypot(rows - row, cols - col)
        expected = 20 / (1 + np.exp((radius - 7) / 0.5)) + 3 * np.exp(-radius / 40)
        scan.append(rng.poisson(expected))
    counts = np.array(scan, np.uint16).reshape(5, 6, 64, 64)
    counts[..., 40, :] = 0
    counts[..., 28, 36] = 0
    return counts


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put an empty file in the place of the figure, where it is not what is tested: matplotlib takes its second."""
    monkeypatch.setattr("stemcal.convert.writing.draw_overview", lambda path, *_: path.touch())


@pytest.fixture
def make_scan(tmp_path: Path, scan_counts: NDArray[np.uint16]) -> Callable[..., Path]:
    """Write the scan as raw files into a folder of its own."""

    def make(
        name: str = "scan_data", *, microscope: bool = True, frames: slice = slice(None), **options: object
    ) -> Path:
        path = tmp_path / "raw" / f"{name}.mib"
        path.parent.mkdir(exist_ok=True)
        counts = scan_counts.reshape(-1, *scan_counts.shape[2:])[frames]
        write_mib(path, [counts], **{"scan_shape": (5, 6), "scan_in_hdr": True, **options})  # type: ignore[arg-type]
        if microscope:
            optics = Microscope(voltage_kv=300.0, nominal_camera_length_m=0.2, scan_step_nm=1.25)
            write_microscope(path.with_name(f"{name.removesuffix('_data')}.hdf"), optics)
        return path

    return make
