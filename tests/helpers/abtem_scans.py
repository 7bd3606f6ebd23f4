"""The multislice sets of the shared data as scans of any geometry: periodic in the scan, so resampled without error."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from stemcal.optics.scan_affine import ScanAxes, disk_shift_matrix, scan_matrix


@dataclass(frozen=True)
class AbtemScan:
    """A resampled scan: noiseless frames of sum about 1, and its truth (angstrom per step, px per cycle per step)."""

    frames: NDArray[np.float32]
    axes: ScanAxes
    disk_shift_px: NDArray[np.float64]
    centre_px: tuple[float, float]
    radius_px: float
    voltage_kv: float
    semi_angle_mrad: float
    aberrations_angstrom: dict[str, float]


def abtem_scan(path: Path, axes: ScanAxes, scan_shape: tuple[int, int], *, turn_deg: float = 0.0) -> AbtemScan:
    """Return the set ``path`` (.npz) scanned along ``axes`` of a camera in which the crystal is turned by ``turn_deg``.

    The scan of the file is one period, so its Fourier series gives the pattern at any place; the patterns are turned
    about the optic axis by cubic splines and put on square pixels of the finer of their two pitches.
    """
    truth: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    with np.load(path) as stored:
        data = next(stored[key] for key in stored.files if stored[key].ndim == 4).astype(np.float64)
    period = np.diag(np.array(truth["step_A"]) * data.shape[:2])
    pitch = np.broadcast_to(np.atleast_1d(truth["mrad_per_px"]), 2).astype(float)
    turn = np.radians(turn_deg)
    # by the angle from col toward row, for vectors (row, col)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    patterns = _turned(data, rotation, pitch)
    steps = np.stack(np.meshgrid(*map(np.arange, scan_shape), indexing="ij"), axis=-1).reshape(-1, 2)
    in_crystal = steps @ scan_matrix(axes).T @ rotation
    fraction = in_crystal @ np.linalg.inv(period).T
    frames = _at(patterns, fraction).reshape(*scan_shape, *patterns.shape[2:])
    mrad_per_px = float(pitch.min())
    wavelength, semi_angle = truth["wavelength_A"], truth["semiangle_mrad"]
    return AbtemScan(
        frames=np.maximum(frames, 0),
        axes=axes,
        disk_shift_px=disk_shift_matrix(scan_matrix(axes), wavelength, mrad_per_px),
        centre_px=(data.shape[2] // 2, data.shape[3] // 2),
        radius_px=semi_angle / mrad_per_px,
        voltage_kv=truth["kV"],
        semi_angle_mrad=semi_angle,
        aberrations_angstrom=_aberrations(truth["aberrations"], turn),
    )


def _turned(
    data: NDArray[np.float64], rotation: NDArray[np.float64], pitch: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return patterns whose pixel at offset o shows what was at (rotation^-1 o), on pixels of the finer pitch."""
    centre = np.array(data.shape[2:]) // 2
    matrix = np.diag(1 / pitch) @ rotation.T * pitch.min()
    if np.allclose(matrix, np.eye(2)):
        return data
    turned = np.empty_like(data)
    for position in np.ndindex(data.shape[:2]):
        turned[position] = affine_transform(data[position], matrix, centre - matrix @ centre, order=3)
    return turned


def _at(patterns: NDArray[np.float64], fraction: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the patterns at fractions (n, 2) of the period by their Fourier series over the scan."""
    rows, cols = patterns.shape[:2]
    series = np.fft.fft2(patterns, axes=(0, 1)).reshape(rows * cols, -1) / (rows * cols)
    waves = np.stack(np.meshgrid(np.fft.fftfreq(rows, 1 / rows), np.fft.fftfreq(cols, 1 / cols), indexing="ij"))
    down, across = waves.reshape(2, -1)
    # counts are real: of each pair of opposite waves one is enough, the other is its conjugate
    half = (down > 0) | ((down == 0) & (across > 0))
    strong = half & (np.abs(series).max(axis=1) > 1e-6 * np.abs(series[0]).max())
    kept = 2 * np.concatenate([series[strong].real, -series[strong].imag]).astype(np.float32)
    out = np.empty((len(fraction), kept.shape[1]), np.float32)
    for start in range(0, len(fraction), 512):
        phase = 2 * np.pi * (fraction[start : start + 512] @ np.stack([down[strong], across[strong]]))
        out[start : start + 512] = np.concatenate([np.cos(phase), np.sin(phase)], axis=1).astype(np.float32) @ kept
    return out + series[0].real.astype(np.float32)


def _aberrations(stored: dict[str, float], turn: float) -> dict[str, float]:
    """Return Krivanek's coefficients in the turned camera; the file gives the angle of C12 from col toward row."""
    if not stored:
        return {}
    angle = np.radians(stored["phi12_deg"]) + turn
    return {
        "C10": stored["C10_A"],
        "C12a": stored["C12_A"] * np.cos(2 * angle),
        "C12b": stored["C12_A"] * np.sin(2 * angle),
    }
