"""What lies in the session folder, by stat alone: nothing is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FileStat:
    """One file: its path in the session (with forward slashes), its size and modification time."""

    path: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Acquisition:
    """A raw file with its sidecars, as far as they exist."""

    raw: FileStat
    hdr: FileStat | None
    microscope: FileStat | None

    @property
    def files(self) -> tuple[FileStat, ...]:
        """The files that exist, raw file first."""
        return tuple(file for file in (self.raw, self.hdr, self.microscope) if file is not None)

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
    """Group each raw file with the ``.hdr`` of the same stem and the microscope's ``.hdf`` beside it.

    The microscope's file carries the acquisition's time stamp: ``<stamp>_data.mib`` goes with ``<stamp>.hdf``.
    """
    raws = [file for path, file in files.items() if path.lower().endswith(raw_suffix)]
    return tuple(_acquisition(raw, files, len(raw_suffix)) for raw in raws)


def _acquisition(raw: FileStat, files: dict[str, FileStat], suffix_length: int) -> Acquisition:
    stem = raw.path[:-suffix_length]
    acquisition = stem.removesuffix("_data")
    return Acquisition(raw, files.get(f"{stem}.hdr"), files.get(f"{acquisition}.hdf") or files.get(f"{stem}.hdf"))
