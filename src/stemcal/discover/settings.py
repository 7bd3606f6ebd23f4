"""Settings of ``discover``."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from stemcal.records.base import Settings
from stemcal.records.manifest import Role


class RolePattern(Settings):
    """A role and the regular expression that gives it to a raw file by its path in the session (case ignored)."""

    role: Role
    pattern: str


class DiscoverSettings(Settings):
    """Where raw files are, when they are complete, what they are for, and which references fit which scans."""

    raw_suffix: str = Field(default=".mib", description="ending of the raw files of the detector")
    ignore_folders: tuple[str, ...] = Field(
        default=("processing", ".snakemake"),
        description="folders of the session that hold no raw data; 'processing' is where the outputs go",
    )
    quiet_time_s: float = Field(
        default=600.0,
        ge=0,
        description="a file is settled when size and time stamp have not changed for this long; "
        "ten minutes outlast the longest pause seen between the detector's writes",
    )
    convert_while_growing: bool = Field(
        default=False,
        description="convert the whole frames of a file that is still being written at every tick, so that little is "
        "left to do when it is complete; off, because it reads from the disk that the detector writes to",
    )
    roles: tuple[RolePattern, ...] = Field(
        default=(
            RolePattern(role="gold", pattern=r"(^|[/_ -])au[_ -]?(x|cross)?[_ -]?grat|gold"),
            RolePattern(role="overfocus", pattern=r"over[_ -]?focus"),
            RolePattern(role="vacuum", pattern=r"(^|[/_ -])vac(uum)?([/_ -]|$)"),
            RolePattern(role="geometry", pattern=r"(^|[/_ -])geometry([/_ -]|$)"),
            RolePattern(role="gain", pattern=r"(^|[/_ -])(gain|flat[_ -]?field)([/_ -]|$)"),
        ),
        description="first match wins, everything else is a sample; the defaults are ePSIC's folder names",
    )
    history_file: str = Field(
        default=".stemcal/gold-history.jsonl",
        min_length=1,
        description="gold calibrations of the instrument, one per line: a new one is compared with the last before it. "
        "Relative to the processing folder; give one file that all sessions of an instrument share in its own file",
    )
    history_length: int = Field(
        default=100, ge=1, description="calibrations before this session that its page shows at most"
    )
    edx_pattern: str = Field(
        default=r"(^|/)EDX/(.*\D)?(?P<stamp>\d{8}_\d{6})(\D[^/]*)?\.(rpl|hspy)$",
        description="regular expression of EDX maps by their path in the session (case ignored); what it calls `stamp` "
        "is the time stamp in the name of the scan that the map belongs to",
    )
    geometry_max_step_angstrom: float = Field(
        default=1.0,
        gt=0,
        description="scans with a step up to this show atoms, so that their geometry can be measured: lattice planes "
        "2 angstrom apart then have two positions each",
    )
    geometry_max_defocus_nm: float = Field(
        default=60.0,
        gt=0,
        description="further from focus than this the interference is too fine for the pixels of the camera; scans "
        "whose microscope's file does not say the defocus are taken for focused",
    )
    geometry_references: int = Field(
        default=8,
        ge=1,
        description="scans whose geometry is pooled for one scan at most, the nearest in time: a new one then runs the "
        "calibration of a few scans again and not of all",
    )
    voltage_tolerance_percent: float = Field(
        default=0.5,
        gt=0,
        description="high tension of scan and reference may differ by this; it is a setting, not noise",
    )
    camera_length_tolerance_percent: float = Field(
        default=1.0, gt=0, description="nominal camera lengths are round numbers; 1 % absorbs their rounding only"
    )

    @field_validator("edx_pattern")
    @classmethod
    def _names_the_stamp(cls, value: str) -> str:
        try:
            names = re.compile(value).groupindex
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from error
        if "stamp" not in names:
            raise ValueError(f"{value!r} has no group (?P<stamp>...) for the time stamp")
        return value
