"""Settings of the gold step."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stemcal.gold.standard import CubicStandard, TabulatedStandard
from stemcal.optics.rings import GOLD_LATTICE_CONSTANT_ANGSTROM
from stemcal.records.base import Settings

GOLD = CubicStandard(kind="cubic", name="gold", lattice_constant_angstrom=GOLD_LATTICE_CONSTANT_ANGSTROM, centring="F")


class GoldSettings(Settings):
    """What the standard is, where to look for its rings, and what is required of them."""

    standard: Annotated[CubicStandard | TabulatedStandard, Field(discriminator="kind")] = Field(
        default=GOLD,
        description="the powder, cubic or as a table of rings (docs/gold.md); replaced as a whole. 4.0782 is Au at "
        "293 K; the 4.08 that is often typed makes every pixel size 4.4e-4 too small",
    )
    detector_pixel_um: float = Field(
        default=55.0, gt=0, description="Medipix3 and Merlin; turns the pixel size into a camera length"
    )
    camera_length_ratio_min: float = Field(
        default=0.7,
        gt=0,
        description="effective over nominal camera length, lower end of the search; 1.4 to 2.5 was seen at ePSIC E02",
    )
    camera_length_ratio_max: float = Field(
        default=3.0, gt=0, description="effective over nominal camera length, upper end of the search"
    )
    descan_degree: int = Field(
        default=2, ge=0, le=4, description="descan is a plane with a little curvature; 2 leaves 0.01 px"
    )
    resampling_tiles: int = Field(
        default=4,
        ge=2,
        le=8,
        description="the scan is cut into n x n tiles, each left out once for the uncertainties: 16 tiles know a "
        "standard deviation to a fifth, and a grain seldom lies in two of them",
    )
    largest_strain: float = Field(
        default=0.075,
        gt=0,
        le=0.15,
        description="largest elliptical strain looked for: 0.075 is a ratio of 1.16, E02 has 1.07",
    )
    min_rings: int = Field(
        default=3, ge=3, description="rings a result stands on at least: two rings fit any pair of radii by some scale"
    )
    min_ring_coverage: float = Field(
        default=0.25, gt=0, le=1, description="part of a ring on valid pixels that makes it count as one"
    )
    min_score: float = Field(
        default=0.55,
        gt=0,
        le=1,
        description="smallest score of the comb of rings: gold reaches 0.6 to 0.98, halos and other lattices less",
    )
    drift_sigmas: float = Field(
        default=5.0,
        gt=0,
        description="a change since the previous calibration is told when it exceeds this many combined standard "
        "uncertainties and one of the two limits below",
    )
    drift_pixel_size: float = Field(
        default=0.005,
        gt=0,
        description="relative change of the pixel size; 0.5 % is half a pixel of 0.01 1/angstrom at 1 1/angstrom",
    )
    drift_ratio: float = Field(
        default=0.005, gt=0, description="change of the ellipse (ratio and angle together) in the ratio of its axes"
    )
    max_runner_up: float = Field(
        default=0.85,
        gt=0,
        lt=1,
        description="largest score of the second-best comb over that of the best; above it the scale is ambiguous",
    )
