"""What is concluded from a pass: validity, counts, verdict. Pure."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stemcal.convert.dead_pixels import find_dead_pixels
from stemcal.convert.hot_pixels import find_hot_pixels
from stemcal.convert.sequence import check_sequence, sequence_flags
from stemcal.convert.settings import ConvertSettings
from stemcal.convert.sums import ScanSums
from stemcal.frames.mib import MibSource
from stemcal.optics.disk import NoDisk
from stemcal.records.base import Flag, Quality, Quantity
from stemcal.records.convert import ConvertResult, VirtualDetectors

_N_RESAMPLING_BLOCKS = 16


def validity(
    sums: ScanSums,
    masked: NDArray[np.bool_],
    detectors: VirtualDetectors | NoDisk,
    settings: ConvertSettings,
) -> NDArray[np.bool_]:
    """Return the detector mask, (det_row, det_col), True = valid: what the mask file leaves, less dead and hot ones."""
    valid = masked.copy()
    if settings.detect_dead_pixels:
        valid &= ~find_dead_pixels(
            sums.total, min_counts=settings.dead_pixel_min_counts, max_width_px=settings.dead_pixel_max_width_px
        )
    if settings.detect_hot_pixels:
        valid &= ~find_hot_pixels(
            sums.total,
            min_counts=settings.hot_pixel_min_counts,
            factor=settings.hot_pixel_factor,
            beam=_beam(detectors),
        )
    return valid


def _beam(detectors: VirtualDetectors | NoDisk) -> tuple[float, float, float] | None:
    if isinstance(detectors, NoDisk):
        return None
    return detectors.centre_row_px.value, detectors.centre_col_px.value, detectors.disk_radius_px.value


def conclude(
    source: MibSource,
    sums: ScanSums,
    sequence: NDArray[np.int64],
    valid: NDArray[np.bool_],
    detectors: VirtualDetectors | NoDisk,
) -> tuple[ConvertResult, Quality]:
    """Return the result and the verdict: every doubt is a flag, any flag makes the verdict ``warn``."""
    check = check_sequence(sequence)
    no_disk = (Flag(name="no_bright_disk", message=detectors.reason),) if isinstance(detectors, NoDisk) else ()
    mean = counts_per_frame(sums.images["total_counts"])
    flags = (*source.flags, *sequence_flags(check), *no_disk, *_blank(mean))
    header = source.layout.header
    result = ConvertResult(
        scan_shape=source.scan_shape,
        scan_shape_evidence=source.scan_decision.evidence,
        frame_shape=source.frame_shape,
        dtype=str(source.dtype),
        counter_depth_bit=header.counter_depth_bit,
        assembly=header.assembly,
        rows_flipped=True,
        n_frames=source.n_frames,
        n_missing_frames=check.n_missing,
        n_invalid_pixels=int(np.count_nonzero(~valid)),
        mean_counts_per_frame=mean,
        max_count=int(sums.maximum.max()),
        virtual_detectors=None if isinstance(detectors, NoDisk) else detectors,
        acquired_at=source.acquired_at,
        microscope=source.microscope,
    )
    return result, Quality(verdict="warn" if flags else "pass", flags=flags)


def counts_per_frame(total_counts: NDArray[np.uint64]) -> Quantity:
    """Return the mean of the total counts with its uncertainty from 16 blocks of consecutive frames.

    Consecutive frames see the same specimen, so single frames are no independent samples but long blocks nearly are.
    """
    value = float(total_counts.mean())
    if total_counts.size < 2 * _N_RESAMPLING_BLOCKS:
        return Quantity(value=value, sigma=None, unit="count")
    means = [float(block.mean()) for block in np.array_split(total_counts, _N_RESAMPLING_BLOCKS)]
    return Quantity(value=value, sigma=float(np.std(means, ddof=1)) / math.sqrt(len(means)), unit="count")


def _blank(mean: Quantity) -> tuple[Flag, ...]:
    if mean.value > 0:
        return ()
    return (Flag(name="no_counts", value=0, message="there is not a single count: was the beam blanked?"),)
