"""The header table against one header at a time, on real headers, on what a detector may write, and on damage."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemcal.formats.merlin import FrameHeader, HeaderStyle, MibFile, parse_header, parse_table, write_mib
from stemcal.formats.merlin.header import encode_header

FRAMES = np.zeros((1, 2, 8), np.uint8)
HEADER = FrameHeader(
    sequence=1,
    header_bytes=384,
    n_chips=1,
    frame_shape=(128, 256),
    pixel_type="U16",
    assembly="1x1",
    timestamp="2024-02-28T23:59:59.999999999Z",
    local_time="2024-02-29 00:59:59.999999",
    exposure_s=6e-4,
    counter_depth_bit=12,
    thresholds_kev=(2.0, 511.0),
)
MIDNIGHT_NS = int(datetime(2024, 2, 29, tzinfo=UTC).timestamp()) * 10**9


def heads_of(*encoded: bytes) -> np.ndarray:
    return np.frombuffer(b"".join(encoded), np.uint8).reshape(len(encoded), -1)


def altered(**changes: object) -> bytes:
    return encode_header(replace(HEADER, **changes))  # type: ignore[arg-type]


def rows_of(heads: np.ndarray, first: FrameHeader = HEADER) -> list[tuple[int, int, int, bool]]:
    table = parse_table(heads, first)
    return list(zip(*(column.tolist() for column in vars(table).values()), strict=True))


def one_by_one(heads: np.ndarray, first: FrameHeader = HEADER) -> list[tuple[int, int, int, bool]]:
    """Read each header in a table of its own, where there is no other to be alike."""
    return [rows_of(heads[row : row + 1], first)[0] for row in range(len(heads))]


def test_numbers_exposures_and_times_of_a_whole_acquisition():
    sequence = np.r_[1:600, 700:901, 5]
    exposure = np.where(np.arange(801) % 32, 600_000, 41_300_000)
    time = MIDNIGHT_NS - 7 + np.cumsum(exposure) + np.arange(801) ** 2
    heads = heads_of(
        *(
            altered(sequence=int(s), exposure_s=e / 1e9, timestamp=f"{np.datetime64(int(t), 'ns')}Z")
            for s, e, t in zip(sequence, exposure, time, strict=True)
        )
    )
    table = parse_table(heads, HEADER)
    np.testing.assert_array_equal(table.sequence, sequence)
    np.testing.assert_array_equal(table.exposure_ns, exposure)
    np.testing.assert_array_equal(table.time_ns, time)
    assert table.same_kind.all()
    assert len(table) == 801
    assert [column.dtype for column in vars(table).values()] == [np.int64, np.int64, np.int64, np.bool_]


def test_fields_that_move_are_found():
    heads = heads_of(
        altered(sequence=999_999),
        altered(sequence=1_000_000),
        altered(sequence=1_000_001, exposure_s=10.0),
        altered(thresholds_kev=()),
        altered(timestamp="2024-02-29T00:00:00Z"),
        altered(timestamp="2024-02-29T00:00:00.5Z"),
    )
    assert rows_of(heads) == [
        (999_999, 600_000, MIDNIGHT_NS - 1, True),
        (1_000_000, 600_000, MIDNIGHT_NS - 1, True),
        (1_000_001, 10**10, MIDNIGHT_NS - 1, True),
        (1, 600_000, MIDNIGHT_NS - 1, True),
        (1, 600_000, MIDNIGHT_NS, True),
        (1, 600_000, MIDNIGHT_NS + 5 * 10**8, True),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"pixel_type": "U08"},
        {"frame_shape": (256, 256)},
        {"frame_shape": (128, 128)},
        {"counter_depth_bit": 6},
        {"n_chips": 2},
        {"header_bytes": 383},
        {"assembly": "2x2"},
    ],
)
def test_another_kind_of_frame_is_told_apart_but_read(change):
    heads = heads_of(altered(), altered(**change).ljust(384, b"\0"), altered(sequence=3))
    assert rows_of(heads) == [
        (1, 600_000, MIDNIGHT_NS - 1, True),
        (1, 600_000, MIDNIGHT_NS - 1, False),
        (3, 600_000, MIDNIGHT_NS - 1, True),
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"MQ1,", b"MQ2,"),
        (b"000002", b"00x002"),
        (b"00384", b"0x384"),
        (b",0128,", b",    ,"),
        (b"MQ1A", b"MQ1B"),
        (b"600000ns", b"6000x0ns"),
        (b"600000ns", b"-60000ns"),
    ],
)
def test_a_damaged_header_says_nothing(old, new):
    bad = altered(sequence=2)
    assert old in bad
    heads = heads_of(altered(), bad.replace(old, new), altered(sequence=3))
    assert rows_of(heads)[1] == (-1, -1, -1, False)
    assert [row[0] for row in rows_of(heads)] == [1, -1, 3]


@pytest.mark.parametrize("time", ["2024-02-30T00:00:00.000000000Z", "2024-02-28T24:00:00.0Z", "yesterday", ""])
def test_an_impossible_time_is_unknown_and_the_rest_is_kept(time):
    heads = heads_of(
        altered(), altered(sequence=2).replace(b"2024-02-28T23:59:59.999999999Z", time.encode()).ljust(384)
    )
    assert rows_of(heads)[1] == (2, 600_000, -1, True)
    assert rows_of(heads)[0] == (1, 600_000, MIDNIGHT_NS - 1, True)


def test_a_time_that_is_no_time_only_by_its_seconds():
    heads = heads_of(altered(), altered(timestamp="2024-02-28T23:59:60.000000000Z"))
    assert rows_of(heads) == [(1, 600_000, MIDNIGHT_NS - 1, True), (1, 600_000, -1, True)]


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S.%f", "%d/%m/%Y %H:%M:%S.%f"])
def test_old_software_gives_local_time_and_seconds(tmp_path, form):
    style = HeaderStyle(time_block=False, local_time_format=form)
    times = MIDNIGHT_NS + np.array([0, 1_095_000, 61_000_000_000])
    exposures = [1_000_000, 1_000_000, 56_000_000]
    frames = np.zeros((3, 2, 8), np.uint8)
    write_mib(tmp_path / "a.mib", [frames], assembly="1x1", style=style, time_ns=times, exposure_ns=exposures)
    with MibFile(tmp_path / "a.mib") as mib:
        assert mib.header.counter_depth_bit is None
        table = mib.table()
    assert table.sequence.tolist() == [1, 2, 3]
    assert table.time_ns.tolist() == times.tolist()
    assert table.exposure_ns.tolist() == exposures
    assert table.same_kind.all()


def test_old_headers_with_nonsense_for_time_and_exposure():
    old = replace(HEADER, counter_depth_bit=None)
    good = encode_header(old, time_block=False)
    bad = good.replace(b"2024-02-29 00:59:59.999999,0.000600", b"once upon a time          ,        ")
    assert rows_of(heads_of(good, bad, good[:60].ljust(384, b"\0")), old) == [
        (1, 600_000, MIDNIGHT_NS + 3_599_999_999_000, True),
        (1, -1, -1, True),
        (1, -1, -1, True),
    ]


@pytest.mark.shared
@pytest.mark.parametrize("archive", ["Merlin_Single_Quad.zip", "Merlin_navigation4x2_ROI.zip"])
def test_real_files(shared_data, tmp_path, archive):
    zipfile.ZipFile(shared_data / "merlin" / archive).extractall(tmp_path)
    for path in sorted(tmp_path.rglob("*.mib")):
        with MibFile(path) as mib:
            table = mib.table(threads=2)
            headers = mib.headers(0, mib.n_frames)
        assert table.same_kind.all()
        for row, header in enumerate(headers):
            assert table.sequence[row] == header.sequence
            assert table.exposure_ns[row] == round((header.exposure_s or 0) * 1e9)
            assert f"{np.datetime64(int(table.time_ns[row]), 'ns')}Z" == header.timestamp


def test_blocks_and_threads_make_no_difference(tmp_path, monkeypatch):
    monkeypatch.setattr("stemcal.formats.merlin.reader._HEADERS_PER_BLOCK", 7)
    exposures = np.where(np.arange(50) % 5, 10**6, 10**8)
    frames = np.zeros((50, 16, 600), np.uint16)
    write_mib(tmp_path / "a.mib", [frames], assembly="2x2", exposure_ns=exposures)
    with MibFile(tmp_path / "a.mib") as mib:
        assert mib.layout.stride_bytes > 16384
        for threads in (1, 3):
            table = mib.table(threads)
            assert table.sequence.tolist() == list(range(1, 51))
            np.testing.assert_array_equal(table.exposure_ns, exposures)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_header_is_read_alike_whatever_stands_around_it(data):
    times = st.integers(0, 4 * 10**18).map(lambda t: f"{np.datetime64(t, 'ns')}Z")
    change = st.fixed_dictionaries(
        {},
        optional={
            "sequence": st.integers(0, 10**8),
            "exposure_s": st.integers(0, 10**11).map(lambda t: t / 1e9),
            "timestamp": times,
            "pixel_type": st.sampled_from(["U16", "U08", "R64"]),
            "counter_depth_bit": st.sampled_from([12, 24, None]),
        },
    )
    encoded = []
    for values in data.draw(st.lists(change, min_size=1, max_size=25)):
        header = bytearray(altered(**values))
        for place, byte in data.draw(st.lists(st.tuples(st.integers(0, 383), st.integers(0, 255)), max_size=2)):
            header[place] = byte
        encoded.append(bytes(header))
    heads = heads_of(*encoded)
    assert rows_of(heads) == one_by_one(heads)


def test_a_table_of_nothing_is_empty():
    assert rows_of(np.empty((0, 384), np.uint8)) == []


def test_more_layouts_than_patterns_are_read_all_the_same():
    heads = heads_of(
        *(altered(sequence=10**place, exposure_s=10.0**power) for place in range(9) for power in range(-6, 3))
    )
    found = rows_of(heads)
    assert [row[0] for row in found] == [10**place for place in range(9) for _ in range(-6, 3)]
    assert [row[1] for row in found] == [10 ** (power + 9) for _ in range(9) for power in range(-6, 3)]
    assert parse_header(heads[-1].tobytes(), "a.mib").exposure_s == 100.0
