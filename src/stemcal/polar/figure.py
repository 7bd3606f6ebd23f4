"""``<id>_polar.png``: profiles of the whole scan, with symmetry orders where there are any, and maps of a few bands."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from stemcal.figures.panels import AMOUNT, empty, image, profile
from stemcal.figures.style import drawing
from stemcal.figures.tokens import LIGHT, SERIES
from stemcal.polar.rows import ScanSums

_DECADE = 10.0


def draw_figure(
    path: Path,
    q_per_angstrom: NDArray[np.float64],
    sums: ScanSums,
    scan_shape: tuple[int, int],
    band_edges_per_angstrom: tuple[float, ...],
    symmetry_orders: tuple[int, ...] = (),
) -> None:
    """Draw mean profile, normalised variance profile and band maps.

    Parameters
    ----------
    path : Path
        The PNG to write.
    q_per_angstrom : ndarray
        (n_bins,) centre of each bin.
    sums : ScanSums
        Of the whole scan.
    scan_shape : tuple of int
        (scan_row, scan_col).
    band_edges_per_angstrom : tuple of float
        Edges of the bands of ``sums.band_maps``.
    symmetry_orders : tuple of int
        Orders of ``sums.symmetry_profile``.
    """
    n_bands = len(band_edges_per_angstrom) - 1
    with drawing(path, width_mm=180, height_mm=98) as figure:
        rows = figure.add_gridspec(2, 1, height_ratios=(1.0, 1.05))
        profiles, bands = rows[0].subgridspec(1, 2 + bool(symmetry_orders)), rows[1].subgridspec(1, n_bands)
        _draw_mean(figure.add_subplot(profiles[0]), q_per_angstrom, sums, band_edges_per_angstrom)
        _draw_variance(figure.add_subplot(profiles[1]), q_per_angstrom, sums, band_edges_per_angstrom)
        if symmetry_orders:
            ax = figure.add_subplot(profiles[2])
            _draw_symmetry(ax, q_per_angstrom, sums.symmetry_profile, symmetry_orders, band_edges_per_angstrom)
        maps = sums.band_maps.T.reshape(n_bands, *scan_shape)
        for index in range(n_bands):
            ax = figure.add_subplot(bands[index])
            low, high = band_edges_per_angstrom[index : index + 2]
            missing = 1 - np.isfinite(maps[index]).mean()
            title = f"{low:.2f}–{high:.2f} 1/Å"
            image(ax, maps[index], title=title, colours=AMOUNT, bar="variance / mean²")
            ax.set_xlabel(f"{missing:.1%} missing")


def _draw_mean(ax: Axes, q: NDArray[np.float64], sums: ScanSums, edges: tuple[float, ...]) -> None:
    mean = sums.mean_profile
    if not (mean > 0).any():
        empty(ax, "no counts", title="Azimuthal mean")
        return
    shown = np.where(mean > 0, mean, np.nan)
    profile(ax, q, shown)
    if np.nanmax(shown) > _DECADE * np.nanmin(shown):
        ax.set_yscale("log")
    ax.set_title("Azimuthal mean")
    ax.set_ylabel("counts per pixel")
    _finish(ax, q, edges)


def _draw_variance(ax: Axes, q: NDArray[np.float64], sums: ScanSums, edges: tuple[float, ...]) -> None:
    with np.errstate(invalid="ignore", divide="ignore"):
        normalised = sums.excess_profile / sums.mean_profile**2
        slope = _slope_share(sums.mean_profile)
    known = np.isfinite(normalised)
    if not known.any():
        empty(ax, "no variance", title="Normalised variance")
        return
    profile(ax, q, normalised, label="measured, less shot noise")
    profile(ax, q, slope, label="slope of the mean inside a bin", colour=SERIES[9])
    # The edge of the bright disk dwarfs every ring: scale to what lies beyond the first tenth of the axis.
    outer = known & (np.arange(len(q)) >= len(q) // 10)
    low, high = np.percentile(normalised[outer], (5, 99)) if outer.any() else (0.0, 1.0)
    high = 1.5 * max(float(high), 1e-6)
    ax.set_ylim(min(1.3 * float(low), -0.05 * high), high)
    ax.set_title("Normalised variance")
    ax.set_ylabel("excess variance / mean²")
    ax.legend(loc="upper right")
    _finish(ax, q, edges)


def _draw_symmetry(
    ax: Axes, q: NDArray[np.float64], power: NDArray[np.float64], orders: tuple[int, ...], edges: tuple[float, ...]
) -> None:
    # The innermost rings have few pixels and the outermost gaps: scale to what lies between.
    between = power[:, len(q) // 10 : -len(q) // 5]
    if not np.isfinite(between).any():
        empty(ax, "no order is determined", title="Symmetry")
        return
    for index, (order, values) in enumerate(zip(orders, power, strict=True)):
        profile(ax, q, values, label=f"n = {order}", colour=SERIES[index % len(SERIES)])
    low, high = np.nanpercentile(between, (3, 97))
    high = 1.5 * max(float(high), 1e-6)
    ax.set_ylim(min(1.5 * float(low), -0.05 * high), high)
    ax.set_title("Symmetry")
    ax.set_ylabel("|Fₙ|² / F₀², less noise")
    ax.legend(loc="upper right")
    _finish(ax, q, edges)


def _slope_share(mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the normalised variance that a ring of one bin's width has from the slope of its own mean.

    A uniform spread over one bin has the variance 1/12 bin^2.
    """
    if len(mean) < 2:
        return np.full(len(mean), np.nan)
    return np.asarray(np.gradient(mean) ** 2 / 12 / mean**2)


def _finish(ax: Axes, q: NDArray[np.float64], edges: tuple[float, ...]) -> None:
    for low, high in itertools.pairwise(edges):
        ax.axvspan(low, high, color=LIGHT.line, alpha=0.35, linewidth=0.4)
    ax.set_xlim(0, float(q[-1] + q[0]))
    ax.set_xlabel("q (1/Å)")
