"""Which earlier calibrations a gold data set is compared with: decided once, when it enters the workflow.

A comparison is part of the parameter of its rule. If it were looked up at every tick, a calibration of another session
that comes to be known later would run this one's gold again, and everything that stands on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stemcal.errors import DataError
from stemcal.history.entries import data_identity, is_before, last_of, same_settings
from stemcal.history.file import read_history
from stemcal.records.history import HistoryEntry
from stemcal.records.manifest import Dataset, Manifest

_IN_THE_WORKFLOW = ("ready", "held", "archived")


@dataclass(frozen=True)
class Past:
    """The history as it is known now, and what was decided before.

    Attributes
    ----------
    instrument : str
        Name of the instrument.
    entries : tuple of HistoryEntry
        All that the file holds.
    warning : str or None
        Why the file cannot be used.
    before : Manifest or None
        Of the last tick.
    """

    instrument: str
    entries: tuple[HistoryEntry, ...]
    warning: str | None
    before: Manifest | None

    def compared_with(self, dataset: Dataset) -> list[dict[str, object]]:
        """Return the calibrations that the gold step may compare ``dataset`` with: of each size of frames the last."""
        if "gold" not in dataset.stages:
            return []
        decided = self._decided(dataset)
        if decided is not None:
            kept = decided.source.get("history", [])
            return list(kept) if isinstance(kept, list | tuple) else []
        series: dict[tuple[object, ...], list[HistoryEntry]] = {}
        for one in self._earlier(dataset):
            series.setdefault((one.frame_shape, one.detector_pixel_um), []).append(one)
        last = (last_of(found) for _, found in sorted(series.items()))
        return [one.model_dump(mode="json", by_alias=True) for one in last if one is not None]

    def shown(self, datasets: dict[str, Dataset], length: int) -> tuple[HistoryEntry, ...]:
        """Return the calibrations that the page shows beside the session's own, at most ``length``, the latest."""
        golds = [one for one in datasets.values() if "gold" in one.stages]
        if self.before is not None and all(self._decided(one) is not None for one in golds):
            return self.before.gold_history
        own = {identity_of(one) for one in datasets.values() if one.role == "gold"}
        found = {one.identity: one for gold in golds for one in self._earlier(gold) if one.identity not in own}
        return tuple(one for one in self.entries if one.identity in found)[-length:]

    def _decided(self, dataset: Dataset) -> Dataset | None:
        """Return the data set as the last tick saw it, if it was in the workflow and is the same acquisition."""
        old = self.before.datasets.get(dataset.id) if self.before else None
        known = old is not None and old.role == "gold" and old.verdict in _IN_THE_WORKFLOW
        return old if old is not None and known and old.identity == dataset.identity else None

    def _earlier(self, dataset: Dataset) -> list[HistoryEntry]:
        optics, when = dataset.microscope, dataset.acquired_at
        if optics is None or when is None:
            return []
        return [
            one
            for one in self.entries
            if same_settings(one, self.instrument, optics.voltage_kv, optics.nominal_camera_length_m)
            and one.identity != identity_of(dataset)
            and is_before(one, when)
        ]


def history_path(processing: Path, setting: str) -> Path:
    """Return where the history of the instrument is."""
    return processing / setting


def look_back(processing: Path, setting: str, instrument: str, before: Manifest | None) -> Past:
    """Read the history; one that cannot be used is a warning, which names it as the setting does."""
    try:
        return Past(instrument, read_history(history_path(processing, setting)), None, before)
    except DataError as error:
        what = f"{setting}: {error.problem}; {error.remedy}"
        return Past(instrument, (), f"{what}; until then nothing is compared with it or added to it", before)


def identity_of(dataset: Dataset) -> str:
    """Return the digest by which a data set is known in the history."""
    return data_identity(dataset.identity.model_dump(mode="json") if dataset.identity else {})
