"""The ASCII header in front of every Merlin frame: bytes to a typed record and back, no I/O.

Fields, comma separated, in this order: ``MQ1``, sequence number (from 1), header bytes, number of chips, columns, rows,
pixel type, assembly, chip select (hexadecimal), local time, exposure (s), counter, colour mode, gain; then, unless the
software left them out, eight thresholds (keV) and per chip its type and 27 DAC values; then ``MQ1A``, UTC time with
nanoseconds, exposure (``<n>ns``) and counter depth; then NUL or blank padding. Whatever stands between the gain and
``MQ1A`` varies with the software, so the last block is found by its name and never by its position.

Columns and rows are those of the picture for U types. For R64 they describe the chips' own read-out: the chips side by
side, and with 24 bit twice as many columns; `FrameHeader.picture_shape` is the shape of the picture.

Source: real files of 2019 to 2024 (RosettaSciIO's test data, ePSIC's samples) and the Merlin manual's field list.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from stemcal.errors import DataError

MAGIC = b"MQ1,"
HEADER_BYTES = {1: 384, 4: 768}
"""Header length by number of chips, as Merlin writes it."""

ITEMSIZE = {"U01": 1, "U08": 1, "U16": 2, "U32": 4, "U64": 8}
"""Bytes per pixel of the processed pixel types, in the file and in memory.

U01 is one byte per pixel as in ePSIC's converter, whose table is the only public code that knows the name; no file of
that type has been seen, and one with eight pixels per byte would be refused for its frame size.
"""

RAW = "R64"
RAW_ITEMSIZE = {1: 1, 6: 1, 12: 2, 24: 4}
"""Bytes per decoded pixel of R64 by counter depth."""

DEFAULT_DEPTH_BIT = {"U01": 1, "U08": 6, "U16": 12, "U32": 24, "U64": 24, RAW: 12}
MAX_HEADER_BYTES = 4096

_RAW_BITS = {1: 1, 6: 8, 12: 16, 24: 16}
"""Bits in the file per pixel of an R64 header's columns x rows; a 24-bit header counts each pixel twice."""

_WORD_BITS = 64
_QUAD = 4

_LOCAL_FORMATS = ("%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S", "%d/%m/%Y %H:%M:%S.%f", "%d/%m/%Y %H:%M:%S")
_MIN_FIELDS = 9
_REMEDY = "check that it is a Merlin .mib file and that it was copied whole"


