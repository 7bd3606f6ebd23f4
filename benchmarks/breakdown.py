"""Where the time of a conversion goes: each stage by itself, on the same blocks of the same file."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acquisitions import acquisition
from contestants.files import flush_file
from contestants.ours import convert
from stemcal.convert.blocks import BlockWorker, locate
from stemcal.convert.decoding import from_records
from stemcal.convert.patterns import pattern_sums
from stemcal.convert.preview import PreviewPlan, plan_preview
from stemcal.convert.settings import ConvertSettings
from stemcal.formats import bitshuffle
from stemcal.formats.container import Layout, open_container
from stemcal.formats.extras import Extras
from stemcal.formats.hspy import Axis
from stemcal.frames.mib import MibSource
from stemcal.frames.plan import Block, plan_blocks

_REPEATS = 3
_TOGETHER = 16
_AT_MOST_BYTES = 2**30
"""As much of the file as the stages work on: the blocks are held in memory."""
_local = threading.local()


def measure(source: str, folder: str, scan_shape: list[int], cores: int) -> Callable[[], dict[str, Any]]:
    """Return the measurement of all stages.

    The answer has the seconds of each stage on ``raw_bytes`` of pixels, as the median of some repeats: ``one`` on one
    thread, ``all`` on ``cores`` threads that share the blocks (left out where only one can work at a time).
    """

    def work() -> dict[str, Any]:
        with MibSource(Path(source), (scan_shape[0], scan_shape[1])) as frames:
            return _measure(frames, Path(folder), cores)

    return work


def _measure(frames: MibSource, folder: Path, cores: int) -> dict[str, Any]:
    stride = frames.layout.stride_bytes
    blocks = plan_blocks(min(frames.n_frames, max(1, _AT_MOST_BYTES // stride)), stride)
    held = {block.index: frames.read(block.start, block.stop) for block in blocks}
    preview = plan_preview(frames.scan_shape, frames.frame_shape)
    worker = BlockWorker(frames, preview, locate(frames, frames.valid, ConvertSettings()), frames.valid)
    chunks = {block.index: [bitshuffle.compress(frame) for frame in held[block.index]] for block in blocks}
    stages: dict[str, Callable[[Block], object]] = {
        "read": lambda block: _plain_read(frames.path, block, stride),
        "read, decode and add up": lambda block: _absorb(frames, preview, block),
        "compress": lambda block: [bitshuffle.compress(frame) for frame in held[block.index]],
        "all of these, and virtual images": worker,
        "decompress": lambda block: _decompress(chunks[block.index], held[block.index]),
        "SHA-256 of the raw bytes": lambda block: hashlib.sha256(held[block.index].reshape(-1).data).digest(),
    }
    timed = {name: _both(stage, blocks, cores) for name, stage in stages.items()}
    in_order = [chunk for block in blocks for chunk in chunks[block.index]]
    n_bytes = sum(len(chunk) for chunk in in_order)
    timed["write the container"] = {"one": _median(lambda: _container(in_order, frames, folder))}
    timed["write as many bytes to the disk"] = {"one": _median(lambda: _plain_write(n_bytes, folder))}
    return {
        "raw_bytes": sum(held[block.index].nbytes for block in blocks),
        "compressed_bytes": n_bytes,
        "stages": timed,
        "fixed_s": _fixed(folder, cores),
    }


def _both(stage: Callable[[Block], object], blocks: Sequence[Block], cores: int) -> dict[str, float]:
    with ThreadPoolExecutor(cores) as pool:
        return {
            "one": _median(lambda: [stage(block) for block in blocks]),
            "all": _median(lambda: list(pool.map(stage, blocks))),
        }


def _median(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[len(seconds) // 2]


def _plain_read(path: Path, block: Block, stride_bytes: int) -> None:
    """Read the bytes into memory that has been used before: the least that reading costs."""
    target = _buffer(block.n_frames * stride_bytes)
    with path.open("rb", buffering=0) as file:
        file.seek(block.start * stride_bytes)
        file.readinto(target)


def _absorb(frames: MibSource, preview: PreviewPlan, block: Block) -> None:
    """Put frames in their places and add them up, as many together as the conversion does."""
    sums = pattern_sums(frames, preview, np.empty(0, np.intp), None)
    for start in range(block.start, block.stop, _TOGETHER):
        stop = min(start + _TOGETHER, block.stop)
        pixels = from_records(frames.mib.read_records(start, stop), frames.layout.header)
        sums.absorb(pixels, np.zeros(stop - start, np.int64), compress=False)


def _buffer(size: int) -> memoryview:
    """Return this thread's buffer."""
    buffer: bytearray | None = getattr(_local, "buffer", None)
    if buffer is None or len(buffer) < size:
        buffer = _local.buffer = bytearray(size)
    return memoryview(buffer)[:size]


def _decompress(chunks: Sequence[bytes], frames: NDArray[Any]) -> None:
    out = np.empty(frames.shape[1:], frames.dtype)
    for chunk in chunks:
        bitshuffle.decompress(chunk, out)


def _container(chunks: Sequence[bytes], frames: MibSource, folder: Path) -> None:
    """Write the container with its index, flushed to the disk."""
    axes = (Axis("scan_row", "px"), Axis("scan_col", "px"), Axis("det_row", "px"), Axis("det_col", "px"))
    layout = Layout("stages", (1, len(chunks), *frames.frame_shape), axes, frames.dtype)
    path = folder / "stages.hdf5"
    with open_container(path, layout) as writer:
        writer.put(range(len(chunks)), chunks)
        writer.finish(Extras())
    path.unlink()


def _plain_write(n_bytes: int, folder: Path) -> None:
    path = folder / "stages.bin"
    part = os.urandom(2**22)
    with path.open("wb", buffering=0) as file:
        for start in range(0, n_bytes, len(part)):
            file.write(part[: n_bytes - start])
    flush_file(str(path))
    path.unlink()


def _fixed(folder: Path, cores: int) -> float:
    """Return the seconds of a conversion of next to nothing: figure, record, bright disk."""
    small = folder / "fixed.mib"
    acquisition(str(small), [4, 4], 256)()
    work = convert(str(small), str(folder / "fixed_data.hdf5"), [4, 4], cores)
    work()
    seconds = _median(work)
    for path in folder.glob("fixed*"):
        path.unlink()
    return seconds
