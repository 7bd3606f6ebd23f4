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
from stemcal.formats.merlin.writer import write_mib, write_series
from stemcal.formats.microscope import write_microscope
from stemcal.frames.hdf5 import Hdf5Source
from stemcal.frames.mib import MibSource, Sidecars, find_sidecars
from stemcal.frames.source import FrameSource, open_source
from stemcal.records.microscope import Microscope

NAUGHTY = ["plain", "with space", "quote'\"", "ütf-8 µ", "semi;colon&(x)", "-dash", "%41", "$HOME", "new\nline", "..a"]


@pytest.fixture
def counts() -> NDArray[np.uint16]:
    return np.random.default_rng(1).poisson(0.7, (3, 4, 17, 13)).astype(np.uint16)


def write_container(path: Path, counts: NDArray[np.uint16], missing: tuple[int, ...] = (), **extras: object) -> None:
    axes = (Axis("scan_row", "px"), Axis("scan_col", "px"), Axis("det_row", "px"), Axis("det_col", "px"))
    flat = counts.reshape(-1, *counts.shape[2:])
    places = [place for place in range(len(flat)) if place not in missing]
    layout = Layout("scan", counts.shape, axes, counts.dtype, n_missing=len(missing))  # type: ignore[arg-type]
    with open_container(path, layout) as writer:
        writer.put(places, map(bitshuffle.compress, flat[places]))
        writer.finish(Extras(**extras))  # type: ignore[arg-type]


