"""``<id>_geometry.png``: what a person looks at to believe a geometry, or to see why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb, to_rgb
from numpy.typing import NDArray

from stemcal.figures.panels import AMOUNT, PATTERN, SCAN, SIGNED, circle, empty, image, outline
from stemcal.figures.style import drawing, literal
from stemcal.figures.tokens import LIGHT, MISSING
from stemcal.geometry.aperture import Aperture
from stemcal.geometry.found import Found
from stemcal.geometry.images import usable_image
from stemcal.geometry.ssb import Ssb
from stemcal.optics.ellipse import strain_matrix

_SLICES = 4
_APERTURE_COLOUR = "#5fd3ff"
_TILT_COLOUR = "#7dff8a"


def draw_figure(
    path: Path, found: Found, uncorrected: Ssb, corrected: Ssb | None, facts: Sequence[tuple[str, str]]
) -> None:
    """Draw what was found.

    Parameters
    ----------
    path : Path
        The PNG to write.
    found : Found
        What was measured, half turn decided.
    uncorrected, corrected : Ssb
        Reconstructions without and with the aberrations.
    facts : sequence of (str, str)
        Lines of the panel of words: what, and its value; one with an empty value is a heading.
    """
    with drawing(path, width_mm=180, height_mm=158) as figure:
        rows = figure.add_gridspec(3, 1, height_ratios=(1.0, 0.95, 1.35))
        top, middle, bottom = rows[0].subgridspec(1, 4), rows[1].subgridspec(1, _SLICES), rows[2].subgridspec(1, 3)
        _draw_pattern(figure.add_subplot(top[0]), found.mean_pattern, found.aperture, found.tilt_centre_px)
        _draw_spectrum(figure.add_subplot(top[1]), found)
        adf = usable_image(found, found.sums.adf)
        image(figure.add_subplot(top[2]), adf, title="Annular dark field", colours=SCAN, bar="counts")
        _draw_probe(figure.add_subplot(top[3]), found)
        for index in range(_SLICES):
            _draw_slice(figure.add_subplot(middle[index]), found, index)
        _draw_phase(figure.add_subplot(bottom[0]), uncorrected, "SSB phase, uncorrected")
        after = figure.add_subplot(bottom[1])
        if corrected is None:
            empty(after, "no aberrations are known", title="SSB phase, corrected")
        else:
            _draw_phase(after, corrected, "SSB phase, corrected")
        _write(figure.add_subplot(bottom[2]), facts)


def draw_refusal(
    path: Path,
    mean_pattern: NDArray[np.float64] | None,
    aperture: Aperture | None,
    power_spectrum: NDArray[np.float64] | None,
    reason: str,
) -> None:
    """Draw what there is where there is no geometry, and say why.

    Parameters
    ----------
    path : Path
        The PNG to write.
    mean_pattern : ndarray of float64 or None
        (det_row, det_col) counts per frame.
    aperture : Aperture or None
        The disk, if there is one.
    power_spectrum : ndarray of float64 or None
        (scan_row, scan_col), zero frequency in the middle.
    reason : str
        Why.
    """
    with drawing(path, width_mm=180, height_mm=62) as figure:
        left, middle, right = figure.subplots(1, 3, subplot_kw={"box_aspect": 1})
        if mean_pattern is None:
            empty(left, "no disk was found", title="Mean pattern")
        else:
            _draw_pattern(left, mean_pattern, aperture, None)
        if power_spectrum is None:
            empty(middle, "not measured", title="Spectrum of the scan")
        else:
            image(
                middle, power_spectrum, title="Spectrum of the scan", colours=AMOUNT, scale="log", bar="power / noise"
            )
        empty(right, reason, title="No geometry")


def _draw_pattern(
    ax: Axes, pattern: NDArray[np.float64], aperture: Aperture | None, tilt_centre_px: tuple[float, float] | None
) -> None:
    image(ax, pattern, title="Mean pattern, aperture", colours=PATTERN, bar="counts")
    if aperture is None:
        return
    row, col = _ellipse(aperture, (aperture.centre_row_px, aperture.centre_col_px))
    outline(ax, row, col, colour=_APERTURE_COLOUR)
    outline(ax, [aperture.centre_row_px], [aperture.centre_col_px], colour=_APERTURE_COLOUR, marker="+", markersize=5)
    if tilt_centre_px is not None:
        outline(ax, *([value] for value in tilt_centre_px), colour=_TILT_COLOUR, marker="x", markersize=5)
        ax.set_xlabel("x: zone axis", loc="left")


def _ellipse(aperture: Aperture, centre: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    angle = np.linspace(0, 2 * np.pi, 181)
    offsets = strain_matrix(aperture.e1, aperture.e2) @ (aperture.radius_px * np.stack([np.sin(angle), np.cos(angle)]))
    return centre[0] + offsets[0], centre[1] + offsets[1]


def _draw_spectrum(ax: Axes, found: Found) -> None:
    power = found.power_spectrum
    shape = np.array(power.shape)
    bins = found.frequencies * shape
    reach = np.minimum(np.ceil(1.2 * np.abs(bins).max(axis=0)).astype(int) + 3, shape // 2)
    first = shape // 2 - reach
    cut = power[first[0] : first[0] + 2 * reach[0] + 1, first[1] : first[1] + 2 * reach[1] + 1]
    title = f"Spectrum, {len(bins)} peaks used"
    image(ax, cut, title=title, colours=AMOUNT, scale="log", percentiles=(20, 99.9), bar="power / noise")
    size = 0.022 * max(cut.shape)
    for index, peak in enumerate(bins):
        row, col = (float(place) for place in peak + reach)
        circle(ax, row, col, size, linewidth=0.6)
        circle(ax, 2 * reach[0] - row, 2 * reach[1] - col, size, linewidth=0.4, linestyle=":")
        if found.indices is not None and index < _SLICES:
            _label(ax, row, col, 1.7 * size, found.indices[index])


def _label(ax: Axes, row: float, col: float, away: float, index: NDArray[np.int64]) -> None:
    """Write the indices of a peak beside it, on the side where there is more room."""
    text = " ".join(f"{value}".replace("-", "−") for value in index)
    right = col < 0.8 * ax.get_xlim()[1]
    place, side = (col + away, "left") if right else (col - away, "right")
    ax.text(place, row, text, color="#ffffff", fontsize=4.5, va="center", ha=side, clip_on=True)


def _draw_probe(ax: Axes, found: Found) -> None:
    title = "Aberration phase"
    if found.aberrations_rad is None:
        empty(ax, "no aberrations are known", title=title)
        return
    aperture = found.aperture
    side = np.linspace(-aperture.radius_px, aperture.radius_px, 129)
    row, col = np.meshgrid(side, side, indexing="ij")
    chi = np.where(np.hypot(row, col) <= aperture.radius_px, found.probe.phase(row, col), np.nan)
    most = max(float(np.nanmax(np.abs(chi))), 0.01)
    image(ax, chi, title=title, colours=SIGNED, limits=(-most, most), bar="rad")


def _draw_slice(ax: Axes, found: Found, index: int) -> None:
    if index >= len(found.frequencies):
        empty(ax, "no further peak")
        return
    images, first = found.on_detector(found.slices[index])
    height = np.abs(images)
    brightness = np.clip(height / max(float(np.nanpercentile(height, 99)), 1e-30), 0, 1)
    hue = np.angle(images) / (2 * np.pi) % 1
    known = np.isfinite(images)
    filled = [np.where(known, part, 0) for part in (hue, np.full(hue.shape, 0.85), brightness)]
    colours = hsv_to_rgb(np.stack(filled, axis=-1))
    colours[~known] = to_rgb(MISSING)
    ax.imshow(colours, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    binning = found.bright_field.binning
    for centre, style in zip(found.disk_centres()[index], ("-", "--", "--"), strict=True):
        row, col = _ellipse(found.aperture, centre)
        outline(ax, (row - first[0]) / binning, (col - first[1]) / binning, linestyle=style, linewidth=0.7)
    named = "" if found.indices is None else f"({found.indices[index][0]} {found.indices[index][1]})".replace("-", "−")
    ax.set_title(literal(f"Slice {index + 1}  {named}"))
    frequency = ", ".join(f"{value:+.4f}".replace("-", "−") for value in found.frequencies[index])
    hint = "\nhue: phase, brightness: amplitude" if index == 0 else ""
    ax.set_xlabel(f"f = {frequency}{hint}", loc="left", fontsize=6.5)


def _draw_phase(ax: Axes, ssb: Ssb, title: str) -> None:
    image(ax, ssb.phase, title=title, colours=SCAN, bar="rad")


def _write(ax: Axes, facts: Sequence[tuple[str, str]]) -> None:
    ax.set_axis_off()
    step = min(0.075, 1.0 / max(len(facts), 1))
    for line, (name, value) in enumerate(facts):
        place = 1.0 - step * line
        if value:
            ax.text(0.0, place, literal(name), color=LIGHT.muted, va="top", transform=ax.transAxes, fontsize=6.5)
            ax.text(0.42, place, literal(value), color=LIGHT.text, va="top", transform=ax.transAxes, fontsize=6.5)
        else:
            ax.text(0.0, place, literal(name), weight="bold", va="top", transform=ax.transAxes, fontsize=7)
