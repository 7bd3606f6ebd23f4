"""EDX maps against components: the exact one is found, the shifted one put back, the unrelated one not believed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stemcal.formats.edx import write_edx
from stemcal.nmf.edx import EdxComparison, ScanAmounts, compare, edx_flags
from stemcal.nmf.edx_lines import line_sigma, line_width, line_windows
from stemcal.nmf.edx_place import onto_scan, place, spikes
from stemcal.nmf.edx_settings import EdxSettings, ElementLine
from stemcal.phantoms.edx import AXIS, N_CHANNELS, dwelt, edx_counts, late, spectrum
from stemcal.phantoms.mixtures import maps
from stemcal.records.edx import EdxEntry

SHAPE = (30, 36)
OXIDES = ({"Ti K": 3.0, "O K": 2.0}, {"Fe K": 3.0, "O K": 1.0}, {"Si K": 2.0, "O K": 2.0})
QUICK = EdxSettings(n_surrogates=499)
TRUE = {(1, "Ti K"), (2, "Fe K"), (3, "Si K")}


def amounts(seed: int = 0) -> ScanAmounts:
    truth = maps(SHAPE, seed)
    return ScanAmounts("scan", truth.astype(np.float32), truth > 0.5)


def counts(truth: np.ndarray, seed: int = 1) -> np.ndarray:
    return edx_counts(truth + 0.02, OXIDES, counts_per_position=400, seed=seed)


def found(path: Path, values: np.ndarray, settings: EdxSettings = QUICK, scan: ScanAmounts | None = None):
    write_edx(path, values, AXIS)
    return compare(scan or amounts(), path, path.name, settings, 0)


def related(result: EdxComparison) -> set[tuple[int, str]]:
    return {(pair.component, pair.line) for pair in result.entry.pairs if pair.related and pair.pearson > 0}


def test_the_elements_of_each_component_are_found(tmp_path: Path) -> None:
    result = found(tmp_path / "exact.rpl", counts(amounts().loadings))
    assert isinstance(result, EdxComparison)
    assert (result.entry.offset.rows, result.entry.offset.cols) == (0, 0)
    assert related(result) >= TRUE
    pearson = {(pair.component, pair.line): pair.pearson for pair in result.entry.pairs}
    assert min(pearson[pair] for pair in TRUE) > 0.9
    assert {line.name for line in result.entry.lines if line.compared} == {"O K", "Si K", "Ti K", "Fe K"}
    assert result.entry.n_spike_positions == 0


def test_spectra_of_the_components_are_those_of_the_materials(tmp_path: Path) -> None:
    result = found(tmp_path / "exact.rpl", counts(amounts().loadings))
    for index, lines in enumerate(OXIDES):
        true = spectrum(lines)
        unmixed = result.spectra.components[index]
        assert unmixed @ true / np.linalg.norm(unmixed) / np.linalg.norm(true) > 0.99
    together = result.spectra.components.sum(axis=0)
    assert together.sum() * result.entry.n_positions_compared == pytest.approx(result.spectra.total.sum(), rel=0.05)
    pure = result.spectra.classes[0]
    titanium, iron = (
        line_windows(line, AXIS, N_CHANNELS, QUICK) for line in QUICK.lines if line.name in ("Ti K", "Fe K")
    )
    assert pure @ titanium.weights > 8 * abs(pure @ iron.weights)


@pytest.mark.parametrize("shift", [1, -1])
def test_a_map_that_is_a_column_out_of_place_is_put_back(tmp_path: Path, shift: int) -> None:
    exact = found(tmp_path / "exact.rpl", counts(amounts().loadings))
    moved = found(tmp_path / "late.rpl", late(counts(amounts().loadings), shift))
    assert (moved.entry.offset.rows, moved.entry.offset.cols) == (0, shift)
    assert moved.entry.offset.decided_by == "counts"
    assert related(moved) >= TRUE
    before, after = ({(p.component, p.line): p.pearson for p in one.entry.pairs} for one in (exact, moved))
    assert all(after[pair] == pytest.approx(before[pair], abs=0.003) for pair in TRUE)


def test_left_where_it_is_the_shifted_map_correlates_less(tmp_path: Path) -> None:
    shifted = late(counts(amounts().loadings), 2)
    settings = QUICK.model_copy(update={"max_offset": 0})
    back, left = found(tmp_path / "a.rpl", shifted), found(tmp_path / "b.rpl", shifted, settings)
    worse = {(p.component, p.line): p.pearson for p in left.entry.pairs}
    better = {(p.component, p.line): p.pearson for p in back.entry.pairs}
    assert all(better[pair] > worse[pair] + 0.02 for pair in TRUE)


@pytest.mark.parametrize(
    "cut", [(slice(None), slice(0, -1)), (slice(None), slice(1, None)), (slice(0, -1), slice(None))]
)
def test_a_map_with_one_line_less_is_laid_where_it_belongs(tmp_path: Path, cut: tuple[slice, slice]) -> None:
    result = found(tmp_path / "less.rpl", counts(amounts().loadings)[cut])
    expected = tuple(-(one.start or 0) for one in cut)
    assert (result.entry.offset.rows, result.entry.offset.cols) == expected
    assert related(result) >= TRUE


def test_a_column_more_than_the_scan_has_is_left_aside(tmp_path: Path) -> None:
    scan = amounts()
    wide = np.concatenate([scan.loadings[:, :, :1], scan.loadings], axis=2)
    result = found(tmp_path / "more.rpl", counts(wide))
    assert (result.entry.offset.rows, result.entry.offset.cols) == (0, 1)
    assert related(result) >= TRUE


def test_a_fly_back_column_of_the_scan_tells_where_a_narrower_map_begins() -> None:
    scattering = np.ones((20, 21))
    scattering[:, 0] = np.nan
    placed = place(np.ones((20, 20)), scattering, QUICK)
    assert (placed.rows, placed.cols) == (0, -1)
    assert not placed.by_correlation
    assert not placed.certain


def test_a_map_without_relation_gives_no_significance(tmp_path: Path) -> None:
    """The same materials in another place: every map is smooth, and none has to do with the scan."""
    for seed in range(4):
        generator = np.random.default_rng(seed)
        truth = np.stack([_blobs(generator) for _ in OXIDES])
        result = found(tmp_path / f"{seed}.rpl", counts(truth, seed), scan=_blob_scan(seed))
        assert isinstance(result, EdxComparison)
        assert not [pair for pair in result.entry.pairs if pair.related]
        assert result.entry.offset.decided_by == "shapes"


def _blobs(generator: np.random.Generator) -> np.ndarray:
    rows, cols = np.indices(SHAPE)
    centres = generator.uniform((0, 0), SHAPE, (5, 2))
    return sum(np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / 30) for row, col in centres)


def _blob_scan(seed: int) -> ScanAmounts:
    generator = np.random.default_rng([seed, 99])
    truth = np.stack([_blobs(generator) for _ in OXIDES])
    return ScanAmounts(f"scan{seed}", truth.astype(np.float32), truth > 0.5)


def test_two_runs_are_identical(tmp_path: Path) -> None:
    first = found(tmp_path / "exact.rpl", counts(amounts().loadings))
    second = found(tmp_path / "exact.rpl", counts(amounts().loadings))
    assert first.entry == second.entry
    np.testing.assert_array_equal(first.spectra.components, second.spectra.components)


def test_shapes_that_cannot_be_reconciled_are_refused(tmp_path: Path) -> None:
    result = found(tmp_path / "other.rpl", counts(maps((15, 18), 0)))
    assert isinstance(result, EdxEntry)
    assert "differ by more than 2" in result.reason
    assert not result.pairs
    (flag,) = edx_flags((result,))
    assert flag.name == "edx_not_compared"


def test_a_map_that_cannot_be_read_or_has_no_axis_is_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "bare.rpl"
    write_edx(path, counts(amounts().loadings), None)
    bare = compare(amounts(), path, path.name, QUICK, 0)
    assert isinstance(bare, EdxEntry)
    assert "edx.channel_kev" in bare.reason
    stated = QUICK.model_copy(update={"channel_kev": AXIS.channel_kev, "offset_kev": AXIS.offset_kev})
    assert related(compare(amounts(), path, path.name, stated, 0)) >= TRUE
    path.with_suffix(".raw").write_bytes(b"short")
    broken = compare(amounts(), path, path.name, QUICK, 0)
    assert isinstance(broken, EdxEntry)
    assert "bare.raw" in broken.reason


def test_spikes_are_left_out_and_counted(tmp_path: Path) -> None:
    single = [(3, 4), (20, 20), (21, 30)]
    column = [(row, SHAPE[1] - 1) for row in range(SHAPE[0])]
    values = dwelt(counts(amounts().loadings), [*single, *column], 12)
    result = found(tmp_path / "spiky.rpl", values)
    assert result.entry.n_spike_positions == 3
    assert result.entry.spike_columns == (SHAPE[1] - 1,)
    assert result.entry.n_positions_compared == SHAPE[0] * (SHAPE[1] - 1) - 3
    assert related(result) >= TRUE
    kept = found(tmp_path / "kept.rpl", values, QUICK.model_copy(update={"spike_factor": 1e6}))
    assert min(p.pearson for p in kept.entry.pairs if (p.component, p.line) in TRUE) < 0.7


def test_bright_grains_are_no_spikes() -> None:
    total = np.full((20, 20), 100.0)
    total[5:7, 5:7] = 1000
    total[:, 12:] = 1000
    columns, positions = spikes(total, 2.0)
    assert not columns.any()
    assert not positions.any()


def test_onto_the_scan_and_beyond() -> None:
    edx = np.arange(12.0).reshape(3, 4)
    placed = onto_scan(edx, (1, -1), (3, 4))
    np.testing.assert_array_equal(placed[:2, 1:], edx[1:, :3])
    assert np.isnan(placed[2]).all()
    assert np.isnan(placed[:, 0]).all()


def test_line_windows_leave_no_counts_of_a_straight_background() -> None:
    energy = AXIS.values(N_CHANNELS)
    for line in QUICK.lines:
        windows = line_windows(line, AXIS, N_CHANNELS, QUICK)
        if windows is None:
            assert line.energy_kev > energy[-1] - 0.5
            continue
        straight = 50 - 3 * energy
        assert abs(straight @ windows.weights) < 1e-9 * straight.sum()
        assert abs(line_sigma(straight, windows)) < 1e-6
    assert line_width(5.895, 0.13) == pytest.approx(0.13)
    assert line_windows(ElementLine(name="far", energy_kev=20), AXIS, N_CHANNELS, QUICK) is None
