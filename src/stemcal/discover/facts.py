"""What the headers of one acquisition say. The only module of discovery that opens raw files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from stemcal.discover.snapshot import Acquisition, FileStat
from stemcal.errors import DataError
from stemcal.formats.merlin.hdr import read_hdr
from stemcal.formats.merlin.layout import MibLayout, check_last_frame, inspect_mib
from stemcal.formats.microscope import read_microscope
from stemcal.records.base import Record
from stemcal.records.microscope import Microscope


class Facts(Record):
    """The headers of one acquisition, or why they cannot be read.

    ``problem`` is None for a readable raw file; ``warnings`` tell of sidecars that cannot be read, which costs stages
    and not the data set.
    """

    problem: str | None = None
    n_frames: int = 0
    trailing_bytes: int = 0
    n_frames_expected: int | None = None
    frame_shape: tuple[int, int] | None = None
    itemsize: int | None = None
    counter_depth_bit: int | None = None
    first_header_sha256: str = ""
    first_timestamp: str | None = None
    hdr_sha256: str | None = None
    microscope_sha256: str | None = None
    microscope: Microscope | None = None
    warnings: tuple[str, ...] = ()


def read_facts(session: Path, acquisition: Acquisition) -> Facts:
    """Read the first and last header, the ``.hdr`` and the microscope's file of ``acquisition``.

    Parameters
    ----------
    session : Path
        The session folder.
    acquisition : Acquisition
        A raw file with its sidecars.

    Returns
    -------
    Facts
        Never raises for a bad file: the problem is a value, so that it does not hide the other files.
    """
    raw = session / acquisition.raw.path
    warnings: list[str] = []
    expected = _frames_expected(session, acquisition.hdr, warnings)
    microscope = _microscope(session, acquisition.microscope, warnings)
    try:
        layout = inspect_mib(raw)
        check_last_frame(raw, layout)
    except DataError as error:
        return Facts(problem=_in_words(error, raw), warnings=tuple(warnings))
    except OSError as error:
        return Facts(problem=f"cannot be read ({error.strerror}); check its permissions", warnings=tuple(warnings))
    return Facts(
        n_frames=layout.n_whole_frames,
        trailing_bytes=layout.trailing_bytes,
        n_frames_expected=expected,
        frame_shape=layout.header.frame_shape,
        itemsize=_itemsize(layout),
        counter_depth_bit=layout.header.counter_depth_bit,
        first_header_sha256=hashlib.sha256(layout.header_data).hexdigest(),
        first_timestamp=layout.header.timestamp,
        hdr_sha256=_digest(session, acquisition.hdr),
        microscope_sha256=_digest(session, acquisition.microscope),
        microscope=microscope,
        warnings=tuple(warnings),
    )


def _frames_expected(session: Path, hdr: FileStat | None, warnings: list[str]) -> int | None:
    if hdr is None:
        warnings.append("has no .hdr: completeness is judged by quiet time alone")
        return None
    try:
        return read_hdr(session / hdr.path).frames_in_acquisition or None
    except (DataError, OSError) as error:
        warnings.append(f"its .hdr cannot be read: {error}")
        return None


def _microscope(session: Path, file: FileStat | None, warnings: list[str]) -> Microscope | None:
    if file is None:
        warnings.append("has no microscope .hdf: voltage and camera length are unknown")
        return None
    try:
        return read_microscope(session / file.path)
    except (DataError, OSError) as error:
        warnings.append(f"its microscope .hdf cannot be read: {error}")
        return None


def _itemsize(layout: MibLayout) -> int:
    """Return the bytes per pixel on disk; bit-packed raw modes count as one."""
    rows, cols = layout.header.frame_shape
    return max(1, (layout.stride_bytes - layout.header.header_bytes) // (rows * cols))


def _in_words(error: DataError, raw: Path) -> str:
    place = "" if error.path == raw else f"{error.path.name}: "
    return f"{place}{error.problem}; {error.remedy}"


def _digest(session: Path, file: FileStat | None) -> str | None:
    if file is None:
        return None
    try:
        return hashlib.sha256((session / file.path).read_bytes()).hexdigest()
    except OSError:
        return None
