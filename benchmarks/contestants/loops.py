"""Conversions as people write them by hand: a row-wise h5py loop, and one frame at a time as at ePSIC."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from contestants.raw import map_frames, record_type

_LEVEL = 9
_BITSHUFFLE = 2
_BLOCK_BYTES = 1024
_OVERHEAD_BYTES = 16


def h5py_rows(source: str, target: str, scan_shape: list[int], cores: int) -> Callable[[], None]:
    """Return the conversion by h5py and hdf5plugin: one scan row at a time, one frame per chunk, bitshuffle-LZ4."""
    del cores  # HDF5 filters one chunk at a time

    def work() -> None:
        frames = map_frames(source)
        rows, cols = scan_shape
        with h5py.File(target, "w") as file:
            data = file.create_dataset(
                "data",
                (rows, cols, *frames.shape[1:]),
                frames.dtype.newbyteorder("="),
                chunks=(1, 1, *frames.shape[1:]),
                compression=hdf5plugin.Bitshuffle(cname="lz4"),
            )
            for row in range(rows):
                line = frames[row * cols : (row + 1) * cols, ::-1]
                data[row] = line.astype(data.dtype)

    return work


def epsic(source: str, target: str, scan_shape: list[int], cores: int) -> Callable[[], None]:
    """Return the conversion as ePSIC's script goes about it, written anew from a description of it.

    One frame at a time: read, swap the bytes, turn upside down, compress by Blosc (blosclz, level 9, bit shuffle,
    blocks of 1 kB) and write the chunk directly. Python's blosc package is not needed: its C library is in hdf5plugin
    too. Blosc gets one thread, which is quicker here than two: a frame is too small to be shared.
    """
    del cores
    compress = _blosc()

    def work() -> None:
        record = record_type(source)
        rows, cols = scan_shape
        kind = record["pixels"].base.newbyteorder("=")
        shape = record["pixels"].shape
        with Path(source).open("rb") as raw, h5py.File(target, "w") as file:
            options = hdf5plugin.Blosc(cname="blosclz", clevel=_LEVEL, shuffle=hdf5plugin.Blosc.BITSHUFFLE)
            data = file.create_dataset("data", (rows, cols, *shape), kind, chunks=(1, 1, *shape), compression=options)
            for place in range(rows * cols):
                pixels = np.fromfile(raw, record, 1)["pixels"][0]
                frame = np.ascontiguousarray(np.flipud(pixels.astype(kind)))
                data.id.write_direct_chunk((*divmod(place, cols), 0, 0), compress(frame))

    return work


def _blosc() -> Callable[[NDArray[Any]], bytes]:
    """Return the compression of one frame by the C function that Python's blosc package calls."""
    library = ctypes.CDLL(str(Path(hdf5plugin.PLUGIN_PATH) / "libh5blosc.so"))
    size, pointer, whole = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int
    library.blosc_compress.argtypes = [whole, whole, size, size, pointer, pointer, size]
    library.blosc_set_blocksize.argtypes = [size]
    library.blosc_init()
    library.blosc_set_nthreads(1)
    library.blosc_set_compressor(b"blosclz")
    library.blosc_set_blocksize(_BLOCK_BYTES)

    def compress(frame: NDArray[Any]) -> bytes:
        out = ctypes.create_string_buffer(frame.nbytes + _OVERHEAD_BYTES)
        room = len(out)
        count = library.blosc_compress(
            _LEVEL, _BITSHUFFLE, frame.itemsize, frame.nbytes, frame.ctypes.data, ctypes.addressof(out), room
        )
        if count <= 0:
            raise RuntimeError(f"blosc_compress returned {count} on {frame.nbytes} bytes")
        return bytes(memoryview(out)[:count])

    return compress
