"""EDX maps: what was written is read back, RosettaSciIO reads the same, and bad files are named with a remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stemcal.errors import DataError
from stemcal.formats.edx import EnergyAxis, read_edx, write_edx

AXIS = EnergyAxis(offset_kev=-0.2, channel_kev=0.01)


def counts(dtype: str = "u2") -> np.ndarray:
    return np.random.default_rng(0).poisson(3.0, (4, 5, 30)).astype(dtype)


@pytest.mark.parametrize("record_by", ["vector", "image"])
@pytest.mark.parametrize("byte_order", ["little-endian", "big-endian"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4", "f8"])
def test_ripple_agrees_with_rosettasciio(tmp_path: Path, record_by: str, byte_order: str, dtype: str) -> None:
    ripple = pytest.importorskip("rsciio.ripple")
    path = tmp_path / "Map Data - Site_20241113_110035.rpl"
    write_edx(path, counts(dtype), AXIS, record_by=record_by, byte_order=byte_order)
    read = read_edx(path)
    np.testing.assert_array_equal(read.counts, counts(dtype))
    (theirs,) = ripple.file_reader(str(path))
    data = theirs["data"] if record_by == "vector" else np.moveaxis(theirs["data"], 0, 2)
    np.testing.assert_array_equal(read.counts, data)
    energy = theirs["axes"][2 if record_by == "vector" else 0]
    assert energy["units"] == "keV"
    assert read.energy == EnergyAxis(energy["offset"], energy["scale"]) == AXIS


def test_a_file_of_rosettasciio_is_read(tmp_path: Path) -> None:
    ripple = pytest.importorskip("rsciio.ripple")
    write_edx(tmp_path / "ours.rpl", counts(), AXIS)
    (signal,) = ripple.file_reader(str(tmp_path / "ours.rpl"))
    ripple.file_writer(str(tmp_path / "theirs.rpl"), signal)
    read = read_edx(tmp_path / "theirs.rpl")
    np.testing.assert_array_equal(read.counts, counts())
    assert read.energy == AXIS


def test_hspy_is_read_back_and_hyperspy_calls_it_eds(tmp_path: Path) -> None:
    path = tmp_path / "map.hspy"
    write_edx(path, counts(), AXIS)
    read = read_edx(path)
    np.testing.assert_array_equal(read.counts, counts())
    assert read.energy == AXIS
    hspy = pytest.importorskip("rsciio.hspy")
    (theirs,) = hspy.file_reader(str(path))
    assert theirs["metadata"]["Signal"]["signal_type"] == "EDS_TEM"


def rpl(tmp_path: Path, **changes: str | None) -> Path:
    """A map of 4 x 5 positions with 30 channels of 2 bytes, with some lines changed, added or left out."""
    lines = {
        "width": "5",
        "height": "4",
        "depth": "30",
        "offset": "0",
        "data-length": "2",
        "data-type": "unsigned",
        "byte-order": "little-endian",
        "record-by": "vector",
    } | {key.replace("_", "-"): value for key, value in changes.items()}
    path = tmp_path / "map.rpl"
    path.write_text("key\tvalue\n" + "".join(f"{key}\t{value}\n" for key, value in lines.items() if value is not None))
    counts().tofile(path.with_suffix(".raw"))
    return path


@pytest.mark.parametrize(
    ("keys", "axis"),
    [
        ({}, None),
        ({"ev_per_chan": "10"}, EnergyAxis(0.0, 0.01)),
        ({"depth_scale": "5", "depth_units": "eV", "depth_origin": "-100"}, EnergyAxis(-0.1, 0.005)),
        ({"depth_scale": "0.02", "ev_per_chan": "20", "depth_origin": "-0.2"}, EnergyAxis(-0.2, 0.02)),
        ({"depth_scale": "20", "ev_per_chan": "20"}, EnergyAxis(0.0, 0.02)),
        ({"ev_per_chan": "10", "depth_origin": "-0.2", "depth_units": "keV"}, EnergyAxis(-0.2, 0.01)),
    ],
)
def test_the_energy_axis_ends_in_kev(tmp_path: Path, keys: dict[str, str], axis: EnergyAxis | None) -> None:
    found = read_edx(rpl(tmp_path, **keys)).energy
    if axis is None or found is None:
        assert found is axis
        return
    assert found.offset_kev == pytest.approx(axis.offset_kev)
    assert found.channel_kev == pytest.approx(axis.channel_kev)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"depth": None}, "no line with the key 'depth'"),
        ({"depth": "many"}, "depth 'many'.*whole number"),
        ({"width": "6"}, "bytes, its .rpl says 1440"),
        ({"data_length": "3"}, "data-length 3"),
        ({"data_type": "complex"}, "unsigned, signed, float"),
        ({"byte_order": "dont-care"}, "byte order"),
        ({"record_by": "dont-care"}, "no spectra"),
        ({"depth_scale": "10"}, "without depth-units"),
        ({"depth_scale": "10", "depth_units": "nm"}, "neither eV nor keV"),
        ({"depth_scale": "0.02", "ev_per_chan": "10"}, "but ev-per-chan 10"),
        ({"ev_per_chan": "-10"}, "wider than 0"),
        ({"ev_per_chan": "ten"}, "no number"),
        ({"ev_per_chan": "10", "depth_origin": "3"}, "depth-origin of 3"),
    ],
)
def test_a_bad_ripple_file_is_refused_with_a_remedy(tmp_path: Path, keys: dict[str, str | None], words: str) -> None:
    path = rpl(tmp_path, **keys)
    with pytest.raises(DataError, match=words) as caught:
        read_edx(path)
    assert caught.value.path.stem == "map"
    assert caught.value.remedy


def test_dialects_of_other_programs(tmp_path: Path) -> None:
    path = rpl(tmp_path)
    text = path.read_text()
    plain = read_edx(path).counts
    body = (line.split("\t") for line in text.splitlines()[1:])
    path.write_text("(MLX::LISPIX\n" + "".join(f"(MLX::{key} : {value})\n" for key, value in body))
    np.testing.assert_array_equal(read_edx(path).counts, plain)
    path.write_text("; by hand\n" + text.replace("data-length", "data-Length").replace("\n", " ; note\r\n"))
    np.testing.assert_array_equal(read_edx(path).counts, plain)


def test_missing_parts_and_other_files(tmp_path: Path) -> None:
    path = rpl(tmp_path)
    path.with_suffix(".raw").rename(path.with_suffix(".RAW"))
    assert read_edx(path).shape == (4, 5)
    path.with_suffix(".RAW").unlink()
    with pytest.raises(DataError, match=r"no \.raw"):
        read_edx(path)
    with pytest.raises(DataError, match="no such file"):
        read_edx(tmp_path / "none.rpl")
    with pytest.raises(DataError, match="no EDX maps"):
        read_edx(tmp_path / "map.bcf")
    with pytest.raises(DataError, match="not written"):
        write_edx(tmp_path / "map.bcf", counts(), None)
