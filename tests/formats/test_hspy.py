from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from stemcal.errors import DataError
from stemcal.formats.hspy import Axis, open_signal, open_writer, read_signal, write_signal1d, write_signal2d

AXES = (Axis("scan_row", "nm", 2.5), Axis("scan_col", "nm", 2.5, 1.0), Axis("q", "1/Å", 0.01, 0.005))


@pytest.fixture
def profiles() -> np.ndarray:
    data = np.random.default_rng(7).normal(size=(3, 4, 5)).astype(np.float32)
    data[1, 2] = np.nan
    return data


def test_round_trip(tmp_path: Path, profiles: np.ndarray) -> None:
    path = tmp_path / "naughty name [1].hspy"
    write_signal1d(path, profiles, AXES, title="azimuthal/mean", metadata={"stemcal": {"stage": "polar", "n": 3}})
    signal = read_signal(path)
    np.testing.assert_array_equal(signal.data, profiles)
    assert signal.data.dtype == np.float32
    assert signal.axes == AXES
    assert signal.n_signal_axes == 1
    assert signal.metadata["stemcal"] == {"stage": "polar", "n": 3}
    assert signal.metadata["General"]["title"] == "azimuthal/mean"


def test_hyperspy_opens_it_with_axes_and_units(tmp_path: Path, profiles: np.ndarray) -> None:
    hs = pytest.importorskip("hyperspy.api")
    path = tmp_path / "a.hspy"
    write_signal1d(path, profiles, AXES, title="mean", metadata={"stemcal": {"nothing": None}})
    signal = hs.load(path)
    assert type(signal).__name__ == "Signal1D"
    np.testing.assert_array_equal(signal.data, profiles)
    found = [(axis.name, axis.units, axis.scale, axis.offset) for axis in signal.axes_manager._axes]
    assert found == [(axis.name, axis.units, axis.scale, axis.offset) for axis in AXES]
    assert signal.axes_manager.navigation_shape == (4, 3)
    assert signal.metadata.General.title == "mean"
    assert signal.metadata.stemcal.nothing is None


def test_hyperspy_opens_a_signal2d(tmp_path: Path) -> None:
    hs = pytest.importorskip("hyperspy.api")
    path = tmp_path / "a.hspy"
    data = np.arange(6, dtype=np.uint16).reshape(2, 3)
    write_signal2d(path, data, (Axis("row", "px"), Axis("col", "px")))
    signal = hs.load(path)
    assert type(signal).__name__ == "Signal2D"
    np.testing.assert_array_equal(signal.data, data)
    assert signal.metadata.General.title == ""


def test_reads_what_hyperspy_writes(tmp_path: Path, profiles: np.ndarray) -> None:
    hs = pytest.importorskip("hyperspy.api")
    signal = hs.signals.Signal1D(profiles)
    signal.axes_manager[-1].scale, signal.axes_manager[-1].units = 0.25, "1/Å"
    signal.save(tmp_path / "theirs.hspy", overwrite=True)
    ours = read_signal(tmp_path / "theirs.hspy")
    np.testing.assert_array_equal(ours.data, profiles)
    assert ours.axes[-1] == Axis("", "1/Å", 0.25)
    assert ours.axes[0].units == ""
    assert ours.n_signal_axes == 1


def test_axis_values() -> None:
    np.testing.assert_allclose(AXES[2].values(3), [0.005, 0.015, 0.025])


def test_pieces_and_whole_and_rerun_give_the_same_bytes(tmp_path: Path, profiles: np.ndarray) -> None:
    write_signal1d(tmp_path / "whole.hspy", profiles, AXES)
    for name in ("pieces.hspy", "again.hspy"):
        with open_writer(tmp_path / name, profiles.shape, profiles.dtype, AXES) as dataset:
            for row in range(3):
                dataset[row] = profiles[row]
    whole, pieces, again = ((tmp_path / name).read_bytes() for name in ("whole.hspy", "pieces.hspy", "again.hspy"))
    assert pieces == again
    assert whole == pieces


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path, profiles: np.ndarray) -> None:
    with pytest.raises(KeyboardInterrupt), open_writer(tmp_path / "a.hspy", (3, 4, 5), profiles.dtype, AXES):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_wrong_number_of_axes(tmp_path: Path, profiles: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"2 axes for an array of shape \(3, 4, 5\)"):
        write_signal1d(tmp_path / "a.hspy", profiles, AXES[:2])


def test_refuses_what_is_no_hyperspy_file(tmp_path: Path) -> None:
    text, plain = tmp_path / "a.hspy", tmp_path / "b.hspy"
    text.write_text("no HDF5")
    with h5py.File(plain, "w") as file:
        file["data"] = np.zeros(3)
    with pytest.raises(DataError, match="cannot be opened as HDF5"):
        read_signal(text)
    with pytest.raises(DataError, match="holds no /Experiments"):
        read_signal(plain)


def test_refuses_an_axis_that_is_not_uniform(tmp_path: Path, profiles: np.ndarray) -> None:
    path = tmp_path / "a.hspy"
    write_signal1d(path, profiles, AXES)
    with h5py.File(path, "a") as file:
        del file["Experiments/__unnamed__/axis-2"].attrs["scale"]
    with pytest.raises(DataError, match="axis 2 is not uniform"), open_signal(path):
        pass
