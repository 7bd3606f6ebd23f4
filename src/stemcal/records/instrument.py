"""One microscope, as data with bounds: ``config/instruments/<name>.yaml``."""

from __future__ import annotations

from pydantic import Field

from stemcal.records.base import Record
from stemcal.records.microscope import Microscope


class Bounds(Record):
    """What this microscope can be set to; a value outside is a typing error or broken metadata, not a setting."""

    voltage_kv: tuple[float, float]
    nominal_camera_length_m: tuple[float, float]

    def offences(self, optics: Microscope) -> dict[str, str]:
        """Return, by field name, a sentence on each value of ``optics`` that is out of bounds."""
        found = {}
        for name, (low, high) in self:
            value = getattr(optics, name)
            if value is not None and not low <= value <= high:
                found[name] = f"{name} = {value:g} is outside {low:g} to {high:g} and is not believed"
        return found


class Instrument(Record):
    """A microscope with its detector; ``settings`` replace those of ``config/config.yaml``, section by section."""

    name: str
    description: str
    bounds: Bounds
    settings: dict[str, dict[str, object]] = Field(default_factory=dict)
