"""How results are shown: plain columns for a person, JSON for a program."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.paired import Spread

_PACKAGES = ("numpy", "h5py", "hdf5plugin", "rosettasciio", "hyperspy", "libertem")


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of text: columns without a heading flush left, the others flush right."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    lines = [_line(row, head, widths) for row in (head, *rows)]
    return "\n".join((lines[0], "-" * len(lines[0]), *lines[1:]))


def spread(value: Spread, digits: int = 2) -> str:
    """Return ``median [low, high]``."""
    return f"{value.median:.{digits}f} [{value.low:.{digits}f}, {value.high:.{digits}f}]"


def machine(place: Path) -> dict[str, object]:
    """Return what the numbers depend on: processor, load, file system of ``place``, versions of the peers."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "kernel": platform.release(),
        "file_system": _file_system(place),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def write_json(path: Path, found: object) -> None:
    """Write everything that was measured."""
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _line(row: Sequence[str], head: Sequence[str], widths: Sequence[int]) -> str:
    cells = zip(row, head, widths, strict=True)
    return "  ".join(cell.rjust(width) if name else cell.ljust(width) for cell, name, width in cells).rstrip()


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _file_system(place: Path) -> str:
    """Return the type of the file system on which ``place`` lies: that of the longest mount point above it."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    above = [(mount, kind) for mount, kind in mounts if place.resolve().is_relative_to(mount)]
    return max(above, key=lambda one: len(one[0]))[1]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
