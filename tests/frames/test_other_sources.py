"""The same frames through every route, and what each route refuses."""

from __future__ import annotations

import os
import shutil
import struct
import warnings
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats import bitshuffle
from stemcal.formats.container import Layout, open_container
from stemcal.formats.empad_raw import write_empad
from stemcal.formats.extras import Extras
from stemcal.formats.hspy import Axis, write_signal1d, write_signal2d
from stemcal.formats.merlin.writer import write_mib
from stemcal.frames.source import open_source
from stemcal.records.microscope import Microscope

Counts = NDArray[np.uint16]


@pytest.fixture
def counts() -> Counts:
    return np.random.default_rng(5).poisson(0.7, (3, 4, 10, 12)).astype(np.uint16)


def nm_axes(step: float, unit: str) -> tuple[Axis, Axis, Axis, Axis]:
    return Axis("y", unit, step), Axis("x", unit, step), Axis("ky", "px"), Axis("kx", "px")


def write_all(folder: Path, counts: Counts) -> list[Path]:
    """Write a stack (3, 4, 128, 128) in every format that we can write, each with rows in RosettaSciIO's order."""
    np.save(folder / "a.npy", counts)
    write_signal2d(folder / "a.hspy", counts, nm_axes(0.5, "nm"))
    axes = nm_axes(0.5, "nm")
    with open_container(folder / "a_data.hdf5", Layout("a", counts.shape, axes, counts.dtype)) as writer:  # type: ignore[arg-type]
        writer.put(range(12), map(bitshuffle.compress, counts.reshape(12, *counts.shape[2:])))
        writer.finish(Extras())
    with h5py.File(folder / "plain.h5", "w") as file:
        file["data/frames"] = counts
        file["data/mask"] = np.ones(counts.shape[2:], bool)
    with h5py.File(folder / "nexus.nxs", "w") as file:
        file.create_group("entry/instrument/detector")["data"] = counts
        file["entry/data/data"] = h5py.SoftLink("/entry/instrument/detector/data")
    with h5py.File(folder / "py4dstem_0.12.h5", "w") as file:
        group = file.create_group("4DSTEM_experiment/data/datacubes/datacube_0")
        group.create_dataset("data", data=counts, chunks=(1, 1, *counts.shape[2:]))
        for index, size in enumerate(counts.shape, 1):
            group[f"dim{index}"] = 0.5 * np.arange(size)
            group[f"dim{index}"].attrs["units"] = np.bytes_("nm" if index < 3 else "pixels")
    frames = counts.reshape(-1, *counts.shape[2:])[:, ::-1]
    write_mib(folder / "a.mib", [frames], scan_shape=(3, 4), scan_in_hdr=True)
    write_empad(folder / "a.xml", counts.astype(np.float32), microscope=Microscope(scan_step_nm=0.5))
    return sorted(path for path in folder.iterdir() if path.suffix not in {".hdr", ".raw"})


def test_the_same_frames_through_every_route(tmp_path: Path) -> None:
    counts = np.random.default_rng(6).poisson(2.0, (3, 4, 128, 128)).astype(np.uint16)
    paths = write_all(tmp_path, counts)
    assert len(paths) == 8
    for path in paths:
        with open_source(path) as source:
            assert source.scan_shape == (3, 4), path.name
            assert source.frame_shape == (128, 128), path.name
            assert source.valid.all()
            assert source.identity["n_frames"] == 12
            block = source.read(2, 9)
            assert block.flags.c_contiguous
            assert block.dtype == source.dtype == (np.float32 if path.suffix == ".xml" else np.uint16)
            np.testing.assert_array_equal(block, counts.reshape(12, 128, 128)[2:9], err_msg=path.name)
            if path.suffix in {".hspy", ".xml"} or path.name.startswith("py4dstem"):
                assert source.microscope is not None, path.name
                assert source.microscope.scan_step_nm == 0.5


def test_a_file_by_py4dstem_itself(tmp_path: Path, counts: Counts) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        py4dstem = pytest.importorskip("py4DSTEM")
        cube = py4dstem.DataCube(data=counts)
        cube.calibration.set_R_pixel_size(2.5)
        cube.calibration.set_R_pixel_units("A")
        py4dstem.save(str(tmp_path / "cube.h5"), cube, mode="o")
        py4dstem.save(str(tmp_path / "two.h5"), cube, mode="o")
        py4dstem.save(str(tmp_path / "two.h5"), py4dstem.DataCube(data=counts, name="second"), mode="a")
    with open_source(tmp_path / "cube.h5") as source:
        assert source.scan_shape == (3, 4)
        np.testing.assert_array_equal(source.read(0, 12), counts.reshape(12, 10, 12))
        assert source.microscope == Microscope(scan_step_nm=0.25)
    with pytest.raises(DataError, match=r"holds 2 stacks of frames: .*/datacube/data \(3, 4, 10, 12\)") as caught:
        open_source(tmp_path / "two.h5")
    assert "/second/data" in caught.value.problem


