"""The multislice sets of abTEM as scans of random geometry: another simulator, with atoms and strong scattering."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from contestants.bad_scans import BadScan
from contestants.thin_scans import Known, random_plan
from stemcal.optics.scan_affine import scan_matrix
from stemcal.phantoms.weak_phase import counted

_HELPERS = Path(__file__).resolve().parents[2] / "tests" / "helpers"


def multislice_scans(folder: Path, seed: int, side: int, doses: tuple[float, ...] = (1e4, 1e3)) -> Iterator[BadScan]:
    """Yield every set of ``folder`` along the axes of a seed's geometry, the crystal turned, at each dose."""
    sys.path.append(str(_HELPERS))
    from abtem_scans import abtem_scan

    axes = random_plan(seed).axes
    turn = float(np.random.default_rng((seed, 10)).uniform(0, 90))
    for path in sorted(folder.glob("*.npz")):
        made = abtem_scan(path, axes, (side, side), turn_deg=turn)
        nominal = (axes.step_fast * axes.step_slow) ** 0.5
        given = Known(scan_matrix(axes), made.voltage_kv, made.semi_angle_mrad, nominal, made.aberrations_angstrom)
        for dose in doses:
            name = f"abTEM {path.stem.split('_')[0]} {path.stem.split('_')[-1]}, {dose:g}"
            yield BadScan(name, counted(made.frames, dose, seed), given)
