"""``<id>_overview.png``: what was acquired, at a glance."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from stemcal.figures.panels import AMOUNT, SCAN, SIGNED, circle, empty, image, profile
from stemcal.figures.style import drawing, literal
from stemcal.figures.tokens import LIGHT
from stemcal.formats.extras import Sum
from stemcal.records.base import Quality
from stemcal.records.convert import ConvertResult, VirtualDetectors

_WRAP = 46
_OVERLAY = "#3fd0ff"
"""Cyan stands out on every colour of the patterns' map."""
_MAX_LINES = 18
_VERDICT_COLOURS = {"pass": LIGHT.good, "warn": LIGHT.warn, "fail": LIGHT.bad}
_WITNESSES = {
    "user": "the user",
    "hdr_scan": ".hdr (ScanX, ScanY)",
    "hdr_frames_per_trigger": ".hdr (frames per trigger)",
    "microscope": "microscope",
    "frame_count": "frame count",
    "exposures": "exposures",
    "timestamps": "time stamps",
    "intensity": "total intensity",
}


def draw_overview(
    path: Path,
    name: str,
    result: ConvertResult,
    quality: Quality,
    sums: Mapping[str, Sum],
    valid: NDArray[np.bool_],
    ok: NDArray[np.bool_],
) -> None:
    """Draw mean and maximum pattern, virtual detectors, total counts, centre of mass, scan shape and verdict.

    Parameters
    ----------
    path : Path
        The PNG to write.
    name : str
        Name of the data set.
    result, quality :
        What the record says.
    sums : mapping of str to Sum
        As in the container; bright and dark field may be absent.
    valid : ndarray of bool
        (det_row, det_col), True = valid.
    ok : ndarray of bool
        (scan_row, scan_col), True where a position holds an ordinary frame; the others are left out of the maps, where
        a fly-back column would set the colours of all.
    """
    with drawing(path, width_mm=240, height_mm=118) as figure:
        (mean, maximum, bright, dark), (text, total, row, col) = figure.subplots(2, 4)
        for ax, key, title in ((mean, "mean_pattern", "Mean pattern"), (maximum, "max_pattern", "Maximum pattern")):
            values = sums[key].values
            limits = (0.5 / max(result.frames.ok, 1), float(values[valid].max(initial=1)))
            image(ax, values, title=title, valid=valid, scale="log", limits=limits, bar="counts")
            _draw_detectors(ax, result.virtual_detectors)
        maps = {key: _left_out(one.values, ok) for key, one in sums.items() if one.values.shape == ok.shape}
        _draw_map(bright, maps, "bright_field", "Bright field", SCAN, "counts")
        _draw_map(dark, maps, "annular_dark_field", "Annular dark field", SCAN, "counts")
        _draw_map(total, maps, "total_counts", "Total counts", AMOUNT, "counts")
        _draw_map(row, maps, "centre_of_mass_row", "Centre of mass, row", SIGNED, "px from median")
        _draw_map(col, maps, "centre_of_mass_col", "Centre of mass, col", SIGNED, "px from median")
        _draw_text(text, name, result, quality)


def _draw_detectors(ax: Axes, detectors: VirtualDetectors | None) -> None:
    if detectors is None:
        return
    row, col = detectors.centre_row_px.value, detectors.centre_col_px.value
    circle(ax, row, col, detectors.disk_radius_px.value, colour=_OVERLAY, linewidth=0.7)
    circle(ax, row, col, detectors.annular_dark_field_px[0], colour=_OVERLAY, linewidth=0.7, linestyle=(0, (3, 2)))


