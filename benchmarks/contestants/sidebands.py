"""Single side bands of one scan whose geometry is given: ours, and the transform that a dense method begins with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft

from stemcal.frames.source import open_source
from stemcal.geometry.aperture import find_aperture
from stemcal.geometry.bright_field import read_bright_field
from stemcal.geometry.ssb import single_sideband
from stemcal.optics.aberrations import phase_at_edge, terms

_TERMS = {term.name: term for term in terms(5)}


def ours(counts: str, phase: str, given: dict[str, Any], corrected: bool) -> Callable[[], dict[str, Any]]:
    """Return ours from the file: the pass that takes the bright field out of it, and the reconstruction.

    As the peers are, it is told geometry and aberrations; the compiled kernels are loaded by a run over few positions.
    """
    with open_source(Path(counts)) as frames:
        mean = frames.read(0, frames.n_frames).mean(axis=0)
        aperture = find_aperture(mean, frames.valid)
    angle, wavelength = given["semi_angle_mrad"], given["wavelength_angstrom"]
    known = {
        name: phase_at_edge(_TERMS[name], value, wavelength, angle) for name, value in given["aberrations"].items()
    }

    def work() -> dict[str, Any]:
        with open_source(Path(counts)) as frames:
            still = np.zeros((2, *frames.scan_shape), np.int16)
            field, _sums = read_bright_field(frames, aperture, frames.valid, still)
            everywhere = np.ones(frames.scan_shape)
        (found,) = single_sideband(field, everywhere, given["disk_shift_px"], aperture, [known if corrected else {}])
        np.save(phase, found.phase)
        return {}

    work()
    return work


def dense_transform(counts: str, phase: str, given: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Return the transform of every pixel over the scan in single precision, and nothing after it."""
    del given
    data = np.load(counts)

    def work() -> dict[str, Any]:
        spectra = scipy.fft.fft2(data.astype(np.complex64), axes=(0, 1), overwrite_x=True)
        np.save(phase, np.angle(spectra[:, :, 0, 0]))
        return {}

    return work