@dataclass(frozen=True)
class FrameHeader:
    """One frame's header.

    Attributes
    ----------
    sequence : int
        Number of the frame in the acquisition, from 1.
    header_bytes : int
        Length of the header with its padding.
    n_chips : int
        1 or 4 in the assemblies we know.
    frame_shape : tuple of int
        (det_row, det_col) as the header says; for R64 that is the chips side by side, not the picture.
    pixel_type : str
        ``U01``, ``U08``, ``U16``, ``U32``, ``U64`` or ``R64``.
    assembly : str
        ``1x1`` or ``2x2``, sometimes with a ``G`` (gap filled).
    timestamp : str or None
        ISO 8601; in UTC and ending in ``Z`` where the ``MQ1A`` block is there, otherwise local time without a zone.
    local_time : str or None
        Local time as the header has it.
    exposure_s : float or None
        Exposure of this frame in seconds.
    counter_depth_bit : int or None
        1, 6, 12 or 24; None where the software is too old to say.
    chip_select : str
        Which chips are on, hexadecimal.
    thresholds_kev : tuple of float
        Thresholds in keV, empty where left out.
    dacs : tuple of tuple of int
        Per chip its DAC values, empty where left out.
    """

    sequence: int
    header_bytes: int
    n_chips: int
    frame_shape: tuple[int, int]
    pixel_type: str
    assembly: str
    timestamp: str | None = None
    local_time: str | None = None
    exposure_s: float | None = None
    counter_depth_bit: int | None = None
    chip_select: str = "01"
    thresholds_kev: tuple[float, ...] = ()
    dacs: tuple[tuple[int, ...], ...] = ()

    @property
    def picture_shape(self) -> tuple[int, int]:
        """(det_row, det_col) of the picture: a raw quad's four chips side by side are two rows of two."""
        rows, cols = self.frame_shape
        if self.pixel_type != RAW:
            return self.frame_shape
        cols //= self.n_planes
        return (2 * rows, cols // 2) if self.n_chips == _QUAD else (rows, cols)

    @property
    def n_planes(self) -> int:
        """Sub-frames of one frame: two of 12 bit each in R64 of 24 bit, otherwise one."""
        return 2 if self.pixel_type == RAW and self.counter_depth_bit == 24 else 1

    @property
    def itemsize(self) -> int:
        """Bytes per pixel of the picture in memory."""
        return RAW_ITEMSIZE[self.counter_depth_bit or 0] if self.pixel_type == RAW else ITEMSIZE[self.pixel_type]

    @property
    def payload_bytes(self) -> int:
        """Bytes of the pixels of one frame."""
        pixels = self.frame_shape[0] * self.frame_shape[1]
        if self.pixel_type in ITEMSIZE:
            return pixels * ITEMSIZE[self.pixel_type]
        return pixels * _RAW_BITS[self.counter_depth_bit or 0] // 8

    @property
    def stride_bytes(self) -> int:
        """Bytes from one frame to the next."""
        return self.header_bytes + self.payload_bytes


def parse_header(data: bytes, path: Path | str) -> FrameHeader:
    """Read one frame header.

    Parameters
    ----------
    data : bytes
        The first bytes of a frame, at least the header; what follows the header is not looked at.
    path : Path or str
        The file they come from, for the message.

    Raises
    ------
    DataError
        If the bytes are not a Merlin header, or one of a kind that we do not know.
    """
    if not data.startswith(MAGIC):
        found = data[:16].decode("ascii", "backslashreplace").replace("\0", "\\0")
        raise DataError(path, f"does not begin with a Merlin frame header (MQ1, ...) but with '{found}'", _REMEDY)
    fields = _fields(data)
    if len(fields) < _MIN_FIELDS:
        raise DataError(
            path, f"has a Merlin header of {len(fields)} fields where at least {_MIN_FIELDS} belong", _REMEDY
        )
    timing = _timing(fields, path)
    thresholds, dacs = _settings_block(fields)
    rows = _integer(fields, 5, "number of rows", path)
    header = FrameHeader(
        sequence=_integer(fields, 1, "sequence number", path),
        header_bytes=_integer(fields, 2, "header size", path),
        n_chips=_integer(fields, 3, "number of chips", path),
        frame_shape=(rows, _integer(fields, 4, "number of columns", path)),
        pixel_type=fields[6].strip(),
        assembly=fields[7].strip(),
        chip_select=fields[8].strip(),
        timestamp=timing[0],
        local_time=fields[9].strip() if len(fields) > _MIN_FIELDS else None,
        exposure_s=timing[1],
        counter_depth_bit=timing[2],
        thresholds_kev=thresholds,
        dacs=dacs,
    )
    _check(header, path)
    return header


def encode_header(header: FrameHeader, *, padding: bytes = b"\0", time_block: bool = True) -> bytes:
    """Write ``header`` as Merlin does.

    Parameters
    ----------
    header : FrameHeader
        What to write; without thresholds and DACs their place is left empty, as software of 2019 does for R64.
    padding : bytes
        One byte, NUL or a blank, repeated up to ``header_bytes``.
    time_block : bool
        Write the ``MQ1A`` block; older software has none.

    Raises
    ------
    ValueError
        If the text does not fit into ``header_bytes``.
    """
    rows, cols = header.frame_shape
    utc = header.timestamp or ""
    local = header.local_time or utc.rstrip("Z").replace("T", " ")[:26]
    exposure = header.exposure_s or 0.0
    start = (
        f"MQ1,{header.sequence:06d},{header.header_bytes:05d},{header.n_chips:02d},{cols:04d},{rows:04d},"
        f"{header.pixel_type},{header.assembly:>6s},{header.chip_select},{local},{exposure:.6f},0,0,0,"
    )
    thresholds = "".join(f"{_exponent(value)}," for value in header.thresholds_kev)
    chips = "".join("3RX," + "".join(f"{value:03d}," for value in chip) for chip in header.dacs)
    depth = "" if header.counter_depth_bit is None else f"{header.counter_depth_bit}"
    block = f"MQ1A,{utc},{round(exposure * 1e9)}ns,{depth}," if time_block else ""
    encoded = f"{start}{thresholds}{chips or ('' if thresholds else ',')}{block}".encode("ascii")
    if len(encoded) > header.header_bytes:
        raise ValueError(f"the header needs {len(encoded)} bytes, more than its header_bytes of {header.header_bytes}")
    return encoded.ljust(header.header_bytes, padding)


def _exponent(value: float) -> str:
    """Format as Merlin's software does: ``5.110000E+2``, the exponent without padding."""
    mantissa, exponent = f"{value:.6E}".split("E")
    return f"{mantissa}E{int(exponent):+d}"


def _fields(data: bytes) -> list[str]:
    """Split the header into fields, without the padding and the empty field before it."""
    size_text = data[11:16]
    size = int(size_text) if size_text.isdigit() else MAX_HEADER_BYTES
    fields = data[:size].rstrip(b"\0 ").decode("ascii", "replace").split(",")
    while fields and not fields[-1].strip():
        fields.pop()
    return fields


def _integer(fields: list[str], index: int, name: str, path: Path | str) -> int:
    text = fields[index].strip()
    if not text.isdecimal():
        problem = f"has '{text}' for the {name} in its Merlin header, where a whole number belongs"
        raise DataError(path, problem, _REMEDY)
    return int(text)


def _timing(fields: list[str], path: Path | str) -> tuple[str | None, float | None, int | None]:
    """Return (timestamp, exposure in seconds, counter depth in bits) from the ``MQ1A`` block or the older fields."""
    if "MQ1A" in fields:
        block = [*fields[fields.index("MQ1A") + 1 :], "", "", ""]
        depth_text = block[2].strip()
        depth = int(depth_text) if depth_text.isdecimal() else None
        exposure_ns = _number(block[1].strip().removesuffix("ns"))
        if block[0] and exposure_ns is not None and exposure_ns >= 0:
            return block[0].strip(), exposure_ns / 1e9, depth
        raise DataError(path, f"has a time block in its Merlin header that reads '{','.join(block[:3])}'", _REMEDY)
    local = fields[9].strip() if len(fields) > _MIN_FIELDS else ""
    exposure = fields[10].strip() if len(fields) > _MIN_FIELDS + 1 else ""
    return local_time_iso(local), _number(exposure), None


def local_time_iso(text: str) -> str | None:
    """Return the local time field as ISO 8601 without a zone, None if it is in no format that we know."""
    for form in _LOCAL_FORMATS:
        try:
            moment = datetime.strptime(text[:26], form)  # noqa: DTZ007 - the header does not say the zone
        except ValueError:
            continue
        return moment.isoformat(timespec="microseconds")
    return None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _settings_block(fields: list[str]) -> tuple[tuple[float, ...], tuple[tuple[int, ...], ...]]:
    """Return thresholds (keV) and DACs per chip from between the gain and ``MQ1A``; empty where left out."""
    end = fields.index("MQ1A") if "MQ1A" in fields else len(fields)
    thresholds: list[float] = []
    dacs: list[list[int]] = []
    for field in fields[14:end]:
        text = field.strip()
        if not text:
            continue
        value = _number(text)
        if value is None:
            dacs.append([])
        elif dacs:
            dacs[-1].append(int(value))
        else:
            thresholds.append(value)
    return tuple(thresholds), tuple(tuple(chip) for chip in dacs)


def _check(header: FrameHeader, path: Path | str) -> None:
    """Refuse a header whose numbers cannot be true, or of a kind that has no known size."""
    if not len(MAGIC) < header.header_bytes <= MAX_HEADER_BYTES:
        problem = f"has a Merlin header that claims {header.header_bytes} bytes (at most {MAX_HEADER_BYTES})"
        raise DataError(path, problem, _REMEDY)
    if min(header.frame_shape) < 1 or header.n_chips < 1:
        shape = f"{header.frame_shape[0]} rows x {header.frame_shape[1]} columns on {header.n_chips} chips"
        raise DataError(path, f"has a Merlin header of {shape}", _REMEDY)
    kind = kind_problem(header)
    if kind is not None:
        raise DataError(path, f"holds {kind}", "save the acquisition as U08, U16 or U32 in the Merlin software")


def kind_problem(header: FrameHeader) -> str | None:
    """Return why the size or arrangement of such pixels is not known, None if it is."""
    if header.pixel_type in ITEMSIZE:
        return None
    if header.pixel_type != RAW:
        return f"pixels of type '{header.pixel_type}'; known are {', '.join(ITEMSIZE)} and {RAW}"
    if header.counter_depth_bit not in _RAW_BITS:
        return f"R64 pixels of counter depth {header.counter_depth_bit}; known are {sorted(_RAW_BITS)}"
    if header.n_chips != 1 and (header.n_chips != _QUAD or not header.assembly.startswith("2x2")):
        return f"R64 pixels of {header.n_chips} chips ('{header.assembly}'); known are single chips and quads"
    row_bits = header.frame_shape[1] * _RAW_BITS[header.counter_depth_bit]
    if row_bits % (_WORD_BITS * header.n_chips * header.n_planes):
        return f"R64 pixels in rows of {header.frame_shape[1]}, which are no whole 64-bit words for each chip"
    return None
