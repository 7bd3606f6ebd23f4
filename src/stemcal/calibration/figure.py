"""``<id>_calibration.png``: the mean pattern with origin and ellipse, and the origin over the scan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from numpy.typing import NDArray

from stemcal.calibration.origin import OriginFit
from stemcal.figures.panels import PATTERN, SIGNED, circle, empty, image, outline
from stemcal.figures.style import drawing
from stemcal.figures.tokens import SERIES

_NICE_Q = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True)
class Shown:
    """What the figure shows; None where it does not exist.

    Attributes
    ----------
    mean_pattern : ndarray
        (det_row, det_col).
    valid : ndarray
        (det_row, det_col), True = valid.
    scan_shape : tuple of int
        (scan_row, scan_col).
    origin : OriginFit or None
        Measured and fitted origin.
    why_no_origin : str
        In words.
    matrix : ndarray or None
        (2, 2) distorted to round.
    q_pixel_size_per_angstrom : float or None
        Area-preserving.
    """

    mean_pattern: NDArray[np.float64]
    valid: NDArray[np.bool_]
    scan_shape: tuple[int, int]
    origin: OriginFit | None
    why_no_origin: str
    matrix: NDArray[np.float64] | None
    q_pixel_size_per_angstrom: float | None


def draw_figure(path: Path, shown: Shown) -> None:
    """Draw ``shown`` to ``path``."""
    with drawing(path, width_mm=180, height_mm=72) as figure:
        grid = figure.add_gridspec(2, 4, width_ratios=(2.1, 1, 1, 1))
        _draw_pattern(figure.add_subplot(grid[:, 0]), shown)
        if shown.origin is None:
            empty(figure.add_subplot(grid[:, 1:]), shown.why_no_origin, title="Origin over the scan")
            return
        _draw_maps(figure, grid, shown.origin, shown.scan_shape)


def _draw_pattern(ax: Axes, shown: Shown) -> None:
    image(ax, shown.mean_pattern, title="Mean pattern", valid=shown.valid, colours=PATTERN, scale="log")
    if shown.origin is None:
        return
    row, col = shown.origin.fit.coefficients_row_px[0], shown.origin.fit.coefficients_col_px[0]
    outline(ax, [row], [col], colour=SERIES[5], marker="+", markersize=7, linewidth=0)
    ax.set_xlabel(f"origin ({row:.2f}, {col:.2f}) px")
    if shown.matrix is None or shown.q_pixel_size_per_angstrom is None:
        return
    q = nice_q(shown.q_pixel_size_per_angstrom, shown.mean_pattern.shape)
    radius = q / shown.q_pixel_size_per_angstrom
    rows, cols = drawn_ring((row, col), shown.matrix, radius)
    circle(ax, row, col, radius, colour="#ffffff", linestyle=":", label="round")
    outline(ax, rows, cols, colour=SERIES[5], label=f"{q:g} 1/Å as drawn")
    ax.legend(loc="lower left", labelcolor="#ffffff")


def nice_q(q_pixel_size_per_angstrom: float, frame_shape: tuple[int, ...]) -> float:
    """Return the largest round q (1/angstrom) whose ring is at most 0.4 of the smaller side of the frame in radius."""
    reach = 0.4 * min(frame_shape) * q_pixel_size_per_angstrom
    return max((q for q in _NICE_Q if q <= reach), default=reach)


def drawn_ring(
    centre_px: tuple[float, float], matrix: NDArray[np.float64], radius_px: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (rows, cols) of the ellipse that a ring of ``radius_px`` in the round frame is drawn as."""
    angle = np.linspace(0, 2 * np.pi, 181)
    offset = np.linalg.solve(matrix, radius_px * np.stack([np.sin(angle), np.cos(angle)]))
    return centre_px[0] + offset[0], centre_px[1] + offset[1]


def _draw_maps(figure: Figure, grid: GridSpec, origin: OriginFit, scan_shape: tuple[int, int]) -> None:
    centre = (origin.fit.coefficients_row_px[0], origin.fit.coefficients_col_px[0])
    measured = (origin.measured_px - centre).T.reshape(2, *scan_shape)
    fitted = (origin.fit.fitted_px - centre).T.reshape(2, *scan_shape)
    missing = 1 - np.isfinite(measured[0]).mean()
    titles = ("Measured", f"Fitted, degree {origin.fit.degree}", "Residual")
    notes = (f"{missing:.1%} missing", "", f"rms {origin.fit.residual_rms_px:.3f} px")
    for axis, name in enumerate(("row", "col")):
        residual = measured[axis] - fitted[axis]
        reach = _reach(measured[axis], fitted[axis])
        for place, (data, limit) in enumerate(
            ((measured[axis], reach), (fitted[axis], reach), (residual, _reach(residual)))
        ):
            ax = figure.add_subplot(grid[axis, 1 + place])
            title = titles[place] if axis == 0 else None
            image(ax, data, title=title, colours=SIGNED, limits=(-limit, limit), bar=f"{name} (px)")
            if axis == 1:
                ax.set_xlabel(notes[place])


def _reach(*maps: NDArray[np.float64]) -> float:
    values = np.abs(np.concatenate([data.ravel() for data in maps]))
    values = values[np.isfinite(values)]
    return max(float(np.percentile(values, 99)) if values.size else 0.0, 1e-3)
