"""``<id>_gain.json``: how strongly each pixel of the detector answers, from a scan under a uniform beam."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stemcal.records.base import Measurement, Record


class GainPixels(Record):
    """How many pixels are valid, and what is wrong with the others."""

    n_valid: int
    n_masked: int = Field(description="invalid in the data set already")
    n_dead: int = Field(description="no counts, or far fewer than around them")
    n_hot: int = Field(description="far more counts than around them")
    n_noisy: int = Field(description="counts that scatter far more than counting does")


class GainDose(Record):
    """The dose over the detector.

    Polynomial of total ``degree`` in the detector's row v and column u, each scaled to [-1, 1], terms in the order
    1, v, u, v^2, vu, u^2, ...
    """

    degree: int
    coefficients: tuple[float, ...] = Field(description="counts per pixel and frame")
    least: float = Field(description="smallest dose at a valid pixel, counts per frame")
    greatest: float
    structure_rms: float = Field(description="what neighbouring pixels share beyond it, relative")
    largest_patch: float = Field(description="largest deviation of a patch of 8 x 8 pixels from it, relative")


class GainParity(Record):
    """Even against odd frames: chi-square per degree of freedom of a common gain pattern."""

    reduced_chi_square: float
    sigmas_above_chance: float
    level_ratio: float = Field(description="counts per even frame over counts per odd frame")


class GainResult(Record):
    """What the flat field says of the detector.

    ``file`` holds the factors by which counts are multiplied; it is relative to the folder of the record.
    """

    file: str
    file_sha256: str
    parity: Literal["joint", "separate"] = Field(description="separate: even and odd frames have factors of their own")
    parity_test: GainParity | None
    n_frames: int
    n_frames_total: int
    counts_per_pixel: float = Field(description="median over the valid pixels, all frames")
    gain_spread: float = Field(description="relative standard deviation over the valid pixels, without counting noise")
    gain_noise: float = Field(description="median relative uncertainty of a factor from counting")
    gain_noise_runs: float | None = Field(description="the same from the scatter between runs of frames")
    dispersion: float | None = Field(description="variance between runs over that of counting, median over the pixels")
    n_resampling_blocks: int
    pixels: GainPixels
    dose: GainDose


class GainRecord(Measurement):
    """The record of a gain reference."""

    schema_id: Literal["stemcal/gain/1"] = Field(default="stemcal/gain/1", alias="schema")
    voltage_kv: float | None
    acquired_at: str | None
    frame_shape: tuple[int, int] | None
    dtype: str
    result: GainResult | None
