"""Scans of different pixel sizes on one radial axis: counts are kept, missing stays missing, the rest is refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from stemcal.formats.hspy import Axis
from stemcal.nmf.factorise import matched_cosines
from stemcal.nmf.rebin import Rebinning
from stemcal.nmf.run import run_nmf
from stemcal.nmf.settings import NmfSettings
from stemcal.phantoms.mixtures import Mixture, azimuthal_mean, maps, materials, radial_axis, ring_pixels, write_polar
from stemcal.records.nmf import NmfRecord


def axis(step: float) -> Axis:
    return Axis("q", "1/Å", step, step / 2)


def areas(step: float, n: int) -> np.ndarray:
    edges = step * np.arange(n + 1)
    return np.pi * np.diff(edges**2)


def test_counts_are_kept() -> None:
    fine = np.random.default_rng(0).uniform(size=(5, 100))
    way = Rebinning.between(axis(0.01), 100, axis(0.0137), 72)
    coarse = way.means(fine)
    reach = 0.0137 * 72
    # The last fine ring is cut by the end of the common axis: by area, not by width.
    cut = np.pi * np.diff(np.clip(0.01 * np.arange(101), 0, reach) ** 2)
    np.testing.assert_allclose(coarse @ areas(0.0137, 72), fine @ cut, rtol=1e-12)


def test_a_missing_ring_stays_missing_and_an_uncovered_one_is() -> None:
    fine = np.ones((1, 100))
    fine[0, 50] = np.nan
    coarse = Rebinning.between(axis(0.01), 100, axis(0.02), 55).means(fine)
    assert np.flatnonzero(np.isnan(coarse[0])).tolist() == [25, 50, 51, 52, 53, 54]


def test_effective_pixels_are_those_of_the_noise() -> None:
    generator = np.random.default_rng(1)
    pixels = np.round(areas(0.01, 100) / 0.01**2)
    noisy = generator.poisson(3.0 * pixels, (4000, 100)) / pixels
    way = Rebinning.between(axis(0.01), 100, axis(0.0137), 72)
    n = way.effective(np.broadcast_to(pixels, noisy.shape))[0]
    variance = way.means(noisy).var(axis=0)
    np.testing.assert_allclose(variance[2:] * n[2:] / 3.0, 1, atol=0.12)


def other_pixel_size(folder: Path, step: float, dose: float, seed: int, n_bins: int | None = None) -> Mixture:
    """Write a scan as a detector of another camera length sees it: the same object, counts per pixel by solid angle."""
    truth = Mixture(materials(), maps((20, 24), seed))
    q = radial_axis().values(truth.profiles.shape[1])
    beam = 4000.0 * np.exp(-0.5 * (q / 0.03) ** 2)
    n = n_bins or int(1.1 / step)
    own = Rebinning.between(radial_axis(), len(q), axis(step), n)
    expected = own.means((truth.clean + beam).reshape(-1, len(q))) * (step / 0.01) ** 2
    pixels = ring_pixels(n, step)
    counts = np.random.default_rng(seed).poisson(dose * np.nan_to_num(expected) * pixels) / pixels
    write_polar(folder, counts.reshape(20, 24, n), pixel_size=step, calibration_group=f"{step:064}"[:64])
    return truth


def test_two_camera_lengths_share_their_components(tmp_path: Path) -> None:
    first = Mixture(materials(), maps((20, 24), 0))
    write_polar(tmp_path / "first", azimuthal_mean(first))
    second = other_pixel_size(tmp_path / "second", 0.0137, 2.0, 1)
    record = run(tmp_path, ["first", "second"])
    assert [one.used for one in record.members] == [True, True]
    assert "0.01 1/angstrom" in record.members[0].reason
    with h5py.File(tmp_path / "nmf" / "nmf.hdf5") as file:
        components, q = file["components"][...], file["q_per_angstrom"][...]
        found = {name: file[f"datasets/{name}/loadings"][...] for name in ("first", "second")}
    assert np.diff(q).mean() > 0.0136
    way = Rebinning.between(radial_axis(), materials().shape[1], axis(0.0137), 80)
    truth = way.means(materials())[:, np.isin(np.round(axis(0.0137).values(80), 6), np.round(q, 6))]
    assert matched_cosines(truth, components).min() > 0.99
    # One amount means the same in both scans: the same object gives the same loadings per dose.
    totals = [found[name].sum(axis=0).ravel() for name in ("first", "second")]
    clean = [one.clean.sum(axis=2).ravel() for one in (first, second)]
    slopes = [total @ truth / (truth @ truth) for total, truth in zip(totals, clean, strict=True)]
    doses = [one.dose for one in record.members]
    assert abs(slopes[0] * doses[0] / (slopes[1] * doses[1] / 2.0) - 1) < 0.05


def test_what_cannot_share_an_axis_is_refused_with_the_reason(tmp_path: Path) -> None:
    for number in range(2):
        write_polar(tmp_path / f"s{number}", azimuthal_mean(Mixture(materials(), maps((12, 12), number)), seed=number))
    mean = azimuthal_mean(Mixture(materials(), maps((12, 12), 3)), seed=3)
    write_polar(tmp_path / "wide", mean[:, :, :40], pixel_size=0.025, calibration_group="b" * 64)
    write_polar(tmp_path / "short", mean[:, :, :60])
    record = run(tmp_path, ["s0", "s1", "wide", "short"], 1)
    reasons = {entry.dataset: entry.reason for entry in record.members if not entry.used}
    assert reasons == {
        "wide": "its radial bins (0.025 1/angstrom) are 2.5 times as wide as those of the majority "
        "(0.01 1/angstrom); max_bin_ratio allows 2",
        "short": "its profiles end at 0.6 1/angstrom, those of the majority are used from 0.2 to 1.1 1/angstrom; "
        "min_q_overlap asks for 0.9 of that",
    }


def run(folder: Path, names: list[str], n_components: int = 3) -> NmfRecord:
    settings = NmfSettings(n_components=n_components, n_resamplings=1)
    prefixes = [folder / name for name in names]
    return run_nmf(prefixes, folder / "nmf", settings=settings, source={}, progress=lambda *_: None)
