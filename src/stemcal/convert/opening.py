"""Open the acquisition on every rank so that all of them work on the same frames, or none goes on.

Ranks open the files one after the other, on machines that may not see the same at the same time: a file that grows has
more frames for the last of them, whose plan of the pass would then be another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from stemcal.errors import DataError
from stemcal.frames.mib import MibSource
from stemcal.frames.ranks import World
from stemcal.frames.stream import make_alike

_SUFFIXES = {".mib", ".hdr"}


def open_alike(raw: Path, opening: Callable[[], MibSource], world: World) -> MibSource:
    """Open the acquisition on every rank, before any of them writes.

    Parameters
    ----------
    raw : Path
        The file.
    opening : callable
        Opens it.
    world : World
        The ranks.

    Raises
    ------
    DataError
        On rank 0: if one of the ranks cannot open it, or they do not all see the same.
    """

    def opened() -> MibSource:
        if raw.suffix.lower() not in _SUFFIXES:
            raise DataError(raw, f"ends in {raw.suffix!r}, and only .mib files are converted", "give the raw .mib file")
        return opening()

    frames, alike = make_alike(opened, _seen, world)
    if not alike:
        frames.close()
        problem = "is not the same for all ranks: it has changed while they opened it"
        raise DataError(raw, problem, "wait until nobody writes to it and run again")
    return frames


def _seen(frames: MibSource) -> tuple[object, ...]:
    """Return what decides the work of a rank; a part of a frame at the end does not, and is rank 0's alone."""
    beside = {name: value for name, value in frames.identity.items() if name != "size_bytes"}
    n_frames = tuple(layout.n_whole_frames for layout in frames.mib.layouts)
    places = hashlib.sha256(frames.scan_map.places.tobytes()).hexdigest()
    return beside, n_frames, frames.scan_shape, frames.scan.certain, places
