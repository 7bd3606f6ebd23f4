"""Figures as they are put into the page: scaled down, compressed, as data URIs."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

THUMBNAIL_WIDTH_PX = 420
"""Drawn at half of this in the table, sharp on a dense screen."""

_TWO_ROWS_ABOVE = 0.4
"""Height over width above which a figure has two rows of panels."""

_WIDTHS_PX = ((60, 1140), (240, 960), (720, 720))
_LEAST_WIDTH_PX = 520
_WEBP_QUALITY = 84
"""Text in a figure stays clean, and a figure is a fifth of its PNG."""


@dataclass(frozen=True)
class Picture:
    """An image of the page; ``uri`` begins with ``data:``, size in pixels."""

    uri: str
    width: int
    height: int


def width_for(n_figures: int) -> int:
    """Return how wide figures may be, so that a page with ``n_figures`` stays below some 30 MB."""
    return next((width for most, width in _WIDTHS_PX if n_figures <= most), _LEAST_WIDTH_PX)


def picture(path: Path, width_px: int) -> Picture | None:
    """Return the image at ``path``, at most ``width_px`` wide, or None if it cannot be read."""
    image = _read(path)
    return None if image is None else _embedded(image, width_px)


def thumbnail(path: Path) -> Picture | None:
    """Return a preview of the figure at ``path``: of a figure with two rows of panels the upper one."""
    image = _read(path)
    if image is None:
        return None
    if image.height > _TWO_ROWS_ABOVE * image.width:
        image = image.crop((0, 0, image.width, image.height // 2))
    return _embedded(image, THUMBNAIL_WIDTH_PX)


def _read(path: Path) -> Image.Image | None:
    try:
        with Image.open(path) as opened:
            return opened.convert("RGB")
    except (OSError, UnidentifiedImageError):
        return None


def _embedded(image: Image.Image, width_px: int) -> Picture:
    if image.width > width_px:
        height = max(1, round(image.height * width_px / image.width))
        image = image.resize((width_px, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=_WEBP_QUALITY, method=2)
    uri = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(uri, image.width, image.height)
