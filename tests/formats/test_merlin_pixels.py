"""Every mode of pixels: written and read back, real raw frames against processed ones, our raw files in LiberTEM."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stemcal.formats.merlin import FrameHeader, HeaderStyle, MibFile, check_last_frame, parse_header, write_mib
from stemcal.formats.merlin.pixels import decode, encode, picture_dtype, raw_frame_shape

PROCESSED = [("U01", 1, 1), ("U08", 1, 8), ("U08", 6, 8), ("U16", 12, 16), ("U32", 24, 32), ("U64", 24, 62)]
RAW = [("R64", depth, depth) for depth in (1, 6, 12, 24)]
MODES = [(kind, depth, bits, assembly) for kind, depth, bits in [*PROCESSED, *RAW] for assembly in ("1x1", "2x2")]
ITEMSIZE = {1: 1, 6: 1, 8: 1, 12: 2, 16: 2, 24: 4, 32: 4, 62: 8}
SMALL = {"1x1": (5, 64), "2x2": (10, 128)}


def pictures(bits: int, shape: tuple[int, int], n: int = 3, seed: int = 0) -> np.ndarray:
    """Return counts of all sizes that ``bits`` can hold, without any symmetry."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2 ** rng.integers(1, bits + 1, (n, *shape)), dtype=np.int64)


@pytest.mark.parametrize(("kind", "depth", "bits", "assembly"), MODES)
def test_every_mode_survives_the_file(tmp_path, kind, depth, bits, assembly):
    frames = pictures(bits, SMALL[assembly])
    path = tmp_path / "a.mib"
    layout = write_mib(path, [frames[:1], frames[1:]], pixel_type=kind, assembly=assembly, counter_depth_bit=depth)
    check_last_frame(path, layout)
    assert (layout.n_whole_frames, layout.trailing_bytes) == (3, 0)
    with MibFile(path) as mib:
        found = mib.read(0, 3)
        np.testing.assert_array_equal(mib.read(1, 2), frames[1:2])
        assert mib.frame_shape == SMALL[assembly]
        assert mib.dtype == found.dtype == np.dtype(f"u{ITEMSIZE[bits]}")
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, frames)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_file_survives_the_round_trip(tmp_path, data):
    kind, depth, bits, assembly = data.draw(st.sampled_from(MODES))
    rows, cols = (data.draw(st.integers(1, top)) for top in (6, 3))
    shape = (2 * rows, 128 * cols) if assembly == "2x2" else (rows, 64 * cols)
    frames = pictures(bits, shape, data.draw(st.integers(1, 4)), data.draw(st.integers(0, 99)))
    style = HeaderStyle(
        thresholds=data.draw(st.booleans()),
        dacs=data.draw(st.booleans()),
        padding=data.draw(st.sampled_from([b"\0", b" "])),
    )
    path = tmp_path / "a.mib"
    write_mib(path, [frames], pixel_type=kind, assembly=assembly, counter_depth_bit=depth, style=style)
    with MibFile(path) as mib:
        np.testing.assert_array_equal(mib.read(0, len(frames)), frames)
        table = mib.table()
        header = mib.headers(0, 1)[0]
    assert table.same_kind.all()
    assert table.sequence.tolist() == list(range(1, len(frames) + 1))
    assert (bool(header.thresholds_kev), bool(header.dacs)) == (style.thresholds, style.dacs)


@pytest.mark.parametrize(
    ("depth", "assembly", "picture", "stated", "payload"),
    [
        (1, "1x1", (256, 256), (256, 256), 8192),
        (24, "1x1", (256, 256), (256, 512), 262144),
        (1, "2x2", (512, 512), (256, 1024), 32768),
        (6, "2x2", (512, 512), (256, 1024), 262144),
        (12, "2x2", (512, 512), (256, 1024), 524288),
        (24, "2x2", (512, 512), (256, 2048), 1048576),
        (12, "2x2", (256, 512), (128, 1024), 262144),
        (12, "1x1", (64, 256), (64, 256), 32768),
    ],
)
def test_raw_headers_state_what_the_real_ones_do(tmp_path, depth, assembly, picture, stated, payload):
    layout = write_mib(
        tmp_path / "a.mib",
        [np.zeros((1, *picture), int)],
        pixel_type="R64",
        assembly=assembly,
        counter_depth_bit=depth,
    )
    assert layout.header.frame_shape == stated
    assert layout.header.payload_bytes == payload
    assert layout.header.picture_shape == picture


