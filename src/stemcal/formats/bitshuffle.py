"""Bitshuffle + LZ4 of one HDF5 chunk outside HDF5, so that threads can compress while one of them writes.

The chunk layout is that of HDF5 filter 32008 (https://github.com/kiyo-masui/bitshuffle, ``bshuf_h5filter.c``): bytes
of the raw chunk (u64, big-endian), bytes of a block (u32, big-endian), then the compressed blocks. Sparse counts go
through kernels of our own (`stemcal.formats.bitshuffle_kernels`), several times quicker than the filter's; what those
compress badly goes through the filter library that hdf5plugin carries, called by ``ctypes``, or through HDF5 itself and
a file in memory where that library does not export its functions. All of them release the GIL, except the last one.
"""

from __future__ import annotations

import ctypes
import functools
import math
import struct
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from stemcal.formats import bitshuffle_kernels as kernels

FILTER_ID = 32008
LZ4 = 2
_PREFIX = struct.Struct(">QI")
PREFIX_BYTES = _PREFIX.size
_BLOCK_BYTES = 8192
"""The filter's default for all element sizes."""
_MAX_BLOCK_BYTES = 2**24
_WORTHWHILE_RATIO = 2.5
"""Below it the counts are dense, and what the general encoder finds beside runs is worth its time."""
_SYMBOLS = ("bshuf_compress_lz4", "bshuf_compress_lz4_bound", "bshuf_default_block_size")


@dataclass(frozen=True)
class Functions:
    """The three C functions; sizes are in elements, not bytes, except for the element itself."""

    compress: Any
    bound: Any
    block_size: Any


def filter_options() -> dict[str, Any]:
    """Return the keyword arguments with which h5py creates a dataset with this filter."""
    return {"compression": FILTER_ID, "compression_opts": (0, LZ4)}


@functools.cache
def functions() -> Functions | None:
    """Return the C functions of hdf5plugin's bitshuffle filter, or None where its library does not export them."""
    path = Path(hdf5plugin.PLUGIN_PATH) / "libh5bshuf.so"
    try:
        library = ctypes.CDLL(str(path))
        compress, bound, block_size = (getattr(library, name) for name in _SYMBOLS)
    except (OSError, AttributeError):
        return None
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    compress.restype = ctypes.c_int64
    compress.argtypes = [pointer, pointer, size, size, size]
    bound.restype = block_size.restype = size
    bound.argtypes = [size, size, size]
    block_size.argtypes = [size]
    return Functions(compress, bound, block_size)


