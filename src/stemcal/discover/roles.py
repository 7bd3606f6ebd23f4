"""What a data set is for, and which steps follow from that. Pure."""

from __future__ import annotations

import re

from stemcal.discover.session_file import SessionFile, lookup
from stemcal.discover.settings import DiscoverSettings
from stemcal.records.manifest import Role


def decide_role(raw_path: str, settings: DiscoverSettings, session_file: SessionFile) -> tuple[Role, str]:
    """Return the role of a raw file and the reason: a person's word, a pattern of the instrument, or neither."""
    said = lookup(session_file.roles, raw_path)
    if said is not None:
        return said, "session.yaml says so"
    for entry in settings.roles:
        if re.search(entry.pattern, raw_path, re.IGNORECASE):
            return entry.role, f"its path fits the pattern {entry.pattern!r}"
    return "sample", "its path fits no pattern of a reference"


def stages_of(role: Role, *, calibrated: bool, geometry: bool = False) -> tuple[str, ...]:
    """Return the steps that a ready data set goes through, in order.

    Parameters
    ----------
    role : str
        What the data set is for.
    calibrated : bool
        Whether there is a reference that may calibrate it.
    geometry : bool
        Whether its own geometry is measured.
    """
    own = ("geometry",) if geometry else ()
    if role == "gold":
        return ("convert", "gold")
    if role == "gain":
        return ("convert", "gain")
    if role == "sample" and calibrated:
        return ("convert", *own, "calibration", "polar")
    return ("convert", *own)
