"""Settings of ``convert``."""

from __future__ import annotations

from pydantic import Field

from stemcal.records.base import Settings


class ConvertSettings(Settings):
    """Section ``convert`` of the configuration."""

    n_sample_frames: int = Field(
        default=64,
        ge=1,
        description="frames, evenly spaced over the scan, whose sum locates the bright disk: enough for a sharp edge "
        "at 1 count per pixel, few enough to cost nothing",
    )
    annular_bright_field_inner_radii: float = Field(
        default=0.5, ge=0, lt=1, description="inner edge of the annular bright field, in radii of the bright disk"
    )
    annular_dark_field_inner_radii: float = Field(
        default=1.2,
        ge=1,
        description="inner edge of the annular dark field, in radii of the bright disk: clear of its blurred edge; the "
        "outer edge is that of the detector",
    )
    high_angle_dark_field_inner_radii: float = Field(
        default=3.0,
        ge=1,
        description="inner edge of the high-angle annular dark field, in radii of the bright disk: beyond the first "
        "Bragg disks, where scattering is mostly by atomic number",
    )
    chip_gap_px: int = Field(
        default=0,
        ge=0,
        le=16,
        description="pixels between the chips of a 2 x 2 detector that are put into the frames, never valid: 0 for "
        "none, 3 for ePSIC's cross (512 becomes 515)",
    )
    bin_detector_px: int = Field(
        default=1, ge=1, description="also write the frames summed over so many detector pixels along either axis"
    )
    bin_scan_positions: int = Field(
        default=1, ge=1, description="also write the frames summed over so many scan positions along either axis"
    )
    mask_file: str | None = Field(
        default=None,
        description="detector mask: .npy or HDF5 with one boolean image, of the frame's shape with or without the gap "
        "between the chips, and in RosettaSciIO's row order",
    )
    mask_true_is_bad: bool = Field(
        default=True, description="what True means in mask_file: a bad pixel (ePSIC's masks) or, if false, a good one"
    )
    detect_dead_pixels: bool = Field(
        default=True, description="mark pixels that never count while their neighbours on both sides do"
    )
    dead_pixel_min_counts: int = Field(
        default=20,
        ge=1,
        description="counts of the whole scan that the neighbours on both sides need: a live pixel between such "
        "neighbours stays at 0 with a chance of exp(-20), 0.0005 of one pixel in 512 x 512",
    )
    dead_pixel_max_width_px: int = Field(
        default=5,
        ge=1,
        description="widest dead line that is recognised: 3 px of gap and an edge pixel on either side; anything wider "
        "is taken for a dark region",
    )
    detect_hot_pixels: bool = Field(
        default=True, description="mark single pixels that count far more than everything around them"
    )
    hot_pixel_factor: float = Field(
        default=10.0,
        gt=1,
        description="how much more a hot pixel counts than the brightest of its eight neighbours: no diffraction "
        "feature is that sharp, even a spot of half a pixel gives its neighbour a seventh",
    )
    hot_pixel_min_counts: int = Field(
        default=20,
        ge=2,
        description="counts of the whole scan that a hot pixel has at least; a few among empty neighbours are chance",
    )
