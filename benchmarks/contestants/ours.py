"""stemcal itself: conversion with everything on, and reading back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from acquisitions import acquisition
from stemcal.convert.paths import ConvertPaths
from stemcal.convert.run import run_convert
from stemcal.convert.settings import ConvertSettings
from stemcal.formats.merlin.reader import MibFile
from stemcal.frames.plan import Block
from stemcal.frames.source import open_source
from stemcal.frames.stream import stream_blocks


def convert(source: str, target: str, scan_shape: list[int], cores: int) -> Callable[[], None]:
    """Return the conversion with all products: data, sums, record and figure, on the disk when it ends.

    A conversion of a few frames goes before it, so that loading the compiled kernels counts as start-up.
    """
    mib, paths, shape = Path(source), ConvertPaths.of(Path(target)), (scan_shape[0], scan_shape[1])
    with TemporaryDirectory() as folder:
        few = Path(folder) / "few.mib"
        acquisition(str(few), [2, 2], MibFile(mib).frame_shape[0])()
        run_convert(few, ConvertPaths.of(few.with_name("few_data.hdf5")), settings=ConvertSettings(), scan_shape=(2, 2))

    def work() -> None:
        run_convert(mib, paths, settings=ConvertSettings(), scan_shape=shape, threads=cores)

    return work


def sum_pattern(source: str, answer: str, scan_shape: list[int], cores: int) -> Callable[[], None]:
    """Return the sum over all frames of a container or a raw file, read by ``frames`` with that many threads."""
    shape = (scan_shape[0], scan_shape[1])

    def work() -> None:
        with open_source(Path(source), scan_shape=shape) as frames:
            total = np.zeros(frames.frame_shape, np.uint64)
            for _block, part in stream_blocks(frames, _sum, threads=cores):
                total += part
        np.save(answer, total)

    work()
    return work


def _sum(frames: NDArray[Any], _block: Block) -> NDArray[Any]:
    """Sum in 32 bits, which hold 2^16 frames of U16 and are quicker than 64."""
    total = np.zeros(frames[0].size, np.uint32 if frames.itemsize <= 2 else np.uint64)
    _add(frames.reshape(len(frames), -1), total)
    return total.reshape(frames.shape[1:])


@njit(nogil=True, cache=True)
def _add(frames: NDArray[Any], total: NDArray[Any]) -> None:
    """Compiled, like the loop that LiberTEM sums with."""
    for frame in frames:
        for index in range(frame.size):
            total[index] += frame[index]
