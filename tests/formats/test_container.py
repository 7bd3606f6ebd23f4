from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats import bitshuffle
from stemcal.formats.container import Layout, open_container, open_experiment
from stemcal.formats.extras import Extras, Sum, read_extras
from stemcal.formats.hspy import Axis
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


def test_frames_that_are_missing_are_an_error_and_leave_nothing(tmp_path: Path) -> None:
    def write_one() -> None:
        with open_container(tmp_path / "a.hdf5", Layout("scan", (3, 4, 16, 18), AXES, np.dtype(np.uint16))) as writer:
            writer.put([0], [bitshuffle.compress(frames()[0, 0])])
            writer.finish(Extras())

    with pytest.raises(ValueError, match=r"\(1, 0\) frames .* were written but there are \(12, 0\)"):
        write_one()
    assert list(tmp_path.iterdir()) == []


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
