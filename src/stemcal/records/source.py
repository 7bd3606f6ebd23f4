"""The identities that decide a data set's outputs, as they enter the parameter of a rule."""

from __future__ import annotations

from collections.abc import Mapping

from stemcal.records.manifest import Dataset


def source_of(dataset: Dataset, datasets: Mapping[str, Dataset]) -> dict[str, object]:
    """Return the ``source`` of `stemcal.stages.parameter` for ``dataset``.

    Parameters
    ----------
    dataset : Dataset
        The data set.
    datasets : mapping
        All data sets of the session by id.

    Returns
    -------
    dict
        ``raw``: identity of its own files and what a person said of them; ``gold``: the same of its candidates, in
        order of preference; ``gain``, ``geometry``: the same of its gain references and of the scans whose geometry
        may serve it.
    """
    return {
        "raw": _raw(dataset),
        "gold": _references(dataset.gold_candidates, datasets),
        "gain": _references(dataset.gain_candidates, datasets),
        "geometry": _references(dataset.geometry_candidates, datasets),
    }


def _references(candidates: tuple[str, ...], datasets: Mapping[str, Dataset]) -> list[dict[str, object]]:
    return [{"id": candidate, "raw": _raw(datasets[candidate])} for candidate in candidates]


def _raw(dataset: Dataset) -> dict[str, object]:
    identity = dataset.identity.model_dump(mode="json") if dataset.identity else None
    optics = dataset.microscope.model_dump(mode="json", exclude_none=True) if dataset.microscope else None
    shape = list(dataset.scan_shape) if dataset.scan_shape else None
    return {"identity": identity, "microscope": optics, "scan_shape": shape}
