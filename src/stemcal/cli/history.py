"""``stemcal history``: the gold calibrations of an instrument over time."""

from __future__ import annotations

import argparse
from pathlib import Path

from stemcal.errors import DataError
from stemcal.history.drift import DriftLimits
from stemcal.history.file import read_history
from stemcal.history.points import history_points
from stemcal.records.session import HistoryPoint
from stemcal.report.history_figure import draw_history


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb to ``parser``."""
    parser.add_argument("file", type=Path, metavar="FILE", help="history of an instrument (JSON lines)")
    parser.add_argument("-o", "--output", type=Path, metavar="PNG", help="plot to write")


def run(args: argparse.Namespace) -> int:
    """Print the table, draw the plot and return the exit code."""
    if not args.file.is_file():
        raise DataError(args.file, "there is no such file", "check the path; discover.history_file names it")
    points = history_points(read_history(args.file), DriftLimits())
    for point in points:
        print(_line(point))
    if args.output is not None and points:
        draw_history(args.output, points)
    return 0


def _line(point: HistoryPoint) -> str:
    one = point.entry
    settings = f"{one.voltage_kv:g} kV {one.nominal_camera_length_m:g} m"
    numbers = f"{one.camera_length_ratio:.4f}  {one.ellipse_ratio.value:.4f} at {one.ellipse_angle_deg.value:5.1f} deg"
    return f"{one.acquired_at[:19]}  {settings:<14}  {numbers}  {_change(point):<28}  {one.verdict}  {one.label}"


def _change(point: HistoryPoint) -> str:
    drift = point.drift
    if drift is None:
        return "-"
    word = "  moved" if drift.quality.verdict == "warn" else ""
    return f"pixel {drift.pixel_size_change:+.2%} ellipse {2 * drift.strain_change:.2%}{word}"
