"""What an EDX map says of the components of one scan; part of ``nmf.json``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stemcal.records.base import Record


class EdxScore(Record):
    """Correlation of total X-ray counts with the scattering if scan position (r, c) is (r + rows, c + cols)."""

    rows: int
    cols: int
    correlation: float


class EdxOffset(Record):
    """Where the map lies: scan position (r, c) is its position (r + rows, c + cols).

    ``margin_sigma`` tells by how many standard errors the best correlation exceeds the next, ``p_value`` whether
    counts and scattering are related at all. ``certain`` is false where neither shapes nor counts decide.
    """

    rows: int
    cols: int
    decided_by: Literal["counts", "shapes"]
    certain: bool
    margin_sigma: float
    p_value: float
    scores: tuple[EdxScore, ...] = Field(description="every offset that was tried, best first")


class EdxEnergy(Record):
    """Energy of channel i is ``offset_kev + i * channel_kev``."""

    offset_kev: float
    channel_kev: float
    stated_by: Literal["file", "settings"]


class EdxLine(Record):
    """A characteristic line, summed over the compared positions; ``compared`` if it stands out of its background."""

    name: str
    window_kev: tuple[float, float]
    background_below_kev: tuple[float, float]
    background_above_kev: tuple[float, float]
    net_counts: float
    sigma_above_background: float
    compared: bool


class EdxPair(Record):
    """How the map of a line and the map of a component go together.

    The corrected p-values are those of Holm over both coefficients of all pairs of the data set, so that the chance
    of any false relation among them is at most the level; ``related`` means that one of the two is below it.
    """

    component: int
    line: str
    pearson: float
    pearson_p: float
    pearson_p_corrected: float
    spearman: float
    spearman_p: float
    spearman_p_corrected: float
    related: bool


class EdxEntry(Record):
    """The EDX map of one data set, or the reason why it was not compared."""

    dataset: str
    path: str
    reason: str | None = Field(description="null: it was compared")
    map_shape: tuple[int, int] | None = None
    scan_shape: tuple[int, int] | None = None
    energy: EdxEnergy | None = None
    offset: EdxOffset | None = None
    spike_columns: tuple[int, ...] = Field(default=(), description="columns of the map that were left out")
    n_spike_positions: int = Field(default=0, description="single positions that were left out besides")
    n_positions_compared: int = 0
    lines: tuple[EdxLine, ...] = ()
    lines_out_of_range: tuple[str, ...] = ()
    pairs: tuple[EdxPair, ...] = ()
    n_surrogates: int = 0
