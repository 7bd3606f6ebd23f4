"""Mean patterns with a known aperture."""

import numpy as np
from scipy import ndimage

from stemcal.optics.ellipse import correction_matrix

_OVERSAMPLING = 6


def disk_pattern(shape, centre, radius, *, strain=(0.0, 0.0), blur_px=0.5, crystal="thin", turn=0.3):
    """Return the mean pattern of a disk: alone, with six weak diffracted disks, or with strong dynamical structure."""
    sub = (np.arange(_OVERSAMPLING) - (_OVERSAMPLING - 1) / 2) / _OVERSAMPLING
    rows, cols = (((np.arange(n)[:, None] + sub).ravel() - c) for n, c in zip(shape, centre, strict=True))
    row, col = np.meshgrid(rows, cols, indexing="ij")
    matrix = correction_matrix(*strain)
    y, x = matrix[0, 0] * row + matrix[0, 1] * col, matrix[1, 0] * row + matrix[1, 1] * col
    disk = (np.hypot(y, x) < radius).astype(float)
    pattern = disk.copy()
    if crystal == "thin":
        for angle in turn + np.arange(6) * np.pi / 3:
            pattern += 0.03 * (np.hypot(y - 1.1 * radius * np.sin(angle), x - 1.1 * radius * np.cos(angle)) < radius)
    if crystal == "thick":
        rho, angle = np.hypot(y, x) / radius, 4 * (np.arctan2(y, x) - turn)
        pattern *= 1 + 0.35 * np.cos(angle) * rho**2 + 0.3 * np.cos(9 * rho)
        pattern += 0.1 * np.exp(-rho / 1.5) * (1 + 0.5 * np.cos(angle))
    if blur_px > 0:
        pattern = ndimage.gaussian_filter(pattern, blur_px * _OVERSAMPLING)
    return pattern.reshape(shape[0], _OVERSAMPLING, shape[1], _OVERSAMPLING).mean(axis=(1, 3))


def counted(pattern, electrons, n_frames, seed=0):
    """Return mean counts per frame of that many electrons per frame, with shot noise."""
    expected = pattern / pattern.sum() * electrons * n_frames
    return np.random.default_rng(seed).poisson(expected) / n_frames
