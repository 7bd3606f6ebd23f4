"""Which EDX map belongs to which scan: that with its time stamp in the name, in the nearest folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stemcal.discover.settings import DiscoverSettings
from stemcal.discover.snapshot import FileStat
from stemcal.errors import DataError
from stemcal.formats.ripple import parse_ripple
from stemcal.records.manifest import EdxFile

_STAMP = re.compile(r"\d{8}_\d{6}")
_BEGINNING_BYTES = 2**20
_NANO = 1e-9


@dataclass(frozen=True)
class EdxAcquisition:
    """An EDX map as it lies there: the file that is opened, its time stamp, and all its files."""

    path: str
    stamp: str
    files: tuple[FileStat, ...]

    def is_quiet(self, now_s: float, quiet_time_s: float) -> bool:
        """Whether none of its files was written to lately."""
        return all(now_s - file.mtime_ns * _NANO >= quiet_time_s for file in self.files)


def find_edx(files: Mapping[str, FileStat], settings: DiscoverSettings) -> tuple[EdxAcquisition, ...]:
    """Return the EDX maps among ``files``: what fits the pattern; a ``.rpl`` with the ``.raw`` beside it."""
    pattern = re.compile(settings.edx_pattern, re.IGNORECASE)
    found = []
    for path, file in files.items():
        fit = pattern.search(path)
        if fit is None:
            continue
        raw = next((files[one] for one in (f"{path[:-4]}.raw", f"{path[:-4]}.RAW") if one in files), None)
        if not path.lower().endswith(".rpl"):
            found.append(EdxAcquisition(path, fit["stamp"], (file,)))
        elif raw is not None:
            found.append(EdxAcquisition(path, fit["stamp"], (file, raw)))
    return tuple(found)


def edx_of(scan_path: str, maps: tuple[EdxAcquisition, ...]) -> tuple[EdxAcquisition | None, str | None]:
    """Return the EDX map of the scan with the raw file ``scan_path``, or why it has none although some have its stamp.

    Parameters
    ----------
    scan_path : str
        In the session.
    maps : tuple of EdxAcquisition
        All of the session.

    Returns
    -------
    EdxAcquisition or None, str or None
        Both None where no map carries its stamp.
    """
    stamps = set(_STAMP.findall(scan_path.rpartition("/")[2]))
    fitting = [one for one in maps if one.stamp in stamps]
    if not fitting:
        return None, None
    shared = {one.path: _shared_folders(one.path, scan_path) for one in fitting}
    nearest = [one for one in fitting if shared[one.path] == max(shared.values())]
    if len(nearest) > 1:
        names = " and ".join(one.path for one in nearest)
        return None, f"{names} carry its time stamp: keep one of them in the session"
    return nearest[0], None


def _shared_folders(one: str, other: str) -> int:
    pairs = zip(one.split("/")[:-1], other.split("/")[:-1], strict=False)
    return next((depth for depth, (a, b) in enumerate(pairs) if a != b), min(one.count("/"), other.count("/")))


def is_settled(session: Path, one: EdxAcquisition, now_s: float, quiet_time_s: float) -> bool:
    """Tell whether nothing more will come: the ``.raw`` has the bytes that its ``.rpl`` states, or all is quiet."""
    if one.is_quiet(now_s, quiet_time_s):
        return True
    if len(one.files) == 1:
        return False
    try:
        return parse_ripple(session / one.path).n_bytes == one.files[1].size_bytes
    except DataError:
        return False


def identity_of(session: Path, one: EdxAcquisition) -> EdxFile:
    """Return what makes ``one`` the same map again: its size and what its files begin with, never their time.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    digest = hashlib.sha256()
    for file in one.files:
        with (session / file.path).open("rb") as data:
            digest.update(data.read(_BEGINNING_BYTES))
    return EdxFile(
        file=one.path, size_bytes=sum(file.size_bytes for file in one.files), beginning_sha256=digest.hexdigest()
    )
