"""Whole files: real ones against RosettaSciIO, our own against RosettaSciIO and LiberTEM, and files that are broken."""

from __future__ import annotations

import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from stemcal.errors import DataError
from stemcal.formats.merlin import MibFile, append_mib, check_last_frame, inspect_mib, read_hdr, write_mib
from stemcal.phantoms import damage

MODES = [(pixel_type, assembly) for pixel_type in ("U08", "U16", "U32") for assembly in ("1x1", "2x2")]
STRIDE = 768 + 64 * 64 * 2
PEER_WARNINGS = pytest.mark.filterwarnings("ignore")


def counts(pixel_type: str = "U16", n: int = 6, shape: tuple[int, int] = (64, 64)) -> np.ndarray:
    """Return counts up to the pixel type's maximum, without any symmetry."""
    limit = {"U08": 2**8, "U16": 2**16, "U32": 2**32}[pixel_type]
    return np.random.default_rng(5).integers(0, limit, (n, *shape), dtype=np.int64)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_mib(tmp_path / "a.mib", [counts()], scan_shape=(2, 3), scan_in_hdr=True)
    return tmp_path / "a.mib"


@pytest.mark.shared
@PEER_WARNINGS
@pytest.mark.parametrize("archive", ["Merlin_Single_Quad.zip", "Merlin_navigation4x2_ROI.zip"])
def test_real_files_equal_rosettasciio_up_to_the_row_flip(shared_data, tmp_path, archive):
    from rsciio.quantumdetector import file_reader

    zipfile.ZipFile(shared_data / "merlin" / archive).extractall(tmp_path)
    compared = 0
    for path in sorted(tmp_path.rglob("*.mib")):
        layout = inspect_mib(path)
        check_last_frame(path, layout)
        assert (layout.trailing_bytes, layout.n_whole_frames) == (0, layout.n_frames_expected)
        if layout.header.pixel_type == "R64":
            continue
        with MibFile(path) as mib:
            ours = mib.read(0, mib.n_frames)
            assert mib.sequence_numbers().tolist() == list(range(1, mib.n_frames + 1))
        theirs = file_reader(str(path))[0]["data"]
        np.testing.assert_array_equal(ours[:, ::-1], theirs.reshape(ours.shape))
        compared += 1
    assert compared >= 2


@pytest.mark.parametrize(("pixel_type", "assembly"), MODES)
def test_what_is_written_is_read_back(tmp_path, pixel_type, assembly):
    frames = counts(pixel_type)
    layout = write_mib(tmp_path / "a.mib", [frames[:4], frames[4:]], pixel_type=pixel_type, assembly=assembly)
    assert (layout.n_whole_frames, layout.n_frames_expected, layout.trailing_bytes) == (6, 6, 0)
    with MibFile(tmp_path / "a.mib") as mib:
        ours = mib.read(1, 5)
    assert ours.dtype.isnative
    assert ours.dtype.itemsize == int(pixel_type[1:]) // 8
    np.testing.assert_array_equal(ours, frames[1:5])


@PEER_WARNINGS
@pytest.mark.parametrize(("pixel_type", "assembly"), MODES)
def test_rosettasciio_reads_what_we_write(tmp_path, pixel_type, assembly):
    from rsciio.quantumdetector import file_reader

    frames = counts(pixel_type)
    write_mib(tmp_path / "a.mib", [frames], pixel_type=pixel_type, assembly=assembly, scan_shape=(2, 3))
    theirs = file_reader(str(tmp_path / "a.mib"))[0]["data"]
    assert theirs.shape == (2, 3, 64, 64)
    np.testing.assert_array_equal(theirs.reshape(frames.shape)[:, ::-1], frames)
    assert not np.array_equal(theirs.reshape(frames.shape), frames), "the test pattern must see a flip"


@PEER_WARNINGS
@pytest.mark.parametrize(("pixel_type", "assembly"), [("U08", "1x1"), ("U16", "2x2"), ("U32", "2x2")])
def test_libertem_reads_what_we_write(tmp_path, pixel_type, assembly):
    import libertem.api as lt
    from libertem.udf.raw import PickUDF

    frames = counts(pixel_type)
    mib = tmp_path / "a.mib"
    write_mib(mib, [frames], pixel_type=pixel_type, assembly=assembly, scan_shape=(2, 3), scan_in_hdr=True)
    with lt.Context.make_with("inline") as context:
        dataset = context.load("mib", path=str(mib.with_suffix(".hdr")))
        assert tuple(dataset.shape) == (2, 3, 64, 64)
        theirs = context.run_udf(dataset, PickUDF())["intensity"].raw_data
    np.testing.assert_array_equal(theirs.reshape(frames.shape), frames)


