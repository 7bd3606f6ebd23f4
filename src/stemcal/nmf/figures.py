"""The three figures of the factorisation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from stemcal.figures.panels import AMOUNT, SCAN, colour_limits, empty, image, profile
from stemcal.figures.style import drawing, literal
from stemcal.figures.tokens import LIGHT, SERIES
from stemcal.nmf.passes import ScanMaps
from stemcal.nmf.profiles import FloatArray
from stemcal.nmf.settings import NmfSettings
from stemcal.records.nmf import NmfResult

WIDTH_MM = 180.0

LONGEST_NAME = 9
"""A longer name of a phase would run into the next column."""

LEAST_COLUMNS = 4
"""Fewer components leave columns empty, or single maps would fill the page."""


def draw_nothing(paths: Sequence[Path], reason: str) -> None:
    """Write figures that say why there is nothing to see."""
    for path in paths:
        with drawing(path, WIDTH_MM, 30) as figure:
            empty(figure.subplots(), reason)


def draw_maps(path: Path, maps: Sequence[ScanMaps], n_scans: int, result: NmfResult) -> None:
    """Draw one row per data set, one column per component and one for the residual.

    A component has the same colours in every row, so that scans compare and vacuum stays dark. One that is not
    reproducible has a frame and says so.

    Parameters
    ----------
    path : Path
        The PNG.
    maps : sequence of ScanMaps
        The data sets to draw.
    n_scans : int
        How many there are in all; the title says how many are not drawn.
    result : NmfResult
        Share and stability of each component.
    """
    shares = result.component_share
    n_columns = len(shares) + 1
    n_slots = max(n_columns, LEAST_COLUMNS)
    column_mm = (WIDTH_MM - 8) / n_slots - 2
    heights = [max(0.25, min(2.0, one.residual.shape[0] / one.residual.shape[1])) for one in maps]
    with drawing(path, WIDTH_MM, 16 + sum(column_mm * height + 5 for height in heights)) as figure:
        axes = figure.subplots(len(maps), n_slots, squeeze=False, height_ratios=heights)
        for column, share in enumerate(shares):
            limits = _shared_limits([one.loadings[column] for one in maps])
            for ax, one in zip(axes[:, column], maps, strict=True):
                image(ax, one.loadings[column], colours=AMOUNT, limits=limits)
            stable = result.component_stability[column].stable
            title = axes[0, column].set_title(f"{column + 1}  {_words(result, column)}\n{100 * share:.0f} %")
            if not stable:
                title.set_color(LIGHT.bad)
                _frame(axes[:, column])
        for ax, one in zip(axes[:, n_columns - 1], maps, strict=True):
            image(ax, one.residual, colours=SCAN, limits=(0.0, 1.0))
        axes[0, n_columns - 1].set_title("rest\n ")
        for row, one in zip(axes, maps, strict=True):
            _name_below(row[0], one.dataset)
            for unused in row[n_columns:]:
                unused.set_axis_off()
        figure.suptitle(_maps_title(len(maps), n_scans), x=0.01, ha="left", fontsize=7.5, color=LIGHT.muted)


def _words(result: NmfResult, column: int) -> str:
    if not result.component_stability[column].stable:
        return "unstable"
    name = (result.component_phase[column].phase or "") if result.component_phase else ""
    return literal(name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…")


def _frame(column: NDArray[np.object_]) -> None:
    for ax in column:
        ax.spines[:].set(visible=True, color=LIGHT.bad, linewidth=1.2, linestyle=(0, (3, 2)))


def _shared_limits(maps: Sequence[NDArray[np.float32]]) -> tuple[float, float]:
    values = np.concatenate([one.ravel() for one in maps])
    return 0.0, max(colour_limits(values)[1], float(np.finfo(np.float32).tiny))


def _maps_title(drawn: int, n_scans: int) -> str:
    what = "Amount of each component, same colours in every row; rest: not explained, black 0, white 1; grey: no data"
    return what if drawn == n_scans else f"{what}\n{drawn} of {n_scans} scans are drawn, nmf.hdf5 has them all"


def _name_below(ax: Axes, dataset: str) -> None:
    """Write the name of a row below its first map; it may reach below the next ones, so it takes no part in layout."""
    ax.set_xlabel(" ", fontsize=5.5)
    name = ax.annotate(
        literal(dataset), (0, 0), (0, -2), xycoords="axes fraction", textcoords="offset points", va="top", fontsize=5.5
    )
    name.set_in_layout(False)


def draw_components(path: Path, q: FloatArray, components: FloatArray, result: NmfResult) -> None:
    """Draw each component times q, so that rings far out show beside the diffuse scattering.

    Parameters
    ----------
    path : Path
        The PNG.
    q : ndarray
        (n_bins,) 1/angstrom.
    components : ndarray
        (n_components, n_bins).
    result : NmfResult
        Shares and stability, for the titles.
    """
    n_components = len(components)
    n_columns = 1 if n_components == 1 else 2
    n_rows = -(-n_components // n_columns)
    with drawing(path, WIDTH_MM, 8 + 29 * n_rows) as figure:
        axes = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True)
        for index, ax in enumerate(axes.ravel()):
            if index >= n_components:
                ax.set_axis_off()
                continue
            profile(ax, q, q * components[index], colour=SERIES[index % len(SERIES)])
            share, steady = result.component_share[index], result.component_stability[index]
            words = "stability" if steady.stable else "unstable,"
            named = (
                f"{literal(result.component_phase[index].phase or 'unidentified')}, " if result.component_phase else ""
            )
            title = ax.set_title(f"{index + 1}   {named}{100 * share:.1f} % of all, {words} {steady.tenth:.3f}")
            if not steady.stable:
                title.set_color(LIGHT.bad)
            ax.set_ylim(bottom=0)
            ax.set_yticks([])
            ax.set_xlim(q[0], q[-1])
        for ax in axes.ravel()[max(0, n_components - n_columns) : n_components]:
            ax.set_xlabel("q / Å⁻¹")
            ax.tick_params(labelbottom=True)
        figure.supylabel("Intensity times q", fontsize=7.5)


def draw_ranks(path: Path, result: NmfResult, settings: NmfSettings) -> None:
    """Draw the error of prediction and the gain over the number of components, and the number that was chosen."""
    numbers = [step.n_components for step in result.rank_scan]
    later = result.rank_scan[1:]
    with drawing(path, WIDTH_MM, 62) as figure:
        left, right = figure.subplots(1, 2)
        left.plot(numbers, [step.prediction_error for step in result.rank_scan], marker="o")
        left.set_ylabel("Error of prediction / size")
        left.set_ylim(bottom=0)
        right.bar(
            [step.n_components for step in later],
            [100 * (step.gain or 0.0) for step in later],
            yerr=[200 * (step.gain_sigma or 0.0) for step in later],
            width=0.6,
            color=SERIES[5],
            error_kw={"linewidth": 0.8, "capsize": 2},
        )
        right.axhline(100 * settings.min_gain, color=LIGHT.bad, label="needed to be taken")
        right.axhline(0, color=LIGHT.muted, linewidth=0.6)
        right.set_ylabel("Error that it removes / %")
        right.legend()
        by = "the user" if result.chosen_by == "user" else result.chosen_by
        left.set_title(f"{result.n_components} components, chosen by {by}")
        right.set_title("Gain of the last component, ± 2 sigma")
        for ax in (left, right):
            _mark(ax, result.n_components, numbers)


def _mark(ax: Axes, chosen: int, numbers: Sequence[int]) -> None:
    ax.axvspan(chosen - 0.4, chosen + 0.4, color=SERIES[4], alpha=0.15, linewidth=0)
    ax.set_xlabel("Number of components")
    ax.set_xlim(min(numbers) - 0.6, max(numbers) + 0.6)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
