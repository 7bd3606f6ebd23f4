"""Profiles are gone through in blocks; scaling by spectrum leaves vacuum as empty as it is."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from stemcal.errors import DataError
from stemcal.nmf import files
from stemcal.nmf.files import read_blocks, read_member
from stemcal.nmf.profiles import spectrum_scale
from stemcal.nmf.run import run_nmf
from stemcal.nmf.settings import NmfSettings
from stemcal.phantoms.mixtures import Mixture, azimuthal_mean, maps, materials, write_polar

SETTINGS = NmfSettings(n_components=3, max_components=1, n_resamplings=1, max_profiles_in_fit=200)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    write_polar(tmp_path / "scan", azimuthal_mean(Mixture(materials(), maps((24, 25), 0))))
    return tmp_path / "scan"


def loadings(scan: Path, settings: NmfSettings = SETTINGS) -> np.ndarray:
    run_nmf([scan], scan.parent / "nmf", settings=settings, source={}, progress=lambda *_: None)
    with h5py.File(scan.parent / "nmf" / "nmf.hdf5") as file:
        return np.asarray(file["datasets/scan/loadings"])


def test_blocks_are_whole_rows_and_change_nothing(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = loadings(scan)
    monkeypatch.setattr(files, "BLOCK_PROFILES", 60)
    member = read_member("scan", scan, "mean")
    blocks = [(block.first, len(block.values)) for block in read_blocks(member, "mean")]
    assert blocks == [(first, 50) for first in range(0, 600, 50)]
    np.testing.assert_allclose(loadings(scan), whole, rtol=1e-5, atol=1e-7 * whole.max())


def test_memory_is_that_of_a_block_not_of_the_scan(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read at a time: values and pixels of two rows, not of twenty-four."""
    member = read_member("scan", scan, "mean")
    peaks = []
    for block in (60, 10_000):
        monkeypatch.setattr(files, "BLOCK_PROFILES", block)
        tracemalloc.start()
        for _ in read_blocks(member, "mean"):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < 0.25 * peaks[1]


def test_scaling_by_spectrum_leaves_vacuum_empty(scan: Path) -> None:
    truth = maps((24, 25), 0)
    vacuum, matter = truth.sum(axis=0) == 0, truth.sum(axis=0) > 0.5
    sums = {}
    for scaled in (False, True):
        found = loadings(scan, SETTINGS.model_copy(update={"spectrum_scaling": scaled})).sum(axis=0)
        sums[scaled] = found
        assert found[vacuum].max() < 0.05 * np.median(found[matter])
    spread = {scaled: found[matter].std() / found[matter].mean() for scaled, found in sums.items()}
    assert spread[True] < 0.05 < spread[False]


def test_the_divisor_has_a_floor_of_signal_and_of_counts() -> None:
    settings = NmfSettings(min_spectrum_share=0.1, min_spectrum_counts=400)
    sums = np.array([2.0, 0.05, 0.0, 0.05])
    total = np.array([2000.0, 50.0, 0.0, 50_000.0])
    scale = spectrum_scale(sums, total, 1.0, settings)
    # Bright; 400 counts would have the sum 0.4; nothing at all; many counts, but a twentieth of the mean.
    np.testing.assert_allclose(scale, [2.0, 0.4, 0.1, 0.1])


def test_the_variance_beyond_shot_noise_comes_from_the_full_file(scan: Path) -> None:
    """What falls below zero in vacuum is taken for zero, not for signal."""
    truth = Mixture(materials(), maps((24, 25), 0)).clean
    with h5py.File(scan.with_name("scan_polar.hdf5"), "a") as file:
        file["excess_variance"] = (truth**2 - 0.05).astype(np.float32)
    found = loadings(scan, SETTINGS.model_copy(update={"quantity": "excess_variance"}))
    assert np.isfinite(found).all()
    vacuum = truth.sum(axis=2) == 0
    assert found[:, vacuum].max() < 1e-3 * found.max()
    with pytest.raises(ValueError, match="is for counts"):
        NmfSettings(quantity="excess_variance", loss="kullback_leibler")


def test_a_full_file_without_it_is_named(scan: Path) -> None:
    with pytest.raises(DataError, match="holds no excess_variance"):
        read_member("scan", scan, "excess_variance")
