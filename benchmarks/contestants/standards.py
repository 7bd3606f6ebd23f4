"""Scans of gold with a known truth, and the ways to calibrate a camera on them: ours and those of others.

The others are given more than a night at a microscope has: the mean pattern with the descan taken out, the centre to a
third of a pixel, the annulus of the 220 ring, and a pixel size within two percent.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.frames.base import BaseSource
from stemcal.frames.ranks import SERIAL
from stemcal.gold.checks import judge
from stemcal.gold.measure import Measured, Optics, measure
from stemcal.gold.pattern import Powder, accumulate
from stemcal.gold.settings import GoldSettings
from stemcal.optics.ellipse import to_py4dstem
from stemcal.optics.rings import GOLD_LATTICE_CONSTANT_ANGSTROM
from stemcal.phantoms.powder import Camera, PowderPhase, gold_phase
from stemcal.phantoms.standard_scan import StandardScan, standard_frames

CAMERA = Camera((256, 256), 131.8, 124.4, 0.0117, 1.02, 30.0, 200.0)
_SHORT = replace(CAMERA, pixel_size_per_angstrom=0.021)
_OFF_CENTRE = replace(CAMERA, centre_row_px=165.5, centre_col_px=94.5)
_START_ERROR = 1.02
_CENTRE_ERROR_PX = (0.3, -0.2)
_HALF_ANNULUS_PX = 5.0


def _gold(grains: float = 8.0, spot_radius_px: float = 0.0, ring_width_px: float = 1.3) -> PowderPhase:
    return gold_phase(grains_per_frame=grains, spot_radius_px=spot_radius_px, ring_width_px=ring_width_px)


SETS = {
    "smooth": StandardScan(CAMERA, _gold(0.0)),
    "spotty": StandardScan(CAMERA, _gold()),
    "20 grains": StandardScan(CAMERA, _gold(1.0), n_grains=20),
    "111/200 overlap, short camera": StandardScan(_SHORT, _gold(8.0, 2.5, 0.8), disk_radius_px=2.5),
    "111/200 overlap, wide disks": StandardScan(CAMERA, _gold(8.0, 6.0, 0.5), disk_radius_px=6.0),
    "beam 50 px off centre": StandardScan(_OFF_CENTRE, _gold()),
    "quad cross": StandardScan(CAMERA, _gold(), cross_px=5),
    "quad cross, no mask": StandardScan(CAMERA, _gold(), cross_px=3, cross_in_mask=False),
    "40 hot pixels": StandardScan(CAMERA, _gold(), n_hot=40),
    "saturated centre": StandardScan(CAMERA, _gold(), ceiling=63),
    "3 counts per pixel": StandardScan(CAMERA, _gold(), counts_per_frame=3.0 * 256**2),
    "3 counts per pixel in all": StandardScan(CAMERA, _gold(0.0), counts_per_frame=3.0 * 256**2 / 144),
}


@dataclass(frozen=True)
class Answer:
    """What a way says: (ratio, angle in deg, area-preserving pixel size), NaN for what it does not give.

    ``refused`` is why there is no answer; ``sigmas`` go with the three and the centre; ``rest`` is the centre.
    """

    found: tuple[float, float, float] = (math.nan, math.nan, math.nan)
    refused: str = ""
    sigmas: tuple[float, ...] = ()
    centre: tuple[float, float] = (math.nan, math.nan)
    seconds: float = 0.0


class _Scan(BaseSource):
    def __init__(self, frames: NDArray[np.uint16], valid: NDArray[np.bool_], scan_shape: tuple[int, int]) -> None:
        super().__init__(Path("phantom.npy"), scan_shape, valid.shape, frames.dtype, valid=valid)
        self._frames = frames

    def read(self, start: int, stop: int) -> NDArray[Any]:
        return self._frames[start:stop]


@dataclass(frozen=True)
class Data:
    """A scan as the ways get it: its frames, and the mean with the descan taken out."""

    scan: StandardScan
    frames: NDArray[np.uint16]
    powder: Powder


def load(scan: StandardScan) -> Data:
    """Draw a scan and add it up."""
    frames, valid = standard_frames(scan)
    source = _Scan(frames, valid, scan.scan_shape)
    powder = accumulate(source, descan_degree=2, tiles=4, threads=1, world=SERIAL, progress=None)
    assert powder is not None
    return Data(scan, frames, powder)


def ours(data: Data) -> Answer:
    """Return ours, blind: only the voltage is known."""
    optics, settings = Optics(data.scan.camera.voltage_kv, None), GoldSettings()
    attempt = measure(data.powder, optics, settings)
    said = judge(data.powder, optics, settings, attempt)
    calibration = attempt.calibration
    if calibration is None:
        return Answer(refused=said.flags[0].name)
    three = (calibration.ellipse.ratio, calibration.ellipse.angle_deg, calibration.pixel_size)
    row, col = calibration.centre
    return Answer(
        (three[0].value, three[1].value, three[2].value),
        sigmas=tuple(_sigma(value) for value in (*three, row, col)),
        centre=(row.value, col.value),
    )


def _sigma(measured: Measured) -> float:
    return math.nan if measured.sigma is None else measured.sigma


def py4dstem_1d(data: Data) -> Answer:
    """Return py4DSTEM's ``fit_ellipse_1D`` on the 220 ring."""
    from py4DSTEM.process.calibration import fit_ellipse_1D

    centre, radii = _given(data)
    found = fit_ellipse_1D(data.powder.sums.mean, centre, radii, mask=~data.powder.usable)
    return Answer(_from_axes(*found[2:5]))


