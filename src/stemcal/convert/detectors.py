"""Where the bright disk is, and the virtual detectors around it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemcal.convert.settings import ConvertSettings
from stemcal.formats.extras import FrameStatus
from stemcal.frames.plan import evenly_spaced
from stemcal.frames.source import FrameSource
from stemcal.optics.disk import BrightDisk, NoDisk, find_bright_disk
from stemcal.records.base import Quantity
from stemcal.records.convert import VirtualDetectors

N_GROUPS = 8
"""Groups of sample frames for the jackknife; fewer say little about a spread."""


CIRCLES = ("high_angle", "dark_field", "bright_field", "inner_bright_field")
"""The circles that bound the virtual detectors, outermost first."""


@dataclass(frozen=True)
class Circles:
    """Concentric circles on the detector; the virtual detectors are what lies between them.

    Attributes
    ----------
    edges : ndarray of uint64
        (det_row, 2 k) flat places in a frame at which a row enters and leaves each circle, see
        `stemcal.convert.strip_kernels.Detector`.
    inside : ndarray of bool
        (k, det_row det_col) the same as pixels: the distance of the pixel's centre is below the radius.
    """

    edges: NDArray[np.uint64]
    inside: NDArray[np.bool_]


def sample_patterns(source: FrameSource, n_frames: int) -> NDArray[np.float64]:
    """Return sums of evenly spaced frames in up to `N_GROUPS` groups of neighbours, (group, det_row, det_col)."""
    places = evenly_spaced(source.n_frames, n_frames)
    groups = np.array_split(np.array(places), min(N_GROUPS, len(places)))
    sums = np.zeros((len(groups), *source.frame_shape))
    for total, members in zip(sums, groups, strict=True):
        for place in members[source.frame_status[members] != FrameStatus.MISSING]:
            total += source.read(int(place), int(place) + 1)[0]
    return sums


def locate_disk(
    groups: NDArray[np.float64], valid: NDArray[np.bool_]
) -> tuple[BrightDisk, tuple[float, float, float] | None] | NoDisk:
    """Find the bright disk on the sum of ``groups`` and its uncertainty from leaving one group out in turn.

    Parameters
    ----------
    groups : ndarray
        (group, det_row, det_col) summed counts.
    valid : ndarray of bool
        (det_row, det_col), True = valid.

    Returns
    -------
    tuple or NoDisk
        The disk and the standard uncertainties of (row, col, radius) in px by the jackknife (Efron and Stein, Ann.
        Stat. 9, 586, 1981), None where there are too few groups or the disk is lost in one; or why there is none.
    """
    total = groups.sum(axis=0)
    disk = find_bright_disk(total, valid)
    if isinstance(disk, NoDisk):
        return disk
    if len(groups) < N_GROUPS:
        return disk, None
    rest = [find_bright_disk(total - group, valid) for group in groups]
    found = [(one.centre_row_px, one.centre_col_px, one.radius_px) for one in rest if isinstance(one, BrightDisk)]
    if len(found) < len(groups):
        return disk, None
    spread = np.array(found).std(axis=0) * np.sqrt(len(groups) - 1)
    return disk, (float(spread[0]), float(spread[1]), float(spread[2]))


def virtual_detectors(
    disk: BrightDisk,
    sigma: tuple[float, float, float] | None,
    frame_shape: tuple[int, int],
    settings: ConvertSettings,
) -> VirtualDetectors:
    """Lay the virtual detectors around ``disk``; the dark field reaches to the farthest corner of the detector."""
    sigmas = sigma if sigma is not None else (None, None, None)
    radius = disk.radius_px
    row, col = (max(c, n - 1 - c) for c, n in zip(disk.centre_px, frame_shape, strict=True))
    # just beyond the centre of the farthest pixel, because outer edges are exclusive
    corner = math.hypot(row, col) + 0.5
    return VirtualDetectors(
        centre_row_px=Quantity(value=disk.centre_row_px, sigma=sigmas[0], unit="px"),
        centre_col_px=Quantity(value=disk.centre_col_px, sigma=sigmas[1], unit="px"),
        disk_radius_px=Quantity(value=radius, sigma=sigmas[2], unit="px"),
        bright_field_px=(0.0, radius),
        annular_bright_field_px=(settings.annular_bright_field_inner_radii * radius, radius),
        annular_dark_field_px=(settings.annular_dark_field_inner_radii * radius, corner),
        high_angle_dark_field_px=(min(settings.high_angle_dark_field_inner_radii * radius, corner), corner),
    )


def circles(detectors: VirtualDetectors, frame_shape: tuple[int, int]) -> Circles:
    """Return the circles of `CIRCLES` around the disk as edges along rows and as pixels."""
    n_rows, n_cols = frame_shape
    rows, cols = np.indices(frame_shape, sparse=True)
    centre_row, centre_col = detectors.centre_row_px.value, detectors.centre_col_px.value
    distance = np.hypot(rows - centre_row, cols - centre_col)
    radii = (
        detectors.high_angle_dark_field_px[0],
        detectors.annular_dark_field_px[0],
        detectors.bright_field_px[1],
        detectors.annular_bright_field_px[0],
    )
    inside = np.stack([distance < radius for radius in radii])
    middle = int(np.clip(round(centre_col), 0, n_cols - 1))
    met = inside.any(axis=2)
    enter = np.where(met, inside.argmax(axis=2), middle)
    leave = np.where(met, n_cols - inside[:, :, ::-1].argmax(axis=2), middle)
    edges = np.concatenate([enter, leave[::-1]]).T + n_cols * np.arange(n_rows)[:, np.newaxis]
    return Circles(np.ascontiguousarray(edges, np.uint64), inside.reshape(len(radii), -1))
