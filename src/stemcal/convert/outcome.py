"""What is concluded from a pass: validity, counts, verdict. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.convert.dead_pixels import find_dead_pixels
from stemcal.convert.hot_pixels import find_hot_pixels
from stemcal.convert.sequence import count_frames, frame_flags
from stemcal.convert.settings import ConvertSettings
from stemcal.convert.sums import ScanSums
from stemcal.formats.extras import FrameStatus
from stemcal.formats.merlin.pixels import counter_ceiling
from stemcal.frames.mib import MibSource
from stemcal.frames.scan.intensity import intensity_agrees
from stemcal.optics.disk import NoDisk
from stemcal.records.base import Flag, Quality, Quantity
from stemcal.records.convert import (
    Binned,
    ConvertResult,
    InvalidPixels,
    RawFile,
    Saturation,
    Scan,
    VirtualDetectors,
)

_N_RESAMPLING_BLOCKS = 16
_MAX_SATURATED_FRAMES = 0.01
"""Part of the frames with a full counter from which sums and virtual images are no longer to be trusted."""


@dataclass(frozen=True)
class Validity:
    """Which pixels are valid, and why the others are not; (det_row, det_col) each.

    Attributes
    ----------
    valid : ndarray of bool
        True = valid.
    dead, hot : ndarray of bool
        True = found dead or hot.
    """

    valid: NDArray[np.bool_]
    dead: NDArray[np.bool_]
    hot: NDArray[np.bool_]


def judge_pixels(
    sums: ScanSums,
    masked: NDArray[np.bool_],
    detectors: VirtualDetectors | NoDisk,
    settings: ConvertSettings,
) -> Validity:
    """Return the detector mask: what the gap and the mask file leave (``masked``), less dead and hot pixels."""
    dead, hot = np.zeros_like(masked), np.zeros_like(masked)
    if settings.detect_dead_pixels:
        dead = masked & find_dead_pixels(
            sums.total, min_counts=settings.dead_pixel_min_counts, max_width_px=settings.dead_pixel_max_width_px
        )
    if settings.detect_hot_pixels:
        hot = masked & find_hot_pixels(
            sums.total,
            min_counts=settings.hot_pixel_min_counts,
            factor=settings.hot_pixel_factor,
            beam=_beam(detectors),
        )
    return Validity(masked & ~dead & ~hot, dead, hot)


def _beam(detectors: VirtualDetectors | NoDisk) -> tuple[float, float, float] | None:
    if isinstance(detectors, NoDisk):
        return None
    return detectors.centre_row_px.value, detectors.centre_col_px.value, detectors.disk_radius_px.value


def conclude(
    source: MibSource,
    sums: ScanSums,
    pixels: Validity,
    detectors: VirtualDetectors | NoDisk,
    raw_files: tuple[RawFile, ...],
    binned: Binned | None,
) -> tuple[ConvertResult, Quality]:
    """Return the result and the verdict: fail without a certain scan, which holds the later steps; a doubt is warn."""
    counts = count_frames(source)
    no_disk = (Flag(name="no_bright_disk", message=detectors.reason),) if isinstance(detectors, NoDisk) else ()
    counted = source.frame_status == FrameStatus.OK
    mean = counts_per_frame(sums.images["total_counts"][counted])
    saturation = _saturation(source, sums)
    flags = (
        *source.flags,
        *frame_flags(counts),
        *_intensity(source, sums),
        *_full_counters(saturation, counts.ok),
        *no_disk,
        *_blank(mean),
    )
    header, scan = source.layout.header, source.scan
    result = ConvertResult(
        raw_files=raw_files,
        scan_shape=source.scan_shape,
        scan=Scan(
            certain=scan.certain,
            probability=round(min(scan.probability, 1.0), 6),
            first_slot=scan.first_slot,
            fly_back_cols=scan.fly_back_cols,
            candidates=scan.candidates,
            evidence=scan.evidence,
        ),
        frames=counts,
        frame_shape=source.frame_shape,
        chip_gap_px=source.gap_px,
        dtype=str(source.dtype),
        pixel_type=header.pixel_type,
        counter_depth_bit=header.counter_depth_bit,
        assembly=header.assembly,
        rows_flipped=True,
        invalid_pixels=_invalid(source, pixels),
        mean_counts_per_frame=mean,
        max_count=int(sums.maximum.max()),
        saturation=saturation,
        virtual_detectors=None if isinstance(detectors, NoDisk) else detectors,
        binned=binned,
        acquired_at=source.acquired_at,
        microscope=source.microscope,
    )
    verdict = "pass" if not flags else "warn"
    return result, Quality(verdict=verdict if scan.certain else "fail", flags=flags)


def _invalid(source: MibSource, pixels: Validity) -> InvalidPixels:
    total, gap = int(np.count_nonzero(~pixels.valid)), int(np.count_nonzero(~source.valid))
    dead, hot = int(np.count_nonzero(pixels.dead)), int(np.count_nonzero(pixels.hot))
    masked = int(np.count_nonzero(source.valid & ~pixels.valid & ~pixels.dead & ~pixels.hot))
    return InvalidPixels(gap=gap, masked=masked, dead=dead, hot=hot, total=total)


def _saturation(source: MibSource, sums: ScanSums) -> Saturation | None:
    ceiling = counter_ceiling(source.layout.header)
    if ceiling is None:
        return None
    return Saturation(
        ceiling=ceiling,
        n_pixels=int(np.count_nonzero(sums.saturated)),
        n_frames=int(np.count_nonzero(sums.images["saturated_pixels"][source.frame_status == FrameStatus.OK])),
    )


def _full_counters(saturation: Saturation | None, n_ok: int) -> tuple[Flag, ...]:
    if saturation is None or saturation.n_frames <= _MAX_SATURATED_FRAMES * n_ok:
        return ()
    message = (
        f"{saturation.n_pixels} pixels reach the ceiling of {saturation.ceiling} counts, "
        f"{saturation.n_frames} frames have some: their counts are too low; "
        "use less beam, a shorter dwell time or a deeper counter"
    )
    return (Flag(name="saturated", value=saturation.n_frames, limit=_MAX_SATURATED_FRAMES, message=message),)


def _intensity(source: MibSource, sums: ScanSums) -> tuple[Flag, ...]:
    """Return a flag where the image itself says that its lines are not so long."""
    totals = sums.images["total_counts"].astype(np.float64)
    totals[source.scan_map.places < 0] = np.nan
    if not source.scan.certain or intensity_agrees(totals, source.scan_shape, 0, source.scan.fly_back_cols) != (
        "contradicts"
    ):
        return ()
    message = "neighbouring lines of the total intensity are not alike: look whether the image is sheared"
    rows, cols = source.scan_shape
    return (Flag(name="intensity_contradicts", value=f"{rows},{cols}", message=message),)


def counts_per_frame(total_counts: NDArray[np.uint64]) -> Quantity:
    """Return the mean of the total counts with its uncertainty from 16 blocks of consecutive frames.

    Consecutive frames see the same specimen, so single frames are no independent samples but long blocks nearly are.
    """
    value = float(total_counts.mean()) if total_counts.size else 0.0
    if total_counts.size < 2 * _N_RESAMPLING_BLOCKS:
        return Quantity(value=value, sigma=None, unit="count")
    means = [float(block.mean()) for block in np.array_split(total_counts, _N_RESAMPLING_BLOCKS)]
    return Quantity(value=value, sigma=float(np.std(means, ddof=1)) / math.sqrt(len(means)), unit="count")


def _blank(mean: Quantity) -> tuple[Flag, ...]:
    if mean.value > 0:
        return ()
    return (Flag(name="no_counts", value=0, message="there is not a single count: was the beam blanked?"),)
