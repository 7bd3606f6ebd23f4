"""One acquisition in several files: which files belong to it, in which order, and what is said of a missing one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from stemcal.errors import DataError
from stemcal.formats.merlin import MibFile, MibSeries, open_mib, write_mib, write_series
from stemcal.phantoms import damage

FRAMES = np.random.default_rng(3).integers(0, 4096, (10, 16, 64))


@pytest.fixture
def series(tmp_path: Path) -> tuple[Path, ...]:
    return write_series(tmp_path / "scan.hdr", [FRAMES[:7], FRAMES[7:]], 3, assembly="1x1", scan_shape=(2, 5))


def open_series(path: Path) -> MibSeries:
    mib = open_mib(path)
    assert isinstance(mib, MibSeries)
    return mib


@pytest.mark.parametrize("start", ["scan.hdr", "scan_000001.mib", "scan_000004.mib"])
def test_any_of_its_files_opens_the_acquisition(series, start):
    with open_series(series[0].with_name(start)) as mib:
        assert mib.paths == series
        assert [layout.n_whole_frames for layout in mib.layouts] == [3, 3, 3, 1]
        assert (mib.n_frames, mib.frame_shape, mib.dtype, mib.header.sequence) == (10, (16, 64), np.uint16, 1)
        assert mib.layout.n_frames_expected == 10
        assert mib.layout.hdr is not None
        assert mib.layout.hdr.scan_shape == (2, 5)
        np.testing.assert_array_equal(mib.read(0, 10), FRAMES)
        mib.check_unchanged()


def test_any_range_is_read_over_the_borders(series):
    with open_series(series[0]) as mib:
        stored = np.concatenate([np.fromfile(path, np.uint8) for path in series]).reshape(10, -1)
        for start in range(11):
            for stop in range(start, 11):
                np.testing.assert_array_equal(mib.read(start, stop), FRAMES[start:stop])
                np.testing.assert_array_equal(mib.read_records(start, stop), stored[start:stop])
                assert mib.sequence_numbers(start, stop).tolist() == list(range(start + 1, stop + 1))
        assert [header.sequence for header in mib.headers(2, 8)] == [3, 4, 5, 6, 7, 8]
        target = np.empty((4, mib.layout.stride_bytes), np.uint8)
        assert mib.read_records(1, 5, target) is target
        with pytest.raises(IndexError, match="9:11 are not within 0:10"):
            mib.read(9, 11)
    with pytest.raises(ValueError, match="has been closed"):
        mib.read(0, 1)


def test_files_come_in_the_order_of_their_frames_and_not_of_their_names(series):
    for number, path in zip((3, 1, 2, 0), series, strict=True):
        path.rename(path.with_name(f"moved-{number}"))
    for number in range(4):
        series[0].with_name(f"moved-{number}").rename(series[0].with_name(f"scan{10**number}.mib"))
    with open_series(series[0].with_name("scan.hdr")) as mib:
        assert [path.name for path in mib.paths] == ["scan1000.mib", "scan10.mib", "scan100.mib", "scan1.mib"]
        np.testing.assert_array_equal(mib.read(0, 10), FRAMES)


def test_a_missing_file_is_a_gap_in_the_numbers(series):
    series[1].unlink()
    with open_series(series[0]) as mib:
        table = mib.table(threads=2)
        assert table.sequence.tolist() == [1, 2, 3, 7, 8, 9, 10]
        assert np.diff(table.time_ns).tolist() == [1_095_000] * 2 + [4 * 1_095_000] + [1_095_000] * 3
        assert table.same_kind.all()
        np.testing.assert_array_equal(mib.read(2, 4), FRAMES[[2, 6]])


def test_files_that_each_count_from_one_keep_the_order_of_their_names(tmp_path):
    for number in (2, 10, 9):
        write_mib(tmp_path / f"scan{number}.mib", [FRAMES[number - 1 : number]], assembly="1x1", with_hdr=False)
    write_mib(tmp_path / "other.mib", [FRAMES[:1]])
    (tmp_path / "other.hdr").rename(tmp_path / "scan.hdr")
    with open_series(tmp_path / "scan9.mib") as mib:
        assert [path.stem for path in mib.paths] == ["scan2", "scan9", "scan10"]
        assert mib.table().sequence.tolist() == [1, 1, 1]


def test_scans_with_an_hdr_of_their_own_are_never_put_together(tmp_path):
    for name in ("scan1", "scan2", "20240101_120000", "20240101_120500"):
        write_mib(tmp_path / f"{name}.mib", [FRAMES[:2]])
    for name in ("scan1", "20240101_120500"):
        mib = open_mib(tmp_path / f"{name}.mib")
        assert isinstance(mib, MibFile)
        assert mib.paths == (tmp_path / f"{name}.mib",)
        mib.close()
    damage.remove_hdr(tmp_path / "20240101_120500.mib")
    with open_mib(tmp_path / "20240101_120500.mib") as mib:
        assert mib.paths == (tmp_path / "20240101_120500.mib",)
    with open_mib(tmp_path / "scan2.hdr") as mib:
        assert mib.paths == (tmp_path / "scan2.mib",)


def test_a_numbered_copy_beside_a_whole_file_is_not_part_of_it(tmp_path):
    write_mib(tmp_path / "scan.mib", [FRAMES[:2]])
    shutil.copy(tmp_path / "scan.mib", tmp_path / "scan_2.mib")
    for name in ("scan.mib", "scan_2.mib"):
        with open_mib(tmp_path / name) as mib:
            assert mib.paths == (tmp_path / name,)


def test_the_longest_fitting_hdr_has_the_file(tmp_path):
    write_series(tmp_path / "a.hdr", [FRAMES], 5, assembly="1x1")
    write_series(tmp_path / "a_1.hdr", [FRAMES + 1], 5, assembly="1x1")
    with open_series(tmp_path / "a_1_000002.mib") as mib:
        assert mib.paths == (tmp_path / "a_1_000001.mib", tmp_path / "a_1_000002.mib")
    with open_series(tmp_path / "a.hdr") as mib:
        np.testing.assert_array_equal(mib.read(0, 10), FRAMES)
        assert len(mib.paths) == 2


def test_a_part_of_another_kind_is_refused(series):
    write_mib(series[2], [FRAMES[6:9, :8]], assembly="1x1", with_hdr=False)
    with pytest.raises(DataError, match=r"scan_000003.mib: holds U16 8x64 of 12 bit .* holds U16 16x64"):
        open_mib(series[0])


def test_a_part_that_changes_is_noticed(series):
    with open_series(series[0]) as mib:
        write_mib(series[2], [FRAMES[6:9]], assembly="1x1", with_hdr=False)
        for use in (mib.check_unchanged, mib.table, lambda: mib.read(0, 10)):
            with pytest.raises(DataError, match=r"scan_000003.mib: was replaced"):
                use()
        np.testing.assert_array_equal(mib.read(0, 6), FRAMES[:6])
        series[2].unlink()
        with pytest.raises(DataError, match=r"scan_000003.mib: cannot be read \(No such file"):
            mib.check_unchanged()


def test_what_is_not_there_is_refused(series, tmp_path):
    damage.empty(series[3])
    with pytest.raises(DataError, match=r"scan_000004.mib: is empty"):
        open_mib(series[0])
    for path in series:
        path.unlink()
    with pytest.raises(DataError, match=r"neither scan.mib nor scan_<number>.mib"):
        open_mib(tmp_path / "scan.hdr")
    for none in ("none_1.mib", "none/a.hdr"):
        with pytest.raises(DataError, match="No such file"):
            open_mib(tmp_path / none)
    with pytest.raises(ValueError, match="no frame"):
        write_series(tmp_path / "none.hdr", [FRAMES[:0]], 3)


@pytest.mark.filterwarnings("ignore")
def test_libertem_finds_the_same_files(series):
    import libertem.api as lt
    from libertem.udf.raw import PickUDF

    with lt.Context.make_with("inline") as context:
        dataset = context.load("mib", path=str(series[0].with_name("scan.hdr")))
        theirs = context.run_udf(dataset, PickUDF())["intensity"].raw_data
    np.testing.assert_array_equal(theirs.reshape(FRAMES.shape), FRAMES)
