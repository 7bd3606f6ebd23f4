"""Classes and clusters of one scan; part of ``nmf.json``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stemcal.records.base import Record


class ClassThreshold(Record):
    """What a position has to reach to belong to the class of a component, in every data set the same.

    ``value`` is a loading, with the criterion ``share`` a part of the scattering. ``separability`` is the part of the
    variance of the loadings that lies between the two groups that Otsu's threshold makes: 0.64 for a single bell, near
    1 for two groups; ``null`` where all loadings are equal.
    """

    component: int
    criterion: Literal["otsu", "quantile", "share"]
    value: float
    separability: float | None


class ClusterEntry(Record):
    """One cluster; ``centre`` is (scan_row, scan_col) in positions."""

    number: int
    n_positions: int
    area_nm2: float | None
    centre: tuple[float, float]
    mean_loading: float


class ClassEntry(Record):
    """The positions at which one component is present."""

    component: int
    n_positions: int
    area_nm2: float | None
    n_clusters: int
    n_positions_in_no_cluster: int
    clusters: tuple[ClusterEntry, ...] = Field(description="the largest ones, largest first")


class DatasetClasses(Record):
    """The classes of one data set; areas are ``null`` where ``no_area`` says why."""

    dataset: str
    scan_step_nm: tuple[float, float] | None
    no_area: str | None
    classes: tuple[ClassEntry, ...]
    pattern_centre_px: tuple[float, float] | None = Field(
        default=None, description="where the undiffracted beam is in the mean patterns, (det_row, det_col)"
    )
    no_patterns: str | None = Field(default=None, description="why there are no mean patterns")
