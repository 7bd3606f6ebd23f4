"""The memory of a whole run stays below what its job asks for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from calibration_truth import ACQUIRED, write_gold

from stemcal.calibration.run import run_calibration
from stemcal.calibration.settings import CalibrationSettings
from stemcal.formats import bitshuffle
from stemcal.formats.container import Layout, open_container
from stemcal.formats.extras import Extras
from stemcal.formats.hspy import Axis
from stemcal.records.microscope import Microscope
from stemcal.stages import Extent, memory_mb

FRAME = (256, 256)
SCAN = (32, 32)
ORIGINS = 16
SETTINGS = {"symmetry_orders": [2, 4, 6]}


def data_set(folder: Path) -> Path:
    """Write a scan with descan, of a few different frames, and its calibration."""
    row, col = np.indices(FRAME)
    generator = np.random.default_rng(1)
    axes = tuple(Axis(name, "px") for name in ("scan_row", "scan_col", "det_row", "det_col"))
    path = folder / "a_data.hdf5"
    with open_container(path, Layout("a", (*SCAN, *FRAME), axes, np.dtype(np.uint16))) as writer:
        for index in range(ORIGINS):
            radius = np.hypot(row - 128 - 4 * index / ORIGINS, col - 128)
            frame = generator.poisson(0.3 * np.exp(-radius / 50) + 500 * (radius < 8) + 0.05).astype(np.uint16)
            rows = SCAN[0] // ORIGINS
            places = range(index * rows * SCAN[1], (index + 1) * rows * SCAN[1])
            writer.put(places, [bitshuffle.compress(frame)] * len(places))
        known = Microscope(voltage_kv=200.0, nominal_camera_length_m=0.2, scan_step_nm=2.0)
        writer.finish(Extras(microscope=known, acquired_at=ACQUIRED, valid=np.ones(FRAME, bool)))
    gold = write_gold(folder / "g_gold.json", frame_shape=FRAME)
    run_calibration(path, [gold], folder / "a_calibration.json", settings=CalibrationSettings())
    return path


def test_a_run_with_every_option_stays_below_what_its_job_asks_for(tmp_path: Path, checkout: Path) -> None:
    data, threads = data_set(tmp_path), 2
    # not from rusage, which begins with what the test process had when it forked
    program = (
        "import sys; from pathlib import Path; from stemcal.cli import main; code = main(); "
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]); sys.exit(code)"
    )
    words = ["polar", data.name, "--calibration", "a_calibration.json", "-o", "a", "--threads", str(threads)]
    words += ["--settings", json.dumps(SETTINGS), "--no-progress"]
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    peak_mb = int(done.stdout.split()[-1]) / 1024
    assert 100 < peak_mb < memory_mb("polar", Extent(SCAN[0] * SCAN[1], FRAME[0] * FRAME[1], 2), threads)
