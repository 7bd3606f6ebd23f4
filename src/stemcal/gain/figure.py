"""The figure a scientist checks a gain reference with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from stemcal.figures.panels import AMOUNT, PATTERN, SIGNED, empty, image, profile
from stemcal.figures.style import drawing
from stemcal.figures.tokens import LIGHT, SERIES
from stemcal.gain.measure import Attempt, Gain
from stemcal.gain.sums import FlatSums
from stemcal.records.gain import GainRecord

_WIDTH_MM, _HEIGHT_MM, _FAILED_HEIGHT_MM = 180.0, 108.0, 62.0
_REACH_SPREADS = 3.0
_BINS = 80
_KINDS = (("masked before", 1, "#8a9299"), ("dead", 2, SERIES[0]), ("hot", 3, SERIES[1]), ("noisy", 4, SERIES[3]))
_MOST_MARKED = 400
"""Faults beyond this number are too many to be marked one by one."""


def draw_figure(path: Path, sums: FlatSums, attempt: Attempt, record: GainRecord) -> None:
    """Draw the mean pattern, the gain, its histogram, the dose, and the faulty pixels.

    Parameters
    ----------
    path : Path
        The PNG to write.
    sums : FlatSums
        The flat field.
    attempt : Attempt
        What came of it; without a gain the figure shows how far it came, and the reason.
    record : GainRecord
        Its numbers and flags are written out.
    """
    failed = attempt.gain is None
    mean = sums.total / max(sums.n_frames, 1)
    with drawing(path, _WIDTH_MM, _FAILED_HEIGHT_MM if failed else _HEIGHT_MM) as figure:
        axes = figure.subplots(1 if failed else 2, 3).ravel()
        good = attempt.faults.good
        image(axes[0], mean, title="Mean pattern", valid=good, colours=PATTERN, bar="counts per frame")
        _draw_response(axes[1], attempt, good)
        if attempt.gain is None:
            empty(axes[2], "\n".join(flag.message for flag in record.quality.flags), title="No gain")
            return
        _draw_histogram(axes[2], attempt, attempt.gain)
        assert attempt.dose is not None
        dose = attempt.dose.counts / sums.n_frames
        image(axes[3], dose, title=f"Dose, degree {attempt.dose.degree}", colours=AMOUNT, bar="counts per frame")
        _draw_faults(axes[4], attempt.faults.codes)
        _write_numbers(axes[5], record)


def _draw_response(ax: Axes, attempt: Attempt, good: NDArray[np.bool_]) -> None:
    if attempt.response is None:
        empty(ax, "not reached", title="Gain")
        return
    deviation = 100 * (attempt.response - 1)
    scale = 1.4826 * float(np.median(np.abs(deviation[good])))
    reach = max(_REACH_SPREADS * scale, 1e-3)
    image(ax, deviation, title="Gain", valid=good, colours=SIGNED, limits=(-reach, reach), bar="off the median (%)")


def _draw_histogram(ax: Axes, attempt: Attempt, gain: Gain) -> None:
    assert attempt.response is not None
    values = attempt.response[attempt.faults.good]
    low, high = (float(edge) for edge in np.percentile(values, (0.05, 99.95)))
    number, edges = np.histogram(values, bins=_BINS, range=(low, high) if high > low else (0.9, 1.1))
    ax.stairs(number, edges, color=SERIES[0], fill=True, alpha=0.35)
    middle = (edges[1:] + edges[:-1]) / 2
    for width, label, colour in ((gain.noise, "counting alone", SERIES[1]), (gain.spread, "gain alone", SERIES[2])):
        if width > 0:
            curve = np.exp(-0.5 * ((middle - 1) / width) ** 2) * number.max()
            profile(ax, middle, curve, label=f"{label}, {width:.2%}", colour=colour)
    ax.set_title("Gain of the valid pixels")
    ax.set_xlabel("gain")
    ax.set_ylabel("pixels")
    ax.set_ylim(0, 1.35 * number.max())
    ax.legend(loc="upper right")


def _draw_faults(ax: Axes, codes: NDArray[np.uint8]) -> None:
    image(ax, np.where(codes == 1, np.nan, 1.0), title="Faulty pixels", colours="gray", limits=(0.0, 1.0))
    for label, code, colour in _KINDS:
        rows, cols = np.nonzero(codes == code)
        if code == 1 or not rows.size:
            continue
        step = max(1, rows.size // _MOST_MARKED)
        ax.plot(cols[::step], rows[::step], "s", markersize=2, color=colour, label=f"{label}: {rows.size}", linewidth=0)
    ax.spines[:].set_visible(True)
    masked = int((codes == 1).sum())
    ax.set_xlabel(f"{masked} masked before (grey)")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, columnspacing=1.0, handletextpad=0.1)


def _write_numbers(ax: Axes, record: GainRecord) -> None:
    ax.set_axis_off()
    result = record.result
    assert result is not None
    test = result.parity_test
    lines = [
        f"verdict: {record.quality.verdict}",
        f"{result.n_frames} frames, {result.counts_per_pixel:.0f} counts per pixel",
        f"gain differs by {result.gain_spread:.2%}",
        f"known to {result.gain_noise:.2%}" + _runs(result.gain_noise_runs),
        f"dose {result.dose.least:.3g} to {result.dose.greatest:.3g} counts per frame",
        f"neighbours share {result.dose.structure_rms:.2%}",
        f"even, odd frames: {result.parity}" + ("" if test is None else f", χ² {test.reduced_chi_square:.3f}"),
        f"{result.pixels.n_valid} valid pixels",
    ]
    ax.text(-0.05, 1.0, "\n".join(lines), va="top", transform=ax.transAxes, linespacing=1.7, color=LIGHT.text)


def _runs(noise: float | None) -> str:
    return "" if noise is None else f" ({noise:.2%} by runs)"
