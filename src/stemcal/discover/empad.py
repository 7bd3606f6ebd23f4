"""EMPAD acquisitions in a session: listed, so that nobody wonders where they are, and left alone.

The workflow converts Merlin files only. Every verb takes the ``.xml`` by hand.
"""

from __future__ import annotations

from pathlib import Path

from stemcal.discover.facts import Facts
from stemcal.discover.snapshot import Acquisition, FileStat
from stemcal.errors import DataError
from stemcal.formats.empad import read_xml
from stemcal.formats.empad_raw import FRAME_SHAPE

_XML = ".xml"
_REASON = "EMPAD files are not converted by the workflow: give the .xml to stemcal gold, calibration, polar by hand"


def group_empad(files: dict[str, FileStat]) -> tuple[Acquisition, ...]:
    """Return what may be EMPAD acquisitions: every ``.xml`` in a folder with a ``.raw``."""
    folders = {path.rpartition("/")[0] for path in files if path.lower().endswith(".raw")}
    found = (path for path in files if path.lower().endswith(_XML) and path.rpartition("/")[0] in folders)
    return tuple(Acquisition(path, (files[path],), None, None, _XML) for path in found)


def is_empad(acquisition: Acquisition) -> bool:
    """Tell whether `group_empad` found it."""
    return acquisition.raw_suffix == _XML


def read_empad_facts(session: Path, acquisition: Acquisition) -> Facts | None:
    """Return what the ``.xml`` says, or None if it is of anything else than an EMPAD."""
    try:
        xml = read_xml(session / acquisition.path)
    except DataError:
        return None
    return Facts(left_alone=_REASON, frame_shape=FRAME_SHAPE, first_timestamp=xml.acquired_at)
