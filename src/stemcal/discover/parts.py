"""Which files make one acquisition, by their names alone. Pure.

The rule is that of `stemcal.formats.merlin.series`, over the paths of a snapshot instead of a folder; a test holds the
two together.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from itertools import pairwise

_NUMBER = re.compile(r"([_-]?)(\d+)")


def hdr_of_part(raw_path: str, paths: Container[str], raw_suffix: str) -> str | None:
    """Return the ``.hdr`` of the acquisition of which ``raw_path`` is one file of several, or None.

    A file with an ``.hdr`` of its own stem is an acquisition by itself. Otherwise it belongs to the longest stem that
    has an ``.hdr``, no file of frames of its own, and makes its name with a number.

    Parameters
    ----------
    raw_path : str
        A raw file.
    paths : container of str
        Every path of the session.
    raw_suffix : str
        Ending of raw files.
    """
    stem = raw_path[: -len(raw_suffix)]
    if f"{stem}.hdr" in paths:
        return None
    begin = stem.rfind("/") + 1
    lengths = range(len(stem) - 1, begin, -1)
    stems = (stem[:length] for length in lengths if _NUMBER.fullmatch(stem[length:]))
    return next((f"{one}.hdr" for one in stems if f"{one}.hdr" in paths and f"{one}{raw_suffix}" not in paths), None)


def missing_parts(hdr_path: str, raw_paths: Sequence[str], raw_suffix: str) -> str | None:
    """Return in words which files the numbers of the others leave a hole for, or None where there is no hole.

    Parameters
    ----------
    hdr_path : str
        The ``.hdr`` of the acquisition.
    raw_paths : sequence of str
        Its raw files that are there.
    raw_suffix : str
        Ending of raw files.
    """
    stem = hdr_path.removesuffix(".hdr")
    tails = (_NUMBER.fullmatch(path[len(stem) : -len(raw_suffix)]) for path in raw_paths)
    found = {int(tail[2]): tail for tail in tails if tail is not None}
    numbers = sorted(found)
    holes = [(before, after) for before, after in pairwise(numbers) if after > before + 1]
    if not holes:
        return None
    before = holes[0][0]
    first = f"{stem.rpartition('/')[2]}{found[before][1]}{before + 1:0{len(found[before][2])}d}{raw_suffix}"
    more = sum(after - before - 1 for before, after in holes) - 1
    return f"{first} is missing" if more == 0 else f"{first} and {more} more of its files are missing"
