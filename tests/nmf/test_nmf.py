"""The factorisation finds what was mixed, says what it left out, and gives the same bytes at every run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from stemcal.errors import DataError, UsageError
from stemcal.nmf.factorise import loadings_of, matched_cosines
from stemcal.nmf.profiles import Census, choose_grid, draw, q_range, shares
from stemcal.nmf.run import run_nmf
from stemcal.nmf.settings import NmfSettings
from stemcal.phantoms.mixtures import (
    N_BINS,
    Mixture,
    azimuthal_mean,
    maps,
    materials,
    radial_axis,
    write_polar,
    write_refusal,
    write_scans,
)
from stemcal.records.atomic import read_record
from stemcal.records.nmf import NmfRecord

QUICK = NmfSettings(max_components=6, n_resamplings=4)


def run(prefixes: list[Path], folder: Path, settings: NmfSettings = QUICK) -> NmfRecord:
    return run_nmf(prefixes, folder, settings=settings, source={}, progress=lambda *_: None)


def matched_correlations(found: np.ndarray, true: np.ndarray) -> list[float]:
    """Correlation of each true map with the found map that resembles it most."""
    table = np.corrcoef(np.concatenate([true.reshape(len(true), -1), found.reshape(len(found), -1)]))
    return [float(row.max()) for row in table[: len(true), len(true) :]]


def maps_of(folder: Path, name: str) -> np.ndarray:
    with h5py.File(folder / "nmf.hdf5") as file:
        return np.asarray(file[f"datasets/{name}/loadings"])


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Mixture]]:
    return write_scans(tmp_path_factory.mktemp("session"), [(24, 30), (20, 20)])


@pytest.fixture(scope="module")
def outcome(scans: list[tuple[Path, Mixture]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NmfRecord]:
    folder = tmp_path_factory.mktemp("processing") / "nmf"
    return folder, run([prefix for prefix, _ in scans], folder)


def test_three_materials_in_two_scans_of_different_dose_are_found(scans, outcome) -> None:
    folder, record = outcome
    assert record.quality.verdict == "pass"
    assert record.result is not None
    assert record.result.n_components == 3
    assert record.result.chosen_by == "bi-cross-validation"
    assert record.result.loss == "kullback_leibler"
    for prefix, truth in scans:
        correlations = matched_correlations(maps_of(folder, f"{prefix.name}/{prefix.name}"), truth.maps)
        assert min(correlations) > 0.98, correlations
    assert sum(record.result.component_share) == pytest.approx(1)
    assert list(record.result.component_share) == sorted(record.result.component_share, reverse=True)
    assert min(one.lowest for one in record.result.component_stability) > 0.99


def test_with_too_few_components_the_maps_are_not_found(scans, tmp_path: Path) -> None:
    prefix, truth = scans[0]
    run([prefix], tmp_path, NmfSettings(n_components=2, n_resamplings=1))
    assert min(matched_correlations(maps_of(tmp_path, prefix.name), truth.maps)) < 0.9


def test_a_component_too_many_predicts_nothing(outcome) -> None:
    result = outcome[1].result
    errors = [step.prediction_error for step in result.rank_scan]
    assert errors[2] < 0.5 * errors[0]
    assert all(step.gain < 0.02 for step in result.rank_scan[3:])
    assert result.explained_variance > 0.99


def test_components_are_those_of_the_materials(outcome) -> None:
    with h5py.File(outcome[0] / "nmf.hdf5") as file:
        components, q, weight = (file[name][...] for name in ("components", "q_per_angstrom", "weight"))
    np.testing.assert_allclose(components.sum(axis=1), 1)
    used = np.isin(np.round(radial_axis().values(N_BINS), 6), np.round(q, 6))
    assert matched_cosines(materials()[:, used] * weight, components * weight).min() > 0.99


def test_loadings_are_in_units_of_the_profile(scans, outcome) -> None:
    """A loading is the part of the profile's sum, per count of dose: the sums have to come out."""
    folder, record = outcome
    prefix, truth = scans[1]
    member = next(one for one in record.members if one.dataset.startswith(prefix.name))
    q = radial_axis().values(N_BINS)
    inside = (q >= record.result.q_min_per_angstrom - 1e-9) & (q <= record.result.q_max_per_angstrom + 1e-9)
    clean = 2.0 * truth.clean[:, :, inside].sum(axis=2)
    total = maps_of(folder, f"{prefix.name}/{prefix.name}").sum(axis=0) * member.dose
    assert np.abs(total - clean).max() < 0.05 * clean.max()