def write_scan(path: Path, counts: NDArray[np.uint16], **options: object) -> None:
    """Write a raw file whose .hdr states the scan."""
    stated = {"scan_shape": counts.shape[:2], "scan_in_hdr": True, **options}
    write_mib(path, [counts.reshape(-1, *counts.shape[2:])], **stated)  # type: ignore[arg-type]


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
    counts[1, 1] = 0
    write_container(
        tmp_path / "a.hdf5",
        counts,
        missing=(5,),
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
    with pytest.raises(DataError, match="holds 4 of 12 chunks of /Experiments/x/data"):
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
    write_scan(tmp_path / f"{stem}.mib", counts)
    for suffix in (".hdf5", ".npy", ".mib"):
        with open_source(tmp_path / f"{stem}{suffix}") as source:
            assert source.scan_shape == (3, 4)
            assert source.read(0, 12).sum() == counts.sum()


@pytest.mark.parametrize("pixel_type", ["U08", "U16", "U32"])
@pytest.mark.parametrize("assembly", ["1x1", "2x2"])
def test_mib_rows_are_turned(tmp_path: Path, counts: NDArray[np.uint16], pixel_type: str, assembly: str) -> None:
    frames = counts.reshape(-1, 17, 13)
    write_scan(tmp_path / "a.mib", counts, pixel_type=pixel_type, assembly=assembly)
    with open_source(tmp_path / "a.mib") as source:
        block = source.read(2, 9)
        assert block.dtype == np.dtype(f"u{int(pixel_type[1:]) // 8}")
        np.testing.assert_array_equal(block, frames[2:9, ::-1])
        assert not np.array_equal(block, frames[2:9])


def test_mib_takes_the_scan_size_from_the_microscope(tmp_path: Path) -> None:
    counts = np.random.default_rng(1).poisson(0.7, (16 * 16, 4, 6)).astype(np.uint16)
    write_mib(tmp_path / "20260101_101010_data.mib", [counts])
    write_microscope(tmp_path / "20260101_101010.hdf", Microscope(voltage_kv=80.0, scan_size_px=16))
    with MibSource(tmp_path / "20260101_101010_data.mib") as source:
        assert source.scan_shape == (16, 16)
        assert source.scan.certain
        assert source.flags == ()
        assert source.microscope is not None
        assert source.microscope.voltage_kv == 80.0
        assert source.microscope_file["set_scan_px"] == 16
        assert source.identity["microscope_sha256"]


def test_mib_shape_of_a_person_must_fit(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    write_scan(tmp_path / "a.mib", counts)
    with MibSource(tmp_path / "a.mib", (2, 6)) as source:
        assert source.scan_shape == (2, 6)
        assert source.scan.certain
    with pytest.raises(DataError, match=r"has 12 frames \(those missing included\), but 5 x 5 = 25 frames are stated"):
        MibSource(tmp_path / "a.mib", (5, 5))


def test_mib_whose_witnesses_disagree_is_one_line(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    write_scan(tmp_path / "a.mib", counts)
    write_microscope(tmp_path / "a.hdf", Microscope(scan_size_px=256))
    with MibSource(tmp_path / "a.mib") as source:
        assert not source.scan.certain
        assert source.scan_shape == (1, 12)
        assert {item.source for item in source.scan.evidence} >= {"hdr_scan", "hdr_frames_per_trigger", "microscope"}
        assert [flag.name for flag in source.flags] == ["scan_shape_uncertain"]
        assert "contradicted by microscope" in source.flags[0].message
    with pytest.raises(DataError, match="12 frames whose scan shape is not certain") as caught:
        open_source(tmp_path / "a.mib")
    assert "--scan-shape ROWS,COLS" in caught.value.remedy
    with open_source(tmp_path / "a.mib", scan_shape=(3, 4)) as given:
        np.testing.assert_array_equal(given.read(0, 12), counts.reshape(12, 17, 13)[:, ::-1])


def test_the_bare_number_of_frames_is_not_believed(tmp_path: Path) -> None:
    counts = np.ones((8, 8, 4, 4), np.uint16)
    write_mib(tmp_path / "a.mib", [counts.reshape(64, 4, 4)])
    with MibSource(tmp_path / "a.mib") as source:
        assert (source.scan.certain, source.scan_shape) == (False, (1, 64))
        assert source.scan.candidates[0].scan_shape == (8, 8)
    write_scan(tmp_path / "a.mib", counts)
    with MibSource(tmp_path / "a.mib") as source:
        assert (source.scan.certain, source.scan_shape) == (True, (8, 8))


def test_mib_that_is_not_whole_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mib"
    counts = np.random.default_rng(2).poisson(0.7, (8, 9, 5, 4)).astype(np.uint16)
    exposure_ns = np.where(np.arange(72) % 9 == 8, 3_000_000, 1_000_000)
    write_scan(path, counts, scan_shape=(8, 8), frames_per_trigger=1, exposure_ns=exposure_ns)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 10)
    with MibSource(path) as source:
        assert [flag.name for flag in source.flags] == ["frames_fewer_than_promised", "frame_cut"]
        assert "71 whole frames but the .hdr promises 72" in source.flags[0].message
        assert source.flags[1].value == source.layout.stride_bytes - 10
        assert source.scan_shape == (8, 9)
        line = [FrameStatus.OK] * 8 + [FrameStatus.FLY_BACK]
        assert source.frame_status.tolist() == [*(line * 8)[:-1], FrameStatus.MISSING]
        np.testing.assert_array_equal(source.read(0, 71), counts.reshape(72, 5, 4)[:71, ::-1])
        assert not source.read(71, 72).any()


def test_damaged_sidecars_are_flags(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    write_scan(tmp_path / "a.mib", counts)
    (tmp_path / "a.hdr").write_bytes(b"nonsense")
    (tmp_path / "a.hdf").write_bytes(b"nonsense")
    with MibSource(tmp_path / "a.mib") as source:
        assert [flag.name for flag in source.flags] == ["sidecar_unreadable"] * 2 + ["scan_shape_uncertain"]
        assert source.microscope is None


def test_sidecars_may_stand_elsewhere(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    write_scan(tmp_path / "a.mib", counts)
    beside = Sidecars(hdr=tmp_path / "a.hdr")
    assert find_sidecars(tmp_path / "a.mib") == beside
    write_microscope(tmp_path / "other.hdf", Microscope(voltage_kv=60.0))
    with MibSource(tmp_path / "a.mib", sidecars=Sidecars(microscope=tmp_path / "other.hdf")) as source:
        assert source.sidecars == Sidecars(tmp_path / "a.hdr", tmp_path / "other.hdf")
        assert source.scan_shape == (3, 4)
        assert source.microscope == Microscope(voltage_kv=60.0)
    (tmp_path / "a.hdr").unlink()
    with MibSource(tmp_path / "a.mib") as source:
        assert source.sidecars == Sidecars()
        assert source.scan_shape == (1, 12)


def test_the_sidecars_of_a_series_are_called_like_its_hdr(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    first, *_ = write_series(tmp_path / "scan.hdr", [counts.reshape(12, 17, 13)], 5, scan_shape=(3, 4))
    write_microscope(tmp_path / "scan.hdf", Microscope(voltage_kv=60.0))
    for path in (first, tmp_path / "scan.hdr"):
        with MibSource(path) as source:
            assert source.sidecars == Sidecars(tmp_path / "scan.hdr", tmp_path / "scan.hdf")
            check(source, counts[:, :, ::-1])


def test_mib_reads_a_frame_that_stands_first_in_the_file_behind_a_hole(
    tmp_path: Path, counts: NDArray[np.uint16]
) -> None:
    """Numbers 3, 1, 4, 5 ...: the hole of number 2 and the first frame of the file follow each other."""
    numbers = np.array([3, 1, *range(4, 13)])
    flat = counts.reshape(12, 17, 13)
    write_mib(tmp_path / "a.mib", [flat[numbers - 1]], sequence=numbers)
    with MibSource(tmp_path / "a.mib", (3, 4)) as source:
        wanted = flat[:, ::-1].copy()
        wanted[1] = 0
        np.testing.assert_array_equal(source.read(0, 12), wanted)


def test_mib_of_two_kinds_is_refused(tmp_path: Path) -> None:
    """Of the same size in bytes, so that only the headers tell."""
    write_mib(tmp_path / "a.mib", [np.ones((6, 8, 4), np.uint16)], pixel_type="U16", assembly="1x1")
    write_mib(tmp_path / "b.mib", [np.ones((3, 8, 8), np.uint8)], pixel_type="U08", assembly="1x1", sequence=[7, 8, 9])
    with (tmp_path / "a.mib").open("ab") as file:
        file.write((tmp_path / "b.mib").read_bytes())
    with pytest.raises(DataError, match=r"holds frames of another kind from frame 7 \(byte 2688\) on") as caught:
        MibSource(tmp_path / "a.mib")
    assert "cut it into one file of each kind" in caught.value.remedy


@pytest.mark.parametrize(
    ("damaged", "problem"),
    [
        ([7], None),
        ([5, 6, 7, 8], r"no Merlin header at frame 6 \(byte \d+\) nor at 3 other places"),
        ([39], "no Merlin header at frame 40"),
    ],
)
def test_mib_with_few_damaged_headers_is_read(tmp_path: Path, damaged: list[int], problem: str | None) -> None:
    """Up to one in twenty, but the last one has to be where it belongs: else the frames have another size."""
    frames = np.random.default_rng(3).poisson(2.0, (40, 8, 4)).astype(np.uint16)
    layout = write_mib(tmp_path / "a.mib", [frames])
    with (tmp_path / "a.mib").open("r+b") as file:
        for frame in damaged:
            file.seek(frame * layout.stride_bytes)
            file.write(b"\0" * 100)
    if problem is not None:
        with pytest.raises(DataError, match=problem):
            MibSource(tmp_path / "a.mib", (5, 8))
        return
    with MibSource(tmp_path / "a.mib", (5, 8)) as source:
        np.testing.assert_array_equal(source.read(0, 40), frames[:, ::-1])
