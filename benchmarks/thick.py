#!/usr/bin/env python3
"""Geometry of thick crystals on whole simulated scans: thickness x rotation x tilt x dose, error, sigma and verdict.

SrTiO3 [001] at 300 kV and 25 mrad by our multislice with frozen phonons. Every scan goes through the room as a data set
does: disk, preparation, peaks, lattice, slices, votes. The half turn is not asked for. Ends with 1 if a result that is
not refused is more than 0.1 deg (0.5 mrad) off, or has the wrong flip. About a minute a scan.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stemcal.frames.source import open_source
from stemcal.geometry.aperture import NoAperture
from stemcal.geometry.lattice import NoLattice
from stemcal.geometry.preparation import prepare
from stemcal.geometry.reading import read_scan
from stemcal.geometry.search import com_direction
from stemcal.geometry.spectrum import NoPeaks, measure_spectrum
from stemcal.geometry.thick import ThickResult, Tilt, decide, disk_shift_angle_deg, thick_votes
from stemcal.optics.scan_affine import ScanAxes, disk_shift_matrix, scan_matrix
from stemcal.phantoms.multislice import Beam, coherent_tables, diffuse_tables, strontium_titanate
from stemcal.phantoms.thick_scan import ThickScene, scan_counts

_CELLS = {5: 13, 10: 26, 20: 51}
_ROTATIONS_DEG = (7.3, 22.5, 31.7)
_SCAN, _SHAPE, _CENTRE_PX, _MRAD_PER_PX, _SEMI_ANGLE_MRAD = (96, 96), (72, 72), (35.3, 36.1), 1.25, 25.0
_WORST_DEG, _WORST_MRAD = 0.1, 0.5


@dataclass(frozen=True)
class Case:
    """One scan."""

    thickness_nm: int
    rotation_deg: float
    tilt_mrad: float
    electrons: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--thicknesses-nm", type=int, nargs="+", choices=sorted(_CELLS), default=sorted(_CELLS))
    parser.add_argument("--electrons", type=float, nargs="+", default=[1e3, 1e4], help="per frame")
    parser.add_argument("--tilts-mrad", type=float, nargs="+", default=[0.0, 4.7])
    parser.add_argument("--configurations", type=int, default=4, help="of the frozen phonons")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    scenes = _scenes(sorted(given.thicknesses_nm), given.configurations)
    generator = np.random.default_rng(given.seed)
    cases = [
        Case(thickness, rotation, tilt, electrons)
        for thickness in scenes
        for tilt in given.tilts_mrad
        for rotation in _ROTATIONS_DEG
        for electrons in given.electrons
    ]
    with tempfile.TemporaryDirectory() as folder:
        wrong = [_run(case, scenes[case.thickness_nm], generator, Path(folder)) for case in cases]
    print(f"{sum(wrong)} of {len(cases)} wrong and not refused")
    return int(any(wrong))


def _scenes(thicknesses_nm: list[int], n_configurations: int) -> dict[int, ThickScene]:
    crystal, beam = strontium_titanate(), Beam(300.0)
    cells, limit = tuple(_CELLS[thickness] for thickness in thicknesses_nm), _SEMI_ANGLE_MRAD + 6.5
    coherent = coherent_tables(crystal, beam, cells, limit)
    diffuse = diffuse_tables(crystal, beam, cells, limit, n_configurations=n_configurations)
    scenes = [
        ThickScene(
            table, other, crystal.side_angstrom, beam.wavelength_angstrom, _SHAPE, _CENTRE_PX, _MRAD_PER_PX,
            _SEMI_ANGLE_MRAD, focal_spread_angstrom=30.0,
        )
        for table, other in zip(coherent, diffuse, strict=True)
    ]  # fmt: skip
    return dict(zip(thicknesses_nm, scenes, strict=True))


def _run(case: Case, scene: ThickScene, generator: np.random.Generator, folder: Path) -> bool:
    """Print the line of one case; return whether it is wrong and not refused."""
    azimuth, theta = generator.uniform(0, 2 * math.pi), generator.uniform(-180, 180)
    step, flip = 0.3 * generator.uniform(0.95, 1.05), bool(generator.integers(2))
    scan = scan_matrix(ScanAxes(theta, theta + generator.uniform(-1.5, 1.5), 0.3, step, flip))
    tilt = case.tilt_mrad * np.array([math.sin(azimuth), math.cos(azimuth)])
    aberrations = dict(zip(("C10", "C12a", "C12b"), generator.normal(size=3) * (80, 15, 15), strict=True))
    scene = replace(
        scene, rotation_deg=case.rotation_deg, tilt_mrad=(tilt[0], tilt[1]), aberrations_angstrom=aberrations
    )
    path = folder / "scan.npy"
    np.save(path, scan_counts(scene, scan, _SCAN, case.electrons, seed=int(generator.integers(1 << 30))))
    truth = disk_shift_matrix(scan, scene.wavelength_angstrom, _MRAD_PER_PX)
    result = _measured(path, math.sqrt(abs(float(np.linalg.det(truth)))))
    name = (
        f"{case.thickness_nm:2d} nm, {case.rotation_deg:4.1f} deg, tilt {case.tilt_mrad} mrad, {case.electrons:.0e} e"
    )
    if isinstance(result, str):
        print(f"{name}: refused, {result}", flush=True)
        return False
    decision = decide(result.votes, None)
    wrong, words = False, f"refused, {decision.reason}"
    if decision.vote is not None and decision.vote.disk_shift_px is not None:
        error = disk_shift_angle_deg(decision.vote.disk_shift_px, truth)
        wrong = error is None or abs(error) > _WORST_DEG
        words = (
            "wrong flip" if error is None else f"{decision.mode} {error:+.3f} deg, sigma {decision.vote.sigma_deg:.3f}"
        )
    if isinstance(result.tilt, Tilt):
        off = math.hypot(result.tilt.row_mrad - tilt[0], result.tilt.col_mrad - tilt[1])
        wrong |= off > _WORST_MRAD
        words += f"; tilt {off:.2f} mrad off, sigma {result.tilt.sigma_mrad:.2f}"
    else:
        words += "; tilt refused"
    print(f"{name}: {'WRONG, ' if wrong else ''}{words}", flush=True)
    return wrong


def _measured(path: Path, unit_px: float) -> ThickResult | str:
    source = open_source(path)
    reading = read_scan(source)
    if reading is None or isinstance(reading, NoAperture):
        return "no aperture"
    preparation = prepare(reading.sums, source.frame_status, reading.aperture)
    spectrum = measure_spectrum(reading.bright_field, preparation, reading.aperture)
    if isinstance(spectrum, NoPeaks) or isinstance(spectrum.lattice, NoLattice):
        return "no lattice of peaks"
    frames = np.load(path, mmap_mode="r").reshape(-1, *_SHAPE)
    return thick_votes(
        frames.mean(axis=0, dtype=np.float64), len(frames), reading.valid, reading.aperture, spectrum.lattice,
        spectrum.slices, com_direction(spectrum.slices), unit_px, _SEMI_ANGLE_MRAD,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
