"""The microscope's .hdf: every key of ePSIC's printed tables, with its unit."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from stemcal.errors import DataError
from stemcal.formats.microscope import (
    KEYS,
    raw_from_microscope,
    raw_metadata,
    read_microscope,
    units_of,
    write_microscope,
)
from stemcal.records.microscope import Microscope

E02 = {
    "A1_value_(kV)": 4.17,
    "A2_value_(kV)": 4.7,
    "aperture_size": 2,
    "convergence_semi-angle(rad)": 0.03174,
    "current_OLfine": 32810,
    "deflector_values/GUN1": [1.0, -2.0],
    "defocus(nm)": 19.5,
    "defocus_per_bit(nm)": 0.75,
    "field_of_view(m)": 1e-8,
    "ht_value(V)": 80000.0,
    "lens_values/C1": 0.5,
    "magnification": 2e7,
    "merlin_camera_length(m)": 0.12,
    "nominal_camera_length(m)": 0.12,
    "nominal_scan_rotation": 0.0,
    "set_bit_depth": 12,
    "set_dwell_time(usec)": 600,
    "set_scan_px": 256,
    "spot_size": 8,
    "step_size(m)": 3.90625e-11,
    "x_pos(m)": 0.000160,
    "x_tilt(deg)": 0.25,
    "y_pos(m)": 0.000141,
    "y_tilt(deg)": -0.13,
    "z_pos(m)": -0.000105,
    "zero_OLfine": 32784,
}
"""The first line of the table of 20260512_151123.hdf, a stand-in where the table has dots or stars."""


@pytest.fixture
def hdf(tmp_path: Path) -> Path:
    write_microscope(tmp_path / "a.hdf", E02)
    return tmp_path / "a.hdf"


@pytest.mark.shared
def test_every_key_of_the_real_table_is_here(shared_data):
    text = (shared_data / "epsic" / "E02_hdf_metadata_values.txt").read_text()
    listed = text[text.index("Index([") : text.index("dtype='object')")].split("'")[1::2]
    ours = {key.split("/")[0] for key in E02}
    assert set(listed) - {"source_folder", "source_file"} == ours
    assert set(KEYS) < ours


def printed_table(text: str) -> dict[str, list[float]]:
    """Return the numeric columns of the table that its notebook broke into five pieces, by name."""
    columns: dict[str, list[float]] = {}
    names: list[str] = []
    for line in text[text.index("A1_value_(kV)  A2") - 60 : text.index("[18 rows")].splitlines():
        words = line.replace("\\", "").replace("...", "").replace("*****", "nan").split()
        if words and not words[0].isdigit():
            names = [word for word in words if not word.startswith("source_")]
        elif words:
            values = [float(word) for word in words[1:] if not word.endswith(".hdf") and not word.startswith("TEB")]
            for name, value in zip(names, values, strict=True):
                columns.setdefault(name, []).append(value)
    return columns


@pytest.mark.shared
def test_the_real_acquisitions_are_consistent(shared_data, tmp_path):
    text = (shared_data / "epsic" / "E02_hdf_metadata_values.txt").read_text()
    table = printed_table(text)
    second = text[text.rindex("   source_folder") :].splitlines()[1:19]
    field_of_view = [float(line.split()[5]) for line in second]
    assert {len(column) for column in table.values()} == {18} == {len(field_of_view)}
    for row, fov in enumerate(field_of_view):
        said = {name: column[row] for name, column in table.items()}
        write_microscope(tmp_path / "row.hdf", {**said, "field_of_view(m)": fov})
        microscope = read_microscope(tmp_path / "row.hdf")
        assert microscope.scan_step_nm == pytest.approx(microscope.field_of_view_nm / microscope.scan_size_px)
        bits = said["current_OLfine"] - said["zero_OLfine"]
        assert microscope.defocus_nm == pytest.approx(bits * said["defocus_per_bit(nm)"])
        assert raw_metadata(tmp_path / "row.hdf")["x_tilt(deg)"] == microscope.stage_tilt_x_deg


def test_every_key_has_its_unit():
    assert {key: units_of(key) for key in E02} == {
        "A1_value_(kV)": "kV",
        "A2_value_(kV)": "kV",
        "aperture_size": "",
        "convergence_semi-angle(rad)": "rad",
        "current_OLfine": "bit",
        "deflector_values/GUN1": None,
        "defocus(nm)": "nm",
        "defocus_per_bit(nm)": "nm",
        "field_of_view(m)": "m",
        "ht_value(V)": "V",
        "lens_values/C1": None,
        "magnification": "",
        "merlin_camera_length(m)": "m",
        "nominal_camera_length(m)": "m",
        "nominal_scan_rotation": "deg",
        "set_bit_depth": "bit",
        "set_dwell_time(usec)": "us",
        "set_scan_px": "px",
        "spot_size": "",
        "step_size(m)": "m",
        "x_pos(m)": "m",
        "x_tilt(deg)": "deg",
        "y_pos(m)": "m",
        "y_tilt(deg)": "deg",
        "z_pos(m)": "m",
        "zero_OLfine": "bit",
    }


@pytest.mark.parametrize("key", ["", "something_new", "()", "(m) size", "lens_values/set_scan_px"])
def test_a_unit_that_nobody_states_is_none(key):
    assert units_of(key) is None


def test_values_arrive_in_the_units_of_the_record(hdf):
    assert read_microscope(hdf) == Microscope(
        voltage_kv=80.0,
        nominal_camera_length_m=0.12,
        merlin_camera_length_m=0.12,
        convergence_semi_angle_mrad=31.74,
        scan_step_nm=0.0390625,
        field_of_view_nm=10.0,
        scan_size_px=256,
        dwell_time_us=600.0,
        defocus_nm=19.5,
        magnification=2e7,
        scan_rotation_deg=0.0,
        spot_size=8.0,
        aperture_index=2,
        stage_x_um=160.0,
        stage_y_um=141.0,
        stage_z_um=-105.0,
        stage_tilt_x_deg=0.25,
        stage_tilt_y_deg=-0.13,
    )


def test_nothing_is_lost_in_the_raw_metadata(hdf):
    assert raw_metadata(hdf) == E02


def test_a_record_survives_the_round_trip(hdf, tmp_path):
    microscope = read_microscope(hdf)
    write_microscope(tmp_path / "b.hdf", microscope)
    assert read_microscope(tmp_path / "b.hdf") == microscope
    assert {key.split("/")[0] for key in raw_from_microscope(microscope)} == {key.split("/")[0] for key in E02}
    assert hdf.read_bytes() != (tmp_path / "b.hdf").read_bytes()
    write_microscope(tmp_path / "c.hdf", microscope)
    assert (tmp_path / "c.hdf").read_bytes() == (tmp_path / "b.hdf").read_bytes()


def test_odd_types_are_tolerated_and_unset_values_become_none(tmp_path):
    with h5py.File(tmp_path / "a.hdf", "w") as file:
        group = file.create_group("metadata")
        group["ht_value(V)"] = np.float32(200000)
        group["nominal_camera_length(m)"] = 0.0
        group["convergence_semi-angle(rad)"] = np.nan
        group["set_scan_px"] = np.array([128])
        group["spot_size"] = "unknown"
        group["magnification"] = b"50000"
        group["beam_blank"] = np.True_
        group["a_matrix"] = np.eye(2)
        group.create_group("lens_values")
        group["nothing"] = h5py.Empty("f")
    microscope = read_microscope(tmp_path / "a.hdf")
    assert microscope == Microscope(voltage_kv=200.0, scan_size_px=128, magnification=50000.0)
    raw = raw_metadata(tmp_path / "a.hdf")
    assert raw["beam_blank"] is True
    assert raw["a_matrix"] == [[1.0, 0.0], [0.0, 1.0]]
    assert raw["spot_size"] == "unknown"


def test_an_empty_group_says_nothing(tmp_path):
    write_microscope(tmp_path / "a.hdf", {})
    assert read_microscope(tmp_path / "a.hdf") == Microscope()


def test_files_that_cannot_be_read_are_refused(tmp_path, hdf):
    with pytest.raises(DataError, match="does not exist"):
        read_microscope(tmp_path / "none.hdf")
    (tmp_path / "text.hdf").write_text("not HDF5")
    with pytest.raises(DataError, match="cannot be read as HDF5"):
        read_microscope(tmp_path / "text.hdf")
    (tmp_path / "cut.hdf").write_bytes(hdf.read_bytes()[:3000])
    with pytest.raises(DataError, match="cannot be read as HDF5"):
        read_microscope(tmp_path / "cut.hdf")
    with h5py.File(tmp_path / "other.hdf", "w") as file:
        file["metadata"] = 1
    with pytest.raises(DataError, match="no group 'metadata'"):
        read_microscope(tmp_path / "other.hdf")