def test_the_order_within_a_word_is_that_of_the_chips():
    header = FrameHeader(1, 384, 1, (1, 64), "R64", "1x1", counter_depth_bit=12)
    payload = encode(np.arange(64).reshape(1, 1, 64), header)
    assert payload[0, :8].tolist() == [0, 3, 0, 2, 0, 1, 0, 0]
    ones = replace(header, counter_depth_bit=1)
    assert encode(np.eye(1, 64, dtype=int)[None], ones).tolist() == [[0, 0, 0, 0, 0, 0, 0, 1]]
    double = replace(header, counter_depth_bit=24, frame_shape=raw_frame_shape((1, 4), 1, 24))
    assert encode(np.array([[[0xABC123, 0, 0, 0]]]), double).tolist() == [[*[0] * 6, 0xA, 0xBC, *[0] * 6, 1, 0x23]]


def test_arrays_of_the_wrong_size_are_misuse():
    header = FrameHeader(1, 384, 1, (1, 64), "R64", "1x1", counter_depth_bit=12)
    payload = np.zeros((2, 128), np.uint8)
    with pytest.raises(ValueError, match="a frame has 128 bytes"):
        decode(payload[:, :-1], header)
    for wrong in (
        np.zeros((2, 1, 64), np.int16),
        np.zeros((2, 64, 1), np.uint16),
        np.zeros((2, 1, 128), "u2")[..., ::2],
    ):
        with pytest.raises(ValueError, match=r"it must be contiguous uint16 \(2, 1, 64\)"):
            decode(payload, header, wrong)


def real_pair(shared_data: Path, assembly: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the raw and the processed 1-bit frames of one detector, taken two seconds apart."""
    stacks = []
    with zipfile.ZipFile(shared_data / "merlin" / "Merlin_Single_Quad.zip") as zipped:
        for suffix in ("RAW", ""):
            name = f"{assembly}_9_Frame_CounterDepth_1_Rows_256{suffix}.mib"
            data = np.frombuffer(zipped.read(name), np.uint8)
            header = parse_header(data[:768].tobytes(), name)
            payload = data.reshape(-1, header.stride_bytes)[:, header.header_bytes :]
            stacks.append(decode(payload, header))
            np.testing.assert_array_equal(encode(stacks[-1], header), payload, err_msg=name)
    return stacks[0], stacks[1]


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.mean(axis=0).ravel(), second.mean(axis=0).ravel())[0, 1])


@pytest.mark.shared
@pytest.mark.parametrize("assembly", ["Single", "Quad"])
def test_real_raw_frames_show_the_noise_of_the_processed_ones(shared_data, assembly):
    raw, processed = real_pair(shared_data, assembly)
    assert raw.shape == processed.shape
    assert correlation(raw, processed) > 0.99
    assert correlation(raw[:, ::-1, ::-1], processed) < 0.6
    assert correlation(raw[:, ::-1], processed) < 0.6
    assert correlation(raw[:, :, ::-1], processed) < 0.6


@pytest.mark.shared
def test_no_other_mosaic_shows_it(shared_data):
    raw, processed = real_pair(shared_data, "Quad")
    assert correlation(np.roll(raw, 256, axis=1), processed) < 0.6
    assert correlation(np.roll(raw, 256, axis=2), processed) < 0.6
    chips = raw.reshape(9, 2, 256, 2, 256)
    assert correlation(chips[:, :, ::-1, :, ::-1].reshape(raw.shape), processed) < 0.6
    in_words = raw.reshape(*raw.shape[:2], 8, 64)[..., ::-1].reshape(raw.shape)
    assert correlation(in_words, processed) < 0.6


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("depth", [1, 6, 12])
@pytest.mark.parametrize(("assembly", "shape"), [("1x1", (256, 256)), ("2x2", (512, 512)), ("1x1", (128, 256))])
def test_libertem_decodes_our_raw_files_alike(tmp_path, depth, assembly, shape):
    import libertem.api as lt
    from libertem.io.dataset.base import BufferedBackend
    from libertem.udf.raw import PickUDF

    frames = pictures(depth, shape, n=2)
    mib = tmp_path / "a.mib"
    write_mib(mib, [frames], pixel_type="R64", assembly=assembly, counter_depth_bit=depth, scan_shape=(1, 2))
    with lt.Context.make_with("inline") as context:
        # its memory map refuses raw frames of 1 bit, and fails on those of 6 bit when other tests ran before
        dataset = context.load("mib", path=str(mib.with_suffix(".hdr")), io_backend=BufferedBackend())
        assert tuple(dataset.shape) == (1, 2, *shape)
        theirs = context.run_udf(dataset, PickUDF())["intensity"].raw_data
    np.testing.assert_array_equal(theirs.reshape(frames.shape), frames)
    with MibFile(mib) as ours:
        np.testing.assert_array_equal(ours.read(0, 2), frames)
        assert ours.dtype == picture_dtype(ours.header)
