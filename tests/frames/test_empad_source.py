"""Frames of an EMPAD: written, read, compared with RosettaSciIO; and what does not belong together."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats.empad_raw import FRAME_BYTES, RECORD_BYTES, RawFile, write_empad
from stemcal.frames.empad import EmpadSource, find_pair
from stemcal.frames.source import open_source
from stemcal.records.microscope import Microscope

OPTICS = Microscope(
    voltage_kv=300.0, nominal_camera_length_m=0.369, scan_step_nm=0.5, dwell_time_us=1000.0, spot_size=7.0
)


@pytest.fixture
def frames() -> NDArray[np.float32]:
    noise = np.random.default_rng(3).normal(100.0, 20.0, (2, 3, 128, 128)).astype(np.float32)
    noise[0, 1, 5, 7] = np.nan
    noise[1, 2, 0, 0] = -0.0
    return noise


@pytest.mark.parametrize("version", ["0.51", "1.2.2"])
@pytest.mark.parametrize("suffix", [".xml", ".raw"])
def test_what_is_written_is_read(tmp_path: Path, frames: NDArray[np.float32], version, suffix: str) -> None:
    raw = write_empad(tmp_path / "a.xml", frames, version=version, microscope=OPTICS)
    assert raw.name == "scan_x3_y2.raw"
    assert raw.stat().st_size == 6 * RECORD_BYTES
    with open_source(tmp_path / "a.xml" if suffix == ".xml" else raw) as source:
        assert source.scan_shape == (2, 3)
        assert source.frame_shape == (128, 128)
        assert source.dtype == np.float32
        block = source.read(1, 5)
        assert block.flags.c_contiguous
        assert block.tobytes() == frames.reshape(-1, 128, 128)[1:5].tobytes()
        assert source.acquired_at == "2026-01-01T00:00:00"
        assert source.identity["n_frames"] == 6
        step = {"scan_step_nm": 0.5, "field_of_view_nm": 1.5} if version == "1.2.2" else {"scan_step_nm": None}
        assert source.microscope == OPTICS.model_copy(update=step)


@pytest.mark.parametrize(("version", "q_pixel"), [("0.51", 0.18), ("1.2.2", None)])
def test_rosettasciio_reads_the_same(tmp_path: Path, frames: NDArray[np.float32], version, q_pixel) -> None:
    reader = pytest.importorskip("rsciio.empad")
    square = np.concatenate([frames, frames])[:3]
    write_empad(tmp_path / "a.xml", square, version=version, microscope=OPTICS, q_pixel_per_nm=q_pixel)
    theirs = reader.file_reader(str(tmp_path / "a.xml"))[0]
    with EmpadSource(tmp_path / "a.xml") as source:
        assert source.read(0, 9).tobytes() == theirs["data"].tobytes()
        assert source.scan_shape == theirs["data"].shape[:2]
        to_nm = {"nm": 1.0, "Å": 0.1, "pm": 1e-3}
        for axis in theirs["axes"][:2]:
            assert source.microscope.scan_step_nm == pytest.approx(axis["scale"] * to_nm[axis["units"]])
        assert source.q_pixel_per_nm == (q_pixel and pytest.approx(theirs["axes"][3]["scale"]))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "shape"),
    [("map4x4", (4, 4)), ("EMPAD_v1.2.2_x32_y64_size0.8", (64, 32)), ("stack_images", (1, 10))],
)
def test_the_real_metadata_as_rosettasciio_reads_them(tmp_path: Path, shared_data: Path, name: str, shape) -> None:
    """No real .raw is public: noise in a file of the right size, with holes, that takes no room on the disk."""
    reader = pytest.importorskip("rsciio.empad")
    shutil.copy(shared_data / "empad" / f"{name}.xml", tmp_path / "a.xml")
    n_frames = shape[0] * shape[1]
    raw = tmp_path / {"map4x4": "scan_x4_y4.raw", "stack_images": "series_x10.raw"}.get(name, "scan_x32_y64.raw")
    records = np.random.default_rng(0).normal(size=(2, 130, 128)).astype("<f4")
    with raw.open("wb") as file:
        file.truncate(n_frames * RECORD_BYTES)
        for place, record in zip((1, n_frames - 1), records, strict=True):
            file.seek(place * RECORD_BYTES)
            file.write(record.tobytes())
    theirs = reader.file_reader(str(tmp_path / "a.xml"), lazy=True)[0]
    with open_source(tmp_path / "a.xml") as source:
        assert source.scan_shape == shape
        rows = theirs["data"].reshape(n_frames, 128, 128)
        for place, record in zip((1, n_frames - 1), records, strict=True):
            np.testing.assert_array_equal(source.read(place, place + 1)[0], record[:128])
            np.testing.assert_array_equal(rows[place].compute(), record[:128])
        units = {"µm": 1e3, "nm": 1.0}
        if name != "stack_images":
            for axis in theirs["axes"][:2]:
                assert source.microscope.scan_step_nm == pytest.approx(axis["scale"] * units[axis["units"]])


def test_a_series_is_one_line(tmp_path: Path, frames: NDArray[np.float32]) -> None:
    raw = write_empad(tmp_path / "a.xml", frames[0], version="0.51", microscope=OPTICS)
    assert raw.name == "series_x3.raw"
    with EmpadSource(raw) as source:
        assert source.scan_shape == (1, 3)
        assert source.microscope.scan_step_nm is None
    with EmpadSource(raw, (3, 1)) as source:
        assert source.scan_shape == (3, 1)


def test_threads_read_the_same(tmp_path: Path, frames: NDArray[np.float32]) -> None:
    write_empad(tmp_path / "a.xml", frames)
    with EmpadSource(tmp_path / "a.xml") as source, ThreadPoolExecutor(4) as pool:
        blocks = list(pool.map(lambda place: source.read(place, place + 1)[0], [*range(6)] * 5))
    assert np.array(blocks).tobytes() == np.concatenate([frames.reshape(-1, 128, 128)] * 5).tobytes()


def test_a_raw_that_was_cut_is_refused(tmp_path: Path, frames: NDArray[np.float32]) -> None:
    raw = write_empad(tmp_path / "a.xml", frames)
    os.truncate(raw, 5 * RECORD_BYTES + 100)
    with pytest.raises(DataError, match=r"scan_x3_y2.raw: ends inside frame 6 \(100 of 66560 bytes\)"):
        open_source(tmp_path / "a.xml")
    os.truncate(raw, 5 * RECORD_BYTES)
    with pytest.raises(DataError, match=r"has 5 frames, another number than is stated \(.*acquire.*: 2 x 3; the name"):
        open_source(tmp_path / "a.xml")
    os.truncate(raw, 0)
    with pytest.raises(DataError, match="is empty"):
        open_source(raw)


def test_a_raw_that_shrinks_while_it_is_read(tmp_path: Path, frames: NDArray[np.float32]) -> None:
    raw = write_empad(tmp_path / "a.xml", frames)
    with EmpadSource(raw) as source:
        os.truncate(raw, 4 * RECORD_BYTES + FRAME_BYTES - 1)
        assert source.read(0, 4).shape == (4, 128, 128)
        with pytest.raises(DataError, match="it had 399360 when it was opened"):
            source.read(4, 5)
    with pytest.raises(ValueError, match="has been closed"):
        source.read(0, 1)


def test_statements_that_differ(tmp_path: Path, frames: NDArray[np.float32]) -> None:
    write_empad(tmp_path / "a.xml", frames, raw_name="scan_x2_y3.raw")
    with pytest.raises(DataError, match=r"no certain scan shape: .*: 2 x 3; the name scan_x2_y3.raw: 3 x 2"):
        open_source(tmp_path / "a.xml")
    with open_source(tmp_path / "a.xml", scan_shape=(3, 2)) as source:
        assert source.scan_shape == (3, 2)
    # the number of frames decides where only one of them can be true
    write_empad(tmp_path / "b.xml", frames, raw_name="scan_x9_y9.raw")
    with open_source(tmp_path / "b.xml") as source:
        assert source.scan_shape == (2, 3)


def test_a_person_decides_but_must_fit(tmp_path: Path, frames: NDArray[np.float32]) -> None:
    write_empad(tmp_path / "a.xml", frames)
    with pytest.raises(DataError, match="has 6 frames, but a scan shape of 2,2 has 4"):
        open_source(tmp_path / "a.xml", scan_shape=(2, 2))


def test_which_files_belong_together(tmp_path: Path, frames: NDArray[np.float32]) -> None:
    raw = write_empad(tmp_path / "one.xml", frames)
    (tmp_path / "other.xml").write_text("<not_of_an_empad/>")
    assert find_pair(raw).xml.path == tmp_path / "one.xml"
    raw.rename(tmp_path / "one.raw")
    with open_source(tmp_path / "one.xml") as from_xml, open_source(tmp_path / "one.raw") as from_raw:
        assert from_xml.identity == from_raw.identity
        assert from_xml.identity["xml_sha256"]
    (tmp_path / "one.raw").rename(tmp_path / "else.raw")
    with pytest.raises(DataError, match=r"names the raw file 'scan_x3_y2.raw', which is not beside it; copy it there"):
        open_source(tmp_path / "one.xml")
    (tmp_path / "else.raw").rename(raw)
    shutil.copy(tmp_path / "one.xml", tmp_path / "two.xml")
    with pytest.raises(DataError, match=r"is named as raw file by one.xml, two.xml"):
        open_source(raw)


def test_a_raw_without_its_xml(tmp_path: Path, frames: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_empad(tmp_path / "a.xml", frames)
    (tmp_path / "a.xml").unlink()
    monkeypatch.chdir(tmp_path)
    with EmpadSource(Path(raw.name)) as source:
        assert source.scan_shape == (2, 3)
        assert source.microscope is None
        assert source.microscope_file == {}
        assert [flag.name for flag in source.flags] == ["empad_xml_missing"]
    raw.rename(tmp_path / "nameless.raw")
    with pytest.raises(DataError, match="has 6 frames, but not a scan shape in its name; state it with --scan-shape"):
        open_source(tmp_path / "nameless.raw")
    with open_source(tmp_path / "nameless.raw", scan_shape=(2, 3)) as source:
        assert source.scan_shape == (2, 3)


@pytest.mark.parametrize("name", ["x" * 300, ".", "..", "%00", "a\nb"])
def test_a_name_that_is_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.xml").write_text(f'<root><raw_file filename="{name}"/></root>')
    with pytest.raises(DataError, match="which is not beside it"):
        open_source(tmp_path / "a.xml")


def test_the_writer_refuses_what_the_software_cannot_say(tmp_path: Path, frames: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match=r"shape \(3, 64, 64\) are not an EMPAD's"):
        write_empad(tmp_path / "a.xml", frames[0, :, :64, :64])
    with pytest.raises(ValueError, match=r"ask for version 0\.51"):
        write_empad(tmp_path / "a.xml", frames[0])
    assert list(tmp_path.iterdir()) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(size=st.integers(0, 8 * RECORD_BYTES), rows=st.integers(-1, 4), cols=st.integers(-1, 4))
def test_any_size_of_the_raw(tmp_path: Path, size: int, rows: int, cols: int) -> None:
    (tmp_path / "a.xml").write_text(
        '<root><raw_file filename="a.raw"/><scan_parameters mode="acquire">'
        f"<scan_resolution_y>{rows}</scan_resolution_y><scan_resolution_x>{cols}</scan_resolution_x>"
        "</scan_parameters></root>"
    )
    with (tmp_path / "a.raw").open("wb") as file:
        file.truncate(size)
    whole = min(rows, cols) > 0 and size == rows * cols * RECORD_BYTES
    try:
        with open_source(tmp_path / "a.xml") as source:
            assert whole
            assert source.read(0, source.n_frames).shape == (rows * cols, 128, 128)
    except DataError:
        assert not whole


def test_a_raw_file_closes_twice(tmp_path: Path, frames: NDArray[np.float32]) -> None:
    raw = RawFile(write_empad(tmp_path / "a.xml", frames))
    raw.close()
    raw.close()
    with pytest.raises(DataError, match="cannot be read"):
        RawFile(tmp_path / "none.raw")
