"""Settings of the factorisation."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from stemcal.records.base import Settings

Quantity = Literal["mean", "variance"]


class NmfSettings(Settings):
    """What is factorised, over which range, with how many components."""

    quantity: Quantity = Field(
        default="mean",
        description="mean: the mean intensity of a mixture is the sum of its parts, which is the model that is fitted, "
        "and its noise is that of counting; variance: shows speckle and grains more strongly, but does not add up, and "
        "at low dose it is mostly shot noise",
    )
    q_min_per_angstrom: float = Field(
        default=0.2,
        ge=0,
        description="lower end of the profiles, or direct_beam_margin radii of the bright disk where that is more",
    )
    q_max_per_angstrom: float | None = Field(
        default=1.2,
        gt=0,
        description="upper end of the profiles, or the end of the data where they end before; beyond 1.2 most "
        "materials scatter little; null takes all",
    )
    direct_beam_margin: float = Field(
        default=1.15,
        ge=1,
        description="profiles begin at this many radii of the bright disk: the blurred edge of the disk is outside",
    )
    dose_scaling: bool = Field(
        default=True,
        description="divide each data set by its mean counts per frame, direct beam included, so that scans of "
        "different dwell times compare; vacuum stays as empty as it is, which no scaling to its own maximum does",
    )
    max_components: int = Field(default=10, ge=1, le=40, description="largest number of components that is tried")
    n_components: int | None = Field(
        default=None, ge=1, le=40, description="number of components; null chooses it from the scan of numbers"
    )
    min_gain: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="one more component has to remove this part of the variance that is still unexplained, and at "
        "least twice what it would remove from pure noise",
    )
    min_explained: float = Field(
        default=0.01,
        ge=0,
        lt=1,
        description="one more component has to raise the explained part of all variance by this much; what explains "
        "less is mostly the texture of single grains. A phase that is rarer than that needs n_components",
    )
    min_stability: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="cosine that a component must keep when it is fitted to either half of the profiles; below it the "
        "component is flagged as not reproducible",
    )
    max_missing_fraction: float = Field(
        default=0.02,
        ge=0,
        lt=1,
        description="a radial bin that is missing at more than this part of the positions is left out; after that, "
        "positions with any missing bin are",
    )
    max_profiles_in_fit: int = Field(
        default=20000,
        ge=100,
        description="components are fitted to a seeded random sample of this many profiles, in shares by data set, and "
        "every position is then expressed in them; more costs time and changes components by less than their noise",
    )
    max_iterations: int = Field(default=600, ge=10, description="of coordinate descent; reaching it is flagged")
    tolerance: float = Field(
        default=1e-4,
        gt=0,
        description="coordinate descent stops when ten sweeps lower the sum of squares by less than this part of it",
    )
    random_seed: int = Field(default=20, ge=0, description="of the sample and of the start; equal seeds, equal bytes")
    scans_in_figure: int = Field(default=10, ge=1, le=40, description="rows of nmf_maps.png; nmf.hdf5 has them all")

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> Self:
        if self.q_max_per_angstrom is not None and self.q_max_per_angstrom <= self.q_min_per_angstrom:
            raise ValueError(
                f"q_max {self.q_max_per_angstrom} has to exceed q_min {self.q_min_per_angstrom} 1/angstrom"
            )
        return self
