"""Write ``.mib`` files and their ``.hdr``, header by header as Merlin does, in every mode that is read.

The values that no program reads back (thresholds, DACs, chip names) are constants taken from a real quad detector.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemcal.formats.merlin.hdr import FRAMES, FRAMES_PER_TRIGGER, write_hdr
from stemcal.formats.merlin.header import RAW, FrameHeader, kind_problem
from stemcal.formats.merlin.layout import MibLayout, hdr_path_of, inspect_mib
from stemcal.formats.merlin.pixels import encode, picture_limit, raw_frame_shape
from stemcal.formats.merlin.stamps import HeaderStyle, Numbers, Stamps, base_header, header_bytes_of, nanoseconds
from stemcal.records.atomic import atomic_path

READOUT_S = 95e-6
"""Dead time between two frames, typical of 12-bit readout."""

_CHIP_NAMES = ("W556_B4", "W556_J2", "W556_M5", "W556_G4")
_SOFTWARE = "1.5.0.12"
_START = datetime(2026, 1, 1, tzinfo=UTC)


class _Recipe(NamedTuple):
    """How every frame of an acquisition is written."""

    base: FrameHeader
    stamps: Stamps
    style: HeaderStyle


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
    start_time: datetime = _START,
    counter_depth_bit: int | None = None,
    with_hdr: bool = True,
    sequence: Numbers | None = None,
    exposure_ns: Numbers | None = None,
    time_ns: Numbers | None = None,
    style: HeaderStyle | None = None,
) -> MibLayout:
    """Write frames to ``path`` and the settings to the ``.hdr`` beside it, both atomically.

    Parameters
    ----------
    path : Path
        The ``.mib`` file.
    blocks : iterable of ndarray
        Blocks of pictures, each (n, det_row, det_col) in file row order, of one frame shape; at least one frame in
        all.
    pixel_type : str
        ``U01``, ``U08``, ``U16``, ``U32``, ``U64`` or ``R64``.
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
        By default the one that goes with the pixel type; for R64 1, 6, 12 or 24.
    with_hdr : bool
        Write the ``.hdr``.
    sequence, exposure_ns, time_ns : array of int, optional
        One per frame: the detector's number, the exposure, and the time in nanoseconds since 1970 in UTC, where they
        are not to count from 1, be ``exposure_s`` and follow from ``start_time``. A missing frame is a jump in them.
    style : HeaderStyle, optional
        The habits of other versions of the software.

    Returns
    -------
    MibLayout
        What was written, read back.

    Raises
    ------
    ValueError
        If the pixel type or assembly is unknown, there is no frame, or a count does not fit the pixel type.
    """
    recipe = _recipe(pixel_type, assembly, counter_depth_bit, style, exposure_s, start_time)
    stamps = replace(recipe.stamps, sequence=sequence, exposure_ns=exposure_ns, time_ns=time_ns)
    n_frames = _write_whole(path, blocks, recipe._replace(stamps=stamps), 0)
    if with_hdr:
        per_trigger = frames_per_trigger if frames_per_trigger is not None else (scan_shape or (1, 1))[1]
        promised = n_frames if frames_in_acquisition is None else frames_in_acquisition
        shape = scan_shape if scan_in_hdr else None
        write_hdr(hdr_path_of(path), _hdr_values(recipe.base, start_time, promised, per_trigger, shape))
    return inspect_mib(path)


def write_series(
    path: Path,
    blocks: Iterable[NDArray[Any]],
    frames_per_file: int,
    *,
    pixel_type: str = "U16",
    assembly: str = "2x2",
    scan_shape: tuple[int, int] | None = None,
    exposure_s: float = 1e-3,
    start_time: datetime = _START,
    counter_depth_bit: int | None = None,
    sequence: Numbers | None = None,
    style: HeaderStyle | None = None,
) -> tuple[Path, ...]:
    """Write one acquisition to several files, ``<stem>_000001.mib`` and so on, and its ``<stem>.hdr``.

    Parameters
    ----------
    path : Path
        The ``.hdr``; the frames stand beside it.
    blocks : iterable of ndarray
        Blocks of pictures, each (n, det_row, det_col).
    frames_per_file : int
        Frames in each file; the last may have fewer.
    pixel_type, assembly, scan_shape, exposure_s, start_time, counter_depth_bit, sequence, style
        As in `write_mib`; ``scan_shape`` is written to the ``.hdr``.

    Returns
    -------
    tuple of Path
        The ``.mib`` files in the order of their frames.
    """
    recipe = _recipe(pixel_type, assembly, counter_depth_bit, style, exposure_s, start_time)
    recipe = recipe._replace(stamps=replace(recipe.stamps, sequence=sequence))
    paths: list[Path] = []
    n_frames = 0
    numbers = count(1)
    for frames in _regrouped(blocks, frames_per_file):
        paths.append(path.with_name(f"{path.stem}_{next(numbers):06d}.mib"))
        n_frames += _write_whole(paths[-1], [frames], recipe, n_frames)
    if n_frames == 0:
        raise ValueError(f"no frame was given for {path}: an acquisition has at least one")
    write_hdr(path, _hdr_values(recipe.base, start_time, n_frames, (scan_shape or (1, 1))[1], scan_shape))
    return tuple(paths)


def append_mib(path: Path, blocks: Iterable[NDArray[Any]]) -> MibLayout:
    """Append frames to a ``.mib`` file in place, as an acquisition that goes on does; the ``.hdr`` stays.

    Sequence numbers and times go on from what the first header says; a cut frame at the end is overwritten.

    Parameters
    ----------
    path : Path
        An existing ``.mib`` file.
    blocks : iterable of ndarray
        Blocks of pictures, each (n, det_row, det_col), of the file's frame shape.
    """
    layout = inspect_mib(path)
    start = datetime.fromisoformat((layout.header.timestamp or "1970-01-01T00:00:00Z")[:26]).replace(tzinfo=UTC)
    exposure = layout.header.exposure_s or 0.0
    stamps = Stamps(nanoseconds(start), exposure, exposure + READOUT_S)
    with path.open("r+b") as file:
        file.truncate(layout.n_whole_frames * layout.stride_bytes)
        file.seek(0, 2)
        _write_frames(file, blocks, _Recipe(layout.header, stamps, HeaderStyle()), layout.n_whole_frames)
    return inspect_mib(path)


def _recipe(
    pixel_type: str,
    assembly: str,
    depth: int | None,
    style: HeaderStyle | None,
    exposure_s: float,
    start_time: datetime,
) -> _Recipe:
    chosen = style or HeaderStyle()
    stamps = Stamps(nanoseconds(start_time), exposure_s, exposure_s + READOUT_S)
    return _Recipe(base_header(pixel_type, assembly, depth, chosen), stamps, chosen)


def _regrouped(blocks: Iterable[NDArray[Any]], size: int) -> Iterator[NDArray[Any]]:
    """Yield the same frames in blocks of ``size``, the last one with what remains."""
    kept: list[NDArray[Any]] = []
    for frame in (frame for block in blocks for frame in block):
        kept.append(frame)
        if len(kept) == size:
            yield np.stack(kept)
            kept = []
    if kept:
        yield np.stack(kept)


def _write_whole(path: Path, blocks: Iterable[NDArray[Any]], recipe: _Recipe, first: int) -> int:
    """Write a file from frame number ``first`` of the acquisition and return how many frames it has."""
    with atomic_path(path) as temporary:
        with temporary.open("wb") as file:
            n_frames = _write_frames(file, blocks, recipe, first)
        if n_frames == 0:
            raise ValueError(f"no frame was given for {path}: a .mib file has at least one")
    return n_frames


def _write_frames(file: BinaryIO, blocks: Iterable[NDArray[Any]], recipe: _Recipe, first: int) -> int:
    """Write the frames behind frame number ``first`` and return how many there were."""
    index = first
    for frames in blocks:
        for record in _records(frames, recipe, index):
            file.write(record)
        index += len(frames)
    return index - first


def _records(frames: NDArray[Any], recipe: _Recipe, first: int) -> Iterator[bytes]:
    """Yield header and pixels of each frame of one block.

    Raises
    ------
    ValueError
        If a count is negative or too large for the file's type, or the shape is none that its chips can have.
    """
    base = _with_shape(recipe.base, (int(frames.shape[1]), int(frames.shape[2])))
    limit = picture_limit(base)
    if frames.size and (int(frames.max()) > limit or int(frames.min()) < 0):
        raise ValueError(f"counts {frames.min()} to {frames.max()} do not fit {base.pixel_type} (0 to {limit})")
    for index, pixels in enumerate(encode(frames, base), first):
        header = recipe.stamps.header(base, index, recipe.style)
        yield header_bytes_of(header, recipe.style) + pixels.tobytes()


def _with_shape(base: FrameHeader, picture_shape: tuple[int, int]) -> FrameHeader:
    """Return the header with the shape that it states for such a picture."""
    if base.pixel_type != RAW:
        return replace(base, frame_shape=picture_shape)
    header = replace(base, frame_shape=raw_frame_shape(picture_shape, base.n_chips, base.counter_depth_bit or 0))
    problem = kind_problem(header)
    if problem is not None or header.picture_shape != picture_shape:
        raise ValueError(
            f"pictures of {picture_shape} cannot be written as raw frames: {problem or 'odd number of rows'}"
        )
    return header


def _hdr_values(
    header: FrameHeader, start: datetime, n_frames: int, per_trigger: int, scan_shape: tuple[int, int] | None
) -> dict[str, str]:
    """Return the keys of the ``.hdr`` in Merlin's order."""
    names = [*_CHIP_NAMES[: header.n_chips], *[" - "] * (4 - header.n_chips)]
    scan = {} if scan_shape is None else {"ScanX": str(scan_shape[1]), "ScanY": str(scan_shape[0])}
    return {
        "Time and Date Stamp (day, mnth, yr, hr, min, s)": f"{start.astimezone(UTC):%d/%m/%Y %H:%M:%S}",
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
