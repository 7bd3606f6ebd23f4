"""The figure a scientist checks a gold calibration with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from stemcal.figures.panels import PATTERN, empty, image, outline
from stemcal.figures.style import drawing, literal
from stemcal.figures.tokens import LIGHT, SERIES
from stemcal.gold.measure import Attempt, Calibration
from stemcal.gold.model import COL, E1, E2, LOG_SCALE, ROW, Array, ring_points, ring_widths, round_radius, shapes_at
from stemcal.gold.pattern import Powder
from stemcal.gold.simulated import expected_intensities
from stemcal.gold.standard import CubicStandard, TabulatedStandard
from stemcal.records.base import worst
from stemcal.records.gold import GoldRecord, GoldResult

_WIDTH_MM, _HEIGHT_MM = 180.0, 128.0
_FAILED_HEIGHT_MM = 70.0
_AZIMUTH_BINS = 90
_POLAR_STEP_PX = 0.5
_BEYOND = 1.06
_TRACE = 1e-6
_FINE = 800
_RING_COLOUR = "#7fe3ff"


def draw_figure(
    path: Path, powder: Powder, attempt: Attempt, record: GoldRecord, standard: CubicStandard | TabulatedStandard
) -> None:
    """Draw the mean pattern with the fitted rings, the polar view before and after, the profile and the residuals.

    Parameters
    ----------
    path : Path
        The PNG to write.
    powder : Powder
        The pattern.
    attempt : Attempt
        What came of it; without a calibration the figure shows the pattern, its profile and the reason.
    record : GoldRecord
        Its numbers and flags are written out.
    standard : CubicStandard or TabulatedStandard
        Says how strong its rings should be.
    """
    if attempt.calibration is None or record.result is None:
        with drawing(path, _WIDTH_MM, _FAILED_HEIGHT_MM) as figure:
            _draw_failure(figure, powder, attempt, record)
        return
    with drawing(path, _WIDTH_MM, _HEIGHT_MM) as figure:
        grid = figure.add_gridspec(2, 1, height_ratios=(1.15, 1.1))
        upper = grid[0].subgridspec(1, 4, width_ratios=(1.5, 0.8, 0.8, 1.1))
        lower = grid[1].subgridspec(1, 2, width_ratios=(2.2, 1.0))
        _draw_pattern(figure.add_subplot(upper[0]), powder, attempt.calibration)
        before = figure.add_subplot(upper[1])
        _draw_polar(before, figure.add_subplot(upper[2], sharey=before), powder, attempt.calibration)
        _write_numbers(figure.add_subplot(upper[3]), record, record.result)
        radial = lower[0].subgridspec(2, 1, height_ratios=(2.4, 1.0))
        profile = figure.add_subplot(radial[0])
        _draw_profile(profile, powder, attempt.calibration, record.standard)
        _draw_expected(figure.add_subplot(radial[1], sharex=profile), attempt.calibration, standard)
        _draw_residuals(figure.add_subplot(lower[1]), attempt.calibration)


def _draw_pattern(ax: Axes, powder: Powder, calibration: Calibration) -> None:
    mean = powder.sums.mean
    image(ax, mean, title="Mean pattern, fitted rings", valid=powder.usable, scale="log", percentiles=(1.0, 99.9))
    geometry = calibration.fitted.geometry
    for ring in calibration.rings:
        rows, cols = ring_points(geometry, ring.radius_px)
        inside = (rows >= -0.5) & (rows < mean.shape[0] - 0.5) & (cols >= -0.5) & (cols < mean.shape[1] - 0.5)
        # one half without rings, so that the eye can compare
        shown = inside & (cols >= geometry[COL])
        line = np.where(shown, rows, np.nan), np.where(shown, cols, np.nan)
        style = "-" if ring.used else ":"
        outline(
            ax, *(np.roll(part, part.size // 4) for part in line), colour=_RING_COLOUR, linewidth=0.6, linestyle=style
        )
    ax.plot(geometry[COL], geometry[ROW], "+", color=_RING_COLOUR, markersize=5, markeredgewidth=0.6)


def _draw_polar(before: Axes, after: Axes, powder: Powder, calibration: Calibration) -> None:
    """Draw the strongest stretch of rings against the azimuth, as recorded and with the ellipse taken out."""
    geometry = calibration.fitted.geometry
    round_geometry = geometry.copy()
    round_geometry[[E1, E2]] = 0.0
    used = [ring for ring in calibration.rings if ring.used]
    shown = used[1:5] if len(used) > 4 else used
    low, high = 0.94 * shown[0].radius_px, _BEYOND * shown[-1].radius_px
    titles = ("As recorded", "Ellipse taken out")
    for ax, view, title in zip((before, after), (round_geometry, geometry), titles, strict=True):
        polar = _polar_view(powder, view, low, high)
        image(ax, polar, title=title, colours=PATTERN, percentiles=(2.0, 98.0))
        ax.images[0].set_extent((0, 360, high, low))
        ax.set_aspect("auto")
        ax.invert_yaxis()
        ax.set_xticks([0, 180, 360])
        ax.set_xlabel("azimuth (deg)")
        for ring in shown:
            ax.axhline(ring.radius_px, color=_RING_COLOUR, linewidth=0.5, linestyle=(0, (4, 4)))
    before.set_yticks([ring.radius_px for ring in shown], [ring.label for ring in shown])
    after.tick_params(labelleft=False)


def _polar_view(powder: Powder, geometry: Array, low: float, high: float) -> Array:
    """Return the root of the mean of the pixels in each cell (n_radii, n_azimuths), NaN where there are none.

    A cell between two pixels takes the mean of the cells around it.
    """
    index = np.flatnonzero(powder.usable)
    rows, cols = (axis.astype(np.float64) for axis in np.divmod(index, powder.usable.shape[1]))
    radius, u_row, u_col = round_radius(rows, cols, geometry)
    chosen = (radius >= low) & (radius < high)
    n_radii = max(8, int((high - low) / _POLAR_STEP_PX))
    row = np.minimum(((radius[chosen] - low) / (high - low) * n_radii).astype(np.intp), n_radii - 1)
    turn = (np.arctan2(u_row, u_col)[chosen] % (2 * np.pi)) / (2 * np.pi)
    cell = row * _AZIMUTH_BINS + np.minimum((turn * _AZIMUTH_BINS).astype(np.intp), _AZIMUTH_BINS - 1)
    size = n_radii * _AZIMUTH_BINS
    number = np.bincount(cell, minlength=size).reshape(n_radii, _AZIMUTH_BINS).astype(np.float64)
    weights = powder.sums.mean.ravel()[index][chosen]
    total = np.bincount(cell, weights, minlength=size).reshape(n_radii, _AZIMUTH_BINS)
    around = [ndimage.uniform_filter(values, 3, mode=("nearest", "wrap")) for values in (total, number)]
    total, number = (np.where(number > 0, own, near) for own, near in zip((total, number), around, strict=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        # the running sums of the filter leave a trace where every cell is empty
        return np.asarray(np.sqrt(np.where(number > _TRACE, total, np.nan) / number))


def _radial_profile(powder: Powder, geometry: Array, values: NDArray[np.float64]) -> tuple[Array, Array]:
    """Return (radius, mean of the finite usable ``values``) per pixel of round radius, NaN where there is none."""
    chosen = powder.usable & np.isfinite(values)
    rows, cols = (axis.astype(np.float64) for axis in np.nonzero(chosen))
    bins = np.rint(2 * round_radius(rows, cols, geometry)[0]).astype(np.intp)
    number = np.bincount(bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.arange(number.size) / 2, np.bincount(bins, values[chosen]) / number


def _draw_profile(ax: Axes, powder: Powder, calibration: Calibration, standard: str) -> None:
    fitted = calibration.fitted
    pixel = calibration.pixel_size.value
    model = fitted.model_image((powder.usable.shape[0], powder.usable.shape[1]))
    inside = np.where(np.isfinite(model), powder.sums.mean, np.nan)
    radius, mean = _radial_profile(powder, fitted.geometry, inside)
    fit_radius, fit = _radial_profile(powder, fitted.geometry, model)
    ax.plot(radius * pixel, mean, ".", color=SERIES[0], markersize=2.5, label="mean over the ring")
    ax.plot(fit_radius * pixel, fit, color=SERIES[1], linewidth=0.9, label="fit")
    ax.set_yscale("log")
    ax.tick_params(labelbottom=False)
    ax.set_ylabel("counts per pixel")
    ax.set_title(literal(f"Radial profile with the rings of {standard}"))
    top = ax.get_ylim()[1]
    ax.set_ylim(top=top * 2.2)
    last = -np.inf
    for ring in calibration.rings:
        q = ring.radius_px * pixel
        if not np.isfinite(mean[min(round(2 * ring.radius_px), mean.size - 1)]):
            continue
        ax.axvline(q, color=LIGHT.muted, linewidth=0.5, linestyle=(0, (2, 2)), zorder=0)
        level = 0.98 if q - last > 0.045 else 0.90
        last = q if level == 0.98 else last
        ax.text(q, level, ring.label, transform=ax.get_xaxis_transform(), ha="center", va="top", fontsize=6)
    ax.legend(loc="lower left")


def _draw_expected(ax: Axes, calibration: Calibration, standard: CubicStandard | TabulatedStandard) -> None:
    """Draw the electrons in each ring as they should be and as they are; a texture or another material shows here."""
    expected, fitted = expected_intensities(standard), calibration.fitted
    pixel, geometry = calibration.pixel_size.value, fitted.geometry
    widths = ring_widths(fitted.q, geometry)
    radius = widths.ring
    whole = np.array([expected.intensities[ring.label] for ring in fitted.rings])
    used = np.array([ring.used for ring in calibration.rings])
    found = np.array([ring.amplitude.value for ring in calibration.rings]) * radius * widths.spot_sd
    found *= float(found[used] @ whole[used]) / float(found[used] @ found[used])
    fine = np.linspace(0.9 * radius[0], 1.05 * radius[-1], _FINE)
    together = shapes_at(fine, fitted.q, geometry).value @ whole
    ax.fill_between(fine * pixel, together, color=SERIES[2], alpha=0.25, linewidth=0)
    ax.vlines(radius * pixel, 0, whole, color=SERIES[2], linewidth=0.9, label=f"expected ({expected.source})")
    ax.plot((radius * pixel)[used], found[used], "o", color=SERIES[0], markersize=2.8, label="measured")
    ax.set_ylim(0, 1.15 * max(float(together.max()), float(found[used].max())))
    ax.set_yticks([])
    ax.set_xlabel("q (1/angstrom)")
    ax.set_ylabel("whole rings")
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.0, ncols=2)


def _draw_residuals(ax: Axes, calibration: Calibration) -> None:
    used = [ring for ring in calibration.rings if ring.residual_px is not None]
    places = np.arange(len(used))
    residuals = [ring.residual_px or 0.0 for ring in used]
    ax.axhline(0, color=LIGHT.muted, linewidth=0.6)
    ax.vlines(places, 0, residuals, color=SERIES[0], linewidth=0.8)
    ax.plot(places, residuals, "o", color=SERIES[0])
    reach = max(0.05, 1.3 * max(abs(value) for value in residuals))
    ax.set_ylim(-reach, reach)
    ax.set_xticks(places, [ring.label for ring in used], rotation=90)
    ax.set_ylabel("ring - fit (px)")
    ax.set_title("Residual per ring")


def _write_numbers(ax: Axes, record: GoldRecord, result: GoldResult) -> None:
    size, ellipse = result.pixel_size.area_preserving, result.ellipse
    lines = [
        ("pixel size", _with_sigma(size.value, size.sigma), "1/A"),
        ("ratio", _with_sigma(ellipse.ratio.value, ellipse.ratio.sigma), ""),
        ("angle", _with_sigma(ellipse.angle_deg.value, ellipse.angle_deg.sigma), "deg"),
        ("centre row", _with_sigma(result.centre.row.value, result.centre.row.sigma), "px"),
        ("centre col", _with_sigma(result.centre.col.value, result.centre.col.sigma), "px"),
    ]
    length = result.effective_camera_length_m
    if length is not None:
        lines.append(("camera length", _with_sigma(length.value, length.sigma), "m"))
    if result.camera_length_ratio is not None:
        lines.append(("over nominal", f"{result.camera_length_ratio:.3f}", ""))
    if record.drift is not None:
        lines.append(
            ("pixel change", _change(record.drift.pixel_size_change, record.drift.pixel_size_change_sigmas), "")
        )
        lines.append(("ellipse change", _change(2 * record.drift.strain_change, record.drift.strain_change_sigmas), ""))
    lines.append(("comb score", _scores(result), ""))
    lines.append(("chi-square", f"{result.reduced_chi_square:.2f}", ""))
    lines.append(("patterns", f"{result.n_patterns}", ""))
    ax.set_axis_off()
    ax.set_title("Calibration", loc="left")
    for place, (name, value, unit) in enumerate(lines):
        height = 0.96 - 0.085 * place
        ax.text(0.0, height, name, transform=ax.transAxes, va="top", color=LIGHT.muted, fontsize=6.5)
        ax.text(0.50, height, literal(f"{value} {unit}".rstrip()), transform=ax.transAxes, va="top", fontsize=6.5)
    _write_verdict(ax, record, 0.96 - 0.085 * len(lines))


def _write_verdict(ax: Axes, record: GoldRecord, height: float) -> None:
    verdict = record.quality.verdict
    flags = record.quality.flags
    if record.drift is not None:
        verdict = worst([verdict, record.drift.quality.verdict])
        flags += record.drift.quality.flags
    colour = {"pass": LIGHT.good, "warn": LIGHT.warn, "fail": LIGHT.bad}[verdict]
    names = ", ".join(flag.name.replace("_", " ") for flag in flags)
    text = f"{verdict}: {names}" if names else verdict
    ax.text(0.0, height, literal(text), transform=ax.transAxes, va="top", color=colour, fontweight="bold", wrap=True)


def _change(change: float, sigmas: float | None) -> str:
    return f"{change:+.2%}" if sigmas is None else f"{change:+.2%} ({abs(sigmas):.0f} sigma)"


def _scores(result: GoldResult) -> str:
    search = result.scale_search
    other = "" if search.runner_up_score is None else f" (next {search.runner_up_score:.2f})"
    return f"{search.best_score:.2f}{other}"


def _with_sigma(value: float, sigma: float | None) -> str:
    """Write a value with its uncertainty in units of its last digit: 0.0112004(3)."""
    if sigma is None or sigma <= 0:
        return f"{value:.6g}"
    digits = max(0, -int(np.floor(np.log10(sigma))))
    last = round(sigma * 10**digits)
    return f"{value:.{digits}f}({last})"


def _draw_failure(figure: Figure, powder: Powder, attempt: Attempt, record: GoldRecord) -> None:
    left, right, words = figure.subplots(1, 3, width_ratios=(1.0, 1.3, 0.8))
    image(left, powder.sums.mean, title="Mean pattern", valid=powder.usable, scale="log", percentiles=(1.0, 99.9))
    left.plot(attempt.centre[1], attempt.centre[0], "+", color=_RING_COLOUR, markersize=6)
    geometry = np.zeros(LOG_SCALE + 1)
    geometry[[ROW, COL]] = attempt.centre
    radius, mean = _radial_profile(powder, geometry, powder.sums.mean)
    if np.nanmax(mean, initial=0.0) > 0:
        right.plot(radius, np.where(mean > 0, mean, np.nan), color=SERIES[0])
        right.set_yscale("log")
        right.set_xlabel("radius (px)")
        right.set_ylabel("counts per pixel and frame")
        right.set_title("Radial profile")
    else:
        empty(right, "no counts", title="Radial profile")
    words.set_axis_off()
    words.set_title("No calibration", color=LIGHT.bad)
    text = "\n\n".join(flag.message for flag in record.quality.flags)
    words.text(0, 0.95, literal(text), va="top", wrap=True, transform=words.transAxes, color=LIGHT.text)
