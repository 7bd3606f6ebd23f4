"""``<id>_ssb.hdf5``: every image that the geometry gives, each with its axes, its unit, and what it is.

Compressed without loss; missing is NaN. The same bytes at every run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemcal.formats.hdf5 import create_hdf5
from stemcal.geometry.camera_frame import CameraFrame
from stemcal.geometry.found import Found
from stemcal.geometry.images import ANNULAR_RADII, BRIGHT_RADII, residual_phases, ring_image, usable_image
from stemcal.geometry.integrated_com import integrated, segment_deflection
from stemcal.geometry.ssb import Ssb

SCAN = "scan_row, scan_col"
DETECTOR = "det_row, det_col"
DISK = "peak, row, col"
_SCHEMA = "stemcal/ssb/1"
_LEAST_PACKED = 1024


@dataclass(frozen=True)
class Product:
    """One array of the file.

    Attributes
    ----------
    name : str
        Where it is, ``group/name``.
    values : ndarray
        The array.
    axes : str
        Names of its axes, in order.
    unit : str
        Of its values; ``1`` without one.
    description : str
        What it is.
    """

    name: str
    values: NDArray[Any]
    axes: str
    unit: str
    description: str


def write_products(
    path: Path, parameter: str, products: Sequence[Product], texts: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write the file, whole or not at all.

    Parameters
    ----------
    path : Path
        ``<id>_ssb.hdf5``.
    parameter : str
        Canonical JSON of stage, revision, settings and source.
    products : sequence of Product
        What to write.
    texts : mapping
        Parameters for other programs by the name of their dataset, written as JSON.
    """
    with create_hdf5(path) as file:
        file.attrs["schema"] = _SCHEMA
        file.attrs["parameter"] = parameter
        for product in products:
            packed = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
            options = packed if product.values.nbytes >= _LEAST_PACKED else {}
            dataset = file.create_dataset(product.name, data=product.values, **options)
            dataset.attrs["axes"] = product.axes
            dataset.attrs["unit"] = product.unit
            dataset.attrs["description"] = product.description
        for name, values in texts.items():
            dataset = file.create_dataset(name, data=json.dumps(values, indent=1))
            dataset.attrs["description"] = "parameters for this program as JSON; see stemcal's page on geometry"


def products_of(found: Found, uncorrected: Ssb, corrected: Ssb | None) -> list[Product]:
    """Return everything that the file holds.

    Parameters
    ----------
    found : Found
        What was measured, half turn decided.
    uncorrected, corrected : Ssb
        Reconstructions without and with the aberrations; None where these are not known.
    """
    scans = [*_object(uncorrected, "uncorrected", "without correction of aberrations")]
    if corrected is not None:
        scans += _object(corrected, "corrected", "aberrations corrected")
    scans += _virtual(found)
    transfer = (corrected or uncorrected).transfer
    shown = "rfft2 order: weight with which a phase is measured, over that of an undisturbed disk; damped below 0.08"
    return [
        *scans,
        Product("ssb/transfer", transfer, "frequency_row, frequency_col", "1", shown),
        *_detector(found),
        *_spectrum(found),
        *_slices(found),
        *_camera(found, scans),
    ]


def refused_products(mean_pattern: NDArray[np.float64] | None, power: NDArray[np.float64] | None) -> list[Product]:
    """Return what there is to keep where there is no geometry: mean pattern and spectrum, as far as they are known."""
    seen = []
    if mean_pattern is not None:
        seen.append(Product("detector/mean_pattern", mean_pattern, DETECTOR, "counts", "mean of the frames"))
    if power is not None:
        seen.append(_power(power))
    return seen


def _object(ssb: Ssb, name: str, words: str) -> Iterator[Product]:
    yield Product(f"ssb/phase_{name}", ssb.phase, SCAN, "rad", f"phase of the object by single sideband, {words}")
    yield Product(f"ssb/amplitude_{name}", ssb.amplitude, SCAN, "1", f"amplitude of the object over its mean, {words}")


