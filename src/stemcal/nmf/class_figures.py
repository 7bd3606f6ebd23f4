"""Figures of classes and clusters over the scan, of their mean patterns, and of the comparison with EDX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from stemcal.figures.panels import AMOUNT, PATTERN, SCAN, SIGNED, colour_bar, empty, image
from stemcal.figures.style import drawing, literal
from stemcal.figures.tokens import LIGHT, SERIES
from stemcal.nmf.classify import DrawnScan
from stemcal.nmf.edx import EdxComparison
from stemcal.records.classes import ClassThreshold
from stemcal.records.edx import EdxEntry

WIDTH_MM = 180.0
_LEAST_COLUMNS = 4
_TINT = 0.55
_NUMBERED = 5
"""Largest clusters that carry their number."""
_LEAST_NUMBERED = 4
"""Smaller ones would hide behind it."""


def draw_classes(path: Path, scans: Sequence[DrawnScan], n_scans: int, thresholds: Sequence[ClassThreshold]) -> None:
    """Draw each class over the scattering of its scan, clusters numbered, and below it the mean pattern of the class.

    Parameters
    ----------
    path : Path
        The PNG.
    scans : sequence of DrawnScan
        The data sets to draw.
    n_scans : int
        How many there are in all.
    thresholds : sequence of ClassThreshold
        One per component.
    """
    n_slots = max(len(thresholds), _LEAST_COLUMNS)
    column_mm = (WIDTH_MM - 8) / n_slots - 2
    heights = [height for one in scans for height in _heights(one)]
    with drawing(path, WIDTH_MM, 18 + sum(column_mm * height + 6 for height in heights)) as figure:
        axes = figure.subplots(len(heights), n_slots, squeeze=False, height_ratios=heights)
        row = 0
        for one in scans:
            _class_row(axes[row], one)
            _name_below(axes[row][0], one.amounts.dataset)
            if one.patterns is not None:
                _pattern_row(axes[row + 1], one.patterns)
            row += len(_heights(one))
        for ax, threshold in zip(axes[0], thresholds, strict=False):
            ax.set_title(f"{threshold.component}\n{_in_words(threshold)}")
        for ax in axes[:, len(thresholds) :].ravel():
            ax.set_axis_off()
        figure.suptitle(_classes_title(len(scans), n_scans), x=0.01, ha="left", fontsize=7.5, color=LIGHT.muted)


def _heights(one: DrawnScan) -> list[float]:
    shapes = [one.numbers.shape[1:]] + ([] if one.patterns is None else [one.patterns.shape[1:]])
    return [max(0.25, min(2.0, rows / cols)) for rows, cols in shapes]


def _in_words(threshold: ClassThreshold) -> str:
    if threshold.criterion == "share":
        return f"at least {100 * threshold.value:.0f} % of it"
    return f"loading above {threshold.value:.3g}"


def _classes_title(drawn: int, n_scans: int) -> str:
    what = "Positions of each class over the scattering; numbers: its largest clusters; below: its mean pattern (log)"
    return what if drawn == n_scans else f"{what}\n{drawn} of {n_scans} scans are drawn, nmf_classes.hdf5 has them all"


def _class_row(axes: Sequence[Axes], one: DrawnScan) -> None:
    scattering = one.amounts.loadings.sum(axis=0)
    for index, ax in enumerate(axes[: len(one.numbers)]):
        image(ax, scattering, colours=SCAN)
        tint = np.zeros((*scattering.shape, 4))
        tint[..., :3] = to_rgb(SERIES[index % len(SERIES)])
        tint[..., 3] = _TINT * one.amounts.classes[index]
        ax.imshow(tint, interpolation="nearest")
        for number in range(1, min(_NUMBERED, int(one.numbers[index].max())) + 1):
            place = np.argwhere(one.numbers[index] == number)
            if len(place) >= _LEAST_NUMBERED:
                row, col = _inside(place)
                ax.text(col, row, str(number), color="white", fontsize=6, fontweight="bold", ha="center", va="center")


def _inside(place: NDArray[np.int64]) -> tuple[float, float]:
    """Return the position of a cluster that is nearest to its centre: of a ring, the centre is not in it."""
    nearest = np.square(place - place.mean(axis=0)).sum(axis=1).argmin()
    return float(place[nearest, 0]), float(place[nearest, 1])


def _pattern_row(axes: Sequence[Axes], patterns: NDArray[np.float64]) -> None:
    for pattern, ax in zip(patterns, axes, strict=False):
        if np.isfinite(pattern).any():
            image(ax, pattern, colours=PATTERN, scale="log", percentiles=(5.0, 99.9))
        else:
            empty(ax, "no position")


def _name_below(ax: Axes, dataset: str) -> None:
    """Write the name below the first panel of a row; it may reach below the next, so it takes no part in layout."""
    ax.set_xlabel(" ", fontsize=5.5)
    name = ax.annotate(
        literal(dataset), (0, 0), (0, -2), xycoords="axes fraction", textcoords="offset points", va="top", fontsize=5.5
    )
    name.set_in_layout(False)


def draw_edx(path: Path, scans: Sequence[DrawnScan], n_edx: int) -> None:
    """Draw the maps of the lines, those of the components, and how they go together.

    Parameters
    ----------
    path : Path
        The PNG.
    scans : sequence of DrawnScan
        The data sets to draw, all with an EDX map.
    n_edx : int
        How many EDX maps there are in all.
    """
    shown = [one for one in scans if one.edx is not None]
    if not shown:
        with drawing(path, WIDTH_MM, 20) as figure:
            empty(figure.subplots(), "No EDX map was given")
        return
    heights = [_edx_height(one) for one in shown]
    with drawing(path, WIDTH_MM, sum(heights)) as figure:
        parts = figure.subfigures(len(shown), 1, height_ratios=heights, squeeze=False)
        for part, one in zip(parts[:, 0], shown, strict=True):
            if isinstance(one.edx, EdxComparison):
                _edx_part(part, one, one.edx)
            elif one.edx is not None:
                empty(part.subplots(), f"{one.amounts.dataset}: {one.edx.reason}")
        if n_edx > len(shown):
            figure.text(0.99, 0.005, f"{len(shown)} of {n_edx} EDX maps", ha="right", fontsize=5.5, color=LIGHT.muted)


def _edx_columns(one: DrawnScan) -> int:
    assert isinstance(one.edx, EdxComparison)
    return max(len(_compared(one.edx)), len(one.numbers), 1)


def _edx_height(one: DrawnScan) -> float:
    if isinstance(one.edx, EdxEntry):
        return 22.0
    rows, cols = one.numbers.shape[1:]
    height = max(0.25, min(2.0, rows / cols))
    matrix = 9.0 + 6.0 * len(one.numbers)
    return 26.0 + max(2 * height * _map_mm(_edx_columns(one)), matrix)


def _map_mm(n_columns: int) -> float:
    return min(30.0, 0.62 * WIDTH_MM / n_columns)


def _compared(edx: EdxComparison) -> list[int]:
    return [index for index, line in enumerate(edx.entry.lines) if line.compared]


def _edx_part(part: SubFigure | Figure, one: DrawnScan, edx: EdxComparison) -> None:
    offset = edx.entry.offset
    assert offset is not None
    place = f"offset ({offset.rows}, {offset.cols}) by the {offset.decided_by}"
    left_out = f"{edx.entry.n_spike_positions} spikes and {len(edx.entry.spike_columns)} columns left out"
    part.suptitle(
        literal(f"{one.amounts.dataset}: {place}, {left_out}"), x=0.01, ha="left", fontsize=7.5, color=LIGHT.muted
    )
    compared = _compared(edx)
    if not compared:
        empty(part.subplots(), "no line stands out of its background")
        return
    n_columns = _edx_columns(one)
    widths = (n_columns * _map_mm(n_columns), 50 + 6 * len(compared))
    maps, table = part.subfigures(1, 2, width_ratios=widths, squeeze=False)[0]
    axes = maps.subplots(2, n_columns, squeeze=False)
    for ax, index in zip(axes[0], compared, strict=False):
        image(ax, edx.net[index], colours=AMOUNT, title=edx.entry.lines[index].name)
    for ax, (number, loading) in zip(axes[1], enumerate(one.amounts.loadings, start=1), strict=False):
        image(ax, np.where(np.isfinite(edx.total), loading, np.nan), colours=AMOUNT, title=str(number))
    for ax in (*axes[0, len(compared) :], *axes[1, len(one.numbers) :]):
        ax.set_axis_off()
    _matrix(table.subplots(), [edx.entry.lines[index].name for index in compared], len(one.numbers), edx.entry)


def _matrix(ax: Axes, lines: Sequence[str], n_components: int, entry: EdxEntry) -> None:
    pearson = np.array([pair.pearson for pair in entry.pairs]).reshape(n_components, len(lines))
    drawn = image(ax, pearson, colours=SIGNED, limits=(-1.0, 1.0), title="Pearson, * related")
    ax.set_xticks(range(len(lines)), lines, rotation=90)
    ax.set_yticks(range(n_components), [str(one + 1) for one in range(n_components)])
    ax.set_ylabel("Component")
    colour_bar(drawn, "Correlation")
    for index, pair in enumerate(entry.pairs):
        row, col = divmod(index, len(lines))
        shade = "white" if abs(pair.pearson) > 0.6 else LIGHT.text
        text = f"{pair.pearson:.2f}" + ("*" if pair.related else "")
        ax.text(col, row, text, ha="center", va="center", fontsize=5, color=shade)
