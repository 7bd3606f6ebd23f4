"""How many scan positions make how many gigabytes."""

from __future__ import annotations

from conversion.bench import ITEMSIZE


def scan_of(gigabytes: float, frame_px: int) -> tuple[int, int]:
    """Return (scan_row, scan_col) of about so many gigabytes (1e9 bytes) of frames, the columns a power of two."""
    n_frames = max(4, round(gigabytes * 1e9 / (ITEMSIZE * frame_px**2)))
    cols = 2
    while 4 * cols * cols <= n_frames:
        cols *= 2
    return n_frames // cols, cols
