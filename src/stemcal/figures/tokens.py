"""Colours that the figures and the session page share, and the contrast they promise.

Text colours reach a contrast of at least 4.5:1 (WCAG 2 AA) on both the page and its panels, in both schemes; a test
computes it. A verdict is never told by colour alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Scheme:
    """One colour scheme: hexadecimal sRGB colours by what they mean.

    ``page`` lies under everything, ``panel`` under a table or card, ``plate`` under a figure (figures are drawn on
    white paper in both schemes). The other names are text and lines on ``page`` or ``panel``.
    """

    page: str
    panel: str
    plate: str
    line: str
    text: str
    muted: str
    accent: str
    good: str
    warn: str
    bad: str
    idle: str

    def as_mapping(self) -> dict[str, str]:
        """Return the colours by name, in declaration order."""
        return asdict(self)


LIGHT = Scheme(
    page="#f6f6f3",
    panel="#ffffff",
    plate="#ffffff",
    line="#d8dad6",
    text="#1a1e22",
    muted="#565f68",
    accent="#0b5aa6",
    good="#176339",
    warn="#835200",
    bad="#ab2318",
    idle="#4f5b67",
)

DARK = Scheme(
    page="#131618",
    panel="#1b1f22",
    plate="#ffffff",
    line="#353b40",
    text="#e4e7e9",
    muted="#9ca6af",
    accent="#82b9f5",
    good="#74cc97",
    warn="#e3b45a",
    bad="#ff968a",
    idle="#a7b1ba",
)

SERIES = ("#0072b2", "#d55e00", "#00875f", "#b5559a", "#7a5c00", "#2f8fc4", "#8c2d04", "#4b4b9b", "#5f6f2f", "#777777")
"""Line colours on white: the order of Okabe and Ito, darkened until thin lines read on paper; cycled beyond ten."""

MISSING = "#c9ced2"
"""Pixels and positions without data: a grey that is in none of the colour maps."""


def relative_luminance(colour: str) -> float:
    """Return the relative luminance of a ``#rrggbb`` colour, 0 (black) to 1 (white), as WCAG 2.2 defines it."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two ``#rrggbb`` colours, 1 to 21, as WCAG 2.2 defines it."""
    darker, lighter = sorted((relative_luminance(first), relative_luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)
