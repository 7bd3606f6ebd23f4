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
    block = _BLOCK_BYTES // frame.itemsize
    n_blocks = -(-elements.size // block)
    scratch = _scratch("chunk", _PREFIX.size + n_blocks * (kernels.bound(_BLOCK_BYTES) + 4) + kernels.SLACK)
    _PREFIX.pack_into(scratch.data, 0, frame.nbytes, _BLOCK_BYTES)
    end = kernels.pack(elements, block, _planes(), scratch, _PREFIX.size)
    if end * _WORTHWHILE_RATIO > frame.nbytes and frame.nbytes > _BLOCK_BYTES:
        return _compress_with_library(frame)
    return scratch[:end].tobytes()


def _compress_with_library(frame: NDArray[Any]) -> bytes:
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
