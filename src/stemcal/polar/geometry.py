"""From a calibration record to the geometry of the rings: bins, operators, and the origin of every frame."""

from __future__ import annotations

import hashlib
import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.frames.source import FrameSource
from stemcal.optics.descan import evaluate
from stemcal.polar.operator import Geometry, RadialGrid, RingOperators, choose_n_bins, ring_operator
from stemcal.polar.settings import PolarSettings
from stemcal.polar.statistics import quantise
from stemcal.polar.symmetry import SymmetryOperators
from stemcal.records.calibration import BoundEllipse, BoundPixelSize, CalibrationRecord, Origin
from stemcal.stages import canonical

_MIB = 2**20


@dataclass(frozen=True)
class BoundCalibration:
    """The parts of a calibration that polar coordinates need, all present."""

    pixel_size: BoundPixelSize
    ellipse: BoundEllipse
    origin: Origin

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(2, 2) takes a distorted offset to the round one."""
        return np.array(self.ellipse.ellipse.matrix, dtype=np.float64)

    @property
    def group(self) -> str:
        """Digest of pixel size and ellipse: profiles of equal groups share one q axis."""
        value = {"q_pixel_size": self.pixel_size.area_preserving.value, "matrix": self.ellipse.ellipse.matrix}
        return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class PolarPlan:
    """All that is decided before the first frame is read.

    Attributes
    ----------
    geometry : Geometry
        Detector, ellipse and bins.
    q_step_per_angstrom : float
        Width of a bin.
    coverage_at_q_max : float
        Part of the last ring that lies on valid pixels.
    keys : ndarray
        (n_frames, 2) quantised origins in steps.
    step_px : float
        Step of the origins.
    """

    geometry: Geometry
    q_step_per_angstrom: float
    coverage_at_q_max: float
    keys: NDArray[np.int64]
    step_px: float

    @property
    def origin_px(self) -> NDArray[np.float64]:
        """(n_frames, 2) origin (row, col) that each frame is measured about."""
        return self.keys * self.step_px

    @property
    def n_origins(self) -> int:
        """Number of different origins."""
        return len(np.unique(self.keys, axis=0))

    def operators(self, cache_mb: int) -> RingOperators:
        """Return the operators of this plan; as much memory is kept for their tables."""
        return RingOperators(self.geometry, self.keys, self.steps_per_px, cache_mb * _MIB)

    def symmetry(self, rings: RingOperators, settings: PolarSettings) -> SymmetryOperators | None:
        """Return the fits of the symmetry orders about the origins of ``rings``; None where no orders are asked for."""
        if not settings.symmetry_orders:
            return None
        given = (settings.symmetry_orders, settings.counts_per_electron)
        return SymmetryOperators(rings, *given, self.keys, self.steps_per_px, settings.operator_cache_mb * _MIB)

    @property
    def steps_per_px(self) -> int:
        """Steps of the origins to a pixel."""
        return round(1 / self.step_px)


def bound_calibration(record: CalibrationRecord, path: Path, source: FrameSource) -> BoundCalibration:
    """Return the parts of ``record`` that are needed, or refuse.

    Parameters
    ----------
    record : CalibrationRecord
        What ``path`` holds.
    path : Path
        For the message.
    source : FrameSource
        The data that it shall serve.

    Raises
    ------
    DataError
        If the calibration failed, lacks a part, or is for frames of another shape; the message says why.
    """
    remedy = "calibrate this data set with a reference that fits (stemcal calibration)"
    if record.quality.verdict == "fail":
        why = "; ".join(flag.message for flag in record.quality.flags) or "no reason is given"
        raise DataError(path, f"the calibration failed: {why}", remedy)
    if record.q_pixel_size is None or record.ellipse is None or record.origin is None:
        parts = {"q_pixel_size": record.q_pixel_size, "ellipse": record.ellipse, "origin": record.origin}
        missing = ", ".join(name for name, part in parts.items() if part is None)
        raise DataError(path, f"the calibration has no {missing}", remedy)
    if record.instrument is not None and record.instrument.frame_shape != source.frame_shape:
        shapes = f"frames of {record.instrument.frame_shape}, the data have {source.frame_shape}"
        raise DataError(path, f"the calibration is for {shapes}", remedy)
    return BoundCalibration(record.q_pixel_size, record.ellipse, record.origin)


def make_plan(calibration: BoundCalibration, source: FrameSource, settings: PolarSettings) -> PolarPlan:
    """Lay out the bins and round the origin of every frame to a step.

    Parameters
    ----------
    calibration : BoundCalibration
        Origin, ellipse and pixel size.
    source : FrameSource
        Shape and mask of the data.
    settings : PolarSettings
        Bin width, extent, step.

    Raises
    ------
    DataError
        If no ring about the origin lies on the detector.
    """
    origin = calibration.origin
    origins = evaluate(origin.coefficients_row_px, origin.coefficients_col_px, origin.degree, source.scan_shape)
    centre = (origin.centre_row_px.value, origin.centre_col_px.value)
    width, matrix = settings.bin_width_px, calibration.matrix
    q_step = width * calibration.pixel_size.area_preserving.value
    if settings.q_max_per_angstrom is None:
        n_bins = choose_n_bins(source.valid, matrix, centre, width, settings.min_ring_coverage)
    else:
        n_bins = math.ceil(settings.q_max_per_angstrom / q_step - 1e-9)
    if n_bins == 0:
        problem = f"no ring about the origin {centre[0]:.1f}, {centre[1]:.1f} px lies on valid pixels"
        raise DataError(source.path, problem, "check the origin in the calibration and the mask")
    geometry = Geometry(source.valid, matrix, RadialGrid(width, n_bins), settings.subsamples)
    coverage = (ring_operator(geometry, centre).area / geometry.grid.areas_px)[-1]
    keys = quantise(origins, settings.origin_step_px)
    return PolarPlan(geometry, q_step, float(coverage), keys, settings.origin_step_px)


def band_slices(
    edges_per_angstrom: tuple[float, ...], q_step_per_angstrom: float, n_bins: int
) -> tuple[tuple[slice, ...], tuple[float, ...]]:
    """Return the runs of bins between ``edges_per_angstrom`` and the edges; thirds of the axis where it is shorter.

    Parameters
    ----------
    edges_per_angstrom : tuple of float
        Rising.
    q_step_per_angstrom : float
        Width of a bin.
    n_bins : int
        Number of bins.

    Returns
    -------
    bands : tuple of slice
        One fewer than edges, each of at least one bin.
    edges : tuple of float
        The edges that were taken, 1/angstrom.
    """
    count = len(edges_per_angstrom)
    bins = [round(edge / q_step_per_angstrom) for edge in edges_per_angstrom]
    if bins[-1] > n_bins or any(low >= high for low, high in itertools.pairwise(bins)):
        bins = [round(place * n_bins / (count - 1)) for place in range(count)]
    bands = tuple(slice(low, max(high, low + 1)) for low, high in itertools.pairwise(bins))
    return bands, tuple(edge * q_step_per_angstrom for edge in bins)
