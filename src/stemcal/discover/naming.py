"""The identifier of a data set: its output prefix, in an alphabet that no shell and no workflow trips over."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
_WORKFLOW_VARIABLE = re.compile(r"<[a-z][a-z0-9_]*>|\{[^{}]*\}")
_DIGEST_LENGTH = 8


def dataset_id(stem: str) -> str:
    """Return the output prefix, relative to the processing folder, of the acquisition at a path without its ending.

    ``Merlin/Au/20241113_110035/20241113_110035_data`` gives ``Merlin/Au/20241113_110035/20241113_110035``. A part
    with other characters than ``[A-Za-z0-9._+-]`` is simplified and gets a digest of its true name, so that two names
    never become one and a name does not depend on its neighbours.
    """
    parts = stem.removesuffix("_data").split("/")
    return "/".join(_safe(part) for part in parts)


def label(stem: str) -> str:
    """Return what people call the data set: its path without the detector's folder and a repeated time stamp."""
    parts = stem.removesuffix("_data").split("/")
    if len(parts) > 1 and parts[-1] == parts[-2]:
        parts = parts[:-1]
    return "/".join(parts[1:] if len(parts) > 1 else parts)


def unusable(raw_path: str) -> str | None:
    """Return why a raw file of this name cannot be worked on, or None: very few names are out of the question."""
    if any(unicodedata.category(character) == "Cc" for character in raw_path):
        return "its name holds a line break or control character; rename it"
    variable = _WORKFLOW_VARIABLE.search(raw_path)
    if variable:
        return f"its name holds {variable[0]}, which Snakemake takes for a variable; rename it"
    return None


def _safe(part: str) -> str:
    folded = unicodedata.normalize("NFKD", part).encode("ascii", "ignore").decode()
    simple = _UNSAFE.sub("_", folded)
    if simple == part and not part.startswith((".", "-")):
        return part
    digest = hashlib.sha256(part.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGEST_LENGTH]
    return f"{simple.lstrip('.-')}-{digest}".lstrip("-")
