"""The detector's gain: its file, and a source that applies it to the counts as they are read.

A gain reference never changes a file of counts. ``<id>_gain.hdf5`` holds ``factor`` = dose / counts, by which a frame
is multiplied when it is read; its axes are (det_row, det_col), or (parity, det_row, det_col) where the even and the
odd frames of an acquisition were counted by two counters that differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats.container import open_experiment
from stemcal.formats.extras import read_extras
from stemcal.formats.hdf5 import create_hdf5
from stemcal.frames.base import BaseSource
from stemcal.frames.source import FrameSource

_SCHEMA = "stemcal/gain-file/1"


@dataclass(frozen=True)
class GainMap:
    """What a frame is corrected with.

    Attributes
    ----------
    factor : ndarray of float32
        (det_row, det_col), or (2, det_row, det_col) for even and odd frames; NaN where ``valid`` is False.
    valid : ndarray of bool
        (det_row, det_col), True = valid.
    """

    factor: NDArray[np.float32]
    valid: NDArray[np.bool_]

    @property
    def frame_shape(self) -> tuple[int, int]:
        """(det_row, det_col)."""
        rows, cols = self.valid.shape
        return rows, cols


@dataclass(frozen=True)
class Column:
    """One array of a gain file: its values, unit and what it is."""

    values: NDArray[Any]
    unit: str
    description: str


def write_gain(path: Path, columns: Mapping[str, Column], attributes: Mapping[str, str | int]) -> None:
    """Write a gain file; equal input gives equal bytes.

    Parameters
    ----------
    path : Path
        ``<id>_gain.hdf5``.
    columns : mapping
        Arrays by name, in the order in which they are written. ``factor`` and ``valid`` make it a gain file that can
        be read; without ``factor`` it is that of a measurement that failed.
    attributes : mapping
        What is said of the whole file.
    """
    with create_hdf5(path) as file:
        file.attrs["schema"] = _SCHEMA
        for name, value in attributes.items():
            file.attrs[name] = value
        for name, column in columns.items():
            dataset = file.create_dataset(name, data=column.values)
            dataset.attrs["unit"] = column.unit
            dataset.attrs["description"] = column.description


def read_gain(path: Path, sha256: str | None = None) -> GainMap:
    """Read what a frame is corrected with.

    Parameters
    ----------
    path : Path
        ``<id>_gain.hdf5``.
    sha256 : str, optional
        Digest that the file shall have.

    Raises
    ------
    DataError
        If the file cannot be read, is another one than that digest says, or holds no factors.
    """
    remedy = "measure the gain again (stemcal gain), then the calibration"
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        with h5py.File(path, "r") as file:
            stored = {name: file[name][()] for name in ("factor", "valid") if name in file}
    except OSError as error:
        raise DataError(path, f"cannot be read as a gain file ({error.strerror or error})", remedy) from error
    if sha256 is not None and found != sha256:
        raise DataError(path, "is not the gain file that was chosen: it was made again since", remedy)
    if len(stored) != 2:
        raise DataError(path, "holds no gain factors: the measurement failed or it is another file", remedy)
    gain = GainMap(stored["factor"].astype(np.float32), stored["valid"].astype(np.bool_))
    if gain.factor.shape not in (gain.valid.shape, (2, *gain.valid.shape)):
        raise DataError(path, f"has factors of shape {gain.factor.shape} for a mask of {gain.valid.shape}", remedy)
    return gain


class GainCorrected(BaseSource):
    """A source whose frames are counts times gain factor, float32; everything else is as in the source it wraps.

    Pixels without a factor keep their counts and are invalid.

    Parameters
    ----------
    source : FrameSource
        The counts. Closing this source closes it.
    gain : GainMap
        Factors and their mask.
    sha256 : str or None
        Digest of the gain file; becomes part of the identity.

    Raises
    ------
    DataError
        If the gain is for frames of another shape.
    """

    def __init__(self, source: FrameSource, gain: GainMap, sha256: str | None = None) -> None:
        if gain.frame_shape != source.frame_shape:
            problem = f"has frames of {source.frame_shape}, the gain factors are for {gain.frame_shape}"
            raise DataError(source.path, problem, "take a gain reference of the same detector")
        super().__init__(
            source.path,
            source.scan_shape,
            source.frame_shape,
            np.dtype(np.float32),
            valid=source.valid & gain.valid,
            frame_status=source.frame_status,
            microscope=source.microscope,
            acquired_at=source.acquired_at,
            identity={**source.identity, "gain_sha256": sha256},
        )
        self._source = source
        factor = gain.factor if gain.factor.ndim == 3 else gain.factor[None]
        self._factor = np.where(gain.valid & np.isfinite(factor), factor, np.float32(1.0))
        self._parity = acquisition_parity(source) if len(factor) == 2 else np.zeros(source.n_frames, np.uint8)

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return frames start:stop as (n, det_row, det_col) float32."""
        frames = self._source.read(start, stop).astype(np.float32)
        for side, factor in enumerate(self._factor):
            chosen = self._parity[start:stop] == side
            if chosen.all():
                frames *= factor
            elif chosen.any():
                frames[chosen] *= factor
        return frames

    def close(self) -> None:
        """Release the file."""
        self._source.close()


def acquisition_parity(source: FrameSource) -> NDArray[np.uint8]:
    """Return for every frame whether it is an even (0) or odd (1) one of its acquisition; the first one is even.

    The detector's own frame numbers, which begin at 1, say it where the file has them; then holes do not matter. Where
    there are none it is the place in the file.

    Parameters
    ----------
    source : FrameSource
        The frames.

    Returns
    -------
    ndarray of uint8
        (n_frames,).
    """
    place = np.arange(source.n_frames)
    numbers = _sequence_numbers(source)
    if numbers is None or not (numbers > 0).any():
        return np.asarray(place % 2, np.uint8)
    known = numbers > 0
    # a frame without a number of its own goes on from the first one that has
    first = int(np.argmax(known))
    counted = np.where(known, numbers, place - first + int(numbers[first]))
    return np.asarray((counted - 1) % 2, np.uint8)


def _sequence_numbers(source: FrameSource) -> NDArray[np.int64] | None:
    try:
        file, group = open_experiment(source.path)
    except DataError:
        return None  # no container of ours: the source reads it, and nothing there counts its frames
    with file:
        numbers = read_extras(source.path, group).sequence_number
    return numbers if numbers is not None and len(numbers) == source.n_frames else None