def test_headers_tell_sequence_and_time(written):
    with MibFile(written) as mib:
        headers = mib.headers(0, 3)
    assert [header.sequence for header in headers] == [1, 2, 3]
    assert headers[2].timestamp == "2026-01-01T00:00:00.002190000Z"


def test_an_acquisition_can_go_on(written):
    damage.cut_last_frame(written)
    assert inspect_mib(written).trailing_bytes > 0
    layout = append_mib(written, [counts(n=3)])
    assert (layout.n_whole_frames, layout.trailing_bytes, layout.n_frames_expected) == (8, 0, 6)
    with MibFile(written) as mib:
        assert mib.sequence_numbers().tolist() == list(range(1, 9))
        np.testing.assert_array_equal(mib.read(5, 8), counts(n=3))
        assert mib.headers(7, 8)[0].timestamp == "2026-01-01T00:00:00.007665000Z"


def test_threads_may_read_at_once(written):
    with MibFile(written) as mib, ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda index: mib.read(index, index + 1), list(range(6)) * 8))
    np.testing.assert_array_equal(np.concatenate(got), np.tile(counts(), (8, 1, 1)))


def test_a_kernel_that_gives_less_than_asked_is_asked_again(written, monkeypatch):
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset: real(fd, [buffers[0][:100]], offset))
    with MibFile(written) as mib:
        np.testing.assert_array_equal(mib.read(1, 4), counts()[1:4])


def test_ranges_outside_the_file_and_a_closed_file_are_misuse(written):
    mib = MibFile(written)
    assert mib.read(3, 3).shape == (0, 64, 64)
    with pytest.raises(IndexError, match="5:7 are not within 0:6"):
        mib.read(5, 7)
    mib.close()
    mib.close()
    with pytest.raises(ValueError, match="has been closed"):
        mib.read(0, 1)


def test_a_file_that_shrinks_under_the_reader_is_a_data_error(written):
    with MibFile(written) as mib:
        damage.drop_last_frames(written, 2)
        with pytest.raises(DataError, match="ends at byte"):
            mib.read(0, 6)


def test_records_are_the_bytes_of_the_file(written):
    data = np.fromfile(written, np.uint8).reshape(6, STRIDE)
    with MibFile(written) as mib:
        np.testing.assert_array_equal(mib.read_records(1, 4), data[1:4])
        target = np.zeros((2, STRIDE), np.uint8)
        assert mib.read_records(4, 6, target) is target
        np.testing.assert_array_equal(target, data[4:])
        for wrong in (np.zeros((3, STRIDE), np.uint8), np.zeros((2, STRIDE), np.int8), np.zeros((STRIDE, 2), "u1").T):
            with pytest.raises(ValueError, match="must be contiguous uint8"):
                mib.read_records(4, 6, wrong)


def test_a_file_that_grows_or_is_touched_is_unchanged(written):
    with MibFile(written) as mib:
        append_mib(written, [counts(n=2)])
        written.touch()
        mib.check_unchanged()
        assert (mib.n_frames, mib.paths) == (6, (written,))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda mib: mib.unlink(), "was there and is not any more"),
        (lambda mib: write_mib(mib, [counts()]), "was replaced by another file of the same name"),
        (lambda mib: damage.drop_last_frames(mib, 1), f"has {5 * STRIDE} bytes, it had {6 * STRIDE}"),
        (damage.garble_header, "was written anew while it was read"),
    ],
)
def test_a_file_that_changes_while_it_is_open_is_noticed(written, change, words):
    with MibFile(written) as mib:
        mib.check_unchanged()
        change(written)
        with pytest.raises(DataError, match=words):
            mib.check_unchanged()


def test_a_file_replaced_before_a_layout_is_used_is_noticed(written):
    layout = inspect_mib(written)
    os.link(written, written.with_name("kept"))
    write_mib(written, [counts()])
    with pytest.raises(DataError, match="was replaced"):
        MibFile(written, layout)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.mib")
    for path in (tmp_path / "a.mib", tmp_path):
        with pytest.raises(DataError, match="is no regular file"):
            inspect_mib(path)


def test_files_that_hold_nothing_are_refused(written, tmp_path):
    with pytest.raises(DataError, match="No such file"):
        inspect_mib(tmp_path / "none.mib")
    damage.truncate(written, 6 * inspect_mib(written).stride_bytes - 900)
    with pytest.raises(DataError, match=r"holds no whole frame \(900 bytes, a frame has 8960\)"):
        MibFile(written)
    damage.empty(written)
    with pytest.raises(DataError, match=r"is empty \(0 bytes\)"):
        inspect_mib(written)


