"""Figures of classes and clusters over the scan, of their mean patterns, and of the comparison with EDX."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
_COLUMNS = 5
_EDX_MAP_MM = 20.0
_TINT = 0.55
_TINTS = SERIES[:-1]
"""Not its grey, which nobody would see on grey."""
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
    column_mm = (WIDTH_MM - 8) / _COLUMNS - 2
    rows = [row for one in scans for row in _rows(one)]
    with drawing(path, WIDTH_MM, 12 + sum(column_mm * row.height + 7 + 3 * row.titled for row in rows)) as figure:
        axes = figure.subplots(len(rows), _COLUMNS, squeeze=False, height_ratios=[row.height for row in rows])
        for row, places in zip(rows, axes, strict=True):
            for ax in places[len(row.components) :]:
                ax.set_axis_off()
            for component, ax in zip(row.components, places, strict=False):
                if row.titled:
                    _class_panel(ax, row.scan, component)
                    ax.set_title(f"{component + 1}: {_in_words(thresholds[component])}")
                else:
                    _pattern_panel(ax, row.scan, component)
            if row.titled:
                _name_below(places[0], row.scan.amounts.dataset)
        figure.suptitle(_classes_title(len(scans), n_scans), x=0.01, ha="left", fontsize=7.5, color=LIGHT.muted)


@dataclass(frozen=True)
class _Row:
    """A row of panels: classes, which carry titles, or their patterns below."""

    scan: DrawnScan
    components: range
    titled: bool
    height: float


def _rows(one: DrawnScan) -> Iterator[_Row]:
    n = len(one.numbers)
    for start in range(0, n, _COLUMNS):
        components = range(start, min(start + _COLUMNS, n))
        yield _Row(one, components, titled=True, height=_height(one.numbers.shape))
        if one.patterns is not None:
            yield _Row(one, components, titled=False, height=_height(one.patterns.shape))


def _height(shape: tuple[int, ...]) -> float:
    return max(0.25, min(2.0, shape[1] / shape[2]))


def _in_words(threshold: ClassThreshold) -> str:
    if threshold.criterion == "share":
        return f"share above {threshold.value:.2g}"
    return f"above {threshold.value:.3g}"


def _classes_title(drawn: int, n_scans: int) -> str:
    what = "Positions of each class (loading above) over the scattering, its largest clusters, its mean pattern (log)"
    return what if drawn == n_scans else f"{what}\n{drawn} of {n_scans} scans are drawn, nmf_classes.hdf5 has them all"


def _class_panel(ax: Axes, one: DrawnScan, component: int) -> None:
    scattering = one.amounts.loadings.sum(axis=0)
    image(ax, scattering, colours=SCAN)
    tint = np.zeros((*scattering.shape, 4))
    tint[..., :3] = to_rgb(_TINTS[component % len(_TINTS)])
    tint[..., 3] = _TINT * one.amounts.classes[component]
    ax.imshow(tint, interpolation="nearest")
    numbers = one.numbers[component]
    for number in range(1, min(_NUMBERED, int(numbers.max())) + 1):
        place = np.argwhere(numbers == number)
        if len(place) >= _LEAST_NUMBERED:
            row, col = _inside(place)
            ax.text(col, row, str(number), color="white", fontsize=6, fontweight="bold", ha="center", va="center")


def _inside(place: NDArray[np.int64]) -> tuple[float, float]:
    """Return the position of a cluster that is nearest to its centre: of a ring, the centre is not in it."""
    nearest = np.square(place - place.mean(axis=0)).sum(axis=1).argmin()
    return float(place[nearest, 0]), float(place[nearest, 1])


def _pattern_panel(ax: Axes, one: DrawnScan, component: int) -> None:
    assert one.patterns is not None
    pattern = one.patterns[component]
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


def _edx_height(one: DrawnScan) -> float:
    if not isinstance(one.edx, EdxComparison):
        return 22.0
    n_rows = -(-len(_compared(one.edx)) // _COLUMNS) + -(-len(one.numbers) // _COLUMNS)
    maps = n_rows * (_EDX_MAP_MM * _height(one.numbers.shape) + 8)
    return 14.0 + max(maps, 22.0 + 5.0 * len(one.numbers))


def _compared(edx: EdxComparison) -> list[int]:
    return [index for index, line in enumerate(edx.entry.lines) if line.compared]


def _edx_part(part: SubFigure | Figure, one: DrawnScan, edx: EdxComparison) -> None:
    offset = edx.entry.offset
    assert offset is not None
    place = f"offset ({offset.rows}, {offset.cols}) by the {offset.decided_by}"
    left_out = f"{edx.entry.n_spike_positions} spikes and {len(edx.entry.spike_columns)} columns left out"
    title = literal(f"{one.amounts.dataset}\n{place}; {left_out}")
    part.suptitle(title, x=0.01, ha="left", fontsize=7.5, color=LIGHT.muted)
    compared = _compared(edx)
    if not compared:
        empty(part.subplots(), "no line stands out of its background")
        return
    widths = (_COLUMNS * _EDX_MAP_MM, WIDTH_MM - _COLUMNS * _EDX_MAP_MM)
    maps, table = part.subfigures(1, 2, width_ratios=widths, squeeze=False)[0]
    shown = [(edx.entry.lines[index].name, edx.net[index]) for index in compared]
    n_line_rows = -(-len(shown) // _COLUMNS)
    axes = maps.subplots(n_line_rows + -(-len(one.numbers) // _COLUMNS), _COLUMNS, squeeze=False)
    covered = np.isfinite(edx.total)
    loadings = [
        (str(number), np.where(covered, loading, np.nan))
        for number, loading in enumerate(one.amounts.loadings, start=1)
    ]
    for block, panels in ((axes[:n_line_rows], shown), (axes[n_line_rows:], loadings)):
        for ax in block.ravel()[len(panels) :]:
            ax.set_axis_off()
        for ax, (name, values) in zip(block.ravel(), panels, strict=False):
            image(ax, values, colours=AMOUNT, title=name)
    _matrix(table.subplots(), [name for name, _ in shown], len(one.numbers), edx.entry)


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
