"""Settings of the polar step."""

from __future__ import annotations

from pydantic import Field, field_validator

from stemcal.records.base import Settings

_ROUNDING = 1e-9
_HIGHEST_ORDER = 12


class PolarSettings(Settings):
    """How the rings are laid out and what counts as measured."""

    bin_width_px: float = Field(
        default=1.0,
        ge=0.5,
        description="width of a radial bin in pixels of the round, area-preserving frame; below one pixel neighbouring "
        "bins share most of their pixels, much above it the slope of the profile inside a bin adds to its variance",
    )
    q_max_per_angstrom: float | None = Field(
        default=None,
        gt=0,
        description="last radius; null reaches as far out as min_ring_coverage allows",
    )
    min_ring_coverage: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="part of a ring that has to lie on valid pixels for it to be the last one: 0.1 goes most of the "
        "way into the corners, where few pixels would stand for a whole ring",
    )
    subsamples: int = Field(
        default=4,
        ge=1,
        le=16,
        description="each pixel is shared out among the bins by n x n points; 4 gives its area to about 1 percent of a "
        "pixel, and profiles within 1e-3 of exact pixel splitting",
    )
    origin_step_px: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="the fitted origin is rounded to this step, 1 over a whole number: 0.25 moves the mean profile by "
        "a tenth of its own standard error",
    )
    min_effective_pixels: float = Field(
        default=2.0,
        gt=1,
        description="a variance needs at least this many effective pixels; with fewer it is missing",
    )
    counts_per_electron: float = Field(
        default=1.0,
        gt=0,
        description="variance over mean of the detector under uniform light: 1 for a counting detector; the "
        "shot-noise corrected variance subtracts this many times the mean",
    )
    symmetry_orders: tuple[int, ...] = Field(
        default=(),
        description="orders n of the Fourier coefficients around each ring that are measured, as [2, 4, 6]; none by "
        "default, which saves time",
    )
    corrected_frames: bool = Field(
        default=False,
        description="also write the frames themselves without ellipse and descan, count-conserving float32; takes as "
        "much disk as the counts or more, and the profiles do not need it",
    )
    ripple: bool = Field(
        default=False,
        description="also write mean and variance as Lispix ripple (.rpl and .raw), for programs that read no HDF5",
    )
    operator_cache_mb: int = Field(
        default=192,
        ge=1,
        description="memory kept for the tables of fractions of a pixel, and as much for those of the symmetry orders, "
        "enough for all of a detector of 515 x 515; no effect on results",
    )
    band_edges_per_angstrom: tuple[float, float, float, float] = Field(
        default=(0.2, 0.3, 0.4, 0.6),
        description="edges of the three bands whose maps are drawn; 0.2 to 0.6 holds the first rings of most materials",
    )

    @field_validator("origin_step_px")
    @classmethod
    def _divides_a_pixel(cls, value: float) -> float:
        if abs(round(1 / value) * value - 1) > _ROUNDING:
            raise ValueError(f"{value} does not divide a pixel: give 1, 0.5, 0.25, 0.2, 0.125, 0.1 or the like")
        return value

    @field_validator("symmetry_orders")
    @classmethod
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value)) or any(not 1 <= order <= _HIGHEST_ORDER for order in value):
            raise ValueError(
                f"{list(value)} are not rising orders from 1 to {_HIGHEST_ORDER}: give [2, 4, 6] or the like"
            )
        return value
