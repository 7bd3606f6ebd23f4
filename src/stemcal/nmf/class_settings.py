"""Settings of the classes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stemcal.records.base import Settings


class ClassSettings(Settings):
    """Where a component counts as present, and what makes a cluster of such positions."""

    threshold: Literal["otsu", "quantile", "share"] = Field(
        default="otsu",
        description="otsu: the loading that parts all loadings of the component best into two groups; quantile: the "
        "loading that the fraction `quantile` of all positions stays below; share: the component carries at least "
        "`share` of the scattering at the position, vacuum left aside",
    )
    quantile: float = Field(default=0.9, gt=0, lt=1, description="for threshold quantile")
    share: float = Field(default=0.5, gt=0, le=1, description="for threshold share")
    cluster_radius_px: float = Field(
        default=1.5,
        ge=1,
        description="two positions are neighbours up to this distance: 1.5 takes in the eight around each",
    )
    min_neighbours: int = Field(
        default=4,
        ge=1,
        description="a position with this many neighbours, itself among them, is inside a cluster; those with fewer "
        "belong to a cluster only if they touch its inside, else to none",
    )
    clusters_in_record: int = Field(
        default=20, ge=0, description="largest clusters of each class that are listed; nmf_classes.hdf5 has them all"
    )
    patterns: bool = Field(
        default=True,
        description="mean diffraction pattern of each class, in one more pass over the frames of every data set",
    )