def test_vacuum_stays_empty(scans, outcome) -> None:
    """What a scaling of each profile to its own maximum would turn into full-scale noise."""
    found = maps_of(outcome[0], "scan0/scan0")
    vacuum = scans[0][1].maps.sum(axis=0) == 0
    assert vacuum.sum() > 50
    assert found[:, vacuum].max() < 0.02 * found.max()


def test_a_scan_of_vacuum_alone_adds_nothing(scans, tmp_path: Path) -> None:
    truth = Mixture(materials(), np.zeros((3, 20, 20)))
    write_polar(tmp_path / "vacuum", azimuthal_mean(truth, seed=5))
    run([scans[0][0], tmp_path / "vacuum"], tmp_path / "nmf")
    with h5py.File(tmp_path / "nmf" / "nmf.hdf5") as file:
        found: dict[str, np.ndarray] = {}
        file["datasets"].visititems(
            lambda name, item: found.update({name: item[...]}) if name.endswith("loadings") else None
        )
    empty = next(item for name, item in found.items() if "vacuum" in name)
    other = next(item for name, item in found.items() if "vacuum" not in name)
    assert empty.max() < 0.02 * other.max()


def test_another_run_gives_the_same_bytes_whatever_the_number_of_threads(scans, outcome, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; from stemcal.cli import main; sys.exit(main())", "nmf"]
    command += [
        *(str(prefix) for prefix, _ in scans),
        "-o",
        str(tmp_path / "nmf"),
        "--settings",
        '{"max_components": 6, "n_resamplings": 4}',
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "3"}
    subprocess.run(command, check=True, env=environment)
    for name in ("nmf.hdf5", "nmf_maps.png", "nmf_components.png", "nmf_ranks.png"):
        assert _digest(tmp_path / "nmf" / name) == _digest(outcome[0] / name), name
    again = read_record(tmp_path / "nmf" / "nmf.json", NmfRecord)
    assert again.result == outcome[1].result


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_other_calibrations_and_axes_are_left_out_with_a_reason(scans, tmp_path: Path) -> None:
    mean = azimuthal_mean(Mixture(materials(), maps((12, 12), 3)), seed=3)
    write_polar(tmp_path / "other", mean, calibration_group="b" * 64, pixel_size=0.012)
    write_polar(tmp_path / "shorter", mean[:, :, :80])
    write_refusal(tmp_path / "refused", "no calibration serves this data set")
    paths = [*(prefix for prefix, _ in scans), *(tmp_path / name for name in ("other", "shorter", "refused"))]
    record = run(paths, tmp_path / "nmf", NmfSettings(rebin=False, n_components=1, n_resamplings=1))
    reasons = {entry.path.rsplit("/", 1)[-1]: entry.reason for entry in record.members if not entry.used}
    assert reasons["other"] == (
        "its calibration (0.012 1/angstrom per pixel, from gold_calibration.json) is not that of the majority "
        "(0.01 1/angstrom per pixel)"
    )
    assert reasons["shorter"] == (
        "its radial axis (80 bins of 0.01 1/angstrom) is not that of the majority (110 bins of 0.01 1/angstrom)"
    )
    assert reasons["refused"] == "no calibration serves this data set"
    assert sum(entry.used for entry in record.members) == 2
    assert record.quality.verdict == "warn"


def test_missing_values_are_left_out_and_counted(tmp_path: Path) -> None:
    mean = azimuthal_mean(Mixture(materials(), maps((16, 20), 1)), seed=1)
    mean[3] = np.nan  # a row of lost frames
    mean[:, :, 60] = np.nan  # a ring on dead pixels
    mean[5, 5, 40] = np.nan
    write_polar(tmp_path / "one", mean)
    record = run([tmp_path / "one"], tmp_path / "nmf")
    assert record.result.n_positions_left_out == 21
    assert record.result.n_radial_bins_left_out == 1
    assert record.result.n_profiles == 16 * 20 - 21
    found = maps_of(tmp_path / "nmf", "one")
    assert np.isnan(found[:, 3]).all()
    assert np.isnan(found[:, 5, 5]).all()
    assert np.isfinite(np.delete(found, 3, axis=1)[:, 5:]).all()


def test_variance_is_scaled_by_the_square_of_the_dose(tmp_path: Path) -> None:
    truth = Mixture(materials(), maps((20, 20), 2))
    amount = truth.clean
    for number, factor in enumerate((1.0, 3.0)):
        mean = azimuthal_mean(truth, dose=factor, seed=number)
        write_polar(tmp_path / f"v{number}", mean, variance=(factor * amount) ** 2 + 0.01 * factor**2)
    record = run(
        [tmp_path / "v0", tmp_path / "v1"],
        tmp_path / "nmf",
        NmfSettings(quantity="variance", n_components=3, n_resamplings=1),
    )
    assert record.result.quantity == "variance"
    first, second = (maps_of(tmp_path / "nmf", name) for name in ("v0", "v1"))
    np.testing.assert_allclose(first, second, atol=0.02 * first.max())


@pytest.mark.parametrize(("shape", "n_bins"), [((1, 4), N_BINS), ((20, 20), 22)])
def test_too_little_data_is_a_verdict_not_an_exception(tmp_path: Path, shape: tuple[int, int], n_bins: int) -> None:
    write_polar(
        tmp_path / "one", azimuthal_mean(Mixture(materials(), maps((20, 20), 0)))[: shape[0], : shape[1], :n_bins]
    )
    record = run([tmp_path / "one"], tmp_path / "nmf")
    assert record.quality.verdict == "fail"
    assert record.result is None
    assert record.quality.flags[0].name == "too_few_profiles"
    assert "there is nothing to factorise" in record.quality.flags[0].message
    assert {path.name for path in (tmp_path / "nmf").iterdir()} == {
        "nmf.json",
        "nmf.hdf5",
        "nmf_maps.png",
        "nmf_components.png",
        "nmf_ranks.png",
        "nmf_classes.hdf5",
        "nmf_classes.png",
        "nmf_edx.png",
    }


def test_only_refused_members_give_a_verdict(tmp_path: Path) -> None:
    write_refusal(tmp_path / "one", "no beam")
    record = run([tmp_path / "one"], tmp_path / "nmf")
    assert record.quality.verdict == "fail"
    assert "no beam" in record.quality.flags[0].message


def test_a_missing_file_and_a_repeated_prefix_are_misuse(scans, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        run([tmp_path / "absent"], tmp_path / "nmf")
    prefix = scans[0][0]
    with pytest.raises(UsageError, match="each once"):
        run([prefix, prefix], tmp_path / "nmf")


def test_more_components_than_the_profiles_carry_are_flagged(tmp_path: Path) -> None:
    write_polar(tmp_path / "one", azimuthal_mean(Mixture(materials(), maps((5, 6), 0))))
    record = run([tmp_path / "one"], tmp_path / "nmf", NmfSettings(n_components=9))
    assert record.result.n_components == 3
    assert "components_reduced" in {flag.name for flag in record.quality.flags}


def test_the_range_begins_outside_the_bright_disk() -> None:
    settings = NmfSettings(q_min_per_angstrom=0.2, q_max_per_angstrom=None, direct_beam_margin=1.2)
    assert q_range(settings, []) == (0.2, np.inf)
    assert q_range(settings, [0.1, 0.5])[0] == pytest.approx(0.6)


def test_the_weight_makes_counting_noise_alike_in_all_bins() -> None:
    q = radial_axis().values(60)
    level = 20 * np.exp(-4 * q)
    pixels = 2 * np.pi * q / 0.01
    noisy = np.random.default_rng(0).poisson(level * pixels, (4000, 60)) / pixels
    sums = Census(4000, np.zeros(60, dtype=np.int64), noisy.sum(axis=0))
    grid = choose_grid(q, [sums], (0.05, 1.0), NmfSettings())
    spread = (noisy[:, grid.used] * grid.weight).std(axis=0)
    assert spread.max() / spread.min() < 1.1
    plain = noisy[:, grid.used].std(axis=0)
    assert plain.max() / plain.min() > 3


def test_loadings_of_exact_mixtures_are_exact() -> None:
    components = np.abs(np.random.default_rng(2).normal(size=(3, 40)))
    loadings = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0], [0.5, 3.0, 0.0]])
    np.testing.assert_allclose(loadings_of(loadings @ components, components), loadings, atol=1e-12)


def test_the_sample_takes_its_share_of_every_scan() -> None:
    assert shares([100, 100], 1000) == (100, 100)
    assert shares([1000, 3000, 1], 400) == (99, 299, 1)
    drawn = draw("scan", 1000, 100, 7)
    assert len(np.unique(drawn)) == 100
    assert (drawn == draw("scan", 1000, 100, 7)).all()
    assert not (drawn == draw("other", 1000, 100, 7)).all()


def test_settings_refuse_an_empty_range() -> None:
    with pytest.raises(ValueError, match="has to exceed"):
        NmfSettings(q_min_per_angstrom=0.6, q_max_per_angstrom=0.5)
