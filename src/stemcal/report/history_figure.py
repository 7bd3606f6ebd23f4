"""The plot of a history: camera length, ratio and angle of the ellipse against the time of acquisition."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

from stemcal.figures.style import drawing
from stemcal.figures.tokens import LIGHT, SERIES
from stemcal.history.entries import in_one_series, instant
from stemcal.records.history import HistoryEntry
from stemcal.records.session import HistoryPoint

_WIDTH_MM, _HEIGHT_MM = 180.0, 105.0
_DAY_S = 86400.0
"""matplotlib's dates are days since 1970."""
_MOST_SERIES = 8
"""More settings than this cannot be told apart in one plot; those with the latest calibrations are drawn."""

Values = Sequence[tuple[float, float]]
"""Value and standard uncertainty (0 where there is none) of each point."""


def draw_history(path: Path, points: Sequence[HistoryPoint]) -> None:
    """Draw calibrations over time, one colour per high tension, camera length and detector.

    Parameters
    ----------
    path : Path
        The PNG to write.
    points : sequence of HistoryPoint
        In the order of acquisition. Those of this session are filled; a triangle has moved beyond the limits.
    """
    series = _series(points)[-_MOST_SERIES:]
    with drawing(path, _WIDTH_MM, _HEIGHT_MM) as figure:
        panels = figure.subplots(3, 1, sharex=True)
        _draw(panels[0], series, _length, "camera length (%)")
        _draw(panels[1], series, _ratio, "ratio of ellipse (%)")
        _draw(panels[2], series, _angle, "angle (deg)")
        panels[0].set_title("Difference from the median (filled: this session, triangle: moved beyond the limits)")
        locator = AutoDateLocator()  # type: ignore[no-untyped-call]
        panels[2].xaxis.set_major_locator(locator)
        panels[2].xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        panels[2].set_xlabel("time of acquisition")
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(series), 2), frameon=False
        )


def _series(points: Sequence[HistoryPoint]) -> list[list[HistoryPoint]]:
    """Return the points by settings, the settings with the latest point last."""
    series: list[list[HistoryPoint]] = []
    for point in points:
        own = next((some for some in series if in_one_series(some[0].entry, point.entry)), None)
        if own is None:
            series.append([point])
        else:
            own.append(point)
    return sorted(series, key=lambda some: instant(some[-1].entry.acquired_at) or 0.0)


def _draw(
    ax: Axes, series: list[list[HistoryPoint]], values_of: Callable[[list[HistoryEntry]], Values], label: str
) -> None:
    for colour, points in zip(SERIES, series, strict=False):
        entries = [point.entry for point in points]
        days = [(instant(one.acquired_at) or 0.0) / _DAY_S for one in entries]
        values, sigmas = np.array(values_of(entries)).T
        ax.plot(days, values, color=colour, linewidth=0.6, zorder=1, label=_name(entries))
        ax.errorbar(days, values, sigmas, fmt="none", ecolor=colour, elinewidth=0.8, capsize=1.5, zorder=2)
        for day, value, point in zip(days, values, points, strict=True):
            moved = point.drift is not None and point.drift.quality.verdict == "warn"
            face = colour if point.of_this_session else LIGHT.plate
            marker, size = ("^", 6.0) if moved else ("o", 4.0)
            ax.plot([day], [value], marker, color=colour, markerfacecolor=face, markersize=size, zorder=3)
    ax.set_ylabel(label)
    ax.margins(x=0.03, y=0.15)
    ax.axhline(0, color=LIGHT.muted, linewidth=0.5, zorder=0)
    ax.grid(visible=True, axis="y")


def _name(entries: list[HistoryEntry]) -> str:
    """Return the settings of a series and the medians that its points are drawn from."""
    one = entries[0]
    settings = f"{one.voltage_kv:g} kV, {one.nominal_camera_length_m:g} m, {one.frame_shape[0]} x {one.frame_shape[1]}"
    length = _median(one.camera_length_ratio for one in entries)
    ratio = _median(one.ellipse_ratio.value for one in entries)
    return f"{settings}: {length:.4g} x nominal, ratio {ratio:.4f} at {_mean_angle(entries):.1f} deg"


def _length(entries: list[HistoryEntry]) -> Values:
    middle = _median(one.camera_length_ratio for one in entries)
    lengths = (one.effective_camera_length_m for one in entries)
    return [
        (100 * (one.camera_length_ratio / middle - 1), 100 * (length.sigma or 0.0) / length.value)
        for one, length in zip(entries, lengths, strict=True)
    ]


def _ratio(entries: list[HistoryEntry]) -> Values:
    middle = _median(one.ellipse_ratio.value for one in entries)
    ratios = (one.ellipse_ratio for one in entries)
    return [(100 * (ratio.value - middle), 100 * (ratio.sigma or 0.0)) for ratio in ratios]


def _angle(entries: list[HistoryEntry]) -> Values:
    """Return the angles from their mean, within a quarter turn of it: 179 and 1 degree lie side by side."""
    mean = _mean_angle(entries)
    angles = (one.ellipse_angle_deg for one in entries)
    return [((angle.value - mean + 90) % 180 - 90, angle.sigma or 0.0) for angle in angles]


def _mean_angle(entries: list[HistoryEntry]) -> float:
    """Return the mean direction of lines, whose angles mean the same after half a turn."""
    doubled = np.exp(2j * np.radians([one.ellipse_angle_deg.value for one in entries])).sum()
    return math.degrees(float(np.angle(doubled))) / 2 % 180


def _median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))
