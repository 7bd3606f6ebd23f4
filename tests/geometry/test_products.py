"""The file of images: whole, described, the same bytes, and what it holds is right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from found_truth import found_of
from sideband_truth import correlation, scan

from stemcal.geometry.found import Found
from stemcal.geometry.images import residual_phases
from stemcal.geometry.products import products_of, write_products
from stemcal.geometry.ssb import Ssb, single_sideband

MATRICES = {"camera/corner", "camera/scan_matrix"}


@pytest.fixture(scope="module")
def found() -> Found:
    return replace(found_of(scan()), tilt_centre_px=(30.0, 33.0))


@pytest.fixture(scope="module")
def reconstructed(found: Found) -> tuple[Ssb, ...]:
    shift, sets = found.disk_shift_px, [{}, found.aberrations_rad or {}]
    return single_sideband(found.bright_field, found.weights, shift, found.aperture, sets)


def test_file_is_complete_described_and_the_same_bytes(
    found: Found, reconstructed: tuple[Ssb, ...], tmp_path: Path
) -> None:
    products = products_of(found, *reconstructed)
    texts = {"ptychography/py4dstem": {"rotation": 1.5}}
    for name in ("one.hdf5", "two.hdf5"):
        write_products(tmp_path / name, "{}", products, texts)
    assert (tmp_path / "one.hdf5").read_bytes() == (tmp_path / "two.hdf5").read_bytes()
    with h5py.File(tmp_path / "one.hdf5") as file:
        names: list[str] = []
        file.visit(names.append)
        arrays = {name: file[name] for name in names if isinstance(file[name], h5py.Dataset)}
        assert json.loads(arrays.pop("ptychography/py4dstem")[()]) == {"rotation": 1.5}
        assert {"ssb/phase_corrected", "ssb/amplitude_uncorrected", "detector/probe_phase", "virtual/abf"} <= set(
            arrays
        )
        assert {"com/icom", "com/idpc", "camera/phase_corrected", "slices/residual_phase"} <= set(arrays)
        assert {"spectrum/power", "spectrum/indices", "detector/tilt_centre", "slices/disks"} <= set(arrays)
        for name, array in arrays.items():
            assert {"axes", "unit", "description"} <= set(array.attrs), name
            assert array.ndim == len([axis for axis in array.attrs["axes"].split(", ") if axis]) or name in MATRICES


def test_without_aberrations_there_is_no_probe_and_no_corrected_phase(
    found: Found, reconstructed: tuple[Ssb, ...]
) -> None:
    blind = replace(found, aberrations_rad=None, amplitudes=None, tilt_centre_px=None, indices=None)
    names = {product.name for product in products_of(blind, reconstructed[0], None)}
    assert "ssb/phase_uncorrected" in names
    assert not {"ssb/phase_corrected", "detector/probe_phase", "slices/residual_phase", "detector/tilt_centre"} & names


def test_right_aberrations_leave_no_phase_in_the_slices_and_none_do(found: Found) -> None:
    def spread(one: Found) -> float:
        phases = residual_phases(one)
        return float(1 - np.abs(np.nanmean(np.exp(1j * phases[:3]))))

    blind = replace(found, aberrations_rad={})
    assert np.isfinite(residual_phases(found)).mean() > 0.2
    assert spread(found) < 0.02 < 0.1 < spread(blind)


def test_half_turn_gives_the_same_model_and_the_inverse_phase(found: Found, reconstructed: tuple[Ssb, ...]) -> None:
    assert found.aberrations_rad is not None
    assert found.amplitudes is not None
    turned = replace(
        found,
        disk_shift_px=-found.disk_shift_px,
        aberrations_rad={name: -value for name, value in found.aberrations_rad.items()},
        amplitudes=found.amplitudes[:, ::-1],
    )
    np.testing.assert_allclose(residual_phases(turned), residual_phases(found), atol=1e-4)
    shift, sets = turned.disk_shift_px, [turned.aberrations_rad or {}]
    (inverse,) = single_sideband(turned.bright_field, turned.weights, shift, turned.aperture, sets)
    assert correlation(inverse.phase, reconstructed[1].phase) < -0.999


def test_disks_of_an_oval_aperture_lie_where_the_camera_draws_them(found: Found) -> None:
    oval = replace(found, aperture=replace(found.aperture, e1=0.03, e2=-0.02))
    centres = oval.disk_centres()
    row, col = oval.aperture.round_offsets(centres[..., 0], centres[..., 1])
    expected = oval.frequencies @ oval.disk_shift_px.T
    np.testing.assert_allclose(np.stack([row, col], axis=-1)[:, 1], expected, atol=1e-9)
