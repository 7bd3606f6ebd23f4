"""What a ``.mib`` file holds, from its first header, its size and its ``.hdr``: nothing else is read."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from stemcal.errors import DataError
from stemcal.formats.merlin.hdr import HdrFile, read_hdr
from stemcal.formats.merlin.header import MAX_HEADER_BYTES, FrameHeader, parse_header


@dataclass(frozen=True)
class MibLayout:
    """The plan of a ``.mib`` file.

    Attributes
    ----------
    path : Path
        The file.
    size_bytes : int
        Its size when it was looked at.
    file_id : tuple of int
        Device and inode number: another file of the same name has another one.
    header : FrameHeader
        The first frame's header.
    header_data : bytes
        The same as it stands in the file, for hashing.
    stride_bytes : int
        Bytes from one frame to the next.
    n_whole_frames : int
        Frames that are there from header to last pixel.
    trailing_bytes : int
        Bytes behind the last whole frame; not 0 in a file that was cut or is being written.
    n_frames_expected : int or None
        Frames in the finished file by its ``.hdr``; None without one, or for a continuous acquisition.
    hdr_path : Path or None
        The ``.hdr`` beside it.
    hdr : HdrFile or None
        Its content, None also where it cannot be read.
    hdr_problem : str or None
        Why it cannot be read. The frames can be worked on without it, so this is not an error here.
    """

    path: Path
    size_bytes: int
    file_id: tuple[int, int]
    header: FrameHeader
    header_data: bytes
    stride_bytes: int
    n_whole_frames: int
    trailing_bytes: int
    n_frames_expected: int | None
    hdr_path: Path | None
    hdr: HdrFile | None
    hdr_problem: str | None = None


def hdr_path_of(mib: Path) -> Path:
    """Return where the ``.hdr`` of a ``.mib`` file stands: same folder, same stem."""
    return mib.with_suffix(".hdr")


def inspect_mib(path: Path, hdr: Path | None = None) -> MibLayout:
    """Look at the first header, the size and the ``.hdr`` of a ``.mib`` file.

    Parameters
    ----------
    path : Path
        The ``.mib`` file.
    hdr : Path, optional
        Its ``.hdr`` where that is not the one of the same stem.

    Raises
    ------
    DataError
        If the file cannot be read, is empty or does not begin with a Merlin header.
    """
    descriptor = open_regular(path)
    try:
        return inspect_open(path, descriptor, hdr)
    finally:
        os.close(descriptor)


def open_regular(path: Path) -> int:
    """Return a descriptor of a file to be read; a pipe or device is refused and not waited for.

    Raises
    ------
    DataError
        If it cannot be opened or is no regular file.
    """
    remedy = "check the path and its permissions"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", remedy) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DataError(path, "cannot be read (it is no regular file)", remedy)
    return descriptor


def inspect_open(path: Path, descriptor: int, hdr_path: Path | None = None) -> MibLayout:
    """Do what `inspect_mib` does with a file that is open already.

    Raises
    ------
    DataError
        As `inspect_mib`.
    """
    status = os.fstat(descriptor)
    size = status.st_size
    try:
        data = os.pread(descriptor, MAX_HEADER_BYTES, 0)
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "check the path and its permissions") from error
    if not data:
        raise DataError(path, "is empty (0 bytes)", "wait until the acquisition has started, or remove the file")
    header = parse_header(data, path)
    whole, trailing = divmod(size, header.stride_bytes)
    found, hdr, problem = _beside(hdr_path or hdr_path_of(path))
    return MibLayout(
        path=path,
        size_bytes=size,
        file_id=(status.st_dev, status.st_ino),
        header=header,
        header_data=data[: header.header_bytes],
        stride_bytes=header.stride_bytes,
        n_whole_frames=whole,
        trailing_bytes=trailing,
        n_frames_expected=None if hdr is None else hdr.n_frames_expected,
        hdr_path=found,
        hdr=hdr,
        hdr_problem=problem,
    )


def _beside(path: Path) -> tuple[Path | None, HdrFile | None, str | None]:
    """Return an ``.hdr``: where it is, what it says, and why it says nothing."""
    if not path.is_file():
        return None, None, None
    try:
        return path, read_hdr(path), None
    except DataError as error:
        return path, None, error.problem


def check_last_frame(path: Path, layout: MibLayout) -> None:
    """Check that frames stand where the first header says: at the last whole frame and at the start of a cut one.

    A file whose frames have another size than its first header says, or that was pieced together wrongly, shows here
    at the price of two small reads.

    Raises
    ------
    DataError
        If there is no Merlin header at that place, or one of another kind of frame.
    """
    with path.open("rb") as file:
        for index in sorted({max(0, layout.n_whole_frames - 1), layout.n_whole_frames}):
            file.seek(index * layout.stride_bytes)
            data = file.read(layout.header.header_bytes)
            if len(data) == layout.header.header_bytes:
                _check_same_kind(data, index, layout)


def _check_same_kind(data: bytes, index: int, layout: MibLayout) -> None:
    place = f"at frame {index + 1} (byte {index * layout.stride_bytes})"
    remedy = "copy the file again from the microscope; the frames before that place may still be good"
    try:
        header = parse_header(data, layout.path)
    except DataError as error:
        raise DataError(layout.path, f"{place} {error.problem}", remedy) from error
    expected, found = (f"{h.pixel_type} {h.frame_shape[0]}x{h.frame_shape[1]}" for h in (layout.header, header))
    if expected != found:
        raise DataError(layout.path, f"holds {found} {place}, but {expected} at the beginning", remedy)