@pytest.mark.parametrize(
    ("step", "unit", "expected"),
    [(2.5, "Å", 0.25), (2e-9, "m", 2.0), (3.0, "µm", 3000.0), (1.0, "px", None), (1.0, "", None), (-1.0, "nm", None)],
)
def test_the_scan_step_of_hyperspy_axes(tmp_path: Path, counts: Counts, step, unit, expected) -> None:
    write_signal2d(tmp_path / "a.hspy", counts, nm_axes(step, unit))
    with open_source(tmp_path / "a.hspy") as source:
        assert source.microscope == (expected and Microscope(scan_step_nm=expected))


def test_hyperspy_metadata_of_the_microscope(tmp_path: Path, counts: Counts) -> None:
    axes = (Axis("y", "nm", 1.0), Axis("x", "nm", 2.0), Axis("", ""), Axis("", ""))
    tem = {"beam_energy": 200.0, "camera_length": 150.0}
    write_signal2d(tmp_path / "a.hspy", counts, axes, metadata={"Acquisition_instrument": {"TEM": tem}})
    with open_source(tmp_path / "a.hspy") as source:
        # two different steps have no place in the record
        assert source.microscope == Microscope(voltage_kv=200.0, nominal_camera_length_m=0.15)


FILTERS = {
    "none": {},
    "blosc of ePSIC": hdf5plugin.Blosc(cname="blosclz", clevel=9, shuffle=hdf5plugin.Blosc.BITSHUFFLE),
    "blosc2": hdf5plugin.Blosc2(),
    "zstd": hdf5plugin.Zstd(),
    "lz4": hdf5plugin.LZ4(),
    "bitshuffle zstd": hdf5plugin.Bitshuffle(cname="zstd"),
    "gzip": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"compression": "lzf"},
}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("chunks", [(1, 1, 10, 12), (2, 3, 4, 12), (3, 4, 10, 12)])
def test_any_filter_and_chunks(tmp_path: Path, counts: Counts, name: str, chunks: tuple[int, ...]) -> None:
    with h5py.File(tmp_path / "a.hspy", "w") as file:
        file.create_dataset("Experiments/__unnamed__/data", data=counts.astype(">u2"), chunks=chunks, **FILTERS[name])
    with open_source(tmp_path / "a.hspy") as source:
        block = source.read(1, 11)
        assert block.dtype == np.dtype("=u2")
        np.testing.assert_array_equal(block, counts.reshape(12, 10, 12)[1:11])


@pytest.mark.parametrize("name", ["no_suffix", "a.hdf", "a.dat", "a.npy", "a.mib"])
def test_the_content_decides_and_not_the_suffix(tmp_path: Path, counts: Counts, name: str) -> None:
    with h5py.File(tmp_path / name, "w") as file:
        file["frames"] = counts
    with open_source(tmp_path / name) as source:
        assert source.scan_shape == (3, 4)


def test_epsics_virtual_copy(tmp_path: Path, counts: Counts) -> None:
    with h5py.File(tmp_path / "data.hdf5", "w") as file:
        file["Experiments/__unnamed__/data"] = counts
    layout = h5py.VirtualLayout(counts.shape, counts.dtype)
    origin = h5py.VirtualSource("data.hdf5", "Experiments/__unnamed__/data", counts.shape)
    for row in range(3):
        layout[row] = origin[row]
    with h5py.File(tmp_path / "a.hdf", "w") as file:
        file.create_virtual_dataset("data/frames", layout)
        file["data/mask"] = h5py.ExternalLink("mask.h5", "/data/mask")
        file["metadata/set_scan_px"] = 4
    with open_source(tmp_path / "a.hdf") as source:
        np.testing.assert_array_equal(source.read(0, 12), counts.reshape(12, 10, 12))
    (tmp_path / "data.hdf5").unlink()
    # HDF5 itself would give zeros
    with pytest.raises(DataError, match=r"takes /data/frames from data.hdf5, which is not there; copy it there"):
        open_source(tmp_path / "a.hdf")


