"""The step: read what the other steps wrote, write ``session.html`` and ``session.json``."""

from __future__ import annotations

from pathlib import Path

from stemcal.records.atomic import read_record, write_record, write_text
from stemcal.records.base import Quality, Settings
from stemcal.records.manifest import Manifest
from stemcal.records.provenance import provenance, small_input
from stemcal.records.session import SessionRecord
from stemcal.report.collect import collect
from stemcal.report.page import render
from stemcal.report.summarise import session_verdict, summarise

METHOD = "collected from the manifest, the records, the failure records and the figures of the session"


def run_report(manifest_path: Path, processing: Path, *, source: dict[str, object]) -> SessionRecord:
    """Write the page and the record of a session.

    Parameters
    ----------
    manifest_path : Path
        The frozen manifest.
    processing : Path
        Folder with the outputs of the session; receives ``session.html`` and ``session.json``.
    source : dict
        Identity of the data, as the workflow passes it.

    Returns
    -------
    SessionRecord
        As written to ``session.json``. A record or figure that is missing or broken is said on the page.

    Raises
    ------
    DataError
        If the manifest cannot be read.
    """
    manifest = read_record(manifest_path, Manifest)
    result = summarise(collect(manifest, processing))
    verdict, flags = session_verdict(result)
    record_path = processing / "session.json"
    record = SessionRecord(
        method=METHOD,
        inputs=(small_input("manifest", manifest_path, record_path),),
        quality=Quality(verdict=verdict, flags=flags),
        provenance=provenance("report", Settings(), source),
        result=result,
    )
    write_text(processing / "session.html", render(record, processing))
    write_record(record_path, record)
    return record
