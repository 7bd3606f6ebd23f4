"""Settings of the gain step."""

from __future__ import annotations

from pydantic import Field

from stemcal.records.base import Settings


class GainSettings(Settings):
    """What counts as a faulty pixel, how the dose is described, and what is required of a flat field."""

    dose_degree: int = Field(
        default=1,
        ge=0,
        le=3,
        description="degree of the polynomial that stands for the dose over the detector; a spread beam leaves a "
        "plane, and every degree more takes a piece of the detector's own response with it",
    )
    resampling_blocks: int = Field(
        default=16,
        ge=4,
        le=16,
        description="runs of frames whose scatter gives the uncertainties and finds noisy pixels: 16 know a standard "
        "deviation to a fifth",
    )
    outlier_sigma: float = Field(
        default=6.0,
        gt=3,
        description="a pixel this many standard deviations (spread of the gain and counting) off its surroundings is "
        "dead or hot; 6 takes no sound pixel of a megapixel",
    )
    min_outlier: float = Field(
        default=0.15,
        gt=0,
        lt=1,
        description="and it has to be off by this part at least: on a very even detector a pixel that is off by less "
        "is corrected and not lost",
    )
    max_faulty_fraction: float = Field(
        default=0.05, gt=0, lt=1, description="more dead, hot and noisy pixels than this are no detector but a shadow"
    )
    warn_structure: float = Field(
        default=0.01,
        gt=0,
        description="rms of what neighbouring pixels share beyond the dose polynomial: chips of a quad differ by 1 to "
        "2 %",
    )
    max_structure: float = Field(
        default=0.03, gt=0, description="beyond this the beam was not uniform: rings, an edge, a specimen"
    )
    max_patch: float = Field(
        default=0.15, gt=0, description="largest deviation of a patch of 8 x 8 pixels from the dose polynomial"
    )
    warn_noise_ratio: float = Field(
        default=0.5,
        gt=0,
        description="uncertainty of the gain over its spread: at 0.5 a quarter of the pixels' variance is left",
    )
    max_noise_ratio: float = Field(
        default=1.0, gt=0, description="at 1 a correction adds as much variance as it takes away"
    )
    max_saturated_fraction: float = Field(
        default=1e-3,
        gt=0,
        lt=1,
        description="part of all counts that may stand at the ceiling of the counter; 1e-3 lowers the mean by some "
        "1e-4",
    )
    parity_sigma: float = Field(
        default=5.0, gt=0, description="even and odd frames differ when their chi-square is this far above chance"
    )
    parity_chi_square: float = Field(
        default=2.0,
        ge=1,
        description="and get factors of their own when the reduced chi-square exceeds this: below 2 halving the counts "
        "costs more than the difference",
    )
