"""Which data set of an HDF5 file is the stack of frames: found by structure, whoever wrote the file.

There is one rule: the file holds exactly one data set of four axes, and that is the stack. It holds for HyperSpy
(``/Experiments/<name>/data``), py4DSTEM 0.14 (``/datacube_root/datacube/data``) and before
(``/4DSTEM_experiment/data/datacubes/datacube_0/data``), NeXus, and the copies of ePSIC (``/data/frames``, a virtual
data set). HyperSpy's signal of three axes, two of them of the detector, is one line. Links are followed.

HDF5 gives zeros for what was never written and for the parts of a virtual data set whose files are gone, without a
word. Both would look like empty frames, so both are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import h5py

from stemcal.errors import DataError

_SHOWN = 6
_DETECTOR_AXES = 2
_BESIDE = "/stemcal/"
"""What `stemcal convert` writes beside the frames, possibly frames again: those outside the scan."""
_REMEDY = "give a file with one data set of axes (scan_row, scan_col, det_row, det_col)"


class Found(NamedTuple):
    """A data set, its full name in the file, and the group that has it or a link to it."""

    name: str
    data: h5py.Dataset
    group: h5py.Group


def find_stack(path: Path, file: h5py.File) -> Found:
    """Return the stack of frames in an open file.

    Raises
    ------
    DataError
        If there is none, or more than one, or a link in the file points to nothing where no stack is found.
    """
    broken: list[str] = []
    arrays = [one for one in _arrays(file, broken) if _BESIDE not in one.name]
    stacks = [one for one in arrays if one.data.ndim == 4] or [one for one in arrays if _is_line(one)]
    if len(stacks) == 1:
        return stacks[0]
    if stacks:
        raise DataError(path, f"holds {len(stacks)} stacks of frames: {_in_words(stacks)}", _REMEDY)
    if broken:
        raise DataError(path, f"holds no stack of frames; {broken[0]} is not there", "restore what it points to")
    held = _in_words(arrays) or "no arrays at all"
    raise DataError(path, f"holds no stack of frames but {held}", _REMEDY)


def check_written(path: Path, data: h5py.Dataset, n_missing: int = 0) -> None:
    """Refuse a data set of which a part was never written or is gone.

    ``n_missing`` chunks may be: the file itself says that there are no frames for them.

    Raises
    ------
    DataError
        With the number of parts that are there and that should be, or the file that is gone.
    """
    if data.is_virtual:
        _check_sources(path, data)
        return
    remedy = "write the file again: whoever wrote it did not finish"
    if data.chunks is not None:
        expected = math.prod(-(-size // chunk) for size, chunk in zip(data.shape, data.chunks, strict=True)) - n_missing
        written = data.id.get_num_chunks()
        if written != expected:
            raise DataError(path, f"holds {written} of {expected} chunks of {data.name}", remedy)
    elif data.external is None and data.id.get_storage_size() == 0:
        raise DataError(path, f"holds {data.name} without any content", remedy)


def _check_sources(path: Path, data: h5py.Dataset) -> None:
    """Look for the files that a virtual data set is made of; their names are relative to it, "." is the file itself."""
    plan = data.id.get_create_plist()
    names = {plan.get_virtual_filename(index) for index in range(plan.get_virtual_count())}
    for name in sorted(names - {"."}):
        if not (Path(data.file.filename).absolute().parent / name).is_file():
            problem = f"takes {data.name} from {name}, which is not there"
            raise DataError(path, problem, "copy it there, or give that file itself")


def _arrays(file: h5py.File, broken: list[str]) -> Iterator[Found]:
    """Yield every data set of the file and of what it links to, each once; names of dead links go to ``broken``."""
    seen: set[tuple[int, int]] = set()
    pending: list[tuple[str, h5py.Group]] = [("", file)]
    while pending:
        folder, group = pending.pop()
        for key in group:
            name = f"{folder}/{key}"
            try:
                item = group[key]
                info = h5py.h5o.get_info(item.id)
            except (KeyError, OSError, RuntimeError):
                broken.append(_described(name, group.get(key, getlink=True)))
                continue
            if (info.fileno, info.addr) in seen:
                continue
            seen.add((info.fileno, info.addr))
            if isinstance(item, h5py.Dataset):
                yield Found(name, item, group)
            elif isinstance(item, h5py.Group):
                pending.append((name, item))


def _described(name: str, link: object) -> str:
    if isinstance(link, h5py.ExternalLink):
        return f"{name}, a link to {link.path} in {link.filename},"
    return f"{name}, a link to {link.path}," if isinstance(link, h5py.SoftLink) else f"the content of {name}"


def _is_line(found: Found) -> bool:
    """Say whether this is a signal of HyperSpy with one axis of positions and two of the detector."""
    parts = found.name.split("/")
    if found.data.ndim != _DETECTOR_AXES + 1 or len(parts) != 4 or parts[1] != "Experiments" or parts[3] != "data":
        return False
    names = [f"axis-{index}" for index in range(found.data.ndim)]
    axes = [found.group[name].attrs for name in names if name in found.group]
    stated = [bool(axis["navigate"]) for axis in axes if "navigate" in axis]
    return stated.count(False) == _DETECTOR_AXES or not stated


def _in_words(arrays: list[Found]) -> str:
    shown = ", ".join(f"{one.name} {one.data.shape}" for one in arrays[:_SHOWN])
    more = len(arrays) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
