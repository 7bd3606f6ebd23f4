"""The least that reads a ``.mib`` file: a map of records, as most scripts do it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TYPES = {"U08": ">u1", "U16": ">u2", "U32": ">u4"}


def map_frames(path: str | Path) -> NDArray[Any]:
    """Return the frames as they stand in the file, (n, det_row, det_col), big-endian, mapped and not read."""
    data = np.memmap(path, record_type(path), mode="r")
    frames: NDArray[Any] = data["pixels"]
    return frames


def record_type(path: str | Path) -> np.dtype[Any]:
    """Return the type of one frame with its header, from the first header."""
    with Path(path).open("rb") as file:
        fields = file.read(128).decode("ascii", "replace").split(",")
    header_bytes, cols, rows = int(fields[2]), int(fields[4]), int(fields[5])
    return np.dtype([("header", f"V{header_bytes}"), ("pixels", _TYPES[fields[6]], (rows, cols))])
