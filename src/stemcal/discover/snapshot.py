"""What lies in the session folder, by stat alone: nothing is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from stemcal.discover.parts import hdr_of_part


@dataclass(frozen=True)
class FileStat:
    """One file: its path in the session (with forward slashes), its size and modification time."""

    path: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Acquisition:
    """The frames of an acquisition with what stands beside them, as far as it exists.

    Attributes
    ----------
    path : str
        What it is called by: its raw file, or, where the frames are in several files, their ``.hdr``, which is the
        same whatever files are there.
    raws : tuple of FileStat
        The files of frames, at least one.
    hdr, microscope : FileStat or None
        The files beside them.
    raw_suffix : str
        Ending of raw files.
    """

    path: str
    raws: tuple[FileStat, ...]
    hdr: FileStat | None
    microscope: FileStat | None
    raw_suffix: str

    @property
    def stem(self) -> str:
        """Its path without the ending."""
        return self.path[: -len(".hdr" if self.parts else self.raw_suffix)]

    @property
    def parts(self) -> tuple[str, ...]:
        """The paths of the files of frames where they are several; empty for a raw file that is called by its name."""
        paths = tuple(raw.path for raw in self.raws)
        return () if paths == (self.path,) else paths

    @property
    def size_bytes(self) -> int:
        """Size of the files of frames."""
        return sum(raw.size_bytes for raw in self.raws)

    @property
    def files(self) -> tuple[FileStat, ...]:
        """The files that exist, those of frames first."""
        return (*self.raws, *(file for file in (self.hdr, self.microscope) if file is not None))

    @property
    def signature(self) -> str:
        """Text that changes when any of the files changes in size or time stamp, appears or goes."""
        return "|".join(f"{file.path}:{file.size_bytes}:{file.mtime_ns}" for file in self.files)


def take_snapshot(session: Path, ignore_folders: tuple[str, ...]) -> dict[str, FileStat]:
    """Return every regular file below ``session`` by its path in the session, sorted by path.

    Parameters
    ----------
    session : Path
        The session folder.
    ignore_folders : tuple of str
        Names of folders that are not entered, at any depth; hidden folders never are.
    """
    files = sorted(_walk(session, "", frozenset(ignore_folders)), key=lambda file: file.path)
    return {file.path: file for file in files}


def _walk(folder: Path, prefix: str, ignored: frozenset[str]) -> Iterator[FileStat]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = f"{prefix}{entry.name}"
            if entry.is_dir(follow_symlinks=True):
                if entry.name not in ignored and not entry.name.startswith("."):
                    yield from _walk(folder / entry.name, f"{path}/", ignored)
            elif not entry.name.startswith("."):
                try:
                    stat = entry.stat()
                except FileNotFoundError:
                    continue  # gone between listing and stat, or a dangling link
                yield FileStat(path, stat.st_size, stat.st_mtime_ns)


def group_acquisitions(files: dict[str, FileStat], raw_suffix: str) -> tuple[Acquisition, ...]:
    """Group the raw files of each acquisition with its ``.hdr`` and the microscope's ``.hdf`` beside them.

    A raw file goes with the ``.hdr`` of the same stem, numbered ones with the ``.hdr`` they share
    (`stemcal.discover.parts`). The microscope's file carries the acquisition's time stamp: ``<stamp>_data.mib`` goes
    with ``<stamp>.hdf``.
    """
    together: dict[str, list[FileStat]] = {}
    for path, file in files.items():
        if path.lower().endswith(raw_suffix):
            together.setdefault(hdr_of_part(path, files, raw_suffix) or path, []).append(file)
    return tuple(_acquisition(path, tuple(raws), files, raw_suffix) for path, raws in sorted(together.items()))


def _acquisition(path: str, raws: tuple[FileStat, ...], files: dict[str, FileStat], raw_suffix: str) -> Acquisition:
    bare = Acquisition(path, raws, None, None, raw_suffix)
    microscopes = (files.get(f"{stem}.hdf") for stem in (bare.stem.removesuffix("_data"), bare.stem))
    microscope = next((file for file in microscopes if file is not None), None)
    return replace(bare, hdr=files.get(f"{bare.stem}.hdr"), microscope=microscope)
