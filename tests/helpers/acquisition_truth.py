"""A hard acquisition and, by plain NumPy from its frames alone, everything that the conversion must make of it.

The slots: lead-in frames, a scan whose last column is the fly-back, trailing frames. One frame was lost, one came
twice, one inside the scan was exposed for too long. Nothing of the package's own sums is used here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.formats.extras import FrameStatus
from stemcal.formats.merlin.writer import write_mib
from stemcal.records.convert import VirtualDetectors

ROWS, COLS = 9, 10
LEAD, TRAIL = 3, 2
N_SLOTS = LEAD + ROWS * COLS + TRAIL
LOST, TWICE, SPIKE = (3, 4), (5, 2), (6, 7)
DWELL_NS, LONG_NS = 1_000_000, 3_000_000
CELL, BINS = 8, 64

Array = NDArray[Any]


@dataclass(frozen=True)
class Mode:
    """How a detector writes: pixel type, chips, counter depth, shape of the picture and its largest count."""

    pixel_type: str
    assembly: str
    depth: int | None
    shape: tuple[int, int]
    peak: int

    @property
    def ceiling(self) -> int | None:
        """Largest count of the counter, None where there is none to be reached."""
        depth = self.depth or {"U08": 6, "U16": 12, "U32": 24}[self.pixel_type]
        return None if depth == 1 else 2**depth - 1


@dataclass(frozen=True)
class Acquisition:
    """What was written and what it means.

    ``scan`` (position, det_row, det_col) has the rows turned, the gap put in and zeros where the frame was lost;
    ``outside`` likewise are the frames without a position, in the order of the file.
    """

    path: Path
    mode: Mode
    gap_px: int
    n_in_file: int
    scan: Array
    outside: Array
    status: NDArray[np.uint8]
    sequence: NDArray[np.int64]
    exposure_ns: NDArray[np.int64]


def pictures(mode: Mode, n_frames: int, seed: int) -> Array:
    """Return (n, det_row, det_col) counts of a disk that moves a little, its brightest pixels at the mode's peak."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[: mode.shape[0], : mode.shape[1]]
    frames = np.empty((n_frames, *mode.shape), np.uint64)
    for frame in range(n_frames):
        centre = (0.45 * mode.shape[0] + 0.02 * (frame % COLS), 0.48 * mode.shape[1] - 0.02 * (frame // COLS))
        inside = np.hypot(rows - centre[0], cols - centre[1]) < 4.3
        level = np.where(inside, 0.9, 0.04) * (mode.peak if mode.peak == 1 else 0.95 * mode.peak)
        drawn = rng.random(mode.shape) < level if mode.peak == 1 else rng.poisson(level)
        frames[frame] = np.minimum(drawn, mode.peak)
    frames[::3, 2, 3] = mode.peak
    frames[1::4, -1, -1] = mode.peak
    return frames


def write_hard(path: Path, mode: Mode, gap_px: int = 0, seed: int = 0) -> Acquisition:
    """Write the acquisition and return its truth."""
    frames = pictures(mode, N_SLOTS + 1, seed)
    slots, again = frames[:-1], frames[-1]
    in_scan = np.arange(N_SLOTS) - LEAD
    flat = {name: row * COLS + col for name, (row, col) in {"lost": LOST, "twice": TWICE, "spike": SPIKE}.items()}
    inside = (in_scan >= 0) & (in_scan < ROWS * COLS)
    exposure = np.where(inside & (in_scan % COLS == COLS - 1), LONG_NS, DWELL_NS)
    exposure[LEAD + flat["spike"]] = 2 * LONG_NS
    order = [slot for slot in range(N_SLOTS) if slot != LEAD + flat["lost"]]
    twice = order.index(LEAD + flat["twice"])
    order.insert(twice + 1, order[twice])
    in_file = slots[order]
    in_file[twice + 1] = again
    times = 10**18 + np.concatenate([[0], np.cumsum(exposure[:-1] + 95_000)])
    write_mib(
        path,
        [in_file],
        pixel_type=mode.pixel_type,
        assembly=mode.assembly,
        counter_depth_bit=mode.depth,
        scan_shape=(ROWS, COLS - 1),
        scan_in_hdr=True,
        frames_per_trigger=1,
        sequence=np.array(order) + 1,
        exposure_ns=exposure[order],
        time_ns=times[order],
    )
    scan = slots[LEAD : LEAD + ROWS * COLS].copy()
    scan[flat["lost"]] = 0
    outside = np.concatenate([in_file[:LEAD], in_file[twice + 1 : twice + 2], in_file[-TRAIL:]])
    return Acquisition(
        path=path,
        mode=mode,
        gap_px=gap_px,
        n_in_file=len(in_file),
        scan=as_stored(scan, gap_px),
        outside=as_stored(outside, gap_px),
        status=_status(flat),
        sequence=np.where(np.arange(ROWS * COLS) == flat["lost"], -1, np.arange(ROWS * COLS) + LEAD + 1),
        exposure_ns=np.where(np.arange(ROWS * COLS) == flat["lost"], -1, exposure[LEAD : LEAD + ROWS * COLS]),
    )


def _status(flat: dict[str, int]) -> NDArray[np.uint8]:
    status = np.full((ROWS, COLS), FrameStatus.OK, np.uint8)
    status[:, -1] = FrameStatus.FLY_BACK
    status.flat[flat["spike"]] = FrameStatus.SPIKE
    status.flat[flat["lost"]] = FrameStatus.MISSING
    return status.ravel()


def as_stored(frames: Array, gap_px: int) -> Array:
    """Return frames (n, det_row, det_col) with the rows turned and the gap put in."""
    return with_gap(frames[:, ::-1], gap_px)


def with_gap(frames: Array, gap_px: int) -> Array:
    """Put a cross of zeros into the middle of frames (n, det_row, det_col)."""
    wide = frames
    for axis in (1, 2) if gap_px else ():
        wide = np.insert(wide, [frames.shape[axis] // 2] * gap_px, 0, axis=axis)
    return wide


def products(truth: Acquisition, valid: NDArray[np.bool_], detectors: VirtualDetectors) -> dict[str, Array]:
    """Return every sum that stands beside the frames; ``valid`` (det_row, det_col) is what gap and mask file leave."""
    scan, ok = truth.scan, truth.status == FrameStatus.OK
    kept, n_ok = scan[ok], int(ok.sum())
    total, exact = kept.sum(axis=0), kept.astype(object)
    open_scan = scan * valid
    counts = open_scan.sum(axis=(1, 2))
    row, col = np.indices(valid.shape)
    found: dict[str, Array] = {
        "sum_pattern": total,
        "max_pattern": kept.max(axis=0),
        "mean_pattern": total / n_ok,
        "variance_pattern": (n_ok * (exact**2).sum(axis=0) - exact.sum(axis=0) ** 2) / n_ok**2,
        "total_counts": _map(counts),
        "max_count": _map(open_scan.max(axis=(1, 2))),
        "centre_of_mass_row": _ratio((open_scan * row).sum(axis=(1, 2)), counts),
        "centre_of_mass_col": _ratio((open_scan * col).sum(axis=(1, 2)), counts),
        "preview": _preview(kept, np.flatnonzero(ok)),
    }
    full = (scan >= (truth.mode.ceiling or 2**64)) & valid
    found["saturated_pixels"] = _map(full.sum(axis=(1, 2)))
    found["saturated_pattern"] = full[ok].sum(axis=0)
    distance = np.hypot(row - detectors.centre_row_px.value, col - detectors.centre_col_px.value)
    for name in ("bright_field", "annular_bright_field", "annular_dark_field", "high_angle_dark_field"):
        inner, outer = getattr(detectors, f"{name}_px")
        found[name] = _map((scan * (valid & (distance >= inner) & (distance < outer))).sum(axis=(1, 2)))
    return found


def _ratio(moments: Array, counts: Array) -> Array:
    return _map(
        [moment / total if total else np.nan for moment, total in zip(moments.tolist(), counts.tolist(), strict=True)]
    )


def _map(values: Any) -> Array:
    return np.array(list(values)).reshape(ROWS, COLS)


def _preview(kept: Array, places: NDArray[np.intp]) -> Array:
    factor = -(-max(kept.shape[1:]) // BINS)
    shape = tuple(-(-size // factor) for size in kept.shape[1:])
    preview = np.zeros((-(-ROWS // CELL), -(-COLS // CELL), *shape), np.uint64)
    for cell in np.ndindex(preview.shape[:2]):
        pattern = kept[(places // COLS // CELL == cell[0]) & (places % COLS // CELL == cell[1])].sum(axis=0)
        for row, col in np.ndindex(shape):
            preview[(*cell, row, col)] = pattern[
                row * factor : (row + 1) * factor, col * factor : (col + 1) * factor
            ].sum()
    return preview
