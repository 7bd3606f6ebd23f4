"""Corrected frames: no count is lost or made, circles become round, and flat stays flat."""

from __future__ import annotations

from pathlib import Path

import hyperspy.api as hs
import numpy as np
import pytest
from calibration_truth import CAMERA, SCAN, frames, write_container, write_gold

from stemcal.calibration.run import run_calibration
from stemcal.calibration.settings import CalibrationSettings
from stemcal.frames.source import open_source
from stemcal.optics.ellipse import correction_matrix, strain_from_ratio
from stemcal.polar.corrected import RoundFrame, corrected_frame
from stemcal.polar.run import run_polar
from stemcal.polar.settings import PolarSettings

SHAPE = (61, 70)
CENTRE = (28.75, 37.25)
MATRIX = correction_matrix(*strain_from_ratio(1.08, 0.6))
SETTINGS = PolarSettings(corrected_frames=True, ripple=True)


def corrected(counts: np.ndarray, valid: np.ndarray | None = None) -> tuple[np.ndarray, RoundFrame]:
    frame = RoundFrame.around(SHAPE, MATRIX, np.array([CENTRE]))
    usable = np.ones(SHAPE, bool) if valid is None else valid
    return corrected_frame(counts, usable, frame.table(SHAPE, CENTRE), (0, 0), frame), frame


@pytest.mark.parametrize("kind", ["u1", "u2", "u4"])
def test_every_count_is_kept_to_the_last(kind: str) -> None:
    counts = np.random.default_rng(1).integers(0, np.iinfo(kind).max, SHAPE, dtype=kind)
    found, _ = corrected(counts)
    assert found.sum(dtype=np.longdouble) == counts.sum(dtype=np.uint64)


def test_flat_stays_flat_and_only_the_rim_is_partly_covered() -> None:
    found, frame = corrected(np.full(SHAPE, 100, np.uint16))
    inner = found[frame.origin[0] - 20 : frame.origin[0] + 21, frame.origin[1] - 20 : frame.origin[1] + 21]
    np.testing.assert_allclose(inner, 100, rtol=5e-4)
    assert found.max() < 100.1


def test_a_single_count_goes_where_it_belongs() -> None:
    counts = np.zeros(SHAPE, np.uint16)
    counts[9, 52] = 1
    found, frame = corrected(counts)
    row, col = np.indices(frame.shape)
    place = np.array([(found * row).sum(), (found * col).sum()]) - frame.origin
    wanted = MATRIX @ (9 - CENTRE[0], 52 - CENTRE[1])
    # what is shared out by area has its centre of mass in the middle of its pixels, not of itself
    np.testing.assert_allclose(place, wanted, atol=0.1)
    assert (found > 0).sum() <= 9


def test_invalid_pixels_give_nothing_and_real_numbers_are_kept_too() -> None:
    counts = np.random.default_rng(2).random(SHAPE).astype(np.float32)
    valid = np.ones(SHAPE, bool)
    valid[20:23] = False
    counts[20:23] = np.nan
    found, _ = corrected(counts, valid)
    np.testing.assert_allclose(found.sum(), counts[valid].sum(dtype=float), rtol=1e-12)


def ring_radii(pattern: np.ndarray, centre: tuple[float, float], near: float) -> np.ndarray:
    """Return the radius of a ring by its centroid in 24 sectors."""
    row, col = np.indices(pattern.shape)
    radius, angle = np.hypot(row - centre[0], col - centre[1]), np.arctan2(row - centre[0], col - centre[1])
    sector = ((angle / (2 * np.pi) + 0.5) * 24).astype(int) % 24
    close = np.abs(radius - near) < 4
    return np.array(
        [
            np.average(
                radius[close & (sector == index)], weights=(pattern / np.maximum(radius, 1))[close & (sector == index)]
            )
            for index in range(24)
        ]
    )


