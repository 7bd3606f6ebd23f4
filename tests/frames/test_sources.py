from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats import bitshuffle
from stemcal.formats.container import Layout, open_container
from stemcal.formats.extras import Extras, FrameStatus
from stemcal.formats.hspy import Axis
from stemcal.formats.merlin.writer import write_mib
from stemcal.formats.microscope import write_microscope
from stemcal.frames.hdf5 import Hdf5Source
from stemcal.frames.mib import MibSource, Sidecars, find_sidecars
from stemcal.frames.source import FrameSource, open_source
from stemcal.records.microscope import Microscope

NAUGHTY = ["plain", "with space", "quote'\"", "ütf-8 µ", "semi;colon&(x)", "-dash", "%41", "$HOME", "new\nline", "..a"]


@pytest.fixture
def counts() -> NDArray[np.uint16]:
    return np.random.default_rng(1).poisson(0.7, (3, 4, 17, 13)).astype(np.uint16)


def write_container(path: Path, counts: NDArray[np.uint16], **extras: object) -> None:
    axes = (Axis("scan_row", "px"), Axis("scan_col", "px"), Axis("det_row", "px"), Axis("det_col", "px"))
    with open_container(path, Layout("scan", counts.shape, axes, counts.dtype)) as writer:  # type: ignore[arg-type]
        writer.append(bitshuffle.compress(frame) for frame in counts.reshape(-1, *counts.shape[2:]))
        writer.finish(Extras(**extras))  # type: ignore[arg-type]


def check(source: FrameSource, counts: NDArray[np.uint16]) -> None:
    flat = counts.reshape(-1, *counts.shape[2:])
    assert source.scan_shape == counts.shape[:2]
    assert source.frame_shape == counts.shape[2:]
    assert source.dtype == counts.dtype
    assert source.dtype.isnative
    assert source.valid.shape == source.frame_shape
    assert source.frame_status.shape == (source.n_frames,)
    for start, stop in ((0, 12), (2, 7), (3, 3), (11, 12)):
        block = source.read(start, stop)
        assert block.flags.c_contiguous
        np.testing.assert_array_equal(block, flat[start:stop])
    with pytest.raises((ValueError, IndexError), match="12"):
        source.read(0, 13)


