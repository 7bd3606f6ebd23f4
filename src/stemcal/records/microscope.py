"""What the microscope wrote about one acquisition."""

from __future__ import annotations

from pydantic import Field

from stemcal.records.base import Record


class Microscope(Record):
    """Microscope settings of one acquisition, units in the names; ``None`` where the file does not say.

    The values are the microscope's own words: a *nominal* camera length is what the column was asked for, not a
    measurement. ``merlin_camera_length_m`` is what its file says for the Merlin detector.
    """

    voltage_kv: float | None = Field(default=None, gt=0)
    nominal_camera_length_m: float | None = Field(default=None, gt=0)
    merlin_camera_length_m: float | None = Field(default=None, gt=0)
    convergence_semi_angle_mrad: float | None = Field(default=None, gt=0)
    scan_step_nm: float | None = Field(default=None, gt=0)
    field_of_view_nm: float | None = Field(default=None, gt=0)
    scan_size_px: int | None = Field(default=None, gt=0)
    dwell_time_us: float | None = Field(default=None, gt=0)
    defocus_nm: float | None = None
    magnification: float | None = None
    scan_rotation_deg: float | None = None
    spot_size: float | None = None
    aperture_index: int | None = None
    stage_x_um: float | None = None
    stage_y_um: float | None = None
    stage_z_um: float | None = None
    stage_tilt_x_deg: float | None = None
    stage_tilt_y_deg: float | None = None
