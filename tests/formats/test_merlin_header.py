"""The frame header: bytes to record and back, in every form that is known, with no file."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stemcal.errors import DataError
from stemcal.formats.merlin import FrameHeader, encode_header, parse_header
from stemcal.formats.merlin.table import sequence_numbers

DACS = (11, 511, *(0,) * 25)
HEADER = FrameHeader(
    sequence=7,
    header_bytes=768,
    n_chips=4,
    frame_shape=(512, 256),
    pixel_type="U16",
    assembly="2x2",
    timestamp="2024-11-13T11:00:35.000601001Z",
    local_time="2024-11-13 12:00:35.000601",
    exposure_s=6e-4,
    counter_depth_bit=12,
    chip_select="0F",
    thresholds_kev=(2.0, 511.0),
    dacs=(DACS,) * 4,
)
START = "MQ1,000001,00384,01,0256,0128,U16,   1x1,01,"


def parse(text: str, padding: bytes = b"\0") -> FrameHeader:
    return parse_header(text.encode().ljust(384, padding) + b"\x07\x08", Path("a.mib"))


def test_a_header_survives_the_round_trip():
    assert parse_header(encode_header(HEADER) + b"pixels", "a.mib") == HEADER


@pytest.mark.shared
@pytest.mark.parametrize("archive", ["Merlin_Single_Quad.zip", "Merlin_navigation4x2_ROI.zip"])
def test_every_real_header_is_parsed_and_written_again_to_the_byte(shared_data, archive):
    with zipfile.ZipFile(shared_data / "merlin" / archive) as zipped:
        names = [name for name in zipped.namelist() if name.endswith(".mib")]
        assert len(names) >= 2
        for name in names:
            data = zipped.read(name)
            header = parse_header(data, name)
            assert encode_header(header) == data[: header.header_bytes], name
            assert len(data) % header.stride_bytes == 0, name
            assert f"CounterDepth_{header.counter_depth_bit}_" in name or "6bit" in name


@pytest.mark.parametrize("padding", [b"\0", b" "])
@pytest.mark.parametrize("middle", ["2.0E+0,5.1E+2,3RX,011,511,", "2.0E+0,5.1E+2,", ","])
def test_thresholds_dacs_and_padding_may_vary(middle, padding):
    tail = "MQ1A,2021-04-15T13:43:47.008505401Z,1000000ns,12,"
    header = parse(f"{START}2021-04-15 14:43:47.008505,0.001000,0,0,0,{middle}{tail}", padding)
    assert header.frame_shape == (128, 256)
    assert (header.timestamp, header.exposure_s) == ("2021-04-15T13:43:47.008505401Z", 1e-3)
    assert header.counter_depth_bit == 12
    assert header.thresholds_kev == ((2.0, 510.0) if "E" in middle else ())
    assert header.dacs == (((11, 511),) if "3RX" in middle else ())


@pytest.mark.parametrize(
    "form", ["2019-06-01 09:08:07.123456", "1/6/2019 09:08:07.123456", "01/06/2019 09:08:07.123456"]
)
def test_old_software_without_the_last_block_gives_local_time(form):
    header = parse(f"{START}{form},0.002000,0,0,0,2.0E+0,3RX,011,")
    assert header.timestamp == "2019-06-01T09:08:07.123456"
    assert (header.exposure_s, header.counter_depth_bit) == (2e-3, None)


def test_a_control_character_before_the_depth_is_a_blank():
    assert parse(f"{START}t,0,0,0,0,,MQ1A,2024-01-01T00:00:00Z,1ns,\x1f12,").counter_depth_bit == 12


def test_an_unknown_time_is_no_error():
    assert parse(f"{START}yesterday,soon,0,0,0,").timestamp is None


@pytest.mark.parametrize(
    ("depth", "shape", "payload"),
    [(1, (256, 1024), 32768), (6, (256, 1024), 262144), (12, (256, 1024), 524288), (24, (256, 2048), 1048576)],
)
def test_raw_frames_have_the_sizes_of_the_real_ones(depth, shape, payload):
    raw = replace(HEADER, pixel_type="R64", frame_shape=shape, counter_depth_bit=depth)
    assert parse_header(encode_header(raw), "a.mib").payload_bytes == payload


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\x89HDF\r\n", "does not begin with a Merlin frame header"),
        ("MQ1,000001,00384,01", "4 fields"),
        (START.replace("0128", "many"), "'many' for the number of rows"),
        (START.replace("0128", "0000"), "0 rows x 256 columns"),
        (START.replace("00384", "99999"), "claims 99999 bytes"),
        (START.replace("U16", "U99"), "pixels of type 'U99'; known are U01, U08, U16, U32, U64 and R64"),
        (START.replace("U16", "R64"), "R64 pixels of counter depth None"),
        (START + "t,0,0,0,0,MQ1A,now,never", "time block"),
    ],
)
def test_what_is_no_header_is_refused_with_file_finding_and_remedy(text, words):
    with pytest.raises(DataError, match=r"a\.mib") as refusal:
        parse(text)
    assert words in refusal.value.problem
    assert refusal.value.remedy


def test_a_header_that_does_not_fit_is_not_written():
    with pytest.raises(ValueError, match="more than its header_bytes of 384"):
        encode_header(replace(HEADER, header_bytes=384))


def test_sequence_numbers_are_read_in_one_go_and_bad_headers_are_marked():
    rows = [
        b"MQ1,000001,0",
        b"MQ1,999999,0",
        b"MQ1,1000000,",
        b"MQ1,00x003,0",
        b"\0" * 12,
        b"MQ2,000001,0",
        b"MQ1,12345678",
    ]
    heads = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 12)
    assert sequence_numbers(heads).tolist() == [1, 999999, 1000000, -1, -1, -1, -1]
