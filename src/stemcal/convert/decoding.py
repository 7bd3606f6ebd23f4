"""Where the pixels of a few frames lie: in the records of the raw file, decoded, or in frames that are done. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.convert import kernels
from stemcal.formats.chip_gap import insert_gap, remove_gap
from stemcal.formats.merlin.header import RAW, FrameHeader
from stemcal.formats.merlin.pixels import decode, picture_dtype


@dataclass(frozen=True)
class Pixels:
    """Pixels of some frames in file row order, as `stemcal.convert.strip_kernels.Source` takes them.

    Attributes
    ----------
    flat : ndarray
        Pixel (row, col) of frame ``i`` is at ``begin + i step + row cols + col``.
    begin, step : int
        See there.
    swap : bool
        Whether the bytes of a pixel are still to change places.
    shape : tuple of int
        (rows, cols) of a picture.
    """

    flat: NDArray[Any]
    begin: int
    step: int
    swap: bool
    shape: tuple[int, int]

    def stored(self, start: int, stop: int, gap_px: int) -> NDArray[Any]:
        """Return pictures start:stop as they are stored, (n, det_row, det_col): upside down and with the gap."""
        rows, cols = self.shape
        size = self.flat.itemsize
        strides = (self.step * size, cols * size, size)
        there = self.flat[self.begin + start * self.step :]
        pictures = np.lib.stride_tricks.as_strided(there, (stop - start, rows, cols), strides, writeable=False)
        native = pictures.byteswap() if self.swap else pictures
        return insert_gap(np.ascontiguousarray(native[:, ::-1]), gap_px)


def from_records(records: NDArray[np.uint8], header: FrameHeader) -> Pixels:
    """Return the pixels of raw records (n, stride_bytes), where they are if they can be worked on there."""
    dtype = picture_dtype(header)
    in_place = header.pixel_type != RAW and dtype.itemsize in kernels.ITEMSIZES
    if in_place and header.header_bytes % dtype.itemsize == records.shape[1] % dtype.itemsize == 0:
        begin, step = header.header_bytes // dtype.itemsize, records.shape[1] // dtype.itemsize
        return Pixels(records.reshape(-1).view(dtype), begin, step, dtype.itemsize > 1, header.picture_shape)
    return _native(decode(records[:, header.header_bytes :], header))


def from_frames(frames: NDArray[Any], gap_px: int) -> Pixels:
    """Return the pixels of frames (n, det_row, det_col) as they are stored: upside down and with the gap."""
    return _native(np.ascontiguousarray(remove_gap(frames, gap_px)[:, ::-1]))


def _native(pictures: NDArray[Any]) -> Pixels:
    _, rows, cols = pictures.shape
    return Pixels(pictures.reshape(-1), 0, rows * cols, swap=False, shape=(rows, cols))
