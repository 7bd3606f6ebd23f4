"""What the step would have found of a simulated scan, taken from the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from sideband_truth import Scan, hann

from stemcal.geometry.bright_field import FrameSums
from stemcal.geometry.found import Found


def amplitudes(found: Found) -> np.ndarray:
    """(K, 2) amplitudes at the peaks by least squares."""
    row, col = found.offsets()
    here = found.probe.wave(row, col)
    solved = []
    for seen, shift in zip(found.slices, found.frequencies @ found.disk_shift_px.T, strict=True):
        plus = found.probe.wave(row - shift[0], col - shift[1]) * here.conj()
        minus = here * found.probe.wave(row + shift[0], col + shift[1]).conj()
        solved.append(np.linalg.lstsq(np.stack([plus, minus], axis=1), seen, rcond=None)[0])
    return np.array(solved)


def found_of(one: Scan) -> Found:
    field, (rows, cols) = one.bright_field, one.plan.scan_shape
    window = np.minimum.outer(*(np.sqrt(np.diag(hann(side))) for side in (rows, cols)))
    slices = []
    for f in one.frequencies:
        wave = np.exp(-2j * np.pi * np.add.outer(f[0] * np.arange(rows), f[1] * np.arange(cols))) * window
        slices.append(np.tensordot(field.counts, wave, axes=2) - field.counts.mean(axis=(1, 2)) * wave.sum())
    pattern = one.counts.mean(axis=(0, 1))
    com = one.com + np.reshape(one.plan.centre_px, (2, 1, 1))
    total = one.counts.sum(axis=(2, 3), dtype=float)
    segments = np.zeros((1, rows, cols), np.float32)
    sums = FrameSums(total, *com, one.adf, segments, np.zeros(1), total, *com, pattern)
    power = np.abs(np.fft.fftshift(np.fft.fft2(one.adf - one.adf.mean()))) ** 2 / one.adf.sum()
    g = one.plan.thin.g_per_angstrom
    order = np.argmin(np.abs(one.frequencies[:, None] - (g @ one.plan.scan_matrix)[None]).sum(axis=2), axis=1)
    bare = Found(
        frame_shape=one.plan.frame_shape,
        mean_pattern=pattern,
        aperture=one.aperture,
        bright_field=field,
        sums=sums,
        weights=one.everywhere,
        power_spectrum=power,
        frequencies=one.frequencies,
        indices=one.plan.thin.indices[order],
        slices=np.array(slices, np.complex64),
        amplitudes=None,
        disk_shift_px=one.plan.disk_shift_matrix,
        centre_shift_px=(0.0, 0.0),
        aberrations_rad=one.aberrations_rad,
        scan=one.plan.scan_matrix,
        length_unit="angstrom",
        tilt_centre_px=None,
    )
    return replace(bare, amplitudes=amplitudes(bare))
