"""What peers make of a scan of a thin crystal: rotation, aberrations, phase. Each is told what its own users know.

The peers read the counts from a ``.npy`` file. py4DSTEM's centre of mass finds the rotation and the transposition and
integrates; its parallax fits rotation and aberrations to the shifts of virtual images and gets transposed frames where
the scan is flipped, which it does not find; ptychography40's single side band is told the whole geometry and knows no
aberrations.
"""

from __future__ import annotations

import contextlib
import io
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Answer = dict[str, Any]
"""``rotation_deg`` (up to the half turn), ``flip`` and coefficients in angstrom by name, as far as they are found."""


def centre_of_mass(counts: str, phase: str, given: dict[str, Any]) -> Callable[[], Answer]:
    """Return py4DSTEM's DPC: rotation by the least curl of the centre of mass, then 64 iterations, all else default."""
    from py4DSTEM import DataCube
    from py4DSTEM.process.phase import DPC

    data = np.load(counts)

    def work() -> Answer:
        with contextlib.redirect_stdout(io.StringIO()):
            cube = DataCube(data)
            _calibrate(cube, given)
            dpc = DPC(datacube=cube, energy=given["voltage_kv"] * 1e3, verbose=False)
            dpc.preprocess(plot_center_of_mass=False, plot_rotation=False)
            dpc.reconstruct(progress_bar=False)
        np.save(phase, np.asarray(dpc.object_phase))
        flip = bool(dpc._rotation_best_transpose)
        turn = math.degrees(float(dpc._rotation_best_rad))
        return {"rotation_deg": 90 - turn if flip else turn, "flip": flip}

    return work


def parallax(counts: str, phase: str, given: dict[str, Any]) -> Callable[[], Answer]:
    """Return py4DSTEM's parallax: align virtual images, fit rotation and aberrations to their shifts, correct."""
    from py4DSTEM import DataCube
    from py4DSTEM.process.phase import Parallax

    data = np.load(counts)
    if given["flip"]:
        data = np.ascontiguousarray(data.transpose(0, 1, 3, 2))

    def work() -> Answer:
        with contextlib.redirect_stdout(io.StringIO()):
            cube = DataCube(data)
            _calibrate(cube, given)
            peer = Parallax(datacube=cube, energy=given["voltage_kv"] * 1e3, verbose=False)
            peer.preprocess(plot_average_bf=False, normalize_order=0)
            peer.reconstruct(progress_bar=False, plot_aligned_bf=False, plot_convergence=False)
            peer.aberration_fit(max_radial_order=4)
            peer.aberration_correct(plot_corrected_phase=False)
        image = peer.recon_phase_corrected
        margin = [(have - want) // 2 for have, want in zip(image.shape, data.shape[:2], strict=True)]
        rows, cols = (slice(at, at + size) for at, size in zip(margin, data.shape[:2], strict=True))
        np.save(phase, image[rows, cols])
        turn = math.degrees(float(peer.rotation_Q_to_R_rads))
        polar = peer.aberrations_dict_polar
        found = {name: float(polar[name]) for name in ("C10", "C12", "C21", "C30")}
        return {"rotation_deg": 90 - turn if given["flip"] else turn, **found}

    return work


def trotters(counts: str, phase: str, given: dict[str, Any]) -> Callable[[], Answer]:
    """Return ptychography40's single side band by its LiberTEM UDF, masks included, on one core.

    ``given["folder"]`` holds the package where it is not installed: its licence is not ours. Version 0.1.0 wants a
    numpy that still has ``numpy.int``.
    """
    sys.path.append(given["folder"])
    vars(np).setdefault("int", int)
    from libertem.api import Context
    from libertem.common.container import MaskContainer
    from ptychography40.reconstruction.ssb import SSB_UDF, generate_masks

    data = np.load(counts)
    context = Context.make_with("inline")
    dataset = context.load("memory", data=data, sig_dims=2, num_partitions=1)
    shared = {
        "lamb": given["wavelength_angstrom"] * 1e-10,
        "dpix": given["nominal_step_angstrom"] * 1e-10,
        "semiconv": given["semi_angle_mrad"] * 1e-3,
        "semiconv_pix": given["radius_px"],
        "dtype": np.float32,
        "cy": given["centre_px"][0],
        "cx": given["centre_px"][1],
        "transformation": _transformation(given),
    }

    def work() -> Answer:
        masks = generate_masks(data.shape[:2], data.shape[2:], **shared)
        container = MaskContainer(
            mask_factories=lambda: masks, dtype=masks.dtype, use_sparse="scipy.sparse.csr", count=masks.shape[0]
        )
        found = context.run_udf(dataset, SSB_UDF(**shared, mask_container=container))
        np.save(phase, np.asarray(found["phase"].data))
        return {}

    return work


def _calibrate(cube: Any, given: dict[str, Any]) -> None:
    calibration = cube.calibration
    calibration.set_R_pixel_size(given["nominal_step_angstrom"])
    calibration.set_R_pixel_units("A")
    calibration.set_Q_pixel_size(given["mrad_per_px"])
    calibration.set_Q_pixel_units("mrad")


def _transformation(given: dict[str, Any]) -> NDArray[np.float64]:
    """Return the matrix that makes of a spatial frequency of the nominal step (row vector) the disk's shift in px."""
    per_cycle = given["wavelength_angstrom"] / (given["mrad_per_px"] * 1e-3) / given["nominal_step_angstrom"]
    return np.asarray(np.array(given["disk_shift_px"]).T / per_cycle)
