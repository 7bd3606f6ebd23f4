"""Numbers that change only with a new revision of the step (``stemcal.stages.STAGES``)."""

from __future__ import annotations

from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 (registers the filters)
import numpy as np

from stemcal.convert.paths import ConvertPaths
from stemcal.convert.run import run_convert
from stemcal.convert.settings import ConvertSettings
from stemcal.formats.container import open_experiment
from stemcal.formats.merlin.writer import write_mib
from stemcal.stages import STAGES

REMEDY = "numbers changed: raise the revision of the step in stemcal.stages and write the new numbers here"
GOLDEN_DISK = (24.7301525871, 24.6955124209, 6.10264341769)
GOLDEN_N_INVALID = 49
GOLDEN_SUMS = {
    "annular_bright_field": 1029774.0,
    "annular_dark_field": 2082039.0,
    "bright_field": 1458821.0,
    "centre_of_mass_col": 4903.83009,
    "centre_of_mass_row": 5272.54324,
    "high_angle_dark_field": 1106726.0,
    "max_count": 189000.0,
    "max_pattern": 23246005.0,
    "mean_pattern": 22114837.3,
    "preview": 442296746.0,
    "saturated_pattern": 0.0,
    "saturated_pixels": 0.0,
    "sum_pattern": 442296746.0,
    "total_counts": 3772005.0,
    "variance_pattern": 2215728.73,
}


def counts() -> np.ndarray:
    """A disk that moves over a 4 x 5 scan, a dead line and a hot pixel, without any random generator."""
    rows, cols = np.indices((48, 48))
    frames = []
    for place in range(20):
        radius = np.hypot(rows - 22.3 - 0.1 * (place // 5), cols - 25.1 + 0.2 * (place % 5))
        frames.append(np.rint(60 / (1 + np.exp((radius - 6) / 0.6)) + 9 * np.exp(-radius / 25)))
    stack = np.array(frames, np.uint16)
    stack[:, 30] = 0
    stack[:, 5, 7] = 900
    return stack


def test_convert(tmp_path: Path, no_drawing: None) -> None:
    assert STAGES["convert"].revision == 2, REMEDY
    raw = tmp_path / "scan_data.mib"
    write_mib(raw, [counts()], assembly="1x1", scan_shape=(4, 5), scan_in_hdr=True)
    record = run_convert(raw, ConvertPaths.of(tmp_path / "out_data.hdf5"), settings=ConvertSettings())
    assert record.result is not None
    found = record.result.virtual_detectors
    assert found is not None
    disk = (found.centre_row_px.value, found.centre_col_px.value, found.disk_radius_px.value)
    np.testing.assert_allclose(disk, GOLDEN_DISK, rtol=1e-9, err_msg=REMEDY)
    assert record.result.invalid_pixels.total == GOLDEN_N_INVALID, REMEDY
    assert checksums(tmp_path / "out_data.hdf5") == GOLDEN_SUMS, REMEDY


def checksums(path: Path) -> dict[str, float]:
    """Return a position-weighted sum of every sum that stands beside the frames."""
    file, group = open_experiment(path)
    with file:
        sums = {name: values[...] for name, values in group["stemcal/sums"].items() if isinstance(values, h5py.Dataset)}
    return {name: weighted(values) for name, values in sums.items()}


def weighted(values: np.ndarray) -> float:
    places = np.arange(values.size, dtype=np.float64).reshape(values.shape)
    return float(f"{np.nansum(values * (1 + places)):.9g}")
