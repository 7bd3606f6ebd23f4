"""How likely a layout is before anybody is heard, given only how many slots there are. Pure; natural logarithms.

The numbers are orders of magnitude from what is known of such acquisitions, and every one may be wrong by a factor of
three without a decision changing. They say: most acquisitions are scans; most scans have a usual size; most are square,
some lack their last line (an EDX system drives the scan and N = X (X - 1)), few are rectangles or were cut short; most
have no frames outside the scan. A series that is no scan has any length, but people like round numbers.

Why N = X (X - 1) needs no further witness for a usual X: such a number hits a series by chance once in N, and 65280
or 16256 are no numbers that anybody asks for, so "EDX" is some 10^4 times likelier than a coincidence. A square is
different: 100, 10000 and 65536 are numbers that people ask for. And 6 or 12 frames are X (X - 1) too often to mean it.
"""

from __future__ import annotations

import math

from stemcal.frames.scan.layout import Layout, is_usual

_LOG_NO_SCAN = math.log(0.3)
_LOG_SCAN = math.log(0.7)
SIZES = {16: 0.005, 32: 0.01, 64: 0.1, 128: 0.2, 256: 0.3, 512: 0.2, 1024: 0.05, 2048: 0.02}
"""Usual scan sizes in pixels, with the probability of each."""
_LINE_SKIP = 0.03
_SQUARE, _EDX, _LONGER, _RECTANGLE, _CUT, _CUT_RECTANGLE = 0.8, 0.05, 0.005, 0.08, 0.04, 0.01


def p_cols(cols: int) -> float:
    """Return the probability of a scan with ``cols`` columns, those of a line skip included."""
    plain = SIZES.get(cols, 0.0) + _LINE_SKIP * SIZES.get(cols - 1, 0.0)
    round_size = 0.05 / 20 if cols % 50 == 0 and cols <= 1000 else 0.0
    return plain + round_size + 0.06 / (cols * 9)


def p_shape(rows: int, cols: int) -> float:
    """Return the probability of a complete scan of ``rows`` x ``cols``."""
    return p_cols(cols) * _p_rows(rows, cols)


def log_prior(layout: Layout, n_slots: int) -> float:
    """Return the logarithm of the probability of a scan with this layout and of exactly ``n_slots`` slots."""
    rows, cols, excess = layout.rows, layout.cols, layout.excess(n_slots)
    cut = _CUT / cols**2 if rows <= cols else _CUT_RECTANGLE / (n_slots * 12)
    complete = 0.0 if excess < 0 else _p_rows(rows, cols) * _p_outside(excess)
    rest = cut if excess <= 0 else 0.0
    return _LOG_SCAN + math.log(p_cols(cols) * (complete + rest) * _p_outside(layout.first_slot))


def log_no_scan(n_slots: int) -> float:
    """Return the logarithm of the probability of a series that is no scan and has ``n_slots`` slots."""
    digits = str(n_slots).rstrip("0")
    asked_for = len(digits) <= 2 or n_slots & (n_slots - 1) == 0
    return _LOG_NO_SCAN + math.log(0.5 / (n_slots * 16) + (0.5 / 150 if asked_for else 0.0))


def _p_rows(rows: int, cols: int) -> float:
    p = 0.0
    if rows == cols:
        p += _SQUARE
    if rows == cols - 1:
        p += _SQUARE if is_usual(cols - 1) else _EDX
    if rows == cols + 1:
        p += _LONGER
    return p + _RECTANGLE * (SIZES.get(rows, 0.0) * 0.5 + 0.5 / (rows * 12))


def _p_outside(n: int) -> float:
    """Return the probability of ``n`` frames before the scan, or behind it."""
    if n == 0:
        return 0.85
    return 0.02 if n <= 4 else 0.07 / (n * 7)