def test_the_ring_of_a_distorted_camera_is_round_behind_it() -> None:
    row, col = np.indices(SHAPE)
    radius = np.hypot(*np.tensordot(MATRIX, np.stack([row - CENTRE[0], col - CENTRE[1]]), axes=1))
    pattern = np.exp(-0.5 * ((radius - 22) / 1.2) ** 2)
    found, frame = corrected((1e4 * pattern).astype(np.uint16))
    behind, before = ring_radii(found, frame.origin, 22), ring_radii(pattern, CENTRE, 22)
    assert behind.std() < 0.03
    assert abs(behind.mean() - 22) < 0.02
    assert before.std() > 0.3


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corrected")
    status = np.zeros(SCAN, np.uint8)
    status[3, 4] = 2
    valid = np.ones(CAMERA.frame_shape, bool)
    valid[70:73] = False
    write_container(folder / "a_data.hdf5", frames() * valid.astype(np.uint16), frame_status=status, valid=valid)
    gold = write_gold(folder / "g_gold.json")
    run_calibration(folder / "a_data.hdf5", [gold], folder / "a_calibration.json", settings=CalibrationSettings())
    return folder


def test_a_scan_is_corrected_in_one_go_whatever_the_threads(home: Path) -> None:
    for prefix, threads in (("one", 1), ("two", 2)):
        record = run_polar(
            home / "a_data.hdf5", home / "a_calibration.json", home / prefix, settings=SETTINGS, threads=threads
        )
    path = home / "one_corrected.hspy"
    assert path.read_bytes() == (home / "two_corrected.hspy").read_bytes()
    assert record.result is not None
    assert record.result.corrected is not None
    origin = record.result.corrected.origin_row_px, record.result.corrected.origin_col_px
    signal = hs.load(path, lazy=True)
    assert signal.data.dtype == np.float32
    assert [(axis.name, axis.units) for axis in signal.axes_manager.signal_axes] == [
        ("q_col", "1/Å"),
        ("q_row", "1/Å"),
    ]
    q_row = signal.axes_manager.signal_axes[1]
    assert q_row.scale == pytest.approx(CAMERA.pixel_size_per_angstrom)
    assert q_row.index2value(origin[0]) == pytest.approx(0, abs=1e-12)
    patterns = np.asarray(signal.data)
    with open_source(home / "a_data.hdf5") as source:
        counts = source.read(0, source.n_frames).astype(float).sum(axis=(1, 2)).reshape(SCAN)
    kept = np.nansum(patterns, axis=(2, 3), dtype=float)
    others = np.ones(SCAN, bool)
    others[3, 4] = False
    np.testing.assert_allclose(kept[others], counts[others], rtol=1e-6)
    assert np.isnan(patterns[3, 4]).all()
    # The beam stands still in the middle of the pixel of the origin, and the dead lines are missing, not dark.
    beam = np.nansum(patterns[others], axis=0)[origin[0] - 8 : origin[0] + 9, origin[1] - 8 : origin[1] + 9]
    row, col = np.indices(beam.shape) - 8
    assert np.hypot((beam * row).sum(), (beam * col).sum()) / beam.sum() < 0.1
    below = np.isnan(patterns[0, 0, origin[0] + 12 : origin[0] + 32, origin[1]])
    assert 0 < below.sum() <= 3


def test_hyperspy_opens_the_profiles_with_their_axes_and_the_ripple_files_hold_the_same(home: Path) -> None:
    run_polar(home / "a_data.hdf5", home / "a_calibration.json", home / "r", settings=PolarSettings(ripple=True))
    step = CAMERA.pixel_size_per_angstrom
    for name in ("azimuthal_mean", "azimuthal_var"):
        for ending in ("hspy", "rpl"):
            signal = hs.load(home / f"r_{name}.{ending}")
            assert isinstance(signal, hs.signals.Signal1D)
            col, row, q = (signal.axes_manager[axis] for axis in ("scan_col", "scan_row", "q"))
            assert (row.units, row.scale, row.size) == ("nm", 2.0, SCAN[0])
            assert (col.units, col.scale, col.size) == ("nm", 2.0, SCAN[1])
            units = "1/Å" if ending == "hspy" else "1/A"
            assert (q.units, q.scale, q.offset) == (units, pytest.approx(step), pytest.approx(step / 2))
        one, other = (hs.load(home / f"r_{name}.{ending}").data for ending in ("hspy", "rpl"))
        np.testing.assert_array_equal(one, other)


def test_options_are_not_written_unless_they_are_asked_for(home: Path) -> None:
    record = run_polar(home / "a_data.hdf5", home / "a_calibration.json", home / "no", settings=PolarSettings())
    assert record.result is not None
    assert record.result.corrected is None
    assert not (home / "no_corrected.hspy").exists()
    assert not (home / "no_azimuthal_mean.rpl").exists()
