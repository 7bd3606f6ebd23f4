"""What every header of an acquisition says, many thousand headers at a time: bytes to arrays, no I/O.

Headers of one acquisition are alike: the same bytes at the same places, except for the digits of a few numbers. So one
header is read with care, and all that differ from it in those digits only are read with it at once, their digits
being weighed by powers of ten in one matrix product. A header with its fields elsewhere (a seventh digit of the
sequence number, a longer exposure) becomes the pattern for the ones like it; a damaged one is read alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stemcal.formats.merlin.header import MAGIC, FrameHeader, local_time_iso

UNKNOWN = -1
"""In place of a number that a header does not say."""

_SEQUENCE = slice(4, 12)
"""Six digits, seven from the millionth frame on, up to the comma."""

_MAX_PATTERNS = 16
"""Headers that fit none of so many patterns are read one by one."""

_TYPICAL = 0.618
"""Where among the headers still unread a pattern is looked for: the first of a round number of frames would often be
the first of a scan line, whose exposure is like no other's."""

_START = re.compile(rb"MQ1,(?P<sequence>\d{1,15}),(?P<kind>[^,]*,[^,]*,[^,]*,[^,]*,[^,]*,[^,]*),")
_TIMES = re.compile(rb",MQ1A,(?P<time>[^,]*),(?P<exposure>\d{1,15})(?P<decimals>\.\d*)?ns,(?P<depth>[^,\0]*)")
_UTC = re.compile(
    rb"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)T(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
    rb"(?:\.(?P<fraction>\d{1,9}))?Z?$"
)
_OLD = re.compile(rb"[^,]*,(?P<local>[^,]*),(?P<exposure_s>[^,]*),")
_CALENDAR = ("year", "month", "day", "hour", "minute")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NS_PER_S = 10**9


@dataclass(frozen=True)
class HeaderTable:
    """What the headers say, arrays (n_frames,).

    Attributes
    ----------
    sequence : ndarray
        int64, the detector's own number of the frame; -1 where the header is damaged.
    exposure_ns : ndarray
        int64, -1 where the header is damaged or does not say.
    time_ns : ndarray
        int64, nanoseconds since 1970 of the frame's time stamp in UTC; headers of old software have only local time,
        which is taken as if it were UTC. -1 where there is no possible time.
    same_kind : ndarray
        bool, the header states the pixel type, shape, chips, header length and depth of the first one.
    """

    sequence: NDArray[np.int64]
    exposure_ns: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    same_kind: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.sequence)

    @staticmethod
    def unknown(n_frames: int) -> HeaderTable:
        """Return a table of frames of which nothing is known."""
        sequence, exposure, time = np.full((3, n_frames), UNKNOWN, np.int64)
        return HeaderTable(sequence, exposure, time, np.zeros(n_frames, np.bool_))

    def put(self, rows: slice | NDArray[np.intp], other: HeaderTable) -> None:
        """Write ``other`` into the given rows of this table."""
        self.sequence[rows] = other.sequence
        self.exposure_ns[rows] = other.exposure_ns
        self.time_ns[rows] = other.time_ns
        self.same_kind[rows] = other.same_kind


def parse_table(heads: NDArray[np.uint8], first: FrameHeader) -> HeaderTable:
    """Read many headers at once; a damaged one is marked in the table and raises nothing.

    Parameters
    ----------
    heads : ndarray
        (n, header_bytes) uint8.
    first : FrameHeader
        The first header of the acquisition, with which the others are compared.

    Returns
    -------
    HeaderTable
        A header counts as damaged if it does not begin with a Merlin header's fields, or lacks the ``MQ1A`` block
        that the first one has.
    """
    table = HeaderTable.unknown(len(heads))
    pending = np.arange(len(heads))
    n_patterns = 0
    while pending.size and n_patterns < _MAX_PATTERNS:
        row = pending[int(_TYPICAL * pending.size)]
        pattern = _read_one(heads[row].tobytes(), first, table, int(row))
        if pattern is None:
            pending = pending[pending != row]
            continue
        n_patterns += 1
        fits, alike = pattern.read(heads, pending)
        table.put(pending[fits], alike)
        pending = pending[~fits]
    for row in pending:
        _read_one(heads[row].tobytes(), first, table, int(row))
    return table


