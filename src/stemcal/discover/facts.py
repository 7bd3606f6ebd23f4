"""What the headers of one acquisition say. The only module of discovery that opens raw files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from stemcal.discover.snapshot import Acquisition, FileStat
from stemcal.errors import DataError
from stemcal.formats.merlin.hdr import read_hdr
from stemcal.formats.merlin.layout import MibLayout, check_last_frame, inspect_mib
from stemcal.formats.merlin.series import open_mib
from stemcal.formats.microscope import read_microscope
from stemcal.records.base import Record
from stemcal.records.microscope import Microscope


class Facts(Record):
    """The headers of one acquisition, or why they cannot be read.

    ``problem`` is None for a readable raw file; ``left_alone`` says why the workflow has nothing to do with it; ``cut``
    says which file ends within a frame; ``warnings`` tell of sidecars that cannot be read, which costs stages and not
    the data set. ``frame_shape`` and ``itemsize`` are those of the picture, whatever the chips send.
    """

    problem: str | None = None
    left_alone: str | None = None
    n_frames: int = 0
    cut: str | None = None
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
        Its raw files and sidecars.

    Returns
    -------
    Facts
        Never raises for a bad file: the problem is a value, so that it does not hide the other files.
    """
    warnings: list[str] = []
    expected = _frames_expected(session, acquisition.hdr, warnings)
    microscope = _microscope(session, acquisition.microscope, warnings)
    try:
        layouts = _layouts(session, acquisition)
    except DataError as error:
        return Facts(problem=_in_words(error, session / acquisition.path), warnings=tuple(warnings))
    except OSError as error:
        return Facts(problem=f"cannot be read ({error.strerror}); check its permissions", warnings=tuple(warnings))
    header = layouts[0].header
    return Facts(
        n_frames=sum(layout.n_whole_frames for layout in layouts),
        cut=_cut(layouts, in_parts=bool(acquisition.parts)),
        n_frames_expected=expected,
        frame_shape=header.picture_shape,
        itemsize=header.itemsize,
        counter_depth_bit=header.counter_depth_bit,
        first_header_sha256=hashlib.sha256(b"".join(layout.header_data for layout in layouts)).hexdigest(),
        first_timestamp=header.timestamp,
        hdr_sha256=_digest(session, acquisition.hdr),
        microscope_sha256=_digest(session, acquisition.microscope),
        microscope=microscope,
        warnings=tuple(warnings),
    )


def _layouts(session: Path, acquisition: Acquisition) -> tuple[MibLayout, ...]:
    """Return the plan of each file of frames in the order of the frames, each checked at both ends."""
    hdr = session / acquisition.hdr.path if acquisition.hdr else None
    layouts = tuple(inspect_mib(session / raw.path, hdr) for raw in acquisition.raws)
    for layout in layouts:
        check_last_frame(layout.path, layout)
    if not acquisition.parts or not all(layout.n_whole_frames for layout in layouts):
        return layouts
    with open_mib(session / acquisition.path) as series:
        return series.layouts


def _cut(layouts: tuple[MibLayout, ...], *, in_parts: bool) -> str | None:
    """Return in words which file ends within a frame."""
    for layout in layouts:
        if layout.trailing_bytes:
            name = f"{layout.path.name} " if in_parts else ""
            return f"{name}ends in the middle of frame {layout.n_whole_frames + 1}"
    return None


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
