"""The files that are generated from the models: ``config/config.yaml`` and the JSON schemas.

``scripts/generate`` writes them; a test holds them in step with the models.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator

import yaml

from stemcal.config import ConfigFile
from stemcal.discover.session_file import SessionFile
from stemcal.records.base import Record, Settings
from stemcal.records.calibration import CalibrationRecord
from stemcal.records.convert import ConvertRecord
from stemcal.records.failure import FailureRecord
from stemcal.records.gain import GainRecord
from stemcal.records.geometry import GeometryRecord
from stemcal.records.gold import GoldRecord
from stemcal.records.growth import Growth
from stemcal.records.history import HistoryEntry
from stemcal.records.instrument import Instrument
from stemcal.records.manifest import Manifest
from stemcal.records.nmf import NmfRecord
from stemcal.records.polar import PolarRecord
from stemcal.records.session import SessionRecord

_WIDTH = 116

_MODELS: dict[str, type[Record]] = {
    "config": ConfigFile,
    "instrument": Instrument,
    "session-yaml": SessionFile,
    "manifest": Manifest,
    "convert": ConvertRecord,
    "growth": Growth,
    "gold": GoldRecord,
    "gold-history": HistoryEntry,
    "geometry": GeometryRecord,
    "gain": GainRecord,
    "calibration": CalibrationRecord,
    "polar": PolarRecord,
    "nmf": NmfRecord,
    "session": SessionRecord,
    "failure": FailureRecord,
}


def generated_files() -> dict[str, str]:
    """Return the text of every generated file by its path in the checkout."""
    schemas = {f"workflow/schemas/{name}.schema.json": _schema(name, model) for name, model in _MODELS.items()}
    return {"config/config.yaml": "\n".join(_config_lines()) + "\n"} | schemas


def _schema(name: str, model: type[Record]) -> str:
    schema = model.model_json_schema(by_alias=True)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"stemcal/{name}"}
    return json.dumps(head | schema, indent=1, ensure_ascii=False) + "\n"


def _config_lines() -> Iterator[str]:
    yield "# Every setting of every step, with its default and why it has that value. Generated from the models by"
    yield "# scripts/generate: a new setting or another description goes there. A facility changes values here, a"
    yield "# microscope's own are in config/instruments, a session's in its session.yaml."
    config = ConfigFile()
    for name, field in ConfigFile.model_fields.items():
        value = getattr(config, name)
        yield ""
        if isinstance(value, Settings):
            yield f"{name}:"
            yield from _section_lines(value)
        else:
            yield from _comment(field.description, "")
            yield from _value_lines(name, value, "")


def _section_lines(settings: Settings, indent: str = "  ") -> Iterator[str]:
    values = settings.model_dump(mode="json")
    for name, field in type(settings).model_fields.items():
        yield from _comment(field.description, indent)
        value = getattr(settings, name)
        if isinstance(value, Settings):
            yield f"{indent}{name}:"
            yield from _section_lines(value, f"{indent}  ")
        else:
            yield from _value_lines(name, values[name], indent)


def _comment(text: str | None, indent: str) -> list[str]:
    return textwrap.wrap(text or "", _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _value_lines(name: str, value: object, indent: str) -> list[str]:
    text = yaml.safe_dump({name: value}, sort_keys=False, width=_WIDTH, allow_unicode=True, default_flow_style=False)
    return textwrap.indent(text, indent).splitlines()
