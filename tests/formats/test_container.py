from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats import bitshuffle
from stemcal.formats.container import Layout, open_container, open_experiment
from stemcal.formats.extras import Extras, FrameStatus, Sum, read_extras
from stemcal.formats.hspy import Axis
from stemcal.frames.source import open_source
from stemcal.records.microscope import Microscope

AXES = (
    Axis("scan_row", "nm", 1.25),
    Axis("scan_col", "nm", 1.25),
    Axis("det_row", "px"),
    Axis("det_col", "px"),
)


def frames() -> NDArray[np.uint16]:
    return np.random.default_rng(3).poisson(0.7, (3, 4, 16, 18)).astype(np.uint16)


def extras() -> Extras:
    return Extras(
        valid=np.ones((16, 18), bool),
        frame_status=np.zeros(12, np.uint8),
        sequence_number=np.arange(1, 13, dtype=np.int64),
        sums={"mean_pattern": Sum(np.full((16, 18), 0.5), "count", "mean over the scan")},
        first_header="MQ1,000001",
        hdr="HDR,\nEnd",
        microscope=Microscope(voltage_kv=300.0, scan_step_nm=1.25, spot_size=7.0),
        microscope_file={"ht_value(V)": 3e5, "lens_values/C1": 0.5, "deflector_values/GUN1": [0.0, 1.0], "name": "µ"},
        acquired_at="2026-01-01T00:00:00Z",
        identity={"size_bytes": 5, "first_timestamp": None},
        parameter='{"stage":"convert"}',
        attributes={"rows_flipped": True, "assembly": "2x2"},
    )


def write(path: Path, name: str = "scan") -> None:
    data = frames()
    with open_container(path, Layout(name, (3, 4, 16, 18), AXES, data.dtype)) as writer:
        writer.put(range(12), map(bitshuffle.compress, data.reshape(12, 16, 18)))
        writer.finish(extras())


@pytest.mark.filterwarnings("ignore:The 'reader' parameter is deprecated")
def test_hyperspy_opens_it(tmp_path: Path) -> None:
    hs = pytest.importorskip("hyperspy.api")
    write(tmp_path / "scan_data.hdf5")
    signal = hs.load(str(tmp_path / "scan_data.hdf5"), reader="hspy")
    np.testing.assert_array_equal(signal.data, frames())
    assert signal.data.dtype == np.uint16
    axes = [(axis.name, axis.units, axis.scale, axis.navigate) for axis in signal.axes_manager._axes]
    assert axes == [(a.name, a.units, a.scale, place < 2) for place, a in enumerate(AXES)]
    assert signal.metadata.General.title == "scan"
    lazy = hs.load(str(tmp_path / "scan_data.hdf5"), reader="hspy", lazy=True)
    np.testing.assert_array_equal(lazy.inav[1, 2].data.compute(), frames()[2, 1])
    lazy.close_file()


def test_plain_h5py_reads_it(tmp_path: Path) -> None:
    write(tmp_path / "scan_data.hdf5")
    with h5py.File(tmp_path / "scan_data.hdf5") as file:
        data = file["Experiments/scan/data"]
        assert data.chunks == (1, 1, 16, 18)
        np.testing.assert_array_equal(data[...], frames())


def test_extras_come_back(tmp_path: Path) -> None:
    write(tmp_path / "a.hdf5")
    file, group = open_experiment(tmp_path / "a.hdf5")
    with file:
        back = read_extras(tmp_path / "a.hdf5", group)
        raw = dict(group["stemcal/microscope_file"].attrs)
        assert group["stemcal/sequence_number"].shape == (3, 4)
        assert "missing" in group["stemcal/frame_status"].attrs["description"]
    wanted = extras()
    assert back.sequence_number is not None
    assert back.sequence_number.tolist() == list(range(1, 13))
    assert (back.microscope, back.identity, back.acquired_at) == (
        wanted.microscope,
        wanted.identity,
        wanted.acquired_at,
    )
    assert (back.first_header, back.hdr, back.parameter) == (wanted.first_header, wanted.hdr, wanted.parameter)
    assert back.attributes["rows_flipped"] is True
    assert back.sums["mean_pattern"].unit == "count"
    assert raw == {**wanted.microscope_file, "deflector_values/GUN1": "[0.0, 1.0]"}


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a.hdf5")
    write(tmp_path / "b.hdf5")
    assert (tmp_path / "a.hdf5").read_bytes() == (tmp_path / "b.hdf5").read_bytes()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "ü µ", "undecodable \udcff"])
