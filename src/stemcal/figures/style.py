"""How a figure is made and saved: matplotlib's object interface on the Agg canvas, the same bytes at every run.

``drawing`` is the way in::

    with drawing(path, width_mm=180, height_mm=70) as figure:
        left, right = figure.subplots(1, 2)
        image(left, mean_pattern, title="Mean pattern", scale="log")
        profile(right, q, intensity, label="gold")

Inside it matplotlib's own defaults and this style hold, whatever the user's ``matplotlibrc`` says; outside nothing is
changed. pyplot is never imported: it keeps global state and every figure it made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stemcal.figures.tokens import LIGHT, SERIES
from stemcal.records.atomic import atomic_path

MM_PER_INCH = 25.4

DPI = 160
"""Sharp at the width of a page on a dense screen, and a full-width figure stays near 100 kB."""

STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.titlesize": 8.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 4.0,
    "axes.titley": 1.0,  # where it is anyway; else matplotlib measures every tick label to see that
    "axes.labelsize": 7.5,
    "axes.edgecolor": LIGHT.muted,
    "axes.labelcolor": LIGHT.text,
    "axes.titlecolor": LIGHT.text,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.prop_cycle": cycler(color=SERIES),
    "grid.color": LIGHT.line,
    "grid.linewidth": 0.5,
    "text.color": LIGHT.text,
    "xtick.color": LIGHT.muted,
    "ytick.color": LIGHT.muted,
    "xtick.labelcolor": LIGHT.text,
    "ytick.labelcolor": LIGHT.text,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "legend.fontsize": 6.5,
    "figure.facecolor": LIGHT.plate,
    "savefig.facecolor": LIGHT.plate,
    "image.origin": "upper",
    "figure.constrained_layout.h_pad": 0.05,
    "figure.constrained_layout.w_pad": 0.05,
}
"""Differences from matplotlib's defaults."""


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the project's style inside, restore the caller's settings outside."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def literal(text: str) -> str:
    """Return ``text`` so that matplotlib draws it as it stands: a file name with ``$`` in it is not a formula."""
    return text.replace("$", r"\$")


def new_figure(width_mm: float, height_mm: float) -> Figure:
    """Return an empty figure on an Agg canvas with constrained layout.

    Parameters
    ----------
    width_mm, height_mm : float
        Size on paper; 180 mm is the full width of the session page.
    """
    figure = Figure(figsize=(width_mm / MM_PER_INCH, height_mm / MM_PER_INCH), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Figure, path: Path) -> None:
    """Write ``figure`` to ``path`` as PNG: whole or not at all, without time or software in its metadata."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})


@contextmanager
def drawing(path: Path, width_mm: float, height_mm: float) -> Iterator[Figure]:
    """Give a figure to draw on in the project's style; it is saved to ``path`` when the block ends without error.

    Parameters
    ----------
    path : Path
        The PNG to write; its folder is created if need be.
    width_mm, height_mm : float
        Size on paper.

    Yields
    ------
    matplotlib.figure.Figure
        An empty figure with constrained layout.
    """
    with styled():
        figure = new_figure(width_mm, height_mm)
        yield figure
        save_png(figure, path)