def test_npy(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    np.save(tmp_path / "a.npy", counts)
    with open_source(tmp_path / "a.npy") as source:
        check(source, counts)
        assert source.identity["n_frames"] == 12
    np.save(tmp_path / "big_endian.npy", counts.astype(">u2"))
    with open_source(tmp_path / "big_endian.npy") as source:
        check(source, counts)


def test_npy_of_three_axes_is_one_line_unless_a_shape_is_given(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    np.save(tmp_path / "a.npy", counts.reshape(12, 17, 13))
    with open_source(tmp_path / "a.npy") as source:
        assert source.scan_shape == (1, 12)
    with open_source(tmp_path / "a.npy", scan_shape=(3, 4)) as source:
        check(source, counts)


def test_container(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    valid = np.ones((17, 13), bool)
    valid[3, 4] = False
    status = np.zeros(12, np.uint8)
    status[5] = FrameStatus.MISSING
    optics = Microscope(voltage_kv=300.0, scan_size_px=4)
    write_container(
        tmp_path / "a.hdf5",
        counts,
        valid=valid,
        frame_status=status,
        microscope=optics,
        acquired_at="2026-01-01T00:00:00Z",
        identity={"size_bytes": 5},
    )
    with open_source(tmp_path / "a.hdf5") as source:
        check(source, counts)
        np.testing.assert_array_equal(source.valid, valid)
        np.testing.assert_array_equal(source.frame_status, status)
        assert source.microscope == optics
        assert source.acquired_at == "2026-01-01T00:00:00Z"
        assert source.identity["size_bytes"] == 5


def test_threads_read_the_same(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    write_container(tmp_path / "a.hdf5", counts)
    flat = counts.reshape(-1, 17, 13)
    with open_source(tmp_path / "a.hdf5") as source, ThreadPoolExecutor(4) as pool:
        blocks = list(pool.map(lambda place: source.read(place, place + 1)[0], [*range(12)] * 20))
    np.testing.assert_array_equal(blocks, np.concatenate([flat] * 20))


def test_container_without_the_library_reads_through_h5py(
    tmp_path: Path, counts: NDArray[np.uint16], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_container(tmp_path / "a.hdf5", counts)
    monkeypatch.setattr(bitshuffle, "functions", lambda: None)
    with open_source(tmp_path / "a.hdf5") as source:
        check(source, counts)


@pytest.mark.parametrize("options", [{}, {"compression": "gzip", "chunks": (2, 2, 8, 13)}, {"chunks": (1, 1, 17, 13)}])
def test_any_four_dimensional_hspy(tmp_path: Path, counts: NDArray[np.uint16], options: dict[str, object]) -> None:
    with h5py.File(tmp_path / "a.hspy", "w") as file:
        file.create_dataset("Experiments/x/data", data=counts, **options)
    with open_source(tmp_path / "a.hspy") as source:
        check(source, counts)


def test_file_by_hyperspy_itself(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    hs = pytest.importorskip("hyperspy.api")
    hs.signals.Signal2D(counts).save(tmp_path / "a.hspy")
    with open_source(tmp_path / "a.hspy") as source:
        check(source, counts)


def test_a_chunk_that_was_never_written_is_an_error(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        chunks = (1, 1, 17, 13)
        data = file.create_dataset(
            "Experiments/x/data", counts.shape, "<u2", chunks=chunks, **bitshuffle.filter_options()
        )
        data[0] = counts[0]
    with pytest.raises(DataError, match="holds 4 of 12 frames"):
        open_source(tmp_path / "a.hdf5")


def test_a_damaged_chunk_is_named(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    write_container(tmp_path / "a.hdf5", counts)
    with h5py.File(tmp_path / "a.hdf5") as file:
        place = file["Experiments/scan/data"].id.get_chunk_info_by_coord((1, 2, 0, 0))
    with (tmp_path / "a.hdf5").open("r+b") as raw:
        raw.seek(place.byte_offset)
        raw.write(b"\xff" * place.size)
    with Hdf5Source(tmp_path / "a.hdf5") as source:
        source.read(0, 6)
        with pytest.raises(DataError, match="frame 6 is damaged"):
            source.read(6, 7)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.hdf5", b"nonsense", "cannot be opened as HDF5"),
        ("a.npy", b"nonsense", "cannot be read as .npy"),
        ("a.txt", b"nonsense", "files ending in '.txt' are not read"),
        ("a.mib", b"nonsense", "Merlin frame header"),
    ],
)
def test_what_is_no_stack_is_refused(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=problem):
        open_source(tmp_path / name)


def test_a_missing_file_and_a_pattern_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        open_source(tmp_path / "a.npy")
    np.save(tmp_path / "pattern.npy", np.ones((4, 4)))
    with pytest.raises(DataError, match=r"shape \(4, 4\), which is no stack"):
        open_source(tmp_path / "pattern.npy")
    with h5py.File(tmp_path / "empty.hdf5", "w"):
        pass
    with pytest.raises(DataError, match="holds no stack of frames but no arrays at all"):
        open_source(tmp_path / "empty.hdf5")


@pytest.mark.parametrize("stem", NAUGHTY)
def test_naughty_names(tmp_path: Path, counts: NDArray[np.uint16], stem: str) -> None:
    write_container(tmp_path / f"{stem}.hdf5", counts)
    np.save(tmp_path / f"{stem}.npy", counts)
    write_mib(tmp_path / f"{stem}.mib", [counts.reshape(-1, 17, 13)], scan_shape=(3, 4))
    for suffix in (".hdf5", ".npy", ".mib"):
        with open_source(tmp_path / f"{stem}{suffix}") as source:
            assert source.scan_shape == (3, 4)
            assert source.read(0, 12).sum() == counts.sum()


@pytest.mark.parametrize("pixel_type", ["U08", "U16", "U32"])
@pytest.mark.parametrize("assembly", ["1x1", "2x2"])
def test_mib_rows_are_turned(tmp_path: Path, counts: NDArray[np.uint16], pixel_type: str, assembly: str) -> None:
    frames = counts.reshape(-1, 17, 13)
    write_mib(tmp_path / "a.mib", [frames], pixel_type=pixel_type, assembly=assembly, scan_shape=(3, 4))
    with open_source(tmp_path / "a.mib") as source:
        block = source.read(2, 9)
        assert block.dtype == np.dtype(f"u{int(pixel_type[1:]) // 8}")
        np.testing.assert_array_equal(block, frames[2:9, ::-1])
        assert not np.array_equal(block, frames[2:9])


def test_mib_takes_the_scan_size_from_the_microscope(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    write_mib(tmp_path / "20260101_101010_data.mib", [counts.reshape(-1, 17, 13)])
    write_microscope(tmp_path / "20260101_101010.hdf", Microscope(voltage_kv=80.0, scan_size_px=4))
    with MibSource(tmp_path / "20260101_101010_data.mib") as source:
        assert source.scan_shape == (3, 4)
        assert source.flags == ()
        assert source.microscope is not None
        assert source.microscope.voltage_kv == 80.0
        assert source.microscope_file["set_scan_px"] == 4
        assert source.identity["microscope_sha256"]


def test_mib_shape_of_a_person_must_fit(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    write_mib(tmp_path / "a.mib", [counts.reshape(-1, 17, 13)], scan_shape=(3, 4))
    with MibSource(tmp_path / "a.mib", (2, 6)) as source:
        assert source.scan_shape == (2, 6)
    with pytest.raises(DataError, match="has 12 frames, but a scan shape of 5,5 has 25"):
        MibSource(tmp_path / "a.mib", (5, 5))


def test_mib_refuses_witnesses_that_disagree(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    write_mib(tmp_path / "a.mib", [counts.reshape(-1, 17, 13)], scan_shape=(3, 4))
    write_microscope(tmp_path / "a.hdf", Microscope(scan_size_px=256))
    with pytest.raises(DataError, match=r"4 frames per trigger \(= 3 x 4\).*scan size 256 px \(does not fit") as caught:
        MibSource(tmp_path / "a.mib")
    assert "--scan-shape ROWS,COLS" in caught.value.remedy


def test_mib_that_is_not_whole_is_refused(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    path = tmp_path / "a.mib"
    write_mib(path, [counts.reshape(-1, 17, 13)], scan_shape=(3, 4), frames_in_acquisition=16)
    with pytest.raises(DataError, match=r"has 12 whole frames but its \.hdr promises 16"):
        MibSource(path)
    path.with_suffix(".hdr").unlink()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 10)
    with pytest.raises(DataError, match="ends inside frame 12"):
        MibSource(path)


def test_damaged_sidecars_are_flags(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    write_mib(tmp_path / "a.mib", [counts.reshape(-1, 17, 13)], scan_shape=(3, 4))
    (tmp_path / "a.hdr").write_bytes(b"nonsense")
    (tmp_path / "a.hdf").write_bytes(b"nonsense")
    with MibSource(tmp_path / "a.mib") as source:
        assert [flag.name for flag in source.flags] == ["sidecar_unreadable"] * 2 + ["scan_shape_unknown"]
        assert source.microscope is None


def test_sidecars_can_be_left_out(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    write_mib(tmp_path / "a.mib", [counts.reshape(-1, 17, 13)], scan_shape=(3, 4))
    assert find_sidecars(tmp_path / "a.mib") == Sidecars(hdr=tmp_path / "a.hdr")
    with MibSource(tmp_path / "a.mib", sidecars=Sidecars()) as source:
        assert source.scan_shape == (1, 12)
