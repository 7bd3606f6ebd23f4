"""Numbers and states in words."""

from __future__ import annotations

import math

from stemcal.records.base import Quantity

UNITS = {"1/angstrom": "Å⁻¹", "angstrom": "Å", "deg": "°", "1": "", "um": "µm"}

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_TWO_DIGITS_BELOW = 355
_LARGEST_PLAIN_EXPONENT = 6
_SMALLEST_PLAIN_EXPONENT = -4


def quantity_text(quantity: Quantity | None, *, unit: bool = True) -> str:
    """Return ``value ± sigma unit``, rounded to what the uncertainty allows.

    The uncertainty gets two digits if its three leading digits are below 355 and one digit otherwise (the rule of the
    Particle Data Group), and the value ends at the same place. Without an uncertainty the value has four significant
    digits and says so.
    """
    if quantity is None:
        return "–"
    suffix = _suffix(quantity.unit) if unit else ""
    if not quantity.sigma:
        return f"{plain_number(quantity.value)}{suffix} (no uncertainty)"
    value, sigma = quantity.value, quantity.sigma
    exponent = _exponent(max(abs(value), sigma))
    shift = exponent if not _SMALLEST_PLAIN_EXPONENT <= exponent < _LARGEST_PLAIN_EXPONENT else 0
    value, sigma = value / 10**shift, sigma / 10**shift
    place = last_place(sigma)
    decimals = max(0, -place)
    text = f"{round(value, -place):.{decimals}f} ± {round(sigma, -place):.{decimals}f}"
    if shift:
        text = f"({text}) × 10{str(shift).translate(_SUPERSCRIPTS)}"
    return f"{text}{suffix}"


def last_place(sigma: float) -> int:
    """Return the decimal exponent of the last digit that ``sigma`` allows.

    Parameters
    ----------
    sigma : float
        Standard uncertainty, positive.
    """
    exponent = _exponent(sigma)
    leading = round(sigma / 10 ** (exponent - 2))
    return exponent - 1 if leading < _TWO_DIGITS_BELOW else exponent


def _exponent(value: float) -> int:
    """Return the exponent of the leading digit of ``value``; 0.0123 has -2."""
    return int(f"{value:e}".rsplit("e", 1)[1]) if value and math.isfinite(value) else 0


def _suffix(unit: str) -> str:
    shown = UNITS.get(unit, unit)
    return f"\u00a0{shown}" if shown and shown != "°" else shown


def plain_number(value: float, digits: int = 4) -> str:
    """Return ``value`` with ``digits`` significant digits, thousands set apart by thin spaces."""
    exponent = _exponent(value)
    if value and not _SMALLEST_PLAIN_EXPONENT <= exponent < _LARGEST_PLAIN_EXPONENT + 3:
        return f"{value / 10**exponent:.{digits - 1}f} × 10{str(exponent).translate(_SUPERSCRIPTS)}"
    decimals = max(0, digits - 1 - exponent)
    return f"{round(value, digits - 1 - exponent):,.{decimals}f}".replace(",", "\u2009")


def shape_text(shape: tuple[int, int] | None) -> str:
    """Return ``rows × cols``, or a dash."""
    return "–" if shape is None else f"{shape[0]} × {shape[1]}"


def time_text(acquired_at: str | None) -> str:
    """Return an ISO time as ``YYYY-MM-DD HH:MM:SS``, or a dash."""
    return "–" if acquired_at is None else acquired_at.replace("T", " ")[:19]


def percent_text(part: float, digits: int = 0) -> str:
    """Return ``part`` of 1 as a percentage; what rounds to zero without being it is less than the last digit."""
    if 0 < part < 0.005 * 10**-digits:
        return f"< {10**-digits:.{digits}f}\u00a0%"
    return f"{100 * part:.{digits}f}\u00a0%"


def change_text(part: float) -> str:
    """Return a relative change in percent with its sign."""
    return f"{100 * part:+.2f}\u00a0%".replace("-", "\u2212")


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """Return ``number`` and its noun."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
