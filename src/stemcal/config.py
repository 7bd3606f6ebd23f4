"""The configuration: one section per step, defaults from the models, instrument and session on top.

Order of precedence, later wins: the models' defaults, ``config/config.yaml``, the instrument's file, a file given with
``--config``, the session's ``session.yaml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import Field, ValidationError

from stemcal.calibration.settings import CalibrationSettings
from stemcal.convert.settings import ConvertSettings
from stemcal.discover.settings import DiscoverSettings
from stemcal.errors import UsageError
from stemcal.gain.settings import GainSettings
from stemcal.geometry.settings import GeometrySettings
from stemcal.gold.settings import GoldSettings
from stemcal.nmf.settings import NmfSettings
from stemcal.polar.settings import PolarSettings
from stemcal.records.base import Record, Settings
from stemcal.records.checkout import checkout_root
from stemcal.records.instrument import Instrument

RecordT = TypeVar("RecordT", bound=Record)


class ConfigFile(Record):
    """``config/config.yaml``: every setting of every step."""

    instrument: str = Field(
        default="epsic_e02", description="name of a file in config/instruments; session.yaml may choose another"
    )
    discover: DiscoverSettings = DiscoverSettings()
    convert: ConvertSettings = ConvertSettings()
    gold: GoldSettings = GoldSettings()
    gain: GainSettings = GainSettings()
    geometry: GeometrySettings = GeometrySettings()
    calibration: CalibrationSettings = CalibrationSettings()
    polar: PolarSettings = PolarSettings()
    nmf: NmfSettings = NmfSettings()

    def section(self, stage: str) -> Settings:
        """Return the settings of ``stage``."""
        section = getattr(self, stage)
        assert isinstance(section, Settings)
        return section

    def sections(self) -> dict[str, dict[str, object]]:
        """Return the settings of every step by name, as plain JSON values."""
        values = self.model_dump(mode="json")
        return {stage: settings for stage, settings in values.items() if isinstance(settings, dict)}


def resolve(
    *, overrides: Path | None = None, instrument: str | None = None, session: Mapping[str, object] | None = None
) -> tuple[ConfigFile, Instrument]:
    """Return the configuration that is in force, and the instrument.

    Parameters
    ----------
    overrides : Path or None
        A YAML file with sections that differ (``--config``).
    instrument : str or None
        Name of the instrument; replaces the configuration's.
    session : mapping or None
        The ``settings`` of ``session.yaml``.

    Raises
    ------
    UsageError
        If a file cannot be read, or a key or value is not allowed; the message names it.
    """
    facility = _read_yaml(checkout_root() / "config" / "config.yaml")
    given = _read_yaml(overrides) if overrides else {}
    name = instrument or given.get("instrument") or facility.get("instrument") or ConfigFile().instrument
    microscope = read_instrument(str(name))
    layers: tuple[Mapping[str, object], ...] = (facility, microscope.settings, given, session or {})
    merged: dict[str, object] = {}
    for layer in layers:
        merged = _merge(merged, layer)
    merged["instrument"] = str(name)
    return _validated(ConfigFile, merged, "the configuration"), microscope


def read_instrument(name: str) -> Instrument:
    """Return the instrument of that name.

    Raises
    ------
    UsageError
        If there is no such file, or it does not fit the model.
    """
    folder = checkout_root() / "config" / "instruments"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in folder.glob("*.yaml")))
        raise UsageError(f"there is no instrument {name!r}; known are: {known}")
    return _validated(Instrument, _read_yaml(path), str(path))


def _read_yaml(path: Path) -> dict[str, object]:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: is not YAML: {error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path}: holds a {type(value).__name__}; sections with keys are expected")
    return value


def _merge(base: Mapping[str, object], top: Mapping[str, object]) -> dict[str, object]:
    """Return ``base`` with the keys of ``top`` put over it, section by section.

    A value within a section is replaced as a whole, even where it has keys itself: half of one standard with half of
    another is neither.
    """
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = below | value if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _validated(model: type[RecordT], values: object, where: str) -> RecordT:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise UsageError(f"{where}: {place}: {first['msg']}; see config/config.yaml") from error
