"""The provenance block of a record."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from stemcal import __version__
from stemcal.records.base import InputFile, Provenance, Settings
from stemcal.records.checkout import commit, lock_sha256
from stemcal.stages import STAGES


def provenance(stage: str, settings: Settings, source: dict[str, object]) -> Provenance:
    """Return the provenance of what ``stage`` measures with ``settings`` on ``source``.

    Parameters
    ----------
    stage : str
        Name of the step; its revision is taken from the stage table.
    settings : Settings
        The step's settings in full.
    source : dict
        Identity of the raw data, as the workflow passes it; empty for a file given by hand.
    """
    return Provenance(
        stemcal_version=__version__,
        commit=commit(),
        lock_sha256=lock_sha256(),
        stage=stage,
        revision=STAGES[stage].revision,
        settings=settings.model_dump(mode="json"),
        source=source,
    )


def small_input(role: str, path: Path, record: Path) -> InputFile:
    """Return the input entry of a small file (JSON, image) by content, its path relative to ``record``'s folder."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return InputFile(role=role, path=relative_to_record(path, record), sha256=digest)


def relative_to_record(path: Path, record: Path) -> str:
    """Return ``path`` relative to the folder of ``record``, with forward slashes."""
    return Path(os.path.relpath(path.resolve(), record.resolve().parent)).as_posix()
