"""Our data and calibration as a py4DSTEM data cube, and py4DSTEM's gold.

py4DSTEM takes five seconds to import and reads a data set into memory: for exploring one scan, not for the workflow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stemcal.errors import DataError
from stemcal.frames.source import open_source
from stemcal.optics.descan import evaluate
from stemcal.optics.ellipse import strain_from_correction, to_py4dstem
from stemcal.optics.rings import GOLD_LATTICE_CONSTANT_ANGSTROM
from stemcal.records.atomic import read_record
from stemcal.records.calibration import CalibrationRecord

_GOLD_NUMBER = 79


def calibrated_datacube(data: Path, calibration: Path) -> Any:
    """Return a py4DSTEM ``DataCube`` with the pixel size, ellipse and origin of ``calibration``.

    py4DSTEM corrects an ellipse by shrinking its major axis onto the minor one, so it is given the minor-axis pixel
    size; its x is the row and its angles run from +row toward +col.

    Parameters
    ----------
    data : Path
        Any data set that `stemcal.frames.source.open_source` reads.
    calibration : Path
        The ``<id>_calibration.json`` that belongs to it.

    Returns
    -------
    py4DSTEM.DataCube
        Frames (scan_row, scan_col, det_row, det_col) in memory, calibrated.

    Raises
    ------
    DataError
        If a file cannot be read, or the calibration failed.
    """
    record = read_record(calibration, CalibrationRecord)
    if record.q_pixel_size is None or record.ellipse is None or record.origin is None:
        problem = f"holds no complete calibration (verdict {record.quality.verdict})"
        raise DataError(calibration, problem, "calibrate the data set with a reference that fits")
    with open_source(data) as source:
        scan_shape = source.scan_shape
        frames = source.read(0, source.n_frames).reshape(*scan_shape, *source.frame_shape)
    origin = record.origin
    beam = evaluate(origin.coefficients_row_px, origin.coefficients_col_px, origin.degree, scan_shape)
    e1, e2 = strain_from_correction(record.ellipse.ellipse.matrix)
    ellipse = to_py4dstem((0.0, 0.0), e1, e2, 1.0)
    return _datacube(frames, record.q_pixel_size.minor_axis.value, ellipse, beam.reshape(*scan_shape, 2))


def _datacube(frames: Any, pixel_size: float, ellipse: tuple[float, ...], beam: Any) -> Any:
    from py4DSTEM import DataCube

    cube = DataCube(data=frames)
    cube.calibration.set_Q_pixel_size(pixel_size)
    cube.calibration.set_Q_pixel_units("A^-1")
    cube.calibration.set_p_ellipse(ellipse)
    cube.calibration.set_origin((np.ascontiguousarray(beam[..., 0]), np.ascontiguousarray(beam[..., 1])))
    return cube


def gold_ring_intensities(q_max_per_angstrom: float) -> dict[int, float]:
    """Return the kinematic powder pattern of gold as py4DSTEM's ``Crystal`` has it.

    The electrons in a whole ring go with the sum of |F|^2 over its reflections times d = 1 / q, the part of the grains
    that excite it (B. K. Vainshtein, Structure Analysis by Electron Diffraction, Pergamon 1964).

    Parameters
    ----------
    q_max_per_angstrom : float
        Rings up to here.

    Returns
    -------
    dict
        Relative intensity by h^2 + k^2 + l^2; the strongest is 1.
    """
    from py4DSTEM.process.diffraction import Crystal

    sites = np.array([[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    crystal = Crystal(sites, _GOLD_NUMBER, GOLD_LATTICE_CONSTANT_ANGSTROM)
    crystal.calculate_structure_factors(q_max_per_angstrom)
    lengths = np.asarray(crystal.g_vec_leng, dtype=np.float64)
    strengths = np.asarray(crystal.struct_factors_int, dtype=np.float64)
    squares = np.rint((lengths * GOLD_LATTICE_CONSTANT_ANGSTROM) ** 2).astype(np.intp)
    rings = {
        int(square): float(strengths[squares == square].sum() / lengths[squares == square].mean())
        for square in np.unique(squares[squares > 0])
    }
    strongest = max(rings.values())
    return {square: value / strongest for square, value in rings.items()}
