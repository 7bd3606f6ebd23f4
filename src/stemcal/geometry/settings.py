"""Settings of the geometry step."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stemcal.optics.aberrations import HIGHEST_ORDER
from stemcal.records.base import Settings
from stemcal.records.geometry import Mode


class GeometrySettings(Settings):
    """What is known of the lens, what is tried, and what is required of a geometry."""

    semi_angle_mrad: float | None = Field(
        default=None,
        gt=0,
        description="convergence semi-angle, where the microscope's file does not say it or is not to be believed; "
        "it makes angles and lengths absolute: its error is theirs",
    )
    voltage_tolerance_percent: float = Field(
        default=0.5, gt=0, description="high tension of scan and gain reference may differ by this"
    )
    max_disk_radius_px: float = Field(
        default=32.0,
        ge=8,
        description="a larger bright disk is binned by whole pixels until it fits; memory is that of the disk over the "
        "whole scan, and 32 px carry every aberration up to a phase of 1 rad from pixel to pixel",
    )
    modes: tuple[Mode, ...] = Field(
        default=("thin", "bulk", "kikuchi", "line"),
        min_length=1,
        description="ways of measuring that may decide; where the thin model does not hold the others vote",
    )
    symmetry: Literal["auto", "off"] = Field(
        default="auto",
        description="auto: a four- or sixfold lattice that agrees with the free fit makes the geometry more precise; "
        "off: never assume one",
    )
    max_symmetry_chi_square: float = Field(
        default=4.6,
        gt=0,
        description="largest chi-square per degree of freedom (of two) at which a symmetry is believed; true ones pass "
        "in 99 of 100 cases",
    )
    max_aberration_order: int = Field(
        default=5,
        ge=1,
        le=HIGHEST_ORDER,
        description="highest n of the coefficients C_nm; orders are added while the information criterion pays",
    )
    max_peaks: int = Field(default=36, ge=4, description="peaks of the scan's spectrum that are used, the strongest")
    min_peaks: int = Field(
        default=4, ge=3, description="fewer peaks than this leave the six numbers of lattice and disk undecided"
    )
    resampling_tiles: int = Field(
        default=4,
        ge=2,
        le=8,
        description="the scan is cut into n x n tiles, each left out once for the uncertainties",
    )
    min_explained_energy: float = Field(
        default=0.95,
        gt=0,
        lt=1,
        description="part of the interference that the thin model has to explain; thin samples leave 0.98, 5 nm of "
        "strontium titanate 0.7",
    )
    min_margin: float = Field(
        default=10.0,
        ge=0,
        description="log-likelihood by which the next best geometry (other flip, angle or scale) has to be worse",
    )
    max_sigma_deg: float = Field(
        default=0.5, gt=0, description="largest standard uncertainty of the angle of an axis that passes"
    )
    max_sigma_ratio: float = Field(
        default=0.015, gt=0, description="largest standard uncertainty of the step ratio that passes"
    )
    max_shear_deg: float = Field(
        default=5.0, gt=0, description="scan axes further from a right angle than this are not those of a scan"
    )
    max_step_ratio: float = Field(
        default=1.2, gt=1, description="a ratio of the steps beyond this (or its inverse) is not that of a scan"
    )
    max_determinant_deviation: float = Field(
        default=0.05,
        gt=0,
        description="relative difference of |det B| from what wavelength, step and angle of a pixel make of it",
    )
    half_turn_min_z: float = Field(
        default=3.5, gt=0, description="significance of the correlation with the dark field that decides the half turn"
    )
    half_turn_min_correlation: float = Field(
        default=0.6,
        gt=0,
        le=1,
        description="least correlation of phase and dark field for it; thick samples have 0.2 to 0.4 of either sign",
    )
    max_bad_lines: float = Field(
        default=0.05, gt=0, le=1, description="part of the scan lines that may be unusable without a warning"
    )
    max_radius_sigma: float = Field(
        default=0.01,
        gt=0,
        description="relative standard uncertainty of the aperture's radius that passes; the structure of a crystal's "
        "rim makes it 0.5 %, and the lengths of the steps are as uncertain as it is, their angles and ratio are not",
    )
    max_aperture_ratio: float = Field(
        default=1.03, gt=1, description="ratio of the axes of the aperture beyond which a warning is due"
    )
