"""Panels that every step draws the same way: images and maps, profiles, outlines, and the empty panel."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike, NDArray

from stemcal.figures.style import literal
from stemcal.figures.tokens import LIGHT, MISSING, SERIES

PATTERN = "magma"
"""Colour map of diffraction patterns."""
SCAN = "gray"
"""Colour map of virtual detector images."""
AMOUNT = "viridis"
"""Colour map of a non-negative amount over the scan."""
SIGNED = "RdBu_r"
"""Colour map of a signed quantity; give it symmetric limits."""

Scale = Literal["linear", "log"]


def colour_limits(
    data: ArrayLike, valid: NDArray[np.bool_] | None = None, percentiles: tuple[float, float] = (0.5, 99.5)
) -> tuple[float, float]:
    """Return the colour limits of an image: two percentiles of its finite, valid values.

    Parameters
    ----------
    data : array_like
        Any shape; NaN is missing.
    valid : ndarray of bool, optional
        Same shape, True = valid.
    percentiles : tuple of float
        Lower and upper percentile.

    Returns
    -------
    low, high : float
        ``high > low`` always: a constant image gets one unit above, an empty one (0, 1).
    """
    values = np.asarray(data, dtype=np.float64)
    usable = np.isfinite(values) if valid is None else np.isfinite(values) & valid
    if not usable.any():
        return 0.0, 1.0
    low, high = (float(limit) for limit in np.percentile(values[usable], percentiles))
    if high > low:
        return low, high
    low, high = float(values[usable].min()), float(values[usable].max())
    return (low, high) if high > low else (low, low + 1.0)


def _display_range(values: NDArray[np.float64], limits: tuple[float, float], scale: Scale) -> tuple[float, float]:
    if scale == "linear":
        return limits
    positive = values[np.isfinite(values) & (values > 0)]
    if positive.size == 0:
        return 0.1, 1.0
    high = limits[1] if limits[1] > 0 else float(positive.max())
    # Six decades are more than a screen shows; below that there is only the noise of single counts.
    low = max(limits[0], float(positive.min()), 1e-6 * high)
    return (low, high) if low < high else (0.5 * high, high)


def image(
    ax: Axes,
    data: ArrayLike,
    *,
    title: str | None = None,
    valid: NDArray[np.bool_] | None = None,
    colours: str = PATTERN,
    scale: Scale = "linear",
    limits: tuple[float, float] | None = None,
    percentiles: tuple[float, float] = (0.5, 99.5),
    bar: str | None = None,
) -> AxesImage:
    """Draw an image with row 0 on top, square pixels and no ticks; missing pixels are grey.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    data : array_like
        (row, col): a diffraction pattern or a map over the scan; NaN is missing.
    title : str, optional
        Drawn above, left aligned.
    valid : ndarray of bool, optional
        (row, col), True = valid.
    colours : str
        Name of a colour map: ``PATTERN``, ``SCAN``, ``AMOUNT`` or ``SIGNED``.
    scale : {"linear", "log"}
        With ``log`` zero and negative values take the lowest colour: they are data, not missing.
    limits : tuple of float, optional
        Colour limits; the default is ``colour_limits(data, valid, percentiles)``.
    percentiles : tuple of float
        Used when ``limits`` is not given.
    bar : str, optional
        Label of a colour bar, with the unit; no bar without it.

    Returns
    -------
    AxesImage
        For overlays that need its colours.
    """
    values = np.asarray(data, dtype=np.float64)
    missing = ~np.isfinite(values) if valid is None else ~np.isfinite(values) | ~valid
    low, high = _display_range(values, limits or colour_limits(values, ~missing, percentiles), scale)
    norm = LogNorm(low, high, clip=True) if scale == "log" else Normalize(low, high, clip=True)
    shown = np.where(missing, np.nan, np.maximum(values, low))
    # "nearest" keeps the pixels of a small map; a pattern larger than its panel is averaged instead of sampled.
    interpolation = "nearest" if max(values.shape) <= 256 else "antialiased"
    drawn = ax.imshow(shown, cmap=colormaps[colours].with_extremes(bad=MISSING), norm=norm, interpolation=interpolation)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    if title is not None:
        ax.set_title(literal(title))
    if bar is not None:
        colour_bar(drawn, bar)
    return drawn


def colour_bar(drawn: AxesImage, label: str) -> None:
    """Add a thin colour bar with ``label`` (and its unit) to the right of an image."""
    figure = drawn.axes.get_figure(root=True)
    assert figure is not None
    # An inset is exactly as high as the image; space stolen from the panel would not be.
    bar = figure.colorbar(drawn, cax=drawn.axes.inset_axes((1.03, 0.0, 0.045, 1.0)), label=literal(label))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2)


def profile(
    ax: Axes,
    x: ArrayLike,
    y: ArrayLike,
    *,
    sigma: ArrayLike | None = None,
    label: str | None = None,
    colour: str = SERIES[0],
    **line: Any,
) -> None:
    """Draw ``y`` over ``x`` as a line, with a band of one standard uncertainty where ``sigma`` is given.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    x, y, sigma : array_like
        (n,); NaN leaves a gap.
    label : str, optional
        Name in the legend.
    colour : str
        ``#rrggbb``.
    **line
        Passed to ``Axes.plot``.
    """
    ax.plot(x, y, label=None if label is None else literal(label), color=colour, **line)
    if sigma is not None:
        centre, width = np.asarray(y, dtype=np.float64), np.asarray(sigma, dtype=np.float64)
        ax.fill_between(np.asarray(x), centre - width, centre + width, color=colour, alpha=0.2, linewidth=0)


def outline(
    ax: Axes, rows: ArrayLike, cols: ArrayLike, *, colour: str = "#ffffff", label: str | None = None, **line: Any
) -> None:
    """Draw a curve given in (row, col) pixels over an image, without changing the limits of the axes."""
    limits = ax.get_xlim(), ax.get_ylim()
    ax.plot(np.asarray(cols), np.asarray(rows), color=colour, label=label, **{"linewidth": 0.8, **line})
    ax.set_xlim(*limits[0])
    ax.set_ylim(*limits[1])


def circle(ax: Axes, row: float, col: float, radius: float, *, colour: str = "#ffffff", **line: Any) -> None:
    """Draw a circle of ``radius`` pixels around (``row``, ``col``) over an image."""
    angle = np.linspace(0, 2 * np.pi, 181)
    outline(ax, row + radius * np.sin(angle), col + radius * np.cos(angle), colour=colour, **line)


def empty(ax: Axes, message: str, *, title: str | None = None) -> None:
    """Say in words why a panel has nothing to show."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, literal(message), ha="center", va="center", color=LIGHT.muted, transform=ax.transAxes, wrap=True)
    if title is not None:
        ax.set_title(literal(title))