def sequence_numbers(heads: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Decode the sequence number in the first 12 bytes of each header.

    Parameters
    ----------
    heads : ndarray
        (n, 12) uint8, the beginnings of the headers.

    Returns
    -------
    ndarray
        (n,) int64, -1 where the bytes are not ``MQ1,<digits>,``.
    """
    magic = np.frombuffer(MAGIC, np.uint8)
    good = (heads[:, : len(magic)] == magic).all(axis=1)
    value = np.zeros(len(heads), np.int64)
    inside = np.ones(len(heads), bool)
    for column in heads[:, _SEQUENCE].T:
        digit = column.astype(np.int64) - ord("0")
        is_digit = (digit >= 0) & (digit <= 9)
        inside &= column != ord(",")
        good &= is_digit | ~inside
        value = np.where(inside & is_digit, 10 * value + digit, value)
    return np.where(good & ~inside, value, UNKNOWN)


def _read_one(head: bytes, first: FrameHeader, table: HeaderTable, row: int) -> _Pattern | None:
    """Read one header into the table; return the pattern for those like it, None where there can be none."""
    start = _START.match(head)
    kind = None if start is None else _kind(start["kind"])
    if start is None or kind is None:
        return None
    same_start = kind == _kind_of(first)
    times = _TIMES.search(head, start.end())
    if times is None:
        if first.counter_depth_bit is None:
            _read_old(head, start, table, row, same_kind=same_start)
        return None
    utc = _UTC.match(times["time"])
    depth = int(times["depth"]) if times["depth"].isdigit() else None
    table.sequence[row] = int(start["sequence"])
    table.exposure_ns[row] = int(times["exposure"])
    table.time_ns[row] = UNKNOWN if utc is None else _time_ns(utc)
    table.same_kind[row] = same_start and depth == first.counter_depth_bit
    if utc is None:
        return None
    return _Pattern(head, start, times, utc, same_kind=bool(table.same_kind[row]))


def _read_old(head: bytes, start: re.Match[bytes], table: HeaderTable, row: int, *, same_kind: bool) -> None:
    """Read the local time and the exposure in seconds of a header without the ``MQ1A`` block."""
    table.sequence[row] = int(start["sequence"])
    table.same_kind[row] = same_kind
    fields = _OLD.match(head, start.end())
    if fields is None:
        return
    iso = local_time_iso(fields["local"].strip().decode("ascii", "replace"))
    if iso is not None:
        table.time_ns[row] = _since_1970_ns(datetime.fromisoformat(iso).replace(tzinfo=UTC))
    if re.fullmatch(rb"\d{1,6}(\.\d*)?", fields["exposure_s"].strip()):
        table.exposure_ns[row] = round(float(fields["exposure_s"]) * _NS_PER_S)


@lru_cache(maxsize=64)
def _kind(fields: bytes) -> tuple[int | str, ...] | None:
    """Return header bytes, chips, columns, rows, pixel type and assembly; None unless the first four are numbers."""
    texts = [field.decode("ascii", "replace").strip() for field in fields.split(b",")]
    if not all(text.isdecimal() for text in texts[:4]):
        return None
    return (*(int(text) for text in texts[:4]), *texts[4:])


def _kind_of(header: FrameHeader) -> tuple[int | str, ...]:
    rows, cols = header.frame_shape
    return (header.header_bytes, header.n_chips, cols, rows, header.pixel_type, header.assembly)


def _time_ns(utc: re.Match[bytes]) -> int:
    minute = _minute_ns(int(b"".join(utc[name] for name in _CALENDAR)))
    second = int(utc["second"])
    if minute is None or second > 59:
        return UNKNOWN
    return minute + second * _NS_PER_S + int((utc["fraction"] or b"").ljust(9, b"0"))


@lru_cache(maxsize=4096)
def _minute_ns(calendar: int) -> int | None:
    """Return the nanoseconds since 1970 of a minute written YYYYMMDDhhmm; None if there is no such minute."""
    month, day, hour, minute = (calendar // 100**place % 100 for place in (3, 2, 1, 0))
    try:
        moment = datetime(calendar // 100**4, month, day, hour, minute, tzinfo=UTC)
    except ValueError:
        return None
    since = _since_1970_ns(moment)
    return None if since == UNKNOWN else since


def _since_1970_ns(moment: datetime) -> int:
    """Return the nanoseconds since 1970, -1 for a time before that or past what 62 bits can count (the year 2116)."""
    since = (moment - _EPOCH) // timedelta(microseconds=1) * 1000
    return since if 0 <= since < 2**62 else UNKNOWN


class _Pattern:
    """One header, and how to read those that differ from it only in digits.

    Two stretches of a header are looked at: from the beginning to the end of the kind of frame, and from ``MQ1A`` to
    the counter depth. What lies between (local time, thresholds, DACs) may differ.
    """

    def __init__(
        self, head: bytes, start: re.Match[bytes], times: re.Match[bytes], utc: re.Match[bytes], *, same_kind: bool
    ) -> None:
        offset = times.start("time")
        spans = {name: (offset + utc.start(name), offset + utc.end(name)) for name in utc.groupdict() if utc[name]}
        calendar = [column for name in _CALENDAR for column in range(*spans[name])]
        fraction = range(*spans["fraction"]) if "fraction" in spans else range(0)
        self._front = _Stretch(head, (0, start.end()), [(range(*start.span("sequence")), 0)])
        self._back = _Stretch(
            head,
            (times.start(), times.end() + 1),
            [
                (calendar, 0),
                (range(*spans["second"]), 0),
                (fraction, 9 - len(fraction)),
                (range(*times.span("exposure")), 0),
            ],
        )
        self._same_kind = same_kind

    def read(self, heads: NDArray[np.uint8], rows: NDArray[np.intp]) -> tuple[NDArray[np.bool_], HeaderTable]:
        """Return which of ``rows`` fit the pattern, (n,) bool, and what those say."""
        front, back = self._front.take(heads, rows), self._back.take(heads, rows)
        fits = self._front.fits(front) & self._back.fits(back)
        (sequence,) = self._front.numbers(front, fits)
        calendar, second, fraction, exposure = self._back.numbers(back, fits)
        minute = _minutes_ns(calendar)
        time = np.where((minute == UNKNOWN) | (second > 59), UNKNOWN, minute + second * _NS_PER_S + fraction)
        return fits, HeaderTable(sequence, exposure, time, np.full(len(sequence), self._same_kind))


class _Stretch:
    """A stretch of a header: the bytes that must be equal, and the digits that make numbers.

    Parameters
    ----------
    head : bytes
        The header that is the pattern.
    span : tuple of int
        The stretch, first byte and the one behind its last.
    numbers : list of (columns, power)
        For each number the columns of its digits, and the power of ten by which it is to be multiplied.
    """

    def __init__(self, head: bytes, span: tuple[int, int], numbers: list[tuple[range | list[int], int]]) -> None:
        self._span = span
        stretch = np.frombuffer(head.ljust(span[1], b"\0"), np.uint8)[slice(*span)]
        self._lowest = stretch.copy()
        self._room = np.zeros_like(stretch)
        self._weights = np.zeros((len(stretch), len(numbers)))
        for index, (columns, power) in enumerate(numbers):
            places = np.array(columns, np.intp) - span[0]
            self._lowest[places] = ord("0")
            self._room[places] = 9
            self._weights[places, index] = 10.0 ** np.arange(len(places) + power - 1, power - 1, -1)
        self._zero = ord("0") * self._weights.sum(axis=0)

    def take(self, heads: NDArray[np.uint8], rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        """Return the stretch of each row, (n, bytes), with NUL behind the end of a header."""
        stretch = heads[:, slice(*self._span)]
        if len(rows) < len(heads):
            stretch = stretch[rows]
        missing = len(self._lowest) - stretch.shape[1]
        return np.pad(stretch, ((0, 0), (0, missing))) if missing else np.ascontiguousarray(stretch)

    def fits(self, stretch: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return which rows differ from the pattern in digits only."""
        within = (stretch - self._lowest) <= self._room
        return np.asarray(within.all(axis=1))

    def numbers(self, stretch: NDArray[np.uint8], fits: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
        """Return the numbers of the rows that fit; exact, since none has more than 15 digits."""
        values = (stretch.astype(np.float64) @ self._weights - self._zero)[fits]
        return [np.ascontiguousarray(column) for column in values.astype(np.int64).T]


def _minutes_ns(calendar: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the nanoseconds since 1970 of minutes written YYYYMMDDhhmm, looking up each run of equal ones once."""
    if not calendar.size:
        return calendar
    starts = np.flatnonzero(np.diff(calendar, prepend=-1))
    found = [_minute_ns(int(value)) for value in calendar[starts]]
    values = np.array([UNKNOWN if value is None else value for value in found], np.int64)
    return np.repeat(values, np.diff(starts, append=len(calendar)))