def test_the_last_frame_betrays_a_wrong_frame_size(written):
    check_last_frame(written, inspect_mib(written))
    damage.claim_wrong_frame_size(written)
    with pytest.raises(DataError, match="does not begin with a Merlin frame header"):
        check_last_frame(written, inspect_mib(written))


def test_the_last_frame_betrays_another_kind_of_frame(written, tmp_path):
    write_mib(tmp_path / "b.mib", [counts("U08", 4, (64, 128))], pixel_type="U08")
    written.write_bytes(written.read_bytes() + (tmp_path / "b.mib").read_bytes())
    with pytest.raises(DataError, match=r"holds U08 64x128 at frame 10 .*, but U16 64x64"):
        check_last_frame(written, inspect_mib(written))


def test_a_garbled_header_inside_is_marked_and_not_hidden(written):
    stride = inspect_mib(written).stride_bytes
    with written.open("r+b") as file:
        file.seek(2 * stride)
        file.write(b"garbage")
    with MibFile(written) as mib:
        assert mib.sequence_numbers().tolist() == [1, 2, -1, 4, 5, 6]
        with pytest.raises(DataError, match="'garbage"):
            mib.headers(2, 3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pixel_type": "R32"}, "'R32' cannot be written"),
        ({"pixel_type": "R64"}, r"do not fit R64 \(0 to 4095\)"),
        ({"pixel_type": "R64", "counter_depth_bit": 1}, "no whole 64-bit words for each chip"),
        ({"pixel_type": "R64", "counter_depth_bit": 7}, "R64 pixels of counter depth 7"),
        ({"pixel_type": "U01"}, r"do not fit U01 \(0 to 1\)"),
        ({"assembly": "Nx1"}, "'Nx1' cannot be written"),
        ({"pixel_type": "U08"}, "do not fit U08"),
    ],
)
def test_what_cannot_be_written_leaves_no_file(tmp_path, change, words):
    with pytest.raises(ValueError, match=words):
        write_mib(tmp_path / "a.mib", [counts()], **change)
    with pytest.raises(ValueError, match="no frame was given"):
        write_mib(tmp_path / "a.mib", [])
    assert list(tmp_path.iterdir()) == []


def test_hdr_round_trip(written):
    hdr = read_hdr(written.with_suffix(".hdr"))
    assert hdr.scan_shape == (2, 3)
    assert (hdr.frames_in_acquisition, hdr.frames_per_trigger, hdr.counter_depth_bit) == (6, 3, 12)
    assert (hdr.assembly, hdr.gap_fill_mode, hdr.trigger_start) == ("2x2", "None", "Rising Edge")
    assert hdr.chip_ids == ("W556_B4", "W556_J2", "W556_M5", "W556_G4")
    assert written.with_suffix(".hdr").stat().st_size == 2048


@pytest.mark.shared
def test_a_real_hdr(shared_data, tmp_path):
    with zipfile.ZipFile(shared_data / "merlin" / "Merlin_navigation4x2_ROI.zip") as zipped:
        path = zipped.extract(next(name for name in zipped.namelist() if name.endswith("6bit.hdr")), tmp_path)
    hdr = read_hdr(Path(path))
    assert (hdr.frames_in_acquisition, hdr.frames_per_trigger, hdr.counter_depth_bit) == (8, 1, 6)
    assert (hdr.scan_shape, hdr.assembly, hdr.chip_ids) == (None, "1x1", ("W559_G11",))
    assert hdr.started_at == "07/05/2021 18:50:41"
    assert hdr.raw["Dead Time File"] == "Dummy (C:\\<NUL>\\)"


@pytest.mark.parametrize("n_frames", [0, 1])
def test_a_continuous_acquisition_promises_no_number(tmp_path, n_frames):
    layout = write_mib(tmp_path / "a.mib", [counts()], frames_in_acquisition=n_frames)
    assert layout.n_frames_expected == (n_frames or None)


def test_a_bad_hdr_is_refused_by_itself_but_does_not_stop_the_frames(written):
    hdr = written.with_suffix(".hdr")
    hdr.write_bytes(hdr.read_bytes().replace(b"(Number):\t6", b"(Number):\tsix"))
    with pytest.raises(DataError, match="has 'six' for 'Frames in Acquisition"):
        read_hdr(hdr)
    damage.garble_hdr(written)
    with pytest.raises(DataError, match="does not begin with 'HDR,'"):
        read_hdr(hdr)
    layout = inspect_mib(written)
    assert (layout.hdr, layout.n_frames_expected, layout.n_whole_frames) == (None, None, 6)
    assert "HDR," in (layout.hdr_problem or "")
    damage.remove_hdr(written)
    assert inspect_mib(written).hdr_problem is None
    with pytest.raises(DataError, match="No such file"):
        read_hdr(hdr)
