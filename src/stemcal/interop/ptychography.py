"""The geometry as parameters of iterative ptychography: py4DSTEM's names, and PtyREX's JSON.

Neither program's angles know a shear. The matrix S is beside them, and a reconstruction that takes the positions
R = S n has it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from stemcal.optics.aberrations import HIGHEST_ORDER, terms
from stemcal.optics.scan_affine import scan_axes

_ANGSTROM_M = 1e-10


def py4dstem_parameters(
    scan: ArrayLike, voltage_kv: float, semi_angle_mrad: float, aberrations_angstrom: Mapping[str, float]
) -> dict[str, Any]:
    """Return arguments of py4DSTEM's ptychographic classes and of their ``preprocess``.

    py4DSTEM's x is the row and its angles run from +row toward +col. Its scan is rotated and, with a flip, exchanged:
    ``force_com_rotation`` and ``force_com_transpose`` say that, with the mean of the directions of both axes. Exact are
    the positions R = S n as ``initial_scan_positions``; both arguments must then be 0 and False, for py4DSTEM turns
    positions that it is given.

    Parameters
    ----------
    scan : array_like
        (2, 2) S in angstrom per step.
    voltage_kv, semi_angle_mrad : float
        Of the probe.
    aberrations_angstrom : mapping
        Coefficients by name as in ``stemcal.optics.aberrations``.

    Returns
    -------
    dict
        ``energy`` (eV), ``semiangle_cutoff`` (mrad), ``polar_parameters`` (angstrom, rad), ``force_com_rotation``
        (deg), ``force_com_transpose``, ``scan_step_angstrom`` (slow, fast), ``scan_matrix_angstrom`` (S).
    """
    axes = scan_axes(scan)
    theta = _mean_direction_deg(axes.theta_fast_deg, axes.theta_slow_deg)
    return {
        "energy": voltage_kv * 1e3,
        "semiangle_cutoff": semi_angle_mrad,
        "polar_parameters": polar_parameters(aberrations_angstrom),
        "force_com_rotation": 90 - theta if axes.flip else theta,
        "force_com_transpose": axes.flip,
        "scan_step_angstrom": [axes.step_slow, axes.step_fast],
        "scan_matrix_angstrom": _rows(scan),
    }


def polar_parameters(aberrations_angstrom: Mapping[str, float]) -> dict[str, float]:
    """Return aberrations as magnitudes in angstrom and angles in rad, in py4DSTEM's names and azimuth.

    The signs are the same; ``defocus``, which py4DSTEM takes as well, is -C10. An angle runs from +row toward +col:
    phi = pi / 2 - atan2(b, a) / m.
    """
    found: dict[str, float] = {}
    for term in terms(HIGHEST_ORDER):
        name = f"C{term.n}{term.m}"
        if term.m == 0:
            found[name] = aberrations_angstrom.get(term.name, 0.0)
        elif not term.sine:
            cosine, sine = (aberrations_angstrom.get(f"{name}{part}", 0.0) for part in "ab")
            found[name] = math.hypot(cosine, sine)
            found[f"phi{term.n}{term.m}"] = math.pi / 2 - math.atan2(sine, cosine) / term.m
    return {name: value for name, value in found.items() if found.get(name.replace("phi", "C"))}


def ptyrex_parameters(
    scan: ArrayLike,
    scan_shape: tuple[int, int],
    frame_shape: tuple[int, int],
    voltage_kv: float,
    semi_angle_mrad: float,
    mrad_per_px: float,
    centre_px: tuple[float, float],
    aberrations_angstrom: Mapping[str, float],
    *,
    detector_pixel_m: float = 55e-6,
    data_path: str = "",
    data_key: str = "",
) -> dict[str, Any]:
    """Return what a geometry knows of PtyREX's JSON; how to reconstruct is to be merged from one's own file.

    The keys and their units (m, eV, rad) are those of ePSIC's public tools: ``epsic_tools/build_params.py`` and
    ``epsic_tools/tests/test_data/test_recon_sim.json`` of github.com/ePSIC-DLS/epsic_tools, where an aperture of 8 mrad
    has ``convergence`` and ``alpha`` 0.016: both are full angles. PtyREX itself is not public, so that the sense of
    ``rotation`` and of ``defocus`` could not be checked against it: they are written as ours (from +col toward +row;
    overfocus positive). The block ``stemcal`` is ours, and PtyREX does not read it.

    Parameters
    ----------
    scan : array_like
        (2, 2) S in angstrom per step.
    scan_shape, frame_shape : tuple of int
        (scan_row, scan_col) and (det_row, det_col).
    voltage_kv, semi_angle_mrad, mrad_per_px : float
        Of probe and camera.
    centre_px : tuple of float
        (row, col) of the bright disk.
    aberrations_angstrom : mapping
        Coefficients by name.
    detector_pixel_m : float
        Pitch of the detector; with it, distance and pitch together are the angle of a pixel.
    data_path, data_key : str
        The HDF5 file and the dataset of the frames in it.
    """
    axes = scan_axes(scan)
    distance = detector_pixel_m / (mrad_per_px * 1e-3)
    full_angle = 2 * semi_angle_mrad * 1e-3
    defocus = aberrations_angstrom.get("C10", 0.0) * _ANGSTROM_M
    common = {
        "source": {"energy": [voltage_kv * 1e3], "radiation": "electron"},
        "detector": {
            "pix_pitch": [detector_pixel_m, detector_pixel_m],
            "distance": distance,
            "bin": [1, 1],
            "crop": list(frame_shape),
            "optic_axis": list(centre_px),
            "orientation": "00",
        },
        "probe": {"convergence": full_angle, "aperture_shape": "circ"},
        "scan": {
            "rotation": _mean_direction_deg(axes.theta_fast_deg, axes.theta_slow_deg),
            "fast_axis": 1,
            "orientation": "00",
            "type": "tv",
            "N": list(scan_shape),
            "dR": [axes.step_slow * _ANGSTROM_M, axes.step_fast * _ANGSTROM_M],
        },
    }
    return {
        "process": {"common": common},
        "experiment": {
            "data": {"data_path": data_path, "data_key": data_key, "meta_type": "hdf"},
            "detector": {"position": [0, 0, distance]},
            "optics": {"lens": {"alpha": full_angle, "defocus": [defocus, defocus], "use": 1}},
        },
        "stemcal": {
            "scan_matrix_angstrom": _rows(scan),
            "flip": axes.flip,
            "theta_fast_deg": axes.theta_fast_deg,
            "theta_slow_deg": axes.theta_slow_deg,
            "aberrations_angstrom": dict(aberrations_angstrom),
        },
    }


def _mean_direction_deg(first: float, second: float) -> float:
    """Return the direction in the middle of two, in (-180, 180]."""
    middle = first + 0.5 * ((second - first + 180) % 360 - 180)
    return 180 - (180 - middle) % 360


def _rows(matrix: ArrayLike) -> list[list[float]]:
    rows: list[list[float]] = np.asarray(matrix, dtype=np.float64).tolist()
    return rows
