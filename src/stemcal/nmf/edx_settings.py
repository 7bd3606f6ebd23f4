"""Settings of the comparison with EDX maps."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from stemcal.records.base import Settings

Window = tuple[float, float]


class ElementLine(Settings):
    """A characteristic line: its name, energy in keV, and where the background beside it is read."""

    name: str
    energy_kev: float = Field(gt=0)
    background_kev: tuple[Window, Window] | None = Field(
        default=None, description="(from, to) below and above the line; null takes windows beside it"
    )


_LINES = (
    ElementLine(name="C K", energy_kev=0.277),
    ElementLine(name="N K", energy_kev=0.392),
    ElementLine(name="O K", energy_kev=0.525),
    ElementLine(name="Al K", energy_kev=1.487),
    ElementLine(name="Si K", energy_kev=1.740),
    ElementLine(name="S K", energy_kev=2.308),
    ElementLine(name="Pd L", energy_kev=2.839, background_kev=((2.68, 2.75), (3.42, 3.52))),
    ElementLine(name="Ti K", energy_kev=4.511),
    ElementLine(name="Fe K", energy_kev=6.404),
    ElementLine(name="Ni K", energy_kev=7.478),
    ElementLine(name="Cu K", energy_kev=8.048, background_kev=((7.70, 7.85), (8.45, 8.60))),
    ElementLine(name="Au L", energy_kev=9.713),
    ElementLine(name="Au M", energy_kev=2.123, background_kev=((1.93, 2.02), (2.44, 2.54))),
)


class EdxSettings(Settings):
    """How an EDX map is brought onto the scan, which lines are read, and what counts as related."""

    lines: tuple[ElementLine, ...] = Field(
        default=_LINES,
        description="lines whose maps are made; one that the spectra do not reach, or that does not stand out of its "
        "background, takes no part in the comparison. Lines nearer than the detector resolves share their counts",
    )
    channel_kev: float | None = Field(
        default=None, gt=0, description="width of a channel where the file states no energy axis"
    )
    offset_kev: float = Field(default=0.0, description="energy of the first channel where the file states no axis")
    resolution_kev: float = Field(
        default=0.13,
        gt=0,
        description="full width at half maximum of the Mn K line; that of others follows from counting statistics",
    )
    window_widths: float = Field(default=1.2, gt=0, description="width of a line's window in full widths of the line")
    background_gap_widths: float = Field(
        default=1.2, gt=0, description="the background windows begin this many full widths from the line"
    )
    background_widths: float = Field(default=0.8, gt=0, description="width of each background window, likewise")
    min_line_sigma: float = Field(
        default=5.0,
        gt=0,
        description="a line has to exceed its background by this many standard deviations of counting",
    )
    min_energy_kev: float = Field(
        default=0.15, ge=0, description="channels below hold the electronic zero and are not counted in the total"
    )
    max_shape_difference: int = Field(
        default=2,
        ge=0,
        description="rows or columns that an EDX map may have more or fewer than the scan: the fly-back column and a "
        "line cut short; more is another scan",
    )
    max_offset: int = Field(
        default=2, ge=0, description="positions by which a map may be out of place beyond what the shapes leave open"
    )
    offset_sigma: float = Field(
        default=3.0,
        gt=0,
        description="an offset is believed if its correlation exceeds every other by this many standard errors",
    )
    offset_p_value: float = Field(
        default=0.01, gt=0, lt=1, description="and if total counts and scattering are related at all at this level"
    )
    spike_factor: float = Field(
        default=2.0,
        gt=1,
        description="a position or column with this many times the counts of its neighbours was dwelt on for too long "
        "and is left out",
    )
    n_surrogates: int = Field(
        default=1999,
        ge=99,
        description="smooth maps without relation that each pair is compared with; more where there are so many "
        "pairs that no corrected p-value could fall below the level",
    )
    significance: float = Field(
        default=0.05, gt=0, lt=1, description="level of the corrected p-value at which a pair is marked"
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [line.name for line in self.lines]
        if len(set(names)) < len(names):
            raise ValueError(f"two lines have the same name: {', '.join(names)}")
        return self
