"""Bytes that no detector wrote: a DataError or a value marked as unknown, no other exception and not much memory."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stemcal.errors import DataError
from stemcal.formats.merlin import (
    FrameHeader,
    HeaderStyle,
    MibFile,
    check_last_frame,
    encode_header,
    inspect_mib,
    open_mib,
    parse_hdr,
    parse_header,
    parse_table,
    write_mib,
    write_series,
)

N_FRAMES = 4
SEEDS = {
    "U08": {"pixel_type": "U08"},
    "U16": {"pixel_type": "U16", "style": HeaderStyle(padding=b" ")},
    "R64 1 bit": {"pixel_type": "R64", "counter_depth_bit": 1},
    "R64 24 bit": {"pixel_type": "R64", "counter_depth_bit": 24, "style": HeaderStyle(thresholds=False, dacs=False)},
    "old": {"pixel_type": "U32", "style": HeaderStyle(time_block=False, local_time_format="%d/%m/%Y %H:%M:%S.%f")},
}
TOKENS = [
    b"MQ1,", b"MQ1A", b"R64", b"U08", b"U64", b",", b"\0", b"\xff", b"9999", b"0000", b"-1", b"1e999", b"nan", b"inf",
    b"ns", b"   Nx1", b"2x2", b"0001-01-01 00:00:00", b"9999-12-31T23:59:59.999999999Z", b"99999999999999999999999",
]  # fmt: skip
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FEW = settings(FUZZ, max_examples=50)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes, within: int) -> bytes:
    """Return ``whole`` with some bytes changed, put in or taken out, mostly among the first ``within``."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 5))):
        place = draw(st.integers(0, min(within, len(data))))
        piece = draw(st.one_of(st.sampled_from(TOKENS), st.binary(min_size=1, max_size=3)))
        end = draw(st.sampled_from([place, place + 1, place + len(piece), place + len(piece), place + 40]))
        data[place:end] = piece
    return bytes(data)


def whole_file(folder: Path, name: str) -> bytes:
    path = folder / "seed.mib"
    if not path.exists():
        write_mib(path, [np.ones((N_FRAMES, 3, 64), np.uint8)], assembly="1x1", **SEEDS[name])  # type: ignore[arg-type]
    return path.read_bytes()


@pytest.mark.parametrize("name", SEEDS)
@FUZZ
@given(data=st.data())
def test_a_header_is_parsed_or_refused(tmp_path, name, data):
    head = data.draw(damaged(whole_file(tmp_path, name)[:384], 384))
    with suppress(DataError):
        header = parse_header(head, "a.mib")
        assert header.payload_bytes > 0
        assert min(header.picture_shape) >= 1
        assert header.stride_bytes > header.header_bytes


@pytest.mark.parametrize("name", SEEDS)
@FEW
@given(data=st.data())
def test_a_file_is_read_or_refused(tmp_path, name, data):
    whole = whole_file(tmp_path, name)
    broken = data.draw(st.one_of(damaged(whole, 384), damaged(whole, len(whole))))
    length = data.draw(st.one_of(st.just(len(broken)), st.integers(0, len(broken))))
    path = tmp_path / "a.mib"
    path.write_bytes(broken[:length] + data.draw(st.binary(max_size=500)))
    with suppress(DataError):
        check_last_frame(path, inspect_mib(path))
    with suppress(DataError), MibFile(path) as mib:
        table = mib.table()
        assert len(table) == mib.n_frames
        assert table.sequence[0] in (-1, mib.header.sequence)
        assert mib.read(0, mib.n_frames).shape == (mib.n_frames, *mib.frame_shape)
        assert mib.read_records(0, mib.n_frames).size <= path.stat().st_size
        mib.check_unchanged()
        with suppress(DataError):
            assert len(mib.headers(0, mib.n_frames)) == mib.n_frames


@FUZZ
@given(heads=st.lists(st.binary(min_size=384, max_size=384), max_size=6), name=st.sampled_from(sorted(SEEDS)))
def test_a_table_of_anything_raises_nothing(tmp_path_factory, heads, name):
    folder = tmp_path_factory.getbasetemp() / f"seed-{name}"
    folder.mkdir(exist_ok=True)
    good = whole_file(folder, name)[:384]
    rows = np.frombuffer(b"".join([*heads, good, *heads]), np.uint8).reshape(-1, 384)
    table = parse_table(rows, parse_header(good, "a.mib"))
    assert len(table) == len(rows)
    assert table.sequence[len(heads)] == 1
    assert table.same_kind[len(heads)]


@FUZZ
@given(data=st.data())
def test_an_hdr_is_parsed_or_refused(data):
    whole = (
        b"HDR,\t\r\nFrames in Acquisition (Number):\t16\r\nFrames per Trigger (Number):\t4\r\nScanX:\t4\r\n"
        b"ScanY:\t4\r\nCounter Depth (number):\t12\r\nChip ID:\tW530_F5, - , - , - \r\nEnd\t"
    )
    with suppress(DataError):
        parse_hdr(data.draw(damaged(whole, len(whole))), "a.hdr")


@FEW
@given(data=st.data())
def test_a_series_is_read_or_refused(tmp_path, data):
    paths = write_series(tmp_path / "a.hdr", [np.ones((5, 3, 64), np.uint8)], 2, pixel_type="U08", assembly="1x1")
    target = data.draw(st.sampled_from(paths))
    target.write_bytes(data.draw(damaged(target.read_bytes(), 384)))
    with suppress(DataError), open_mib(paths[0]) as mib:
        assert len(mib.table()) == mib.n_frames == len(mib.read(0, mib.n_frames))


@pytest.mark.parametrize(
    "claim",
    [
        {"frame_shape": (9999, 9999), "pixel_type": "U64"},
        {"frame_shape": (10**12, 10**12), "pixel_type": "U08"},
        {"frame_shape": (9999, 9984), "pixel_type": "R64", "counter_depth_bit": 1},
    ],
)
def test_what_a_header_claims_is_not_allocated(tmp_path, claim):
    header = FrameHeader(1, 384, 1, (1, 1), "U08", "1x1", "2024-01-01T00:00:00Z", exposure_s=1.0, counter_depth_bit=6)
    path = tmp_path / "a.mib"
    path.write_bytes(encode_header(replace(header, **claim)) + bytes(1000))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="holds no whole frame"):
            MibFile(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_times_before_1970_are_unknown():
    header = FrameHeader(1, 384, 1, (1, 1), "U08", "1x1", local_time="0001-01-01 00:00:00.000000", exposure_s=1.0)
    heads = np.frombuffer(encode_header(header, time_block=False), np.uint8)[None]
    assert parse_table(heads, header).time_ns.tolist() == [-1]
