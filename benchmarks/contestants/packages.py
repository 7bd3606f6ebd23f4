"""Conversions by RosettaSciIO and HyperSpy as their documentation shows them: lazy, so that size does not matter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h5py
import hdf5plugin


def rosettasciio(source: str, target: str, scan_shape: list[int], cores: int) -> Callable[[], None]:
    """Return the conversion by RosettaSciIO's lazy reader into bitshuffle-LZ4, chunks as dask has them."""
    return _rosettasciio(source, target, scan_shape, cores, chunks="dask")


def rosettasciio_auto(source: str, target: str, scan_shape: list[int], cores: int) -> Callable[[], None]:
    """Return the same with the chunks that h5py chooses by itself."""
    return _rosettasciio(source, target, scan_shape, cores, chunks="h5py")


def rosettasciio_frames(source: str, target: str, scan_shape: list[int], cores: int) -> Callable[[], None]:
    """Return the same with one frame per chunk, as a careful user would ask for."""
    return _rosettasciio(source, target, scan_shape, cores, chunks="frame")


def hyperspy(source: str, target: str, scan_shape: list[int], cores: int) -> Callable[[], None]:
    """Return HyperSpy's lazy load and its save to ``.hspy``, every setting as it comes."""
    import hyperspy.api as hs

    del scan_shape, cores  # it finds the one and takes all of the others

    def work() -> None:
        hs.preferences.General.show_progressbar = False
        hs.load(source, lazy=True).save(target, overwrite=True)

    return work


def _rosettasciio(source: str, target: str, scan_shape: list[int], cores: int, chunks: str) -> Callable[[], None]:
    import dask
    import dask.array as da
    from rsciio.quantumdetector import file_reader

    def work() -> None:
        signals: list[dict[str, Any]] = file_reader(source, lazy=True, navigation_shape=tuple(scan_shape[::-1]))
        frames = signals[0]["data"]
        chosen = {
            "dask": tuple(sizes[0] for sizes in frames.chunks),
            "h5py": True,
            "frame": (1, 1, *frames.shape[2:]),
        }
        with dask.config.set(scheduler="threads", num_workers=cores), h5py.File(target, "w") as file:
            data = file.create_dataset(
                "data",
                frames.shape,
                frames.dtype.newbyteorder("="),
                chunks=chosen[chunks],
                compression=hdf5plugin.Bitshuffle(cname="lz4"),
            )
            da.store(frames, data)

    return work
