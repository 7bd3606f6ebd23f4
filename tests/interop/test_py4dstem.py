from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from calibration_truth import CAMERA, RING_Q, frames, gold_record, write_container

from stemcal.calibration.run import run_calibration
from stemcal.calibration.settings import CalibrationSettings
from stemcal.errors import DataError
from stemcal.gold.simulated import GOLD_RINGS
from stemcal.records.atomic import write_record

# py4DSTEM warns on import and draws on its own, so it runs in a process where warnings are not errors.
RADIUS = """
import sys, numpy as np
from pathlib import Path
from stemcal.interop.py4dstem import calibrated_datacube
from py4DSTEM.process.polar import PolarDatacube
cube = calibrated_datacube(Path(sys.argv[1]), Path(sys.argv[2]))
if sys.argv[3] == "round":
    cube.calibration.set_p_ellipse((0.0, 0.0, 1.0, 1.0, 0.0))
polar = PolarDatacube(cube, qstep=0.5, n_annular=180)
profiles = np.stack([np.ma.filled(polar.data[i, j], np.nan) for i in range(3) for j in range(3)])
profile = np.nanmean(profiles, axis=(0, 1))
q = np.asarray(polar.radial_bins) * cube.calibration.get_Q_pixel_size()
ring = (q > 0.45) & (q < 0.75)
weight = profile[ring] - profile[ring].min()
centre = np.sum(q[ring] * weight) / weight.sum()
print(centre, np.sqrt(np.sum((q[ring] - centre) ** 2 * weight) / weight.sum()))
"""


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("interop")
    data = write_container(folder / "a_data.hdf5", frames())
    write_record(folder / "g_gold.json", gold_record())
    run_calibration(data, [folder / "g_gold.json"], folder / "a_calibration.json", settings=CalibrationSettings())
    return data, folder / "a_calibration.json"


def ring(data: Path, calibration: Path, ellipse: str) -> tuple[float, float]:
    words = [sys.executable, "-W", "ignore", "-c", RADIUS, str(data), str(calibration), ellipse]
    environment = os.environ | {"MPLBACKEND": "Agg"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    radius, width = done.stdout.split()[-2:]
    return float(radius), float(width)


def test_py4dstem_sees_our_ring_where_it_is(calibrated: tuple[Path, Path]) -> None:
    radius, width = ring(*calibrated, "ours")
    assert abs(radius - RING_Q) < 0.005
    # the counter-test: without the ellipse the ring is smeared out
    _, smeared = ring(*calibrated, "round")
    assert smeared > width * 1.02
    assert CAMERA.ratio > 1.05


def test_a_failed_calibration_is_refused(calibrated: tuple[Path, Path], tmp_path: Path) -> None:
    from stemcal.interop.py4dstem import calibrated_datacube

    record = run_calibration(calibrated[0], [], tmp_path / "a_calibration.json", settings=CalibrationSettings())
    assert record.quality.verdict == "fail"
    with pytest.raises(DataError, match="holds no complete calibration"):
        calibrated_datacube(calibrated[0], tmp_path / "a_calibration.json")


SIMULATE = """
from stemcal.interop.py4dstem import gold_ring_intensities
for square, intensity in gold_ring_intensities(1.65).items():
    print(square, intensity)
"""


def test_the_gold_in_our_figure_is_py4dstems() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SIMULATE],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"MPLBACKEND": "Agg"},
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line[:1].isdigit()]
    assert {int(square): float(value) for square, value in lines} == pytest.approx(dict(GOLD_RINGS), abs=1e-4)