def _left_out(values: NDArray[Any], ok: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return a map with NaN where ``ok`` is False; all of it if no position is ok."""
    return np.where(ok | ~ok.any(), values, np.nan)


def _draw_map(ax: Axes, maps: Mapping[str, NDArray[np.float64]], key: str, title: str, colours: str, unit: str) -> None:
    """Draw a map over the scan, or a line for a scan of one line."""
    if key not in maps:
        empty(ax, "no bright disk", title=title)
        return
    values = maps[key]
    limits = None
    if colours == SIGNED:
        values = values - _median(values)
        reach = max(float(np.nanquantile(np.abs(values), 0.99)) if np.isfinite(values).any() else 0.0, 0.01)
        limits = (-reach, reach)
    if 1 in values.shape:
        _draw_line(ax, values.ravel(), title, unit)
    else:
        image(ax, values, title=title, colours=colours, limits=limits, bar=unit)


def _draw_line(ax: Axes, values: NDArray[np.float64], title: str, unit: str) -> None:
    marker: dict[str, Any] = {"marker": "o"} if values.size <= 64 else {}
    profile(ax, np.arange(values.size), values, **marker)
    ax.set_title(literal(title))
    ax.set_xlabel("frame")
    ax.set_ylabel(unit)
    ax.ticklabel_format(useOffset=False)


def _median(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else 0.0


def _draw_text(ax: Axes, name: str, result: ConvertResult, quality: Quality) -> None:
    ax.set_axis_off()
    colour = _VERDICT_COLOURS[quality.verdict]
    lines = [wrapped for line in _statements(name, result, quality) for wrapped in textwrap.wrap(line, _WRAP)]
    shown = lines if len(lines) <= _MAX_LINES else [*lines[: _MAX_LINES - 1], "... see the record"]
    rows, cols = result.scan_shape
    ax.text(0, 1.0, f"{rows} × {cols}", transform=ax.transAxes, va="top", fontsize=13, fontweight="bold")
    ax.text(
        1.0,
        1.0,
        quality.verdict,
        transform=ax.transAxes,
        va="top",
        ha="right",
        fontsize=10,
        color=colour,
        fontweight="bold",
    )
    ax.text(0, 0.88, literal("\n".join(shown)), transform=ax.transAxes, va="top", fontsize=6.2, linespacing=1.35)


def _statements(name: str, result: ConvertResult, quality: Quality) -> list[str]:
    heard = [_WITNESSES.get(item.source, item.source) for item in result.scan.evidence if item.weight > 0]
    scan = f"scan: {', '.join(heard) or 'nothing speaks for a shape'} (p = {result.scan.probability:.4g})"
    depth = "" if result.counter_depth_bit is None else f", {result.counter_depth_bit} bit"
    rows, cols = result.frame_shape
    gap = result.chip_gap_px
    lines = [
        name,
        scan if result.scan.certain else "scan: uncertain, the frames are kept as one line",
        f"frames: {rows} × {cols}, {result.dtype}{depth}, {result.assembly}",
        f"{result.mean_counts_per_frame.value:.4g} counts per frame, at most {result.max_count} in a pixel",
        f"{result.invalid_pixels.total} invalid pixels" + (f", gap of {gap} px" if gap else ""),
        *_places(result),
    ]
    if result.virtual_detectors is not None:
        disk = result.virtual_detectors
        place = f"({disk.centre_row_px.value:.1f}, {disk.centre_col_px.value:.1f})"
        lines.append(f"bright disk at {place}, radius {disk.disk_radius_px.value:.1f} px")
    lines += _optics(result)
    return [*lines, *(f"! {flag.message}" for flag in quality.flags)]


def _places(result: ConvertResult) -> list[str]:
    """Say what became of frames that are not simply in their place; nothing if all are."""
    counts = result.frames
    named = (
        ("missing", counts.missing),
        ("fly-back", counts.fly_back),
        ("spikes", counts.spikes),
        ("outside the scan", counts.outside_scan),
    )
    found = [f"{number} {name}" for name, number in named if number]
    return [f"frames {', '.join(found)}"] if found else []


def _optics(result: ConvertResult) -> list[str]:
    microscope = result.microscope
    if microscope is None:
        return ["microscope: nothing known"]
    known = (
        (microscope.voltage_kv, "{:g} kV"),
        (microscope.nominal_camera_length_m, "camera length {:g} m"),
        (microscope.convergence_semi_angle_mrad, "{:.3g} mrad"),
        (microscope.scan_step_nm, "step {:.4g} nm"),
    )
    return ["microscope: " + ", ".join(form.format(value) for value, form in known if value is not None)]