def py4dstem_ring(data: Data) -> Answer:
    """Return py4DSTEM's ``fit_ellipse_amorphous_ring`` on the 220 ring."""
    from py4DSTEM.process.calibration import fit_ellipse_amorphous_ring

    centre, radii = _given(data)
    found, _ = fit_ellipse_amorphous_ring(data.powder.sums.mean, centre, radii, mask=data.powder.usable)
    return Answer(_from_axes(*found[2:5]))


def py4dstem_pixel(data: Data) -> Answer:
    """Return py4DSTEM's ``calibrate_pixel_size`` on the disks that it finds, with the true centre and ellipse."""
    from py4DSTEM import DataCube, Probe
    from py4DSTEM.process.diffraction import Crystal

    camera = data.scan.camera
    cube = DataCube(data=data.frames.reshape(*data.scan.scan_shape, *camera.frame_shape))
    probe = Probe.generate_synthetic_probe(data.scan.disk_radius_px, 1.0, camera.frame_shape)
    probe.get_kernel(mode="flat", origin=(camera.frame_shape[0] / 2, camera.frame_shape[1] / 2))
    peaks = cube.find_Bragg_disks(
        template=probe.kernel, subpixel="poly", minPeakSpacing=4, edgeBoundary=4, minAbsoluteIntensity=0.25
    )
    descan = data.powder.descan
    assert descan is not None
    row, col = (part.reshape(data.scan.scan_shape) for part in descan.fitted_px.T)
    calibration = peaks.calibration
    calibration.set_origin((row, col))
    calibration.set_p_ellipse(to_py4dstem((0.0, 0.0), *camera.strain, 1.0))
    calibration.set_Q_pixel_size(_START_ERROR * camera.pixel_size_per_angstrom * math.sqrt(camera.ratio))
    calibration.set_Q_pixel_units("A^-1")
    peaks.setcal(center=True, ellipse=True, pixel=True, rotate=False)
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    gold = Crystal(corners, 79, GOLD_LATTICE_CONSTANT_ANGSTROM)
    gold.calculate_structure_factors(1.5)
    gold.calibrate_pixel_size(
        peaks, bragg_k_power=1.0, k_min=0.3, k_max=1.1, set_calibration_in_place=True, plot_result=False
    )
    return Answer((math.nan, math.nan, peaks.calibration.get_Q_pixel_size() / math.sqrt(camera.ratio)))


WAYS: dict[str, Callable[[Data], Answer]] = {
    "stemcal": ours,
    "py4DSTEM fit_ellipse_1D": py4dstem_1d,
    "py4DSTEM amorphous_ring": py4dstem_ring,
    "py4DSTEM calibrate_pixel_size": py4dstem_pixel,
}


def pyxem(data: Data, python: str) -> dict[str, Answer]:
    """Return what pyxem's ways say; ``python`` is an interpreter that has it."""
    centre, radii = _given(data)
    pixel_size = _START_ERROR * data.scan.camera.pixel_size_per_angstrom
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pattern.npz"
        np.savez(path, mean=data.powder.sums.mean, centre=centre, radii=radii, pixel_size=pixel_size)
        script = Path(__file__).with_name("pyxem_rings.py")
        done = subprocess.run([python, str(script), str(path)], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout.splitlines()[-1])
    return {f"pyxem {name}": _pyxem_answer(value) for name, value in said.items()}


def _pyxem_answer(value: list[float] | str) -> Answer:
    return Answer(refused=value) if isinstance(value, str) else Answer((value[0], math.nan, value[1]))


def answer(name: str, data: Data) -> Answer:
    """Return what a way says, an error as a refusal, and the processor time that it took."""
    began = time.process_time()
    try:
        # one of them draws a bar per scan and prints its result
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            said = WAYS[name](data)
    except Exception as error:  # noqa: BLE001 - whatever a peer raises is its answer
        said = Answer(refused=f"{type(error).__name__}: {error}"[:80])
    return replace(said, seconds=time.process_time() - began)


def _given(data: Data) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the centre in the pattern and the radii about the 220 ring."""
    camera, shift = data.scan.camera, data.powder.to_detector
    radius = camera.radius_px(math.sqrt(8) / GOLD_LATTICE_CONSTANT_ANGSTROM)
    centre = (
        camera.centre_row_px - shift[0] + _CENTRE_ERROR_PX[0],
        camera.centre_col_px - shift[1] + _CENTRE_ERROR_PX[1],
    )
    return centre, (radius - _HALF_ANNULUS_PX, radius + _HALF_ANNULUS_PX)


def _from_axes(a: float, b: float, theta: float) -> tuple[float, float, float]:
    """Return ratio and angle in our convention from py4DSTEM's half axes and angle (from +row toward +col)."""
    ratio, angle = (a / b, theta) if a >= b else (b / a, theta + math.pi / 2)
    return abs(ratio), (90.0 - math.degrees(angle)) % 180.0, math.nan
