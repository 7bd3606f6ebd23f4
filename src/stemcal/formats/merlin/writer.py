"""Write ``.mib`` files and their ``.hdr``, header by header as Merlin does.

The values that no program reads back (thresholds, DACs, chip names) are constants taken from a real quad detector.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from stemcal.formats.merlin.hdr import FRAMES, FRAMES_PER_TRIGGER, write_hdr
from stemcal.formats.merlin.header import DEFAULT_DEPTH_BIT, HEADER_BYTES, ITEMSIZE, FrameHeader, encode_header
from stemcal.formats.merlin.layout import MibLayout, hdr_path_of, inspect_mib
from stemcal.records.atomic import atomic_path

CHIPS = {"1x1": 1, "2x2": 4}
READOUT_S = 95e-6
"""Dead time between two frames, typical of 12-bit readout."""

_CHIP_SELECT = {1: "01", 4: "0F"}
_CHIP_NAMES = ("W556_B4", "W556_J2", "W556_M5", "W556_G4")
_THRESHOLDS_KEV = (2.0, 511.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
_DACS = (11, 511, 0, 0, 0, 0, 0, 0, 175, 10, 200, 125, 100, 100, 93, 100, 99, 30, 128, 4, 255, 140, 128, 191, 179, 511)
_DACS_PER_CHIP = (*_DACS, 511)
_SOFTWARE = "1.5.0.12"


@dataclass(frozen=True)
class Clock:
    """When each frame is taken.

    Attributes
    ----------
    start : datetime
        First frame, in UTC.
    exposure_s : float
        Exposure of every frame.
    period_s : float
        Time from one frame to the next.
    """

    start: datetime
    exposure_s: float
    period_s: float

    def timestamp(self, index: int) -> str:
        """Return the UTC time of frame ``index`` (from 0) in Merlin's form, nine decimals and a Z."""
        nanoseconds = index * round(self.period_s * 1e9)
        moment = self.start + timedelta(microseconds=nanoseconds // 1000)
        return f"{moment:%Y-%m-%dT%H:%M:%S.%f}{nanoseconds % 1000:03d}Z"


def write_mib(
    path: Path,
    blocks: Iterable[NDArray[Any]],
    *,
    pixel_type: str = "U16",
    assembly: str = "2x2",
    scan_shape: tuple[int, int] | None = None,
    scan_in_hdr: bool = False,
    frames_in_acquisition: int | None = None,
    frames_per_trigger: int | None = None,
    exposure_s: float = 1e-3,
    start_time: datetime = datetime(2026, 1, 1, tzinfo=UTC),
    counter_depth_bit: int | None = None,
    with_hdr: bool = True,
) -> MibLayout:
    """Write frames to ``path`` and the settings to the ``.hdr`` beside it, both atomically.

    Parameters
    ----------
    path : Path
        The ``.mib`` file.
    blocks : iterable of ndarray
        Blocks of frames, each (n, det_row, det_col), of one frame shape; at least one frame in all.
    pixel_type : str
        ``U08``, ``U16`` or ``U32``.
    assembly : str
        ``1x1`` or ``2x2``.
    scan_shape : tuple of int, optional
        (scan_row, scan_col); the columns become the frames per trigger unless those are given.
    scan_in_hdr : bool
        Write ScanX and ScanY as software from 1.5 on does.
    frames_in_acquisition : int, optional
        What the ``.hdr`` promises; by default the frames written.
    frames_per_trigger : int, optional
        By default the scan columns, or 1.
    exposure_s : float
        Exposure per frame in seconds.
    start_time : datetime
        Time of the first frame, with a zone.
    counter_depth_bit : int, optional
        By default the one that goes with the pixel type.
    with_hdr : bool
        Write the ``.hdr``.

    Returns
    -------
    MibLayout
        What was written, read back.

    Raises
    ------
    ValueError
        If the pixel type or assembly is unknown, there is no frame, or a count does not fit the pixel type.
    """
    header = _first_header(pixel_type, assembly, exposure_s, counter_depth_bit)
    clock = Clock(start_time.astimezone(UTC), exposure_s, exposure_s + READOUT_S)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        count = _write_frames(file, blocks, header, clock, 0)
        if count == 0:
            raise ValueError(f"no frame was given for {path}: a .mib file has at least one")
    if with_hdr:
        per_trigger = frames_per_trigger if frames_per_trigger is not None else (scan_shape or (1, 1))[1]
        promised = count if frames_in_acquisition is None else frames_in_acquisition
        raw = _hdr_values(header, clock, promised, per_trigger, scan_shape if scan_in_hdr else None)
        write_hdr(hdr_path_of(path), raw)
    return inspect_mib(path)


def append_mib(path: Path, blocks: Iterable[NDArray[Any]]) -> MibLayout:
    """Append frames to a ``.mib`` file in place, as an acquisition that goes on does; the ``.hdr`` stays.

    Sequence numbers and times go on from what the first header says; a cut frame at the end is overwritten.

    Parameters
    ----------
    path : Path
        An existing ``.mib`` file.
    blocks : iterable of ndarray
        Blocks of frames, each (n, det_row, det_col), of the file's frame shape.
    """
    layout = inspect_mib(path)
    start = datetime.fromisoformat((layout.header.timestamp or "1970-01-01T00:00:00Z")[:26]).replace(tzinfo=UTC)
    exposure = layout.header.exposure_s or 0.0
    clock = Clock(start, exposure, exposure + READOUT_S)
    with path.open("r+b") as file:
        file.truncate(layout.n_whole_frames * layout.stride_bytes)
        file.seek(0, 2)
        _write_frames(file, blocks, layout.header, clock, layout.n_whole_frames)
    return inspect_mib(path)


def _first_header(pixel_type: str, assembly: str, exposure_s: float, depth: int | None) -> FrameHeader:
    if pixel_type not in ITEMSIZE:
        raise ValueError(f"pixel type '{pixel_type}' cannot be written; known are {', '.join(ITEMSIZE)}")
    if assembly not in CHIPS:
        raise ValueError(f"assembly '{assembly}' cannot be written; known are {', '.join(CHIPS)}")
    chips = CHIPS[assembly]
    return FrameHeader(
        sequence=1,
        header_bytes=HEADER_BYTES[chips],
        n_chips=chips,
        frame_shape=(1, 1),
        pixel_type=pixel_type,
        assembly=assembly,
        exposure_s=exposure_s,
        counter_depth_bit=DEFAULT_DEPTH_BIT[pixel_type] if depth is None else depth,
        chip_select=_CHIP_SELECT[chips],
        thresholds_kev=_THRESHOLDS_KEV,
        dacs=(_DACS_PER_CHIP,) * chips,
    )


def _write_frames(file: BinaryIO, blocks: Iterable[NDArray[Any]], header: FrameHeader, clock: Clock, first: int) -> int:
    """Write the frames behind frame number ``first`` and return how many there were."""
    index = first
    for frames in blocks:
        for record in _records(frames, header, clock, index):
            file.write(record)
        index += len(frames)
    return index - first


def _records(frames: NDArray[Any], header: FrameHeader, clock: Clock, first: int) -> Iterator[bytes]:
    """Yield header and pixels of each frame of one block."""
    pixels = _big_endian(frames, header.pixel_type)
    shape = (int(frames.shape[1]), int(frames.shape[2]))
    for offset, frame in enumerate(pixels):
        index = first + offset
        time = clock.timestamp(index)
        mine = replace(header, sequence=index + 1, frame_shape=shape, timestamp=time, local_time=None)
        yield encode_header(mine) + frame.tobytes()


def _big_endian(frames: NDArray[Any], pixel_type: str) -> NDArray[Any]:
    """Return the counts in the file's type.

    Raises
    ------
    ValueError
        If a count is negative or too large for it.
    """
    target = np.dtype(f">u{ITEMSIZE[pixel_type]}")
    limit = int(np.iinfo(target).max)
    if frames.size and (int(frames.max()) > limit or int(frames.min()) < 0):
        raise ValueError(f"counts {frames.min()} to {frames.max()} do not fit {pixel_type} (0 to {limit})")
    return frames.astype(target)


def _hdr_values(
    header: FrameHeader, clock: Clock, n_frames: int, per_trigger: int, scan_shape: tuple[int, int] | None
) -> dict[str, str]:
    """Return the keys of the ``.hdr`` in Merlin's order."""
    names = [*_CHIP_NAMES[: header.n_chips], *[" - "] * (4 - header.n_chips)]
    scan = {} if scan_shape is None else {"ScanX": str(scan_shape[1]), "ScanY": str(scan_shape[0])}
    return {
        "Time and Date Stamp (day, mnth, yr, hr, min, s)": f"{clock.start:%d/%m/%Y %H:%M:%S}",
        "Chip ID": ",".join(names),
        "Chip Type (Medipix 3.0, Medipix 3.1, Medipix 3RX)": "Medipix 3RX",
        "Assembly Size (NX1, 2X2)": f"{header.assembly:>6s}",
        "Chip Mode  (SPM, CSM, CM, CSCM)": "SPM",
        "Counter Depth (number)": str(header.counter_depth_bit),
        "Gain": "SLGM",
        "Active Counters": "Counter 0",
        "Gap Fill Mode": "None",
        "Flat Field File": "None",
        "Acquisition Type (Normal, Th_scan, Config)": "Normal",
        FRAMES: str(n_frames),
        FRAMES_PER_TRIGGER: str(per_trigger),
        **scan,
        "Trigger Start (Positive, Negative, Internal)": "Rising Edge",
        "Trigger Stop (Positive, Negative, Internal)": "Internal",
        "Sensor Bias (V)": "120 V",
        "Readout System": "Merlin Quad",
        "Software Version": _SOFTWARE,
    }
