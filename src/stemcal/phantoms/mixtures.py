"""Scans whose radial profiles are mixtures of known materials over known maps, as the polar step writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stemcal.formats.hdf5 import create_hdf5
from stemcal.formats.hspy import Axis, write_signal1d
from stemcal.records.atomic import write_record
from stemcal.records.base import Flag, Provenance, Quality
from stemcal.records.polar import PolarRecord, PolarResult

FloatArray = NDArray[np.float64]

PIXEL_PER_ANGSTROM = 0.01
N_BINS = 110

_PROVENANCE = Provenance(
    stemcal_version="0", commit=None, lock_sha256=None, stage="polar", revision=1, settings={}, source={}
)


@dataclass(frozen=True)
class Mixture:
    """What a scan is made of.

    Attributes
    ----------
    profiles : ndarray
        (n_materials, n_bins) counts per pixel of each pure material.
    maps : ndarray
        (n_materials, scan_row, scan_col) amount of each.
    """

    profiles: FloatArray
    maps: FloatArray

    @property
    def clean(self) -> FloatArray:
        """Scattered counts per pixel without noise, (scan_row, scan_col, n_bins)."""
        clean: FloatArray = np.tensordot(self.maps, self.profiles, axes=(0, 0))
        return clean


def radial_axis(pixel_size: float = PIXEL_PER_ANGSTROM) -> Axis:
    """Return the axis of bin centres in 1/angstrom, one bin per pixel."""
    return Axis("q", "1/Å", pixel_size, 0.5 * pixel_size)


def materials() -> FloatArray:
    """Return the profiles of three materials: two with rings at different radii, one amorphous; (3, n_bins)."""
    q = radial_axis().values(N_BINS)
    diffuse = 12.0 * np.exp(-3.2 * q)
    first, second = (_rings(q, radii) for radii in ((0.31, 0.44, 0.72), (0.36, 0.59, 0.83)))
    halo = 4.0 * np.exp(-0.5 * ((q - 0.42) / 0.06) ** 2)
    return np.stack([0.3 * diffuse + first, 0.3 * diffuse + second, 0.6 * diffuse + halo])


def _rings(q: FloatArray, radii: Sequence[float]) -> FloatArray:
    """Return rings of falling strength at ``radii``, 0.012 1/angstrom wide (standard deviation)."""
    offsets = (q - np.array(radii)[:, None]) / 0.012
    strengths = 6.0 / (1 + np.arange(len(radii)))
    peaks: FloatArray = strengths @ np.exp(-0.5 * offsets**2)
    return peaks


def maps(shape: tuple[int, int], seed: int) -> FloatArray:
    """Return a stripe, a disk and a gradient with a strip of vacuum on top; each material is somewhere pure."""
    rows, cols = np.mgrid[: shape[0], : shape[1]] / (np.array(shape)[:, None, None] - 1)
    shift = np.random.default_rng(seed).uniform(-0.1, 0.1)
    amounts: FloatArray = np.stack(
        [
            np.clip(1.4 - np.abs(cols - 0.3 - shift) / 0.22, 0, 1),
            np.clip(1.5 - np.hypot(rows - 0.6, cols - 0.75) / 0.25, 0, 1),
            np.clip(rows + 0.15, 0, 1) * (cols < 0.5 - shift),
        ]
    )
    amounts[:, rows < 0.15] = 0
    return amounts


def azimuthal_mean(mixture: Mixture, *, dose: float = 1.0, seed: int = 0) -> FloatArray:
    """Return the azimuthal mean (scan_row, scan_col, n_bins) with the counting noise of each ring's pixels.

    The direct beam is there in vacuum too; ``dose`` multiplies everything.
    """
    q = radial_axis().values(N_BINS)
    beam = 4000.0 * np.exp(-0.5 * (q / 0.03) ** 2)
    pixels = ring_pixels(N_BINS)
    counts: FloatArray = np.random.default_rng(seed).poisson(dose * (mixture.clean + beam) * pixels) / pixels
    return counts


def write_polar(
    prefix: Path,
    mean: FloatArray,
    *,
    variance: FloatArray | None = None,
    calibration_group: str = "a" * 64,
    pixel_size: float = PIXEL_PER_ANGSTROM,
) -> None:
    """Write what the polar step would leave at ``prefix``: record, mean and variance (the mean where not given)."""
    n_rows, n_cols, n_bins = mean.shape
    axes = (Axis("scan_row", "nm"), Axis("scan_col", "nm"), radial_axis(pixel_size))
    for kind, data in (("mean", mean), ("var", mean if variance is None else variance)):
        write_signal1d(prefix.with_name(f"{prefix.name}_azimuthal_{kind}.hspy"), data.astype(np.float32), axes)
    result = PolarResult(
        scan_shape=(n_rows, n_cols),
        n_radial_bins=n_bins,
        bin_width_px=1.0,
        q_pixel_size_per_angstrom=pixel_size,
        q_max_per_angstrom=pixel_size * n_bins,
        coverage_at_q_max=1.0,
        n_empty_bins=0,
        n_positions_without_data=0,
        n_missing_means=0,
        n_missing_variances=0,
        n_origins=1,
        calibration="gold_calibration.json",
        calibration_group=calibration_group,
    )
    _write_pixels(prefix, mean, pixel_size)
    _write_record(prefix, result, Quality(verdict="pass"))


def _write_pixels(prefix: Path, mean: FloatArray, pixel_size: float) -> None:
    """Write the part of ``<prefix>_polar.hdf5`` that is read: how many pixels stand behind each mean."""
    pixels = np.where(np.isfinite(mean), ring_pixels(mean.shape[-1], pixel_size), 0.0)
    with create_hdf5(prefix.with_name(f"{prefix.name}_polar.hdf5")) as file:
        file.create_dataset("n_effective", data=pixels.astype(np.float32), compression="gzip")


def ring_pixels(n_bins: int, pixel_size: float = PIXEL_PER_ANGSTROM) -> FloatArray:
    """Return the number of pixels on each ring, (n_bins,)."""
    pixels: FloatArray = np.round(2 * np.pi * radial_axis(pixel_size).values(n_bins) / pixel_size).clip(1)
    return pixels


def write_refusal(prefix: Path, sentence: str) -> None:
    """Write the record of a polar step that measured nothing."""
    _write_record(prefix, None, Quality(verdict="fail", flags=(Flag(name="refused", message=sentence),)))


def _write_record(prefix: Path, result: PolarResult | None, quality: Quality) -> None:
    record = PolarRecord(method="phantom", inputs=(), quality=quality, provenance=_PROVENANCE, result=result)
    write_record(prefix.with_name(f"{prefix.name}_polar.json"), record)


def write_scans(folder: Path, shapes: Sequence[tuple[int, int]]) -> list[tuple[Path, Mixture]]:
    """Write one scan of the three materials per shape, each of another dose; return their prefixes and truths."""
    scans = []
    for number, shape in enumerate(shapes):
        mixture = Mixture(materials(), maps(shape, number))
        prefix = folder / f"scan{number}" / f"scan{number}"
        write_polar(prefix, azimuthal_mean(mixture, dose=1.0 + number, seed=number))
        scans.append((prefix, mixture))
    return scans
