"""Pixels of Merlin frames: the bytes behind a header to a picture and back, no I/O.

U types are big-endian counts, row by row. R64 is what the chips send: 64-bit big-endian words in which the first pixel
is the least significant one, 64, 8 or 4 pixels to a word at 1, 6 and 12 bit. 24 bit comes as two sub-frames of 12 bit,
the more significant one first. A quad's row is its four chips side by side, and the picture in file row order is ::

    file row:  c1 | c2 | c3 | c4        picture:   c4        | c3
                                                   rot180(c2) | rot180(c1)

Truth: 1-bit raw frames against the processed frames of the same detectors, taken seconds apart (correlation 0.997 for
one chip, 0.999 for a quad); 6 and 12 bit agree with LiberTEM. For 24 bit only headers and sizes of real quad files are
known: the order of the sub-frames is LiberTEM's for one chip, and the quad follows by analogy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.formats.merlin.header import RAW, FrameHeader

_QUAD = 4
_PLANE_BITS = 12
_PLANE_MAX = 2**_PLANE_BITS - 1


def picture_dtype(header: FrameHeader) -> np.dtype[Any]:
    """Return the native unsigned type of the decoded counts."""
    return np.dtype(f"u{header.itemsize}")


def decode(payload: NDArray[np.uint8], header: FrameHeader, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Turn the bytes of some frames into pictures.

    Parameters
    ----------
    payload : ndarray
        (n, payload_bytes) uint8, C-contiguous along a frame, without the headers.
    header : FrameHeader
        Any header of these frames.
    out : ndarray, optional
        (n, det_row, det_col) of `picture_dtype`, C-contiguous, to be filled.

    Returns
    -------
    ndarray
        (n, det_row, det_col), native byte order, file row order; ``out`` where it was given.

    Raises
    ------
    ValueError
        If the payload or ``out`` has not the size that the header says.
    """
    pictures = np.empty((len(payload), *header.picture_shape), picture_dtype(header)) if out is None else out
    _check_arrays(payload, pictures, header)
    for frame, picture in zip(payload, pictures, strict=True):
        if header.pixel_type == RAW:
            _mosaic(_raw_rows(frame, header), header, picture)
        else:
            picture[...] = frame.view(picture.dtype.newbyteorder(">")).reshape(picture.shape)
    return pictures


def encode(pictures: NDArray[Any], header: FrameHeader) -> NDArray[np.uint8]:
    """Turn pictures into the bytes that stand behind ``header`` in a file: the inverse of `decode`.

    Parameters
    ----------
    pictures : ndarray
        (n, det_row, det_col) of integers that fit, file row order.
    header : FrameHeader
        Type, shape, depth and chips of the file.

    Returns
    -------
    ndarray
        (n, payload_bytes) uint8.
    """
    dtype = picture_dtype(header)
    if header.pixel_type != RAW:
        return pictures.astype(dtype.newbyteorder(">")).view(np.uint8).reshape(len(pictures), -1)
    encoded = np.empty((len(pictures), header.payload_bytes), np.uint8)
    for picture, target in zip(pictures, encoded, strict=True):
        target[:] = _raw_bytes(_chips(picture.astype(dtype), header), header)
    return encoded


def picture_limit(header: FrameHeader) -> int:
    """Return the largest count that the file's type can hold; of R64 and U01 the counter's own ceiling."""
    if header.pixel_type in (RAW, "U01"):
        return int(2 ** (header.counter_depth_bit or 1)) - 1
    return int(np.iinfo(picture_dtype(header)).max)


def counter_ceiling(header: FrameHeader) -> int | None:
    """Return the count at which the detector's counter is full; None for 1 bit, which has nothing below, or unknown."""
    return 2**header.counter_depth_bit - 1 if header.counter_depth_bit in (6, 12, 24) else None


def raw_frame_shape(picture_shape: tuple[int, int], n_chips: int, counter_depth_bit: int) -> tuple[int, int]:
    """Return the (rows, columns) that an R64 header states for a picture: the inverse of ``picture_shape``."""
    rows, cols = picture_shape
    rows, cols = (rows // 2, cols * 2) if n_chips == _QUAD else (rows, cols)
    return rows, cols * 2 if counter_depth_bit == 2 * _PLANE_BITS else cols


def _check_arrays(payload: NDArray[np.uint8], pictures: NDArray[Any], header: FrameHeader) -> None:
    wanted = (len(payload), *header.picture_shape)
    if payload.shape != (len(payload), header.payload_bytes) or payload.strides[-1] != 1:
        raise ValueError(f"payload has the shape {payload.shape}, a frame has {header.payload_bytes} bytes")
    if pictures.shape != wanted or pictures.dtype != picture_dtype(header) or not pictures.flags.c_contiguous:
        found = f"{pictures.dtype} {pictures.shape}"
        raise ValueError(f"out is {found}, it must be contiguous {picture_dtype(header)} {wanted}")


def _raw_rows(frame: NDArray[np.uint8], header: FrameHeader) -> NDArray[Any]:
    """Return one frame's pixels in the order of the file, (rows, columns of all chips).

    Turning the bytes of a word round puts its pixels in order, each of them little-endian, whatever the depth.
    """
    ordered = frame.view(">u8").astype("<u8").view(np.uint8)
    rows = header.frame_shape[0]
    if header.counter_depth_bit == 1:
        return np.unpackbits(ordered, bitorder="little").reshape(rows, -1)
    if header.counter_depth_bit == 6:
        return ordered.reshape(rows, -1)
    planes: NDArray[Any] = ordered.view("<u2").reshape(header.n_planes, rows, -1)
    upper: NDArray[Any] = planes[0]
    return upper if header.n_planes == 1 else (upper.astype(np.uint32) << _PLANE_BITS) + planes[1]


def _raw_bytes(rows: NDArray[Any], header: FrameHeader) -> NDArray[np.uint8]:
    """Return the bytes of pixels in the order of the file: the inverse of `_raw_rows`."""
    if header.counter_depth_bit == 1:
        ordered = np.packbits(rows, bitorder="little")
    elif header.counter_depth_bit == 6:
        ordered = rows.reshape(-1)
    else:
        planes = [rows] if header.n_planes == 1 else [rows >> _PLANE_BITS, rows & _PLANE_MAX]
        ordered = np.stack(planes).astype("<u2").reshape(-1).view(np.uint8)
    return ordered.view("<u8").astype(">u8").view(np.uint8)


def _mosaic(rows: NDArray[Any], header: FrameHeader, picture: NDArray[Any]) -> None:
    """Put the chips of one frame where they are on the detector."""
    if header.n_chips != _QUAD:
        picture[...] = rows
        return
    for pair, half in _places(rows, picture):
        half[...] = pair


def _chips(picture: NDArray[Any], header: FrameHeader) -> NDArray[Any]:
    """Return the chips of one picture side by side: the inverse of `_mosaic`."""
    if header.n_chips != _QUAD:
        return picture
    rows = np.empty((picture.shape[0] // 2, picture.shape[1] * 2), picture.dtype)
    for pair, half in _places(rows, picture):
        pair[...] = half
    return rows


def _places(rows: NDArray[Any], picture: NDArray[Any]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Return views of the two pairs of chips in the file, each with the view of its half of a contiguous picture."""
    chips = rows.reshape(len(rows), _QUAD, -1)
    top, bottom = picture.reshape(2, len(rows), 2, -1)
    return [(chips[:, :1:-1], top), (chips[::-1, 1::-1, ::-1], bottom)]
