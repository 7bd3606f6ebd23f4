"""``session.yaml``: what a person may say about a session that the files do not."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import Field, ValidationError

from stemcal.errors import UsageError
from stemcal.records.base import Record
from stemcal.records.manifest import Role
from stemcal.records.microscope import Microscope

ValueT = TypeVar("ValueT")

SESSION_FILE = "session.yaml"


class SessionFile(Record):
    """Overrides for one session; each table goes from a shell pattern of the raw path to a value, first match wins."""

    instrument: str | None = None
    ignore: tuple[str, ...] = ()
    roles: dict[str, Role] = Field(default_factory=dict)
    scan_shapes: dict[str, tuple[int, int]] = Field(default_factory=dict)
    microscope: dict[str, Microscope] = Field(default_factory=dict)
    gold: dict[str, str] = Field(default_factory=dict, description="pattern of scans: pattern of the one gold file")
    gain: dict[str, str] = Field(default_factory=dict, description="pattern of scans: pattern of the one gain file")
    geometry: dict[str, bool] = Field(
        default_factory=dict, description="pattern of scans: whether their geometry is measured"
    )
    settings: dict[str, dict[str, object]] = Field(default_factory=dict)


def read_session_file(session: Path) -> SessionFile:
    """Read ``session.yaml`` in the session folder; an absent file says nothing.

    Raises
    ------
    UsageError
        If it is not YAML or holds an unknown key or value; the message names the key.
    """
    path = session / SESSION_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return SessionFile()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    try:
        return SessionFile.model_validate(yaml.safe_load(text) or {})
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: is not YAML: {error}; docs/discover.md shows an example") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise UsageError(f"{path}: {place}: {first['msg']}; docs/discover.md lists the keys") from error


def lookup(table: dict[str, ValueT], raw_path: str) -> ValueT | None:
    """Return the value of the first pattern in ``table`` that fits ``raw_path``, or None."""
    return next((value for pattern, value in table.items() if fits(raw_path, pattern)), None)


def fits(raw_path: str, pattern: str) -> bool:
    """Tell whether a raw path fits a shell pattern, as a whole or as the folder it lies in."""
    return fnmatchcase(raw_path, pattern) or fnmatchcase(raw_path, f"{pattern.rstrip('/')}/*")