def test_an_external_link_is_followed(tmp_path: Path, counts: Counts) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = counts
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        file["entry/data"] = h5py.ExternalLink("data.h5", "/x")
        file["entry/again"] = h5py.SoftLink("/entry/data")
        file["entry/loop"] = h5py.SoftLink("/entry")
    with open_source(tmp_path / "a.nxs") as source:
        assert source.scan_shape == (3, 4)
    (tmp_path / "data.h5").unlink()
    with pytest.raises(DataError, match=r"a link to /\w+.* is not there; restore what it points to"):
        open_source(tmp_path / "a.nxs")


def test_what_was_never_written_is_refused(tmp_path: Path, counts: Counts) -> None:
    with h5py.File(tmp_path / "killed.hspy", "w") as file:
        data = file.create_dataset("Experiments/x/data", counts.shape, "u2", chunks=(1, 2, 10, 12))
        data[:2] = counts[:2]
    with pytest.raises(DataError, match=r"holds 4 of 6 chunks of /Experiments/x/data; write the file again"):
        open_source(tmp_path / "killed.hspy")
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file.create_dataset("x", counts.shape, "u2")
    with pytest.raises(DataError, match="holds /x without any content"):
        open_source(tmp_path / "empty.h5")


def test_a_damaged_chunk_of_another_program_is_named(tmp_path: Path, counts: Counts) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=counts, chunks=(1, 4, 10, 12), compression="gzip", fletcher32=True)
        place = file["x"].id.get_chunk_info_by_coord((2, 0, 0, 0))
    with (tmp_path / "a.h5").open("r+b") as raw:
        raw.seek(place.byte_offset)
        raw.write(b"\xff" * place.size)
    with open_source(tmp_path / "a.h5") as source:
        source.read(0, 8)
        with pytest.raises(DataError, match="frames 6 to 10 of /x cannot be read"):
            source.read(6, 10)


@pytest.mark.parametrize("kind", ["bool", "complex64", "float128", "S3", "object"])
def test_pixels_that_are_no_counts(tmp_path: Path, counts: Counts, kind: str) -> None:
    odd = counts.astype(kind)
    np.save(tmp_path / "a.npy", odd)
    with pytest.raises(DataError, match=r"pixels of type|cannot be read as \.npy"):
        open_source(tmp_path / "a.npy")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = odd.astype(str).astype(object) if kind == "object" else odd
    with pytest.raises(DataError, match="pixels of type"):
        open_source(tmp_path / "a.h5")


@pytest.mark.parametrize("kind", ["u1", ">u4", "i2", "float16", ">f4", "f8", "int64"])
def test_pixels_of_every_real_type(tmp_path: Path, counts: Counts, kind: str) -> None:
    np.save(tmp_path / "a.npy", counts.astype(kind))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = counts.astype(kind)
    for name in ("a.npy", "a.h5"):
        with open_source(tmp_path / name) as source:
            block = source.read(3, 12)
            assert block.dtype == source.dtype == np.dtype(kind).newbyteorder("=")
            np.testing.assert_array_equal(block, counts.reshape(12, 10, 12)[3:])


def test_arrays_that_are_no_stack_in_npy(tmp_path: Path, counts: Counts) -> None:
    def refused(name: str, problem: str) -> None:
        with pytest.raises(DataError, match=problem):
            open_source(tmp_path / name)

    np.save(tmp_path / "fortran.npy", np.asfortranarray(counts))
    refused("fortran.npy", r"Fortran order.*ascontiguousarray")
    np.save(tmp_path / "none.npy", counts[:0])
    refused("none.npy", "shape \\(0, 4, 10, 12\\), which is no stack")
    np.save(tmp_path / "scalar.npy", np.uint16(3))
    refused("scalar.npy", r"shape \(\), which is no stack")
    np.save(tmp_path / "five.npy", counts[None])
    refused("five.npy", "which is no stack")
    np.save(tmp_path / "cut.npy", counts)
    os.truncate(tmp_path / "cut.npy", 2000)
    refused("cut.npy", "cannot be read as .npy")
    with (tmp_path / "archive.npy").open("wb") as file:
        np.savez(file, counts)
    refused("archive.npy", "archive of several arrays")
    # an array may be in both orders
    np.save(tmp_path / "line.npy", np.asfortranarray(counts[:1, :, :1, :1]))
    with open_source(tmp_path / "line.npy") as source:
        assert source.scan_shape == (1, 4)


def test_a_npy_that_shrinks_while_it_is_read(tmp_path: Path, counts: Counts) -> None:
    np.save(tmp_path / "a.npy", counts)
    with open_source(tmp_path / "a.npy") as source:
        os.truncate(tmp_path / "a.npy", 2000)
        with pytest.raises(DataError, match="ends at byte 2000, it had 3008 when it was opened"):
            source.read(0, 12)
    with pytest.raises(ValueError, match="has been closed"):
        source.read(0, 1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=120))
