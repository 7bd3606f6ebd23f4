"""What a person says decides alone, where there is room for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from stemcal.frames.scan.layout import Layout
from stemcal.records.base import Flag

_REMEDY = "state the rows and columns that are in the file"


@dataclass(frozen=True)
class DoesNotFit:
    """The shape that a person stated has no place in the file; ``problem`` and ``remedy`` are for a `DataError`."""

    problem: str
    remedy: str


@dataclass(frozen=True)
class Stated:
    """A stated shape in its place, with a flag where that place had to be assumed."""

    layout: Layout
    flags: tuple[Flag, ...] = ()


def place_stated(user: tuple[int, int], n_slots: int, shown_first_slot: int | None) -> Stated | DoesNotFit:
    """Find the place of a stated shape.

    The product of rows and columns is the number of slots; or the frames themselves show where a scan of so many
    columns begins; or less than a line is left over, or lacking: then the scan begins with the first frame, and a flag
    says so. Anything else does not fit.

    Parameters
    ----------
    user : tuple of int
        (rows, cols).
    n_slots : int
        Slots of the acquisition.
    shown_first_slot : int or None
        Where the exposures or time stamps show the first row of a scan with these columns; None if they do not.
    """
    rows, cols = user
    over = n_slots - rows * cols
    if over == 0:
        return Stated(Layout(rows, cols))
    if shown_first_slot is not None:
        return Stated(Layout(rows, cols, shown_first_slot))
    words = f"{rows} x {cols} = {rows * cols} frames are stated"
    if abs(over) >= cols:
        problem = f"has {n_slots} frames (those missing included), but {words}, and nothing shows where they lie"
        return DoesNotFit(problem, _REMEDY)
    assumed = f"the last {over} are taken to be no part of it" if over > 0 else f"the last {-over} are missing"
    message = f"{words}, but there are {n_slots}: the scan is taken to begin with the first one, {assumed}"
    return Stated(Layout(rows, cols), (Flag(name="scan_start_assumed", value=over, limit=0, message=message),))
