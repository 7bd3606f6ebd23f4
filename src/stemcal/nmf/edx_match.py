"""Which EDX file belongs to which data set. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from stemcal.errors import UsageError

_STAMP = re.compile(r"\d{8}_\d{6}")


def match_edx(
    given: Sequence[str], prefixes: Sequence[Path], bound: Mapping[str, Mapping[str, object]]
) -> dict[Path, Path]:
    """Return the EDX file of each prefix that has one.

    Parameters
    ----------
    given : sequence of str
        ``FILE`` or ``PREFIX=FILE``.
    prefixes : sequence of Path
        The data sets.
    bound : mapping
        What discovery has bound, by prefix: ``file`` is the end of the file's path. Empty when called by hand; then
        a file without prefix goes to the only data set, or to that whose name carries the same time stamp.

    Raises
    ------
    UsageError
        If a file fits no data set or several, or a data set gets two files.
    """
    matched: dict[Path, Path] = {}
    for text in given:
        prefix, path = _one(text, prefixes, bound)
        if prefix in matched:
            raise UsageError(f"{matched[prefix]} and {path} are both for {prefix}; give one EDX map for each data set")
        matched[prefix] = path
    return matched


def _one(text: str, prefixes: Sequence[Path], bound: Mapping[str, Mapping[str, object]]) -> tuple[Path, Path]:
    by_name = {str(prefix): prefix for prefix in prefixes}
    name, equals, file = text.partition("=")
    if equals and name in by_name:
        return by_name[name], Path(file)
    path = Path(text)
    ends = {prefix: str(entry["file"]) for prefix, entry in bound.items() if prefix in by_name}
    fitting = [by_name[prefix] for prefix, end in ends.items() if f"/{path.as_posix()}".endswith(f"/{end}")]
    if not bound:
        fitting = list(prefixes) if len(prefixes) == 1 else _of_same_time(path, prefixes)
    if len(fitting) != 1:
        which = "none" if not fitting else " and ".join(str(one) for one in fitting)
        raise UsageError(f"the EDX map {path} fits {which} of the data sets; give it as PREFIX=FILE")
    return fitting[0], path


def _of_same_time(path: Path, prefixes: Sequence[Path]) -> list[Path]:
    stamps = set(_STAMP.findall(path.stem))
    return [prefix for prefix in prefixes if stamps & set(_STAMP.findall(prefix.name))]