def test_any_header_of_a_npy(tmp_path: Path, text: bytes) -> None:
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text
    (tmp_path / "a.npy").write_bytes(header + b"\0" * 64)
    with pytest.raises(DataError):
        open_source(tmp_path / "a.npy")


@pytest.mark.parametrize("signature", [b"TREE", b"HEAP", b"SNOD", b"GCOL"])
def test_damage_inside_an_hdf5_file(tmp_path: Path, counts: Counts, signature: bytes) -> None:
    """HDF5 raises errors of many classes; random damage would be no test, because it can crash the library itself."""
    write_signal2d(tmp_path / "whole.hspy", counts, nm_axes(1.0, "nm"))
    content = (tmp_path / "whole.hspy").read_bytes()
    place = content.find(signature)
    while place >= 0:
        (tmp_path / "a.hspy").write_bytes(content[:place] + b"????" + content[place + 4 :])
        try:
            with open_source(tmp_path / "a.hspy") as source:
                np.testing.assert_array_equal(source.read(0, 12), counts.reshape(12, 10, 12))
        except DataError:
            pass  # refused; where HDF5 does not need the block, the frames are right
        place = content.find(signature, place + 1)


def test_frames_that_a_container_keeps_beside_the_scan_are_not_the_stack(tmp_path: Path, counts: Counts) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["Experiments/x/data"] = counts
        file["Experiments/x/stemcal/outside"] = counts[:1]
        file.create_group("Experiments/x/stemcal/sums")
        file["Experiments/x/stemcal/identity"] = "{}"
    with open_source(tmp_path / "a.hdf5") as source:
        assert source.scan_shape == (3, 4)


def test_hdf5_files_without_a_stack(tmp_path: Path, counts: Counts) -> None:
    write_signal1d(tmp_path / "profiles.hspy", counts[0, 0][None], (Axis("y", ""), Axis("x", ""), Axis("q", "")))
    with pytest.raises(DataError, match=r"no stack of frames but .*/Experiments/__unnamed__/data \(1, 10, 12\)"):
        open_source(tmp_path / "profiles.hspy")
    write_signal2d(tmp_path / "line.hspy", counts[0], (Axis("x", ""), Axis("", ""), Axis("", "")))
    with open_source(tmp_path / "line.hspy") as source:
        assert source.scan_shape == (1, 4)
    with h5py.File(tmp_path / "many.h5", "w") as file:
        for index in range(9):
            file[f"x{index}"] = np.ones(index + 1)
    with pytest.raises(DataError, match=r"/x0 \(1,\), .* and 3 more"):
        open_source(tmp_path / "many.h5")
    write_signal2d(tmp_path / "cut.hspy", counts, nm_axes(1.0, "nm"))
    os.truncate(tmp_path / "cut.hspy", 3000)
    with pytest.raises(DataError, match="cannot be opened as HDF5"):
        open_source(tmp_path / "cut.hspy")


def test_paths_that_are_no_file(tmp_path: Path, counts: Counts) -> None:
    def refused(path: Path, problem: str) -> None:
        with pytest.raises(DataError, match=problem):
            open_source(path)

    refused(tmp_path, "is a folder; give the file of frames in it")
    refused(tmp_path / "none.npy", "there is no such file")
    (tmp_path / "link.npy").symlink_to("gone.npy")
    refused(tmp_path / "link.npy", "is a link to a file that is not there")
    (tmp_path / "loop.npy").symlink_to("loop.npy")
    refused(tmp_path / "loop.npy", "cannot be read")
    refused(tmp_path / ("x" * 300 + ".npy"), "cannot be read")
    refused(tmp_path / "nul\0.npy", "cannot be read")
    os.mkfifo(tmp_path / "pipe.npy")
    refused(tmp_path / "pipe.npy", "is no ordinary file")
    np.save(tmp_path / "a.npy", counts)
    refused(tmp_path / "a.npy" / "b.npy", "cannot be read")
    (tmp_path / "text.txt").write_text("HDR,\n")
    refused(tmp_path / "text.txt", "files ending in '.txt' are not read")
    shutil.copy(tmp_path / "a.npy", tmp_path / "copy.hdf5")
    with open_source(tmp_path / "copy.hdf5") as source:
        assert source.scan_shape == (3, 4)
    (tmp_path / "zero.hdf5").touch()
    refused(tmp_path / "zero.hdf5", "cannot be opened as HDF5")
