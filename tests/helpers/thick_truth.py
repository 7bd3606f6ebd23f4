"""Thick strontium titanate with a known geometry, and what the steps before hand over of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stemcal.geometry.aperture import Aperture
from stemcal.geometry.lattice import ScanLattice
from stemcal.geometry.slices import Slices
from stemcal.optics.scan_affine import ScanAxes, disk_shift_matrix, scan_matrix
from stemcal.phantoms.multislice import Beam, coherent_tables, diffuse_tables, strontium_titanate
from stemcal.phantoms.thick_scan import ThickScene, harmonics, mean_pattern

N_FRAMES = 128 * 128
MRAD_PER_PX, SEMI_ANGLE_MRAD = 1.25, 25.0
PEAKS = np.array([(1, 1), (1, -1), (2, 0), (0, 2), (1, 0), (0, 1), (2, 1), (1, 2), (2, -1), (-1, 2), (2, 2), (2, -2)])


@dataclass(frozen=True)
class ThickData:
    """Expected counts with shot noise, and the truth."""

    mean: NDArray[np.float64]
    aperture: Aperture
    lattice: ScanLattice
    slices: Slices
    disk_shift_px: NDArray[np.float64]
    tilt_mrad: NDArray[np.float64]

    @property
    def unit_px(self) -> float:
        return math.sqrt(abs(float(np.linalg.det(self.disk_shift_px))))

    @property
    def valid(self) -> NDArray[np.bool_]:
        return np.ones(self.mean.shape, bool)


def crystals(thicknesses_cells: tuple[int, ...], n_configurations: int) -> tuple[ThickScene, ...]:
    """Return scenes of strontium titanate at 300 kV and 25 mrad, one for each thickness; slow."""
    crystal, beam = strontium_titanate(), Beam(300.0)
    limit = SEMI_ANGLE_MRAD + 6.5
    coherent = coherent_tables(crystal, beam, thicknesses_cells, limit)
    diffuse = diffuse_tables(crystal, beam, thicknesses_cells, limit, n_configurations=n_configurations)
    return tuple(
        ThickScene(
            table, other, crystal.side_angstrom, beam.wavelength_angstrom, (72, 72), (35.3, 36.1), MRAD_PER_PX,
            SEMI_ANGLE_MRAD, focal_spread_angstrom=30.0,
        )
        for table, other in zip(coherent, diffuse, strict=True)
    )  # fmt: skip


def thick_data(scene: ThickScene, axes: ScanAxes, electrons_per_frame: float, seed: int) -> ThickData:
    """Return what a scan of 128 x 128 positions gives, without making the scan."""
    generator = np.random.default_rng(seed)
    scan = scan_matrix(axes)
    counts = generator.poisson(mean_pattern(scene) * electrons_per_frame * N_FRAMES)
    radius_px = scene.semi_angle_mrad / scene.mrad_per_px
    aperture = Aperture(
        *scene.centre_px, radius_px, 0.0, 0.0, 0.3, 0.01, 0.01, 1e-3, float(counts.max()) / N_FRAMES,
        ellipse_significant=False,
    )  # fmt: skip
    vectors = scene.scan_lattice(scan)
    lattice = ScanLattice(vectors, PEAKS.copy(), np.full((2, 2), 1e-5), 0.01, len(PEAKS), PEAKS @ vectors)
    return ThickData(
        counts / N_FRAMES,
        aperture,
        lattice,
        _slices(scene, PEAKS @ vectors, electrons_per_frame, radius_px, generator),
        disk_shift_matrix(scan, scene.wavelength_angstrom, scene.mrad_per_px),
        np.array(scene.tilt_mrad),
    )


def _slices(
    scene: ThickScene,
    frequencies: NDArray[np.float64],
    electrons: float,
    radius_px: float,
    generator: np.random.Generator,
) -> Slices:
    side = math.ceil(2.2 * radius_px)
    disk = replace(scene, shape=(side, side), centre_px=(side / 2 - 0.3, side / 2 - 0.6))
    mean = mean_pattern(disk).ravel() * electrons
    variance = mean * N_FRAMES
    noise = generator.normal(size=(2, len(PEAKS), len(mean))) * np.sqrt(variance / 2)
    values = harmonics(disk, PEAKS) * electrons * N_FRAMES + noise[0] + 1j * noise[1]
    row, col = disk.angles_mrad() / disk.mrad_per_px
    usable = np.hypot(row, col) < 1.05 * radius_px
    return Slices(
        values[None].astype(np.complex64), variance[None], mean, float(N_FRAMES), frequencies, row, col, radius_px, 0.3,
        usable, (128, 128), frequencies[None],
    )  # fmt: skip
