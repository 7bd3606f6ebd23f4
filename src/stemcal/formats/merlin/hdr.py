"""The ``.hdr`` text that Merlin writes beside a ``.mib`` file: the settings of the whole acquisition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stemcal.errors import DataError
from stemcal.records.atomic import atomic_path

FRAMES = "Frames in Acquisition (Number)"
FRAMES_PER_TRIGGER = "Frames per Trigger (Number)"
HDR_BYTES = 2048
_REMEDY = "take it away to go without it, or copy it again from the microscope"


@dataclass(frozen=True)
class HdrFile:
    """What an ``.hdr`` file says; ``None`` where it does not.

    Attributes
    ----------
    frames_in_acquisition : int or None
        Frames asked for; 0 for a continuous acquisition.
    frames_per_trigger : int or None
        Frames per trigger: the length of a scan line when lines are triggered, 1 when pixels are.
    scan_x, scan_y : int or None
        Columns and rows of the scan; only from software 1.5 on.
    counter_depth_bit : int or None
        1, 6, 12 or 24.
    assembly : str or None
        ``1x1`` or ``2x2``.
    chip_ids : tuple of str
        The chips that are there.
    gap_fill_mode : str or None
        ``None`` as text, or ``Distribute`` where edge pixels were shared out over the gap.
    trigger_start, trigger_stop : str or None
        What starts and ends a frame.
    started_at : str or None
        Local time as written, day/month/year.
    software_version : str or None
        Version of the Merlin software.
    raw : dict
        Every key as written, without the colon.
    """

    frames_in_acquisition: int | None = None
    frames_per_trigger: int | None = None
    scan_x: int | None = None
    scan_y: int | None = None
    counter_depth_bit: int | None = None
    assembly: str | None = None
    chip_ids: tuple[str, ...] = ()
    gap_fill_mode: str | None = None
    trigger_start: str | None = None
    trigger_stop: str | None = None
    started_at: str | None = None
    software_version: str | None = None
    raw: dict[str, str] = field(default_factory=dict)

    @property
    def n_frames_expected(self) -> int | None:
        """Frames that the finished file has; None for a continuous acquisition."""
        return self.frames_in_acquisition or None

    @property
    def scan_shape(self) -> tuple[int, int] | None:
        """(scan_row, scan_col) from ScanY and ScanX, None unless both are there and positive."""
        return (self.scan_y, self.scan_x) if self.scan_x and self.scan_y else None


def parse_hdr(data: bytes, path: Path | str) -> HdrFile:
    """Read the bytes of an ``.hdr`` file.

    Parameters
    ----------
    data : bytes
        The whole file.
    path : Path or str
        Where they come from, for the message.

    Raises
    ------
    DataError
        If it is not an ``.hdr`` file, or a count in it is not a whole number.
    """
    text = data.rstrip(b"\0").decode("latin-1")
    lines = [line.strip() for line in text.splitlines()]
    if not lines or not lines[0].startswith("HDR"):
        found = lines[0][:16] if lines else ""
        raise DataError(path, f"does not begin with 'HDR,' but with '{found}'", _REMEDY)
    raw: dict[str, str] = {}
    for line in lines[1:]:
        if line == "End" or line.startswith("End\t"):
            break
        key, _, value = line.partition("\t")
        if key:
            raw[key.strip().rstrip(":")] = value.strip()
    return _typed(raw, path)


def _typed(raw: dict[str, str], path: Path | str) -> HdrFile:
    chips = tuple(part.strip() for part in raw.get("Chip ID", "").split(",") if part.strip(" -"))
    return HdrFile(
        frames_in_acquisition=_count(raw, FRAMES, path),
        frames_per_trigger=_count(raw, FRAMES_PER_TRIGGER, path),
        scan_x=_count(raw, "ScanX", path),
        scan_y=_count(raw, "ScanY", path),
        counter_depth_bit=_count(raw, "Counter Depth (number)", path),
        assembly=_starting(raw, "Assembly Size"),
        chip_ids=chips,
        gap_fill_mode=raw.get("Gap Fill Mode"),
        trigger_start=_starting(raw, "Trigger Start"),
        trigger_stop=_starting(raw, "Trigger Stop"),
        started_at=_starting(raw, "Time and Date Stamp"),
        software_version=raw.get("Software Version"),
        raw=raw,
    )


def _starting(raw: Mapping[str, str], start: str) -> str | None:
    """Return the value of the key that begins with ``start``: the explanation in brackets varies with the software."""
    return next((value for key, value in raw.items() if key.startswith(start)), None)


def _count(raw: Mapping[str, str], key: str, path: Path | str) -> int | None:
    text = raw.get(key)
    if text is None or text == "":
        return None
    if not text.isdecimal():
        raise DataError(path, f"has '{text}' for '{key}', where a whole number belongs", _REMEDY)
    return int(text)


def read_hdr(path: Path) -> HdrFile:
    """Read the ``.hdr`` file at ``path``.

    Raises
    ------
    DataError
        If it cannot be read or is not an ``.hdr`` file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "check the path and its permissions") from error
    return parse_hdr(data, path)


def encode_hdr(raw: Mapping[str, str]) -> bytes:
    """Return the ``.hdr`` text of ``raw`` as Merlin writes it: CRLF, a tab behind each key, blanks to 2048 bytes."""
    lines = [f"{key}:\t{value}\r\n" for key, value in raw.items()]
    return f"HDR,\t\r\n{''.join(lines)}End\t".encode("latin-1").ljust(HDR_BYTES, b" ")


def write_hdr(path: Path, raw: Mapping[str, str]) -> None:
    """Write ``raw`` (keys without the colon, in their order) to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode_hdr(raw))