def compress(frame: NDArray[Any]) -> bytes:
    """Return ``frame`` as the bytes of one HDF5 chunk under filter 32008 (bitshuffle, LZ4, default block size).

    Parameters
    ----------
    frame : ndarray
        C-contiguous array of native byte order, any shape, at least one element.

    Raises
    ------
    ValueError
        If the array is not C-contiguous or not of native byte order.
    """
    if not frame.flags.c_contiguous or not frame.dtype.isnative:
        raise ValueError("a chunk must be C-contiguous and native: pass numpy.ascontiguousarray(frame, native dtype)")
    elements = frame.reshape(-1).view(f"u{frame.itemsize}")
    scratch = _scratch("chunk", _room(frame.nbytes))
    _PREFIX.pack_into(scratch.data, 0, frame.nbytes, _BLOCK_BYTES)
    end = kernels.pack(elements, _BLOCK_BYTES // frame.itemsize, _planes(), scratch, _PREFIX.size)
    return scratch[:end].tobytes() if _is_small(end, frame.nbytes) else compress_dense(frame)


class ChunkRows:
    """Memory for the chunks of several frames, for kernels that compress them with other things in between.

    Parameters
    ----------
    frame_shape : tuple of int
        (det_row, det_col).
    dtype : dtype
        Of the counts.

    Attributes
    ----------
    block : int
        Pixels of one block of the filter.
    """

    def __init__(self, frame_shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self.block = _BLOCK_BYTES // dtype.itemsize
        self._frame_bytes = math.prod(frame_shape) * dtype.itemsize
        self._memory = np.empty((0, _room(self._frame_bytes)), np.uint8)

    def take(self, n: int) -> NDArray[np.uint8]:
        """Return (n, room) bytes, the same again each time: `PREFIX_BYTES` are written, the body comes behind them."""
        if n > len(self._memory):
            self._memory = np.empty((n, self._memory.shape[1]), np.uint8)
            prefix = _PREFIX.pack(self._frame_bytes, _BLOCK_BYTES)
            self._memory[:, :PREFIX_BYTES] = np.frombuffer(prefix, np.uint8)
        return self._memory[:n]

    def is_small(self, size: int) -> bool:
        """Say whether a chunk of ``size`` bytes is good enough; dense counts are for `compress_dense`."""
        return _is_small(size, self._frame_bytes)


def _room(frame_bytes: int) -> int:
    """Return the largest size of a chunk, with slack."""
    return PREFIX_BYTES + -(-frame_bytes // _BLOCK_BYTES) * (kernels.bound(_BLOCK_BYTES) + 4) + kernels.SLACK


def _is_small(size: int, frame_bytes: int) -> bool:
    return size * _WORTHWHILE_RATIO <= frame_bytes or frame_bytes <= _BLOCK_BYTES


def compress_dense(frame: NDArray[Any]) -> bytes:
    """Return what `compress` does, with the encoder of the filter library, which finds more than runs."""
    library = functions()
    if library is None:
        return _compress_with_hdf5(frame)
    block = library.block_size(frame.itemsize)
    scratch = _scratch("chunk", _PREFIX.size + library.bound(frame.size, frame.itemsize, block))
    _PREFIX.pack_into(scratch.data, 0, frame.nbytes, block * frame.itemsize)
    target = scratch.ctypes.data + _PREFIX.size
    written = library.compress(frame.ctypes.data, target, frame.size, frame.itemsize, block)
    if written < 0:
        raise RuntimeError(f"bshuf_compress_lz4 returned {written} on {frame.nbytes} bytes")
    return scratch[: _PREFIX.size + written].tobytes()


def decompress(chunk: bytes, out: NDArray[Any]) -> None:
    """Decompress one HDF5 chunk of filter 32008 into ``out``.

    Parameters
    ----------
    chunk : bytes
        What ``read_direct_chunk`` returns.
    out : ndarray
        C-contiguous array of the size of the raw chunk; overwritten.

    Raises
    ------
    ValueError
        If the chunk is damaged or of another size than ``out``.
    """
    if len(chunk) < _PREFIX.size:
        raise ValueError(f"a chunk of {len(chunk)} bytes is shorter than its own prefix of {_PREFIX.size}")
    raw_bytes, block_bytes = _PREFIX.unpack_from(chunk)
    whole_groups = block_bytes and block_bytes % (8 * out.itemsize) == 0
    if raw_bytes != out.nbytes or not whole_groups or block_bytes > _MAX_BLOCK_BYTES:
        raise ValueError(f"the chunk holds {raw_bytes} bytes in blocks of {block_bytes}, not {out.nbytes}")
    source = _scratch("chunk", len(chunk) + kernels.SLACK)
    source[: len(chunk)] = np.frombuffer(chunk, np.uint8)
    elements = out.reshape(-1).view(f"u{out.itemsize}")
    used = kernels.unpack(source, _PREFIX.size, len(chunk), block_bytes // out.itemsize, _planes(block_bytes), elements)
    if used != len(chunk):
        raise ValueError(f"the chunk is damaged: not all of its {len(chunk)} bytes make sense")


_local = threading.local()


def _scratch(purpose: str, size: int) -> NDArray[np.uint8]:
    """Return this thread's buffer for ``purpose``, which spares an allocation of the worst case for every frame."""
    buffer: NDArray[np.uint8] | None = getattr(_local, purpose, None)
    if buffer is None or buffer.size < size:
        buffer = np.empty(size, np.uint8)
        setattr(_local, purpose, buffer)
    return buffer


def _planes(block_bytes: int = _BLOCK_BYTES) -> NDArray[np.uint8]:
    return _scratch("planes", block_bytes + kernels.SLACK)


def _compress_with_hdf5(frame: NDArray[Any]) -> bytes:
    """Let HDF5 run the filter on a file in memory."""
    name = f"chunk-{threading.get_ident()}.hdf5"
    with h5py.File(name, "w", driver="core", backing_store=False) as file:
        flat = frame.reshape(-1)
        dataset = file.create_dataset("chunk", data=flat, chunks=flat.shape, **filter_options())
        file.flush()
        _mask, chunk = dataset.id.read_direct_chunk((0,))
    return bytes(chunk)
