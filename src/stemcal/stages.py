"""The light table of steps: name, revision, what it stands on, and what it costs.

Standard library only: the Snakefile imports this module, and a job parses the Snakefile twice.

``revision`` is bumped when the numbers of a step change; the golden-number tests fail until it is. Memory is a stated
function of the block and the frame, not of the length of the scan; ``tests/polar/test_memory.py`` and
``benchmarks/convert.py --section memory`` hold it to that.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

BLOCK_BYTES = 16 * 2**20
"""Target size of one block of raw frames; a block is never less than one frame."""

_MIB = 2**20
_INTERPRETER_MB = 450
"""A worker with numpy, scipy, h5py and matplotlib, and the two Snakemake interpreters of a SLURM job beside it."""


@dataclass(frozen=True)
class Extent:
    """Size of one data set.

    Attributes
    ----------
    n_frames : int
        Number of frames in the scan.
    frame_pixels : int
        Detector rows times columns.
    itemsize : int
        Bytes per pixel of the raw counts.
    kept_bytes : int
        Bytes per frame that a step may keep in memory for the whole scan, see `bright_field_bytes`.
    """

    n_frames: int
    frame_pixels: int
    itemsize: int
    kept_bytes: int = 0

    @property
    def frame_bytes(self) -> int:
        """Bytes of one raw frame."""
        return self.frame_pixels * self.itemsize

    @property
    def raw_bytes(self) -> int:
        """Bytes of the whole scan."""
        return self.n_frames * self.frame_bytes

    @property
    def block_bytes(self) -> int:
        """Bytes of one block of raw frames."""
        return max(BLOCK_BYTES, self.frame_bytes)


@dataclass(frozen=True)
class Stage:
    """One step as the workflow sees it.

    Attributes
    ----------
    revision : int
        Version of the algorithm; part of the parameter of every rule and of every output.
    upstream : tuple of str
        Steps on the same data set whose outputs it reads.
    reads : tuple of str
        Which identities decide its output, see `parameter`.
    memory_mb : callable
        Peak resident memory in MB from (extent, threads).
    rate_mb_per_s : float
        Raw data that one core gets through per second, for the run-time request; measured, then halved.
    may_read : tuple of str
        Identities that decide its output too where there are any. Where there are none they are not part of the
        parameter, so that what a session does not have changes nothing.
    """

    revision: int
    upstream: tuple[str, ...]
    reads: tuple[str, ...]
    memory_mb: Callable[[Extent, int], int]
    rate_mb_per_s: float
    may_read: tuple[str, ...] = ()


def _fixed(megabytes: int) -> Callable[[Extent, int], int]:
    def memory_mb(_extent: Extent, _threads: int) -> int:
        return _INTERPRETER_MB + megabytes

    return memory_mb


def _streaming(float_copies: int, bytes_per_frame: int, patterns: int = 10) -> Callable[[Extent, int], int]:
    """Memory of a pass: per thread a raw block and ``float_copies`` float32 blocks, patterns, results per position."""

    def memory_mb(extent: Extent, threads: int) -> int:
        block_pixels = extent.block_bytes // extent.itemsize
        per_thread = extent.block_bytes + float_copies * 4 * block_pixels
        in_flight = (2 * threads + 2) * extent.block_bytes
        arrays = patterns * 8 * extent.frame_pixels
        total = in_flight + threads * per_thread + arrays + bytes_per_frame * extent.n_frames
        return _INTERPRETER_MB + math.ceil(total / _MIB)

    return memory_mb


def _converting(extent: Extent, threads: int) -> int:
    """Memory of the conversion: raw blocks on their way, sums of blocks and of the scan, what is kept per position.

    Blocks are worked on, wait for their turn or for the digest of the raw file (two of them). A block's sums are five
    patterns of 8 bytes, those of the scan seven; what a thread works on together, 4 MiB or eight frames, is there as
    chunks too; the compiler of the kernels takes 80 MB.
    """
    blocks = (3 * threads + 3) * (extent.block_bytes + 5 * 8 * extent.frame_pixels)
    together = max(4 * _MIB, 8 * extent.frame_bytes)
    working = threads * (2 * together + 6 * 8 * extent.frame_pixels)
    scan = 7 * 8 * extent.frame_pixels + 40 * _MIB
    total = blocks + working + scan + 300 * extent.n_frames
    return _INTERPRETER_MB + 80 + math.ceil(total / _MIB)


def _measuring_rings(extent: Extent, threads: int) -> int:
    """Memory of the rings: a pass, and what is kept for the origins.

    Tables for 16 fractions of a pixel have 12 bytes a pixel, those of the symmetry orders 28 more, for a detector a
    tenth larger on account of the descan. The fits of the orders and their making take 128 MB, the compiler 80.
    """
    tables = min(1.1 * 16 * (12 + 28) * extent.frame_pixels / _MIB, 2 * 192)
    return _streaming(2, 200)(extent, threads) + math.ceil(tables) + 128 + 80


def _keeping_bright_field(extent: Extent, threads: int) -> int:
    """Memory of the geometry: a pass, and the bright-field disk over the whole scan, with a third for its spectrum.

    A gigabyte is for what is fitted and drawn, the compiler included.
    """
    kept = 1.3 * extent.kept_bytes * extent.n_frames
    return _streaming(1, 400)(extent, threads) + math.ceil(kept / _MIB) + 1000


def _factorising(extent: Extent, threads: int) -> int:
    """Memory of the factorisation, and of the sums of its classes: counts and exposure per class, per block on its way.

    The factorisation does not grow with the scans: 20 000 profiles of 370 bins are there ten times over while they are
    fitted, a block of 8192 sixteen times; maps of the figure, scikit-learn and numba take 340 MB. 1700 MB are
    for elements and clusters. ``extent`` is that of the largest frames of the group; more than ten components are rare.
    """
    factors = 340 + (10 * 20_000 + 16 * 8192) * 370 * 8 / _MIB
    sums = (2 * threads + 2) * 10 * 16 * extent.frame_pixels
    blocks = (2 * threads + 2) * 2 * extent.block_bytes
    return _INTERPRETER_MB + 1700 + math.ceil(factors + (sums + blocks) / _MIB)


STAGES: Mapping[str, Stage] = {
    "discover": Stage(1, (), (), _fixed(100), 1e9),
    "convert": Stage(2, (), ("raw",), _converting, 300.0),
    "gold": Stage(2, ("convert",), ("raw",), _streaming(1, 60, patterns=600), 100.0, may_read=("history",)),
    "gain": Stage(1, ("convert",), ("raw",), _streaming(1, 60, patterns=150), 100.0),
    "geometry": Stage(1, ("convert",), ("raw",), _keeping_bright_field, 50.0, may_read=("gain",)),
    "calibration": Stage(1, ("convert",), ("raw", "gold"), _streaming(1, 400), 100.0, may_read=("gain", "geometry")),
    "polar": Stage(2, ("calibration",), ("raw",), _measuring_rings, 20.0),
    "nmf": Stage(2, (), ("members",), _factorising, 50.0, may_read=("edx",)),
    "report": Stage(1, (), ("members",), _fixed(1500), 1e9),
}


OUTPUTS: Mapping[str, tuple[str, ...]] = {
    "convert": ("data.hdf5", "convert.json", "overview.png"),
    "gold": ("gold.json", "gold.png"),
    "gain": ("gain.json", "gain.hdf5", "gain.png"),
    "geometry": ("geometry.json", "ssb.hdf5", "geometry.png"),
    "calibration": ("calibration.json", "calibration.png"),
    "polar": ("azimuthal_mean.hspy", "azimuthal_var.hspy", "polar.hdf5", "polar.json", "polar.png"),
}
"""Endings of the files that a step writes for one data set, as ``<id>_<ending>``."""


_BRIGHT_FIELD_RIM = 1.1
"""What the geometry keeps around the bright-field disk, as a part of its radius."""


def bright_field_bytes(
    settings: Mapping[str, Mapping[str, object]], frame_pixels: int, itemsize: int, *, gain_corrected: bool
) -> int:
    """Return the bytes per frame that the geometry keeps at most: the largest disk it works on, with a rim.

    Parameters
    ----------
    settings : mapping
        The settings of every step, by name.
    frame_pixels : int
        Detector rows times columns.
    itemsize : int
        Bytes per pixel of the raw counts.
    gain_corrected : bool
        Whether counts may be multiplied by gain factors, which makes them floating-point numbers.
    """
    radius_px = float(str(settings.get("geometry", {}).get("max_disk_radius_px", 0)))
    pixels = min(frame_pixels, math.ceil(math.pi * (_BRIGHT_FIELD_RIM * radius_px) ** 2))
    return pixels * (2 if itemsize <= 2 and not gain_corrected else 4)


def canonical(value: object) -> str:
    """Return ``value`` as JSON with sorted keys and no spare white space: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def parameter(stage: str, settings: Mapping[str, Mapping[str, object]], source: Mapping[str, object]) -> str:
    """Return the ONE parameter of a rule: what, by which revision, with which settings, on which data.

    Snakemake compares parameters as an unordered set of values, so everything that decides an output has to be in
    one canonical text. The digest of the parameters of the steps before it is part of ``source``: whatever changes
    upstream changes this text too, so that its digest alone tells whether a refusal still stands.

    Parameters
    ----------
    stage : str
        Name of the step.
    settings : mapping
        The settings of every step, by name.
    source : mapping
        Identity of the data; a step takes the keys that it ``reads`` (``raw``: its own file, ``gold``: the
        references it may be calibrated with, ``members``: the data sets of an aggregate) and those that it
        ``may_read`` (``gain``: the gain references of its detector, ``history``: earlier calibrations of the camera).

    Returns
    -------
    str
        Canonical JSON ``{stage, revision, settings, source}``.
    """
    step = STAGES[stage]
    read = {key: source[key] for key in step.reads}
    read |= {key: source[key] for key in step.may_read if source.get(key)}
    if step.upstream:
        texts = [parameter(before, settings, source) for before in step.upstream]
        read["upstream"] = digest("\n".join(texts))
    return canonical({"stage": stage, "revision": step.revision, "settings": settings.get(stage, {}), "source": read})


def digest(text: str) -> str:
    """Return the SHA-256 of ``text`` in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def memory_mb(stage: str, extent: Extent, threads: int) -> int:
    """Return the peak memory in MB that a job of ``stage`` on ``extent`` may need with ``threads`` threads."""
    return STAGES[stage].memory_mb(extent, threads)


def runtime_minutes(stage: str, extent: Extent, threads: int) -> int:
    """Return the run time in minutes to ask for: start-up plus the raw data at the step's rate."""
    seconds = 240 + extent.raw_bytes / (STAGES[stage].rate_mb_per_s * 1e6 * max(1, threads))
    return math.ceil(seconds / 60)
