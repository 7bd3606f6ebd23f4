"""What the writer puts into the header of each frame: number, exposure, times, and the habits of the software."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from numpy.typing import NDArray

from stemcal.formats.merlin.header import DEFAULT_DEPTH_BIT, HEADER_BYTES, FrameHeader, encode_header

CHIPS = {"1x1": 1, "2x2": 4}

_CHIP_SELECT = {1: "01", 4: "0F"}
_THRESHOLDS_KEV = (2.0, 511.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
_DACS = (11, 511, 0, 0, 0, 0, 0, 0, 175, 10, 200, 125, 100, 100, 93, 100, 99, 30, 128, 4, 255, 140, 128, 191, 179, 511)
_DACS_PER_CHIP = (*_DACS, 511)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Numbers = NDArray[Any] | Sequence[int]


@dataclass(frozen=True)
class HeaderStyle:
    """How a version of the detector's software writes its headers; by default as in 2021 to 2024.

    Attributes
    ----------
    thresholds, dacs : bool
        Write them, or leave their place empty as the software of 2019 does for R64.
    padding : bytes
        NUL or a blank.
    time_block : bool
        Write the ``MQ1A`` block with UTC time, exposure in ns and counter depth; the oldest software does not.
    local_time_format : str
        `datetime.strftime` form of the local time; ``%d/%m/%Y %H:%M:%S.%f`` in the oldest.
    """

    thresholds: bool = True
    dacs: bool = True
    padding: bytes = b"\0"
    time_block: bool = True
    local_time_format: str = "%Y-%m-%d %H:%M:%S.%f"


@dataclass(frozen=True)
class Stamps:
    """Number, exposure and time of each frame.

    Attributes
    ----------
    start_ns : int
        Time of the first frame, nanoseconds since 1970 in UTC.
    exposure_s : float
        Exposure of every frame.
    period_s : float
        Time from one frame to the next.
    sequence, exposure_ns, time_ns : array of int or None
        One per frame of the acquisition where the rule above is not to hold: numbers that jump, exposures of fly-back
        frames, times that jitter. By default numbers count from 1.
    """

    start_ns: int
    exposure_s: float
    period_s: float
    sequence: Numbers | None = None
    exposure_ns: Numbers | None = None
    time_ns: Numbers | None = None

    def header(self, base: FrameHeader, index: int, style: HeaderStyle) -> FrameHeader:
        """Return ``base`` with the values of frame ``index``, from 0."""
        time_ns = self.start_ns + index * round(self.period_s * 1e9) if self.time_ns is None else self.time_ns[index]
        moment = _EPOCH + timedelta(microseconds=int(time_ns) // 1000)
        return replace(
            base,
            sequence=index + 1 if self.sequence is None else int(self.sequence[index]),
            timestamp=f"{moment:%Y-%m-%dT%H:%M:%S.%f}{int(time_ns) % 1000:03d}Z",
            local_time=moment.strftime(style.local_time_format),
            exposure_s=self.exposure_s if self.exposure_ns is None else int(self.exposure_ns[index]) / 1e9,
        )


def nanoseconds(moment: datetime) -> int:
    """Return the nanoseconds since 1970 of a time with a zone."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def base_header(pixel_type: str, assembly: str, depth: int | None, style: HeaderStyle) -> FrameHeader:
    """Return a header that lacks only what differs from frame to frame, and the frame shape.

    Raises
    ------
    ValueError
        If the pixel type or assembly is unknown.
    """
    if pixel_type not in DEFAULT_DEPTH_BIT:
        raise ValueError(f"pixel type '{pixel_type}' cannot be written; known are {', '.join(DEFAULT_DEPTH_BIT)}")
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
        counter_depth_bit=DEFAULT_DEPTH_BIT[pixel_type] if depth is None else depth,
        chip_select=_CHIP_SELECT[chips],
        thresholds_kev=_THRESHOLDS_KEV if style.thresholds else (),
        dacs=(_DACS_PER_CHIP,) * chips if style.dacs else (),
    )


def header_bytes_of(header: FrameHeader, style: HeaderStyle) -> bytes:
    """Return the header as that software writes it."""
    return encode_header(header, padding=style.padding, time_block=style.time_block)
