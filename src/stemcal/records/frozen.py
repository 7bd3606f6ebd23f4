"""Manifests on disk: named by their content, so that a running workflow never sees one change under it."""

from __future__ import annotations

from pathlib import Path

from stemcal.errors import DataError
from stemcal.records.atomic import read_record, record_json, write_text
from stemcal.records.manifest import Manifest
from stemcal.stages import digest

_DIGEST_LENGTH = 16


def state_folder(processing: Path) -> Path:
    """Return the folder inside ``processing`` for all that is not a result: manifests, lock, logs of the driver."""
    return processing / ".stemcal"


def freeze(manifest: Manifest, processing: Path) -> Manifest:
    """Write ``manifest`` under the name of its content and as the latest one; return it with its ``path`` set.

    An unchanged session gives the same file, which is then not written again.
    """
    name = f"{digest(record_json(manifest.model_copy(update={'path': ''})))[:_DIGEST_LENGTH]}.json"
    path = state_folder(processing) / "manifests" / name
    frozen = manifest.model_copy(update={"path": path.relative_to(processing).as_posix()})
    text = record_json(frozen)
    for final in (path, latest_path(processing)):
        if not final.is_file() or final.read_text(encoding="utf-8") != text:
            write_text(final, text)
    return frozen


def latest_path(processing: Path) -> Path:
    """Return where a copy of the latest manifest is."""
    return state_folder(processing) / "manifest.json"


def read_latest(processing: Path) -> Manifest | None:
    """Return the latest manifest, or None if there is none that this version can read."""
    path = latest_path(processing)
    if not path.is_file():
        return None
    try:
        return read_record(path, Manifest)
    except DataError:
        return None