def _virtual(found: Found) -> Iterator[Product]:
    counts = "counts times the weight of the position"
    for name, radii in (("bf", BRIGHT_RADII), ("abf", ANNULAR_RADII)):
        words = f"{counts} between {radii[0]:g} and {radii[1]:g} radii of the disk"
        yield Product(f"virtual/{name}", ring_image(found, radii), SCAN, "counts", words)
    words = f"{counts} outside 1.25 radii of the disk"
    yield Product("virtual/adf", usable_image(found, found.sums.adf), SCAN, "counts", words)
    yield Product("virtual/weights", found.weights, SCAN, "1", "factor on the counts of a position; 0 = not usable")
    com = found.deflection()
    axis = f"component, {SCAN}"
    yield Product("com/deflection", com, axis, "px", "centre of mass (row, col) from the centre of the aperture")
    icom = integrated(com, found.weights, found.disk_shift_px)
    yield Product("com/icom", icom, SCAN, "rad", "phase whose gradient the centre of mass is")
    idpc = integrated(segment_deflection(found.bright_field, found.aperture), found.weights, found.disk_shift_px)
    yield Product("com/idpc", idpc, SCAN, "rad", "the same from the four quadrants of the disk")


def _detector(found: Found) -> Iterator[Product]:
    aperture = found.aperture
    rows, cols = np.indices(found.frame_shape, dtype=np.float64)
    row, col = aperture.round_offsets(rows, cols)
    mask = np.hypot(row, col) <= aperture.radius_px
    yield Product("detector/mean_pattern", found.mean_pattern, DETECTOR, "counts", "mean of the frames")
    yield Product("detector/aperture", mask, DETECTOR, "1", "True inside the fitted aperture")
    fit = [aperture.centre_row_px, aperture.centre_col_px, aperture.radius_px, aperture.e1, aperture.e2]
    words = "centre (row, col) and area-preserving radius in px, strain e1 and e2, blur of the edge in px"
    yield Product("detector/aperture_fit", np.array([*fit, aperture.edge_px]), "parameter", "mixed", words)
    if found.aberrations_rad is not None:
        shift = found.centre_shift_px
        chi = found.probe.phase(row - shift[0], col - shift[1])
        words = "phase of the probe, -chi: P = A exp(i phase); NaN outside the aperture"
        yield Product("detector/probe_phase", np.where(mask, -chi, np.nan), DETECTOR, "rad", words)
    if found.tilt_centre_px is not None:
        words = "where the crystal's zone axis points, (row, col)"
        yield Product("detector/tilt_centre", np.array(found.tilt_centre_px), "component", "px", words)


def _spectrum(found: Found) -> Iterator[Product]:
    yield _power(found.power_spectrum)
    axes = "peak, component"
    yield Product("spectrum/frequencies", found.frequencies, axes, "cycles/step", "peaks (row, col) that were used")
    if found.indices is not None:
        words = "indices of the peaks on the lattice of the scan; 0, 0 = none"
        yield Product("spectrum/indices", found.indices, axes, "1", words)


def _power(power: NDArray[np.float64]) -> Product:
    words = "power of the scan over that of shot noise, zero frequency in the middle"
    return Product("spectrum/power", power.astype(np.float32), "frequency_row, frequency_col", "1", words)


def _slices(found: Found) -> Iterator[Product]:
    images, first = found.on_detector(found.slices)
    words = f"spectrum of every pixel of the disk at the peaks; pixel (0, 0) is at {first[0]:g}, {first[1]:g} px of "
    words += f"the frame, a pixel is {found.bright_field.binning} px wide"
    yield Product("slices/spectrum", images, DISK, "counts", words)
    words = "centres of the direct disk and of those displaced by + and - the disk shift, px of the frame"
    yield Product("slices/disks", found.disk_centres(), "peak, disk, component", "px", words)
    if found.amplitudes is not None:
        phases, _ = found.on_detector(residual_phases(found))
        words = "phase of the slices less that of the model, where the direct disk overlaps one other"
        yield Product("slices/residual_phase", phases, DISK, "rad", words)


def _camera(found: Found, scans: Sequence[Product]) -> Iterator[Product]:
    frame = CameraFrame.around(found.scan, found.bright_field.scan_shape)
    axes = "camera_row, camera_col"
    for product in scans:
        if product.axes == SCAN and product.name != "virtual/weights":
            words = f"{product.description}; in the camera's frame, pixel {frame.pixel_size:.6g} {found.length_unit}"
            name = f"camera/{product.name.split('/')[1]}"
            yield Product(name, frame.carried(product.values), axes, product.unit, words)
    for name, values, words in (
        ("camera/pixel_size", np.array(frame.pixel_size), "side of a pixel of the images in this group"),
        ("camera/corner", frame.corner, "where their pixel (0, 0) lies from the first scan position, (row, col)"),
        ("camera/scan_matrix", frame.scan, "S: columns are the slow and the fast step, each (row, col)"),
    ):
        yield Product(name, values, "", found.length_unit, words)