def test_any_name_makes_a_group(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a.hdf5", name)
    file, group = open_experiment(tmp_path / "a.hdf5")
    with file:
        assert group["data"].shape == (3, 4, 16, 18)


@pytest.mark.parametrize(
    ("n_missing", "n_outside", "positions"),
    [
        (0, 0, [0]),
        (1, 0, range(12)),
        (0, 1, range(12)),
        (0, 2, [*range(12), -1]),
    ],
)
def test_another_number_of_frames_than_was_announced_is_an_error_and_leaves_nothing(
    tmp_path: Path, n_missing: int, n_outside: int, positions: Sequence[int]
) -> None:
    layout = Layout("scan", (3, 4, 16, 18), AXES, np.dtype(np.uint16), n_missing, n_outside)

    def write_some() -> None:
        with open_container(tmp_path / "a.hdf5", layout) as writer:
            writer.put(positions, [bitshuffle.compress(frames()[0, 0])] * len(positions))
            writer.finish(Extras())

    with pytest.raises(ValueError, match=r"frames \(in the scan, outside\) were written but there are"):
        write_some()
    assert list(tmp_path.iterdir()) == []


def write_with_holes(path: Path, order: Sequence[int]) -> NDArray[np.uint16]:
    """Write a scan of which positions 2 and 7 have no frame, and three frames that have no position."""
    chunks = [bitshuffle.compress(frame) for frame in frames().reshape(12, 16, 18)]
    outside = np.random.default_rng(9).poisson(2.0, (3, 16, 18)).astype(np.uint16)
    status = np.zeros(12, np.uint8)
    status[[2, 7]] = FrameStatus.MISSING
    layout = Layout("scan", (3, 4, 16, 18), AXES, np.dtype(np.uint16), n_missing=2, n_outside=3)
    with open_container(path, layout) as writer:
        writer.put([-1], [bitshuffle.compress(outside[0])])
        writer.put(order, [chunks[place] for place in order])
        writer.put([-1, -1], map(bitshuffle.compress, outside[1:]))
        writer.finish(Extras(frame_status=status))
    return outside


@pytest.mark.filterwarnings("ignore:The 'reader' parameter is deprecated")
def test_a_position_without_a_frame_reads_as_zeros_and_takes_no_room(tmp_path: Path) -> None:
    hs = pytest.importorskip("hyperspy.api")
    places = [place for place in range(12) if place not in (2, 7)]
    outside = write_with_holes(tmp_path / "a.hdf5", places)
    write_with_holes(tmp_path / "b.hdf5", places[::-1])
    wanted = frames()
    wanted[0, 2] = wanted[1, 3] = 0
    for name in ("a.hdf5", "b.hdf5"):
        with h5py.File(tmp_path / name) as file:
            group = file["Experiments/scan"]
            assert group["data"].id.get_num_chunks() == 10
            np.testing.assert_array_equal(group["data"][...], wanted)
            np.testing.assert_array_equal(group["stemcal/outside_scan"][...], outside)
            assert "without a scan position" in group["stemcal/outside_scan"].attrs["description"]
        np.testing.assert_array_equal(hs.load(str(tmp_path / name), reader="hspy").data, wanted)
        with open_source(tmp_path / name) as source:
            np.testing.assert_array_equal(source.read(0, 12), wanted.reshape(12, 16, 18))
            assert np.flatnonzero(source.frame_status == FrameStatus.MISSING).tolist() == [2, 7]


def test_a_frame_that_is_missing_without_a_word_is_refused(tmp_path: Path) -> None:
    """Zeros are what HDF5 gives for it, and nobody could tell them from a frame without counts."""
    path = tmp_path / "a.hdf5"
    write_with_holes(path, [place for place in range(12) if place not in (2, 7)])
    with h5py.File(path, "r+") as file:
        file["Experiments/scan/stemcal/frame_status"][0, 2] = FrameStatus.OK
    with pytest.raises(DataError, match="holds 10 of 11 chunks of /Experiments/scan/data"):
        open_source(path)
    with h5py.File(path, "r+") as file:
        file["Experiments/scan/stemcal/frame_status"][2, 2] = FrameStatus.MISSING
    with open_source(path) as source:
        source.read(3, 12)
        with pytest.raises(DataError, match="frames 0 to 3 of /Experiments/scan/data"):
            source.read(0, 3)


def test_microscope_metadata_of_another_version_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5", "r+") as file:
        file["Experiments/scan/stemcal/microscope"].attrs["unheard_of"] = 1.0
    file, group = open_experiment(tmp_path / "a.hdf5")
    with file, pytest.raises(DataError, match="microscope metadata that do not fit"):
        read_extras(tmp_path / "a.hdf5", group)


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from stemcal.formats import bitshuffle
from stemcal.formats.container import Layout, open_container
from stemcal.formats.extras import Extras
from stemcal.formats.hspy import Axis
axes = tuple(Axis(name, "px") for name in "abcd")
chunk = bitshuffle.compress(np.random.default_rng(0).poisson(3, (32, 32)).astype(np.uint16))
for limit in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        with open_container(Path(sys.argv[1]), Layout("x", (20, 20, 32, 32), axes, np.dtype(np.uint16))) as writer:
            writer.put(range(400), [chunk] * 400)
            writer.finish(Extras(valid=np.ones((32, 32), bool)))
        print("written")
    except OSError as error:
        print(error)
"""


def test_a_full_disk_is_one_clear_sentence_at_any_moment(tmp_path: Path) -> None:
    final = tmp_path / "a.hdf5"
    limits = [10, 600, 3000, 50_000, 150_000, 200_000, 220_000, 230_000, 1_000_000, 2_200_000]
    command = [sys.executable, "-c", FULL_DISK, str(final), *map(str, limits)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines() == [f"[Errno 27] File too large: '{final}'"] * len(limits)
    assert list(tmp_path.iterdir()) == []
