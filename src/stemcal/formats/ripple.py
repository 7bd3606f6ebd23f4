"""Lispix ripple files: a ``.rpl`` of keys and values beside a ``.raw`` of numbers; reader and writer.

The format is that of NIST's Lispix (D. S. Bright, "Raw File Format"): one key and one value per line, separated by a
tab, comments behind a semicolon. INCA wraps each line as ``(MLX::key : value)``; Bruker writes ``data-Length``. Keys
are read whatever their case, and keys that nobody here needs are kept as text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.records.atomic import atomic_path, write_text

RecordBy = Literal["vector", "image"]
ByteOrder = Literal["little-endian", "big-endian"]

_LINE = re.compile(r"\(?(?:MLX::)?([\w-]+)\s*[\t :]\s*(.*?)\)?$")
_KINDS = {"unsigned": "u", "signed": "i", "float": "f"}
_LENGTHS = {"u": (1, 2, 4, 8), "i": (1, 2, 4, 8), "f": (4, 8)}
_ORDERS: dict[str, Literal["<", ">"]] = {"little-endian": "<", "big-endian": ">", "dont-care": "<"}
_REMEDY = "export the map again as Lispix ripple (.rpl and .raw), or mend the line in the .rpl"


@dataclass(frozen=True)
class Ripple:
    """What a ``.rpl`` says.

    Attributes
    ----------
    height, width, depth : int
        Rows, columns and channels.
    offset_bytes : int
        Where the numbers begin in the ``.raw``.
    dtype : dtype
        Type of a number as stored.
    record_by : str
        ``vector``: a whole spectrum per position; ``image``: a whole image per channel.
    keys : dict
        Every line as text, keys in lower case.
    """

    height: int
    width: int
    depth: int
    offset_bytes: int
    dtype: np.dtype[Any]
    record_by: RecordBy
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def n_bytes(self) -> int:
        """Bytes that the ``.raw`` has to have."""
        return self.offset_bytes + self.height * self.width * self.depth * self.dtype.itemsize


def read_ripple(path: Path) -> tuple[Ripple, NDArray[Any]]:
    """Open a ripple map.

    Parameters
    ----------
    path : Path
        The ``.rpl``; its ``.raw`` has the same stem and lies beside it.

    Returns
    -------
    Ripple
        What the ``.rpl`` says.
    ndarray
        (row, col, channel) as stored, mapped into memory and not read yet.

    Raises
    ------
    DataError
        If a key is missing or its value makes no sense, or the ``.raw`` is missing or of another size; it names the
        file and what to do.
    """
    ripple = parse_ripple(path)
    raw = raw_beside(path)
    size = raw.stat().st_size
    if size != ripple.n_bytes:
        shape = f"{ripple.height} x {ripple.width} positions with {ripple.depth} channels of {ripple.dtype.itemsize}"
        problem = f"has {size} bytes, its .rpl says {ripple.n_bytes} ({shape} bytes)"
        raise DataError(raw, problem, "copy both files again: they have to come from one export")
    stored = (ripple.height, ripple.width, ripple.depth)
    if ripple.record_by == "image":
        stored = (ripple.depth, ripple.height, ripple.width)
    numbers = np.memmap(raw, dtype=ripple.dtype, mode="r", offset=ripple.offset_bytes, shape=stored)
    return ripple, numbers if ripple.record_by == "vector" else np.moveaxis(numbers, 0, 2)


def raw_beside(path: Path) -> Path:
    """Return the ``.raw`` of a ``.rpl``, whatever the case of its ending.

    Raises
    ------
    DataError
        If there is none.
    """
    for ending in (".raw", ".RAW"):
        raw = path.with_suffix(ending)
        if raw.is_file():
            return raw
    raise DataError(path, "has no .raw of the same name beside it", "copy the .raw into the same folder")


def parse_ripple(path: Path) -> Ripple:
    """Read a ``.rpl`` alone; see `read_ripple`."""
    try:
        text = path.read_text(encoding="latin-1")
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "check the path and its permissions") from error
    lines = (line.partition(";")[0].strip() for line in text.splitlines())
    pairs = (_LINE.fullmatch(line) for line in lines if line)
    keys = {pair[1].lower(): pair[2].strip() for pair in pairs if pair}
    kind = _KINDS[_choice(path, keys, "data-type", tuple(_KINDS))]
    length = _whole(path, keys, "data-length", least=1)
    if length not in _LENGTHS[kind]:
        problem = f"says data-length {length} for {keys['data-type']} numbers, which have {_LENGTHS[kind]} bytes"
        raise DataError(path, problem, _REMEDY)
    order = _choice(path, keys, "byte-order", tuple(_ORDERS))
    if order == "dont-care" and length > 1:
        problem = f"does not say the byte order of its numbers of {length} bytes"
        raise DataError(path, problem, "write byte-order little-endian or big-endian into the .rpl")
    record_by = _choice(path, keys, "record-by", ("vector", "image", "dont-care"))
    if record_by == "dont-care":
        problem = "says record-by dont-care: it is one image and holds no spectra"
        raise DataError(path, problem, "export the spectrum image, not a map of one element")
    return Ripple(
        height=_whole(path, keys, "height", least=1),
        width=_whole(path, keys, "width", least=1),
        depth=_whole(path, keys, "depth", least=2),
        offset_bytes=_whole(path, keys, "offset", least=0) if "offset" in keys else 0,
        dtype=np.dtype(f"{_ORDERS[order]}{kind}{length}"),
        record_by="vector" if record_by == "vector" else "image",
        keys=keys,
    )


def _value(path: Path, keys: dict[str, str], key: str) -> str:
    if key not in keys:
        raise DataError(path, f"has no line with the key {key!r}", _REMEDY)
    return keys[key]


def _choice(path: Path, keys: dict[str, str], key: str, allowed: tuple[str, ...]) -> str:
    value = _value(path, keys, key).lower()
    if value not in allowed:
        raise DataError(path, f"says {key} {value!r}, which is none of {', '.join(allowed)}", _REMEDY)
    return value


def _whole(path: Path, keys: dict[str, str], key: str, *, least: int) -> int:
    value = _value(path, keys, key)
    if not value.isdigit() or int(value) < least:
        raise DataError(path, f"says {key} {value!r}, which is no whole number of at least {least}", _REMEDY)
    return int(value)


def number_of(path: Path, keys: dict[str, str], key: str) -> float | None:
    """Return the number behind ``key``, or None where the file has no such line or an empty one.

    Raises
    ------
    DataError
        If what stands there is no finite number.
    """
    text = keys.get(key, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise DataError(path, f"says {key} {text!r}, which is no number", _REMEDY)
    return value


def write_ripple(
    path: Path,
    counts: NDArray[Any],
    *,
    record_by: RecordBy = "vector",
    byte_order: ByteOrder = "little-endian",
    extra: dict[str, str] | None = None,
) -> None:
    """Write ``counts`` (row, col, channel) as ``.raw`` and then its ``.rpl``.

    Parameters
    ----------
    path : Path
        The ``.rpl``; the ``.raw`` gets the same stem.
    counts : ndarray
        Integers or floats of at most 8 bytes.
    record_by, byte_order : str
        How they are laid out.
    extra : dict of str, optional
        More keys and values.
    """
    laid_out = counts if record_by == "vector" else np.moveaxis(counts, 2, 0)
    with atomic_path(path.with_suffix(".raw")) as temporary:
        np.ascontiguousarray(laid_out, counts.dtype.newbyteorder(_ORDERS[byte_order])).tofile(temporary)
    write_text(path, _keys(counts.shape, counts.dtype, record_by, byte_order, extra or {}))


@contextmanager
def open_ripple(
    path: Path, shape: tuple[int, int, int], dtype: np.dtype[Any], extra: dict[str, str] | None = None
) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Give a function that appends whole rows (n, col, channel) of a map; both files appear when the block ends.

    Parameters
    ----------
    path : Path
        The ``.rpl``; the ``.raw`` gets the same stem.
    shape : tuple of int
        (row, col, channel) of the whole map.
    dtype : dtype
        Type of the numbers; stored little-endian, a whole spectrum per position.
    extra : dict of str, optional
        More keys and values.
    """
    stored = dtype.newbyteorder("<")
    with atomic_path(path.with_suffix(".raw")) as temporary, temporary.open("wb") as file:
        yield lambda rows: np.ascontiguousarray(rows, stored).tofile(file)
        file.flush()
    write_text(path, _keys(shape, dtype, "vector", "little-endian", extra or {}))


def _keys(
    shape: tuple[int, ...], dtype: np.dtype[Any], record_by: RecordBy, byte_order: ByteOrder, extra: dict[str, str]
) -> str:
    """Return what stands in the ``.rpl``."""
    rows, cols, channels = shape
    lines = {
        "key": "value",
        "width": cols,
        "height": rows,
        "depth": channels,
        "offset": 0,
        "data-length": dtype.itemsize,
        "data-type": next(name for name, letter in _KINDS.items() if letter == dtype.kind),
        "byte-order": "dont-care" if dtype.itemsize == 1 else byte_order,
        "record-by": record_by,
        **extra,
    }
    return "".join(f"{key}\t{value}\n" for key, value in lines.items())
